"""Ranking: the next item, its page, the vote on it, and the way back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from iimedgpt.preferences.store import Annotator, Vote, VoteIdTakenError
from iimedgpt.text import content_id, fold
from iimedgpt.types import EditedAnswer, Mark, Ranking
from iimedgpt.web.access import SignedIn
from iimedgpt.web.app import Desk, page
from iimedgpt.web.edits import deidentify
from iimedgpt.web.items import LETTERS, Item, record_and_task

router = APIRouter()

VoteId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Letter = Literal["A", "B", "C", "D", "E", "F"]
Seconds = Annotated[float, Field(ge=0.0, le=86_400.0, allow_inf_nan=False)]
Rank = Annotated[int, Field(ge=1, le=6, strict=True)]


class Body(BaseModel):
    """What a page may send; anything else is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Edited(Body):
    """An answer written over the one with this letter."""

    letter: Letter
    text: str = Field(min_length=1, max_length=20_000)


class RankBody(Body):
    """A ranking by letters as this clinician sees them, or a skip."""

    vote_id: VoteId
    kind: Literal["rank", "skip"]
    seconds: Seconds
    ranks: dict[Letter, Rank] = Field(default={})
    marks: dict[Letter, tuple[Mark, ...]] = Field(default={})
    edited: Edited | None = None


class UndoBody(Body):
    """Take the last vote back."""

    vote_id: VoteId


@router.get("/rank")
def next_item(request: Request, annotator: SignedIn) -> Response:
    return go_on(request, annotator, "rank")


@router.get("/rank/{item_id}")
def ranking_page(request: Request, item_id: str, annotator: SignedIn) -> Response:
    desk: Desk = request.app.state.desk
    item = desk.mine("rank", item_id, annotator)
    shown = item.shown(annotator.annotator_id, desk.seed)
    vote = desk.store.votes_in_force(annotator.annotator_id).get(item_id)
    return page(
        request,
        "rank.html",
        annotator,
        answers=list(zip(LETTERS, (text for _, text in shown), strict=False)),
        vote=_as_letters(vote.ranking, shown) if vote and vote.ranking else {"ranks": {}, "marks": {}},
        **item_values(desk, "rank", item, annotator),
    )


@router.post("/rank/{item_id}")
def cast_ranking(request: Request, item_id: str, body: RankBody, annotator: SignedIn) -> Response:
    desk: Desk = request.app.state.desk
    item = desk.mine("rank", item_id, annotator)
    ranking, n_replaced = None, 0
    if body.kind == "rank":
        edited, n_replaced = _edited(desk, item, body, annotator)
        ranking = build_ranking(item, item.shown(annotator.annotator_id, desk.seed), body, edited, annotator)
    vote = Vote(
        vote_id=body.vote_id,
        annotator_id=annotator.annotator_id,
        item_id=item_id,
        kind=body.kind,
        seconds=body.seconds,
        ranking=ranking,
    )
    return store_vote(desk, vote, {"next": "/rank", "n_replaced": n_replaced})


@router.post("/rank/undo/last")
def undo_ranking(request: Request, body: UndoBody, annotator: SignedIn) -> Response:
    return undo(request.app.state.desk, "rank", body, annotator)


def go_on(request: Request, annotator: Annotator, mode: str) -> Response:
    """To the next item of a mode, or to the page that says that all is done."""
    desk: Desk = request.app.state.desk
    items = desk.of_mode(mode)
    item_id = desk.store.claim_next(list(items), annotator.annotator_id, desk.annotators_per_item)
    if item_id is None:
        return page(request, "done.html", annotator, mode=mode, is_empty=not items, **progress(desk, mode, annotator))
    return RedirectResponse(f"/{mode}/{item_id}", 303)


