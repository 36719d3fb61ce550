"""Nothing is reachable without a key, and nothing of another clinician's with one."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from iimedgpt.preferences.store import Store
from iimedgpt.web.access import N_GUESSES, SignedIn
from tests.web.synthetic import app_of, clinician, serving

OPEN = {("GET", "/login"), ("POST", "/login"), ("POST", "/language")}
ITEM = f"{0:016x}"
COMPARED = f"{100:016x}"
VOTE = {"vote_id": "0" * 31 + "1", "kind": "skip", "seconds": 1.0}


@dataclass
class Client:
    """A browser without a page: a cookie and a token."""

    url: str
    cookie: str = ""
    csrf: str = ""

    def send(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, form: bool = False
    ) -> http.client.HTTPResponse:
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=20)
        sent = {"Cookie": f"session={self.cookie}", "X-CSRF-Token": self.csrf} if self.cookie else {}
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        raw = None if body is None else urlencode(body) if form else json.dumps(body)
        connection.request(method, path, raw, {**sent, "Content-Type": kind, **(headers or {})})
        response = connection.getresponse()
        response.text = response.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return response

    def status(self, method: str, path: str, body: Any = None, **options: Any) -> int:
        return self.send(method, path, body, **options).status

    def log_in(self, key: str) -> Client:
        response = self.send("POST", "/login", {"key": key}, form=True)
        self.cookie = re.search(r"session=([^;]+)", response.getheader("set-cookie") or "")[1]  # type: ignore[index]
        page = self.send("GET", "/agreement").text  # type: ignore[attr-defined]
        self.csrf = re.search(r'name="csrf" content="([0-9a-f]+)"', page)[1]  # type: ignore[index]
        return self


@dataclass
class Ward:
    """A running app with two clinicians; the first has opened the first item of each kind."""

    app: FastAPI
    store: Store
    url: str
    key: str
    other_key: str

    def client(self, key: str | None = None) -> Client:
        return Client(self.url).log_in(key or self.key)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    store = Store.in_folder(tmp_path, "run")
    (first, key), (_, other_key) = clinician(store, "甲医生"), clinician(store, "乙医生")
    app = app_of(store, 2, 2, annotators_per_item=1)
    store.claim_next([ITEM], first, 1)
    store.claim_next([COMPARED], first, 1)
    with serving(app) as url:
        yield Ward(app, store, url, key, other_key)
    store.close()


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of everything the app answers, files apart; items filled in."""
    found = []
    for context in iter_route_contexts(app.routes):
        path = str(context.path)
        methods = getattr(context, "methods", None) or ()
        filled = path.replace("{item_id}", COMPARED if path.startswith("/compare") else ITEM)
        found += [(method, filled) for method in sorted(methods) if method != "HEAD"]
    return found


def test_the_table_of_routes_is_read_whole(ward: Ward) -> None:
    found = set(routes(ward.app))
    assert {("GET", f"/rank/{ITEM}"), ("POST", f"/rank/{ITEM}"), ("POST", "/rank/undo/last")} <= found
    assert len(found) >= 14


def test_every_route_but_the_login_asks_for_a_session(ward: Ward) -> None:
    nobody, forged = Client(ward.url), Client(ward.url, cookie="a.9999999999.b.c", csrf="0")
    for method, path in routes(ward.app):
        if (method, path) not in OPEN:
            assert nobody.status(method, path, VOTE) == 401, path
            assert forged.status(method, path, VOTE) == 401, path


def test_a_route_cannot_forget_its_guard(ward: Ward) -> None:
    """A new route without the dependency would be answered: the test above has to see that."""

    @ward.app.get("/new")
    def new() -> str:
        return "open"

    @ward.app.get("/guarded")
    def guarded(annotator: SignedIn) -> str:
        return "closed"

    assert {("GET", "/new"), ("GET", "/guarded")} <= set(routes(ward.app))
    assert [Client(ward.url).status("GET", path) for path in ("/new", "/guarded")] == [200, 401]


def test_a_wrong_key_opens_nothing_and_guessing_is_slowed(ward: Ward) -> None:
    client = Client(ward.url)
    attempts = [client.send("POST", "/login", {"key": "falsch"}, form=True) for _ in range(N_GUESSES + 1)]
    assert [response.status for response in attempts] == [401] * N_GUESSES + [429]
    assert 0 < int(attempts[-1].getheader("retry-after") or 0) <= 61
    assert all(response.getheader("set-cookie") is None for response in attempts)
    assert client.status("POST", "/login", {"key": ward.key}, form=True) == 429  # also for the right one


def test_every_change_needs_the_token_of_its_session(ward: Ward) -> None:
    client = ward.client()
    for token in ("", "0" * 64, ward.client(ward.other_key).csrf):
        client.csrf = token
        for method, path in routes(ward.app):
            if method == "POST" and (method, path) not in OPEN:
                assert client.status(method, path, VOTE) == 403, path


