"""The app put together: routes, headers, errors, and what every page needs."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from iimedgpt.io import Secret
from iimedgpt.preferences.store import Annotator, Store
from iimedgpt.types import Language
from iimedgpt.web import words
from iimedgpt.web.access import COOKIE, Gate
from iimedgpt.web.items import Item

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
LANGUAGE_COOKIE = "language"
MAX_BODY_BYTES = 262_144
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",  # text of records stays in no browser's cache
}


@dataclass(frozen=True)
class Desk:
    """What the routes work on."""

    store: Store
    secret: Secret
    ranking: dict[str, Item]
    comparison: dict[str, Item]
    annotators_per_item: int
    seed: int

    def of_mode(self, mode: str) -> dict[str, Item]:
        return self.ranking if mode == "rank" else self.comparison

    def mine(self, mode: str, item_id: str, annotator: Annotator) -> Item:
        """An item that this clinician may see.

        Raises:
            HTTPException: 404 for one that is not there and for another clinician's alike.
        """
        item = self.of_mode(mode).get(item_id)
        if item is None or item_id not in self.store.claimed(annotator.annotator_id):
            raise HTTPException(404)
        return item


def create_app(
    store: Store,
    secret: Secret,
    ranking: Sequence[Item],
    comparison: Sequence[Item] = (),
    *,
    annotators_per_item: int = 2,
    seed: int = 0,
    session_hours: float = 12.0,
) -> FastAPI:
    """The app on a store and its items. Nothing but the login and the static files is open."""
    from iimedgpt.web import agreement, comparing, login
    from iimedgpt.web import ranking as ranking_routes

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = Desk(
        store,
        secret,
        {item.item_id: item for item in ranking},
        {item.item_id: item for item in comparison},
        annotators_per_item,
        seed,
    )
    app.state.gate = Gate(store, secret, session_hours)
    app.state.templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for routes in (login, ranking_routes, comparing, agreement):
        app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.middleware("http")(_guard)
    app.add_exception_handler(StarletteHTTPException, _error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _broken)
    return app


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Size limit before anything is read, headers on everything that goes out."""
    response: Response
    length = request.headers.get("content-length", "0")
    if request.headers.get("transfer-encoding") is not None:
        response = JSONResponse({"error": "length required"}, 411)
    elif not length.isascii() or not length.isdigit() or int(length) > MAX_BODY_BYTES:
        response = JSONResponse({"error": "too large"}, 413)
    else:
        response = await call_next(request)
    is_static = request.url.path.startswith("/static/")
    for name, value in HEADERS.items():
        response.headers[name] = "no-cache" if is_static and name == "Cache-Control" else value
    return response


def language_of(request: Request) -> Language:
    """The reader's choice, else what the browser asks for, else Chinese."""
    chosen = request.cookies.get(LANGUAGE_COOKIE) or request.headers.get("accept-language", "zh")
    return "en" if chosen.lower().startswith("en") else "zh"


def page(
    request: Request, template: str, annotator: Annotator | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    """A page in the reader's language."""
    language = language_of(request)
    desk: Desk = request.app.state.desk
    text = request.app.state.templates.get_template(template).render(
        t=words.words(language),
        language=language,
        annotator=annotator,
        csrf=request.app.state.gate.csrf(request.cookies.get(COOKIE, "")) if annotator else "",
        path=request.url.path,
        has_comparison=bool(desk.comparison),
        task_name=words.task_name,
        **values,
    )
    return HTMLResponse(text, status)


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


async def _error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, StarletteHTTPException) else 500
    headers = getattr(error, "headers", None)
    if not _wants_page(request):
        return JSONResponse({"error": str(getattr(error, "detail", "")) or str(status)}, status, headers)
    if status == 401:
        return page(request, "login.html", status=401, problem="")
    return page(request, "error.html", status=status, code=status)


async def _invalid(request: Request, error: Exception) -> Response:
    """Fields that are wrong, never what stood in them."""
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    fields = sorted({".".join(str(part) for part in problem["loc"][1:2]) for problem in problems})
    return JSONResponse({"error": "invalid: " + ", ".join(fields)}, 422)


async def _broken(request: Request, error: Exception) -> Response:
    """Type and place; the message may hold text of a record."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    log.error("internal error: %s at %s:%d", type(error).__name__, Path(frame.filename).name, frame.lineno)
    return JSONResponse({"error": "internal error"}, 500, HEADERS)