def progress(desk: Desk, mode: str, annotator: Annotator) -> dict[str, int]:
    """How many items this clinician has done, of how many that they have or may still get."""
    items = desk.of_mode(mode)
    n_done = sum(item in items for item in desk.store.votes_in_force(annotator.annotator_id))
    n_open = desk.store.n_open(list(items), annotator.annotator_id, desk.annotators_per_item)
    return {"n_done": n_done, "n_all": n_done + n_open}


def item_values(desk: Desk, mode: str, item: Item, annotator: Annotator) -> dict[str, Any]:
    """What both kinds of pages show of an item."""
    sections, question = record_and_task(item.prompt)
    return {
        "mode": mode,
        "item": item,
        "spoken": "zh-CN" if item.language == "zh" else "en",
        "sections": sections,
        "question": question,
        **progress(desk, mode, annotator),
    }


def store_vote(desk: Desk, vote: Vote, reply: dict[str, Any]) -> Response:
    """Answer only when the vote is on disk."""
    try:
        desk.store.append(vote)
    except VoteIdTakenError:
        raise HTTPException(409, "this vote id stands for another vote") from None
    return JSONResponse(reply)


def undo(desk: Desk, mode: str, body: UndoBody, annotator: Annotator) -> Response:
    """Take the last vote of a mode back, and say where it was."""
    item_id = desk.store.undo(annotator.annotator_id, body.vote_id, list(desk.of_mode(mode)))
    return JSONResponse({"next": f"/{mode}/{item_id}" if item_id else None})


def build_ranking(
    item: Item, shown: tuple[tuple[str, str], ...], body: RankBody, edited: EditedAnswer | None, annotator: Annotator
) -> Ranking:
    """Tiers of ids from ranks by letter: equal ranks tie, gaps close.

    Raises:
        HTTPException: 422 where the letters are not those shown.
    """
    ids = dict(zip(LETTERS, (answer_id for answer_id, _ in shown), strict=False))
    if set(body.ranks) != set(ids) or not set(body.marks) <= set(ids):
        raise HTTPException(422, "ranks: one for each answer shown")
    tiers = tuple(
        tuple(ids[letter] for letter in ids if body.ranks.get(letter) == rank)  # type: ignore[call-overload]
        for rank in sorted(set(body.ranks.values()))
    )
    return Ranking(
        ranking_id=content_id("ranking", annotator.annotator_id, body.vote_id),
        prompt_id=item.prompt_id,
        annotator_id=annotator.annotator_id,
        tiers=(((edited.candidate_id,), *tiers) if edited else tiers),
        shown_order=tuple(ids.values()),
        marks={ids[letter]: tuple(dict.fromkeys(marks)) for letter, marks in body.marks.items() if marks},
        edited=edited,
        seconds=body.seconds,
    )


def _edited(desk: Desk, item: Item, body: RankBody, annotator: Annotator) -> tuple[EditedAnswer | None, int]:
    """The edit without identifiers; None where nothing new is left of it."""
    if body.edited is None:
        return None, 0
    shown = item.shown(annotator.annotator_id, desk.seed)
    if body.edited.letter not in LETTERS[: len(shown)]:
        raise HTTPException(422, "edited: no such answer")
    clean = deidentify(body.edited.text, item.language, desk.secret)
    if not fold(clean.text) or fold(clean.text) in {fold(text) for _, text in shown}:
        return None, clean.n_replaced
    made = EditedAnswer(
        candidate_id=content_id("edited", item.prompt_id, annotator.annotator_id, clean.text),
        from_id=shown[LETTERS.index(body.edited.letter)][0],
        text=clean.text,
    )
    return made, clean.n_replaced


def _as_letters(ranking: Ranking, shown: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    letter_of = dict(zip((answer_id for answer_id, _ in shown), LETTERS, strict=False))
    tiers = [tier for tier in ranking.tiers if not set(tier).isdisjoint(letter_of)]
    ranks = {letter_of[answer]: rank for rank, tier in enumerate(tiers, start=1) for answer in tier}
    return {"ranks": ranks, "marks": {letter_of[answer]: marks for answer, marks in ranking.marks.items()}}