def test_another_site_cannot_post(ward: Ward) -> None:
    client = ward.client()
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.status("POST", f"/rank/{ITEM}", VOTE, headers=headers) == 403
        assert client.status("POST", "/login", {"key": ward.key}, headers=headers, form=True) == 403


def test_another_clinicians_item_is_not_there(ward: Ward) -> None:
    mine, other = ward.client(), ward.client(ward.other_key)
    for path in (f"/rank/{ITEM}", f"/compare/{COMPARED}"):
        assert mine.status("GET", path) == 200
        for method in ("GET", "POST"):
            assert other.status(method, path, VOTE) == 404
    assert ward.store.all_in_force() == []


@pytest.mark.parametrize("item", ["0" * 15 + "f", "..%2f..%2fetc%2fpasswd", "x" * 3000, "%00", "<script>"])
def test_an_item_that_is_not_there_is_not_found(ward: Ward, item: str) -> None:
    client = ward.client()
    path = f"/rank/{item.replace('<', '%3C').replace('>', '%3E')}"
    assert client.status("GET", path) == 404
    assert client.status("POST", path, VOTE) == 404


def test_a_removed_key_ends_its_sessions(ward: Ward) -> None:
    client = ward.client()
    assert client.status("GET", "/agreement") == 200
    ward.store.remove_key("甲医生")
    assert client.status("GET", "/agreement") == 401
    assert Client(ward.url).status("POST", "/login", {"key": ward.key}, form=True) == 401


def test_a_session_that_was_changed_is_worthless(ward: Ward) -> None:
    client = ward.client()
    annotator, expires, nonce, mac = client.cookie.split(".")
    for cookie in (
        f"{annotator}.{int(expires) + 9}.{nonce}.{mac}",
        f"{annotator}.{expires}.{nonce}.{'0' * 64}",
        f"{annotator}.1.{nonce}.{mac}",
        "...",
        "",
    ):
        client.cookie = cookie
        assert client.status("GET", "/agreement") == 401


GOOD = {"vote_id": "a" * 32, "kind": "rank", "seconds": 3.0, "ranks": {"A": 1, "B": 2, "C": 3, "D": 3}}


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": -1},
        {"seconds": 86_401},
        {"seconds": "NaN"},
        {"ranks": {"A": 0, "B": 2, "C": 3, "D": 3}},
        {"ranks": {"A": 7, "B": 2, "C": 3, "D": 3}},
        {"ranks": {"A": 1.5, "B": 2, "C": 3, "D": 3}},
        {"ranks": {"A": 1}},
        {"ranks": {"A": 1, "B": 2, "C": 3, "D": 3, "E": 1}},
        {"marks": {"A": ["ugly"]}},
        {"marks": {"F": ["wrong"]}},
        {"edited": {"letter": "F", "text": "好"}},
        {"edited": {"letter": "A", "text": "好" * 20_001}},
        {"vote_id": "../../etc"},
        {"kind": "undo"},
        {"annotator_id": "someone else"},
    ],
)
def test_what_is_out_of_range_is_refused_and_not_quoted(ward: Ward, change: dict[str, Any]) -> None:
    client = ward.client()
    refused = client.send("POST", f"/rank/{ITEM}", {**GOOD, **change})
    assert refused.status == 422
    assert "好" not in refused.text  # type: ignore[attr-defined]
    assert ward.store.all_in_force() == []


def test_a_good_vote_is_stored_once_however_often_it_is_sent(ward: Ward) -> None:
    client = ward.client()
    assert [client.status("POST", f"/rank/{ITEM}", GOOD) for _ in range(2)] == [200, 200]
    assert client.status("POST", f"/rank/{ITEM}", {**GOOD, "seconds": 9.0}) == 409
    assert len(ward.store.all_in_force()) == 1


def test_a_body_that_is_too_large_is_not_read(ward: Ward) -> None:
    client = ward.client()
    assert client.status("POST", f"/rank/{ITEM}", {**GOOD, "edited": {"letter": "A", "text": "x" * 300_000}}) == 413
    assert client.status("POST", f"/rank/{ITEM}", headers={"Transfer-Encoding": "chunked"}) == 411


def test_every_answer_carries_the_headers(ward: Ward) -> None:
    client = ward.client()
    for path in ("/login", f"/rank/{ITEM}", "/nothing", "/static/rank.js"):
        response = client.send("GET", path)
        policy = response.getheader("content-security-policy") or ""
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.getheader("x-content-type-options") == "nosniff"
        assert response.getheader("cache-control") == ("no-cache" if path.startswith("/static") else "no-store")
    login = client.send("POST", "/login", {"key": ward.key}, form=True)
    cookie = (login.getheader("set-cookie") or "").lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_the_choice_of_language_leads_nowhere_else(ward: Ward) -> None:
    client = Client(ward.url)
    for back in ("//evil.example", "https://evil.example", "/\\evil.example", "/\r\nX: y"):
        response = client.send("POST", "/language", {"language": "en", "back": back}, form=True)
        assert (response.status, response.getheader("location")) == (303, "/")
