"""Coming in and going out, and the choice of language."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from iimedgpt.web.access import COOKIE, Form, Gate, SignedIn, same_origin
from iimedgpt.web.app import LANGUAGE_COOKIE, language_of, page
from iimedgpt.web.words import words

router = APIRouter()
YEAR_S = 365 * 86_400
SameOrigin = Annotated[None, Depends(same_origin)]


@router.get("/login")
def login_page(request: Request) -> Response:
    return page(request, "login.html", problem="")


@router.post("/login")
def log_in(request: Request, form: Form, _: SameOrigin) -> Response:
    gate: Gate = request.app.state.gate
    address = request.client.host if request.client else ""
    t = words(language_of(request))
    wait_s = gate.guesses.wait_s(address)
    if wait_s:
        refused = page(request, "login.html", status=429, problem=t["wait"].format(wait_s))
        refused.headers["Retry-After"] = str(wait_s)
        return refused
    annotator = gate.by_key(form.get("key", "").strip())
    if annotator is None:
        gate.guesses.failed(address)
        return page(request, "login.html", status=401, problem=t["wrong_key"])
    response = RedirectResponse("/", 303)
    is_https = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, gate.open_session(annotator), gate.session_s, httponly=True, samesite="strict", secure=is_https
    )
    return response


@router.post("/language")
def choose_language(request: Request, form: Form, _: SameOrigin) -> Response:
    back = form.get("back", "/")
    is_own_path = back.startswith("/") and not back.startswith("//") and "\\" not in back and back.isprintable()
    response = RedirectResponse(back if is_own_path else "/", 303)
    response.set_cookie(
        LANGUAGE_COOKIE, "en" if form.get("language") == "en" else "zh", YEAR_S, httponly=True, samesite="strict"
    )
    return response


@router.post("/logout")
def log_out(annotator: SignedIn) -> Response:
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/")
def start(annotator: SignedIn) -> Response:
    return RedirectResponse("/rank", 303)
