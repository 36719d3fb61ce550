"""Who may come in: personal keys, signed sessions, CSRF tokens, a limit on guesses.

Keys are random (192 bits), shown once and stored as a hash: a slow hash would protect nothing
more. Every route but the login asks for a session through the dependency ``signed_in``.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, HTTPException, Request

from iimedgpt.io import Secret
from iimedgpt.preferences.store import Annotator, Store

COOKIE = "session"
MAX_FORM_BYTES = 4_096
N_GUESSES = 5
GUESS_WINDOW_S = 60.0


def new_key() -> str:
    """A key for one clinician."""
    return secrets.token_urlsafe(24)


def key_hash(key: str) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class Guesses:
    """Failed logins by address: five a minute, then a wait."""

    def __init__(self) -> None:
        self._failed: dict[str, deque[float]] = {}

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try again, 0 for now."""
        now = time.monotonic()
        for known in list(self._failed):
            times = self._failed[known]
            while times and now - times[0] > GUESS_WINDOW_S:
                times.popleft()
            if not times:
                del self._failed[known]
        times = self._failed.get(address, deque())
        return 0 if len(times) < N_GUESSES else int(GUESS_WINDOW_S - (now - times[0])) + 1

    def failed(self, address: str) -> None:
        self._failed.setdefault(address, deque()).append(time.monotonic())


class Gate:
    """Checks keys and sessions."""

    def __init__(self, store: Store, secret: Secret, session_hours: float) -> None:
        self._store = store
        self._secret = secret
        self.session_s = int(session_hours * 3600)
        self.guesses = Guesses()

    def by_key(self, key: str) -> Annotator | None:
        """Whose key it is. All are compared, so that time tells nothing."""
        digest = key_hash(key)
        found = None
        for annotator in self._store.annotators():
            if hmac.compare_digest(annotator.key_hash, digest) and annotator.is_active:
                found = annotator
        return found

    def open_session(self, annotator: Annotator) -> str:
        """The cookie of a new session."""
        body = f"{annotator.annotator_id}.{int(time.time()) + self.session_s}.{secrets.token_hex(8)}"
        return f"{body}.{self._mac(body, annotator)}"

    def by_session(self, cookie: str) -> Annotator | None:
        """Whose session it is, None where it is forged, over, or the key was removed."""
        body, _, mac = cookie.rpartition(".")
        annotator_id, _, rest = body.partition(".")
        expires = rest.partition(".")[0]
        for annotator in self._store.annotators():
            if annotator.annotator_id == annotator_id and annotator.is_active:
                is_signed = hmac.compare_digest(self._mac(body, annotator).encode(), mac.encode())
                return annotator if is_signed and int(expires) > time.time() else None
        return None

    def csrf(self, cookie: str) -> str:
        """The token that this session's own pages carry."""
        return self._secret.sign("csrf", cookie)

    def _mac(self, body: str, annotator: Annotator) -> str:
        return self._secret.sign("session", body, annotator.key_hash)


async def form_fields(request: Request) -> Mapping[str, str]:
    """Fields of a submitted form, empty for everything else."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    raw = await request.body()
    if len(raw) > MAX_FORM_BYTES:
        raise HTTPException(413)
    try:
        fields = parse_qs(raw.decode("ascii"), max_num_fields=8)
    except ValueError:
        raise HTTPException(400) from None
    return {name: values[0] for name, values in fields.items()}


Form = Annotated[Mapping[str, str], Depends(form_fields)]


def same_origin(request: Request) -> None:
    """Refuse what another site's page sends, before there is a session to hold a token."""
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403)
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403)


def signed_in(request: Request, form: Form) -> Annotator:
    """The clinician of this request: 401 without a session, 403 without the token where something changes."""
    gate: Gate = request.app.state.gate
    cookie = request.cookies.get(COOKIE, "")
    annotator = gate.by_session(cookie)
    if annotator is None:
        raise HTTPException(401)
    if request.method not in ("GET", "HEAD"):
        same_origin(request)
        token = request.headers.get("x-csrf-token") or form.get("csrf", "")
        if not hmac.compare_digest(token.encode(), gate.csrf(cookie).encode()):
            raise HTTPException(403)
    return annotator


SignedIn = Annotated[Annotator, Depends(signed_in)]
