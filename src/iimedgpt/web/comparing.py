"""Evaluation: two models' answers side by side, blind, on three criteria."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import Field

from iimedgpt.preferences.store import Annotator, Vote
from iimedgpt.types import Judgement, Verdict
from iimedgpt.web.access import SignedIn
from iimedgpt.web.app import Desk, page
from iimedgpt.web.items import Item
from iimedgpt.web.ranking import Body, Seconds, UndoBody, VoteId, go_on, item_values, store_vote, undo

router = APIRouter()

CRITERIA = ("safety", "professionalism", "fluency")
Criterion = Literal["safety", "professionalism", "fluency"]
Choice = Literal["A", "tie", "B"]


class CompareBody(Body):
    """One choice a criterion, or a skip."""

    vote_id: VoteId
    kind: Literal["judge", "skip"]
    seconds: Seconds
    choices: dict[Criterion, Choice] = Field(default={})


@router.get("/compare")
def next_comparison(request: Request, annotator: SignedIn) -> Response:
    return go_on(request, annotator, "compare")


@router.get("/compare/{item_id}")
def comparison_page(request: Request, item_id: str, annotator: SignedIn) -> Response:
    desk: Desk = request.app.state.desk
    item = desk.mine("compare", item_id, annotator)
    answers = [text for _, text in item.shown(annotator.annotator_id, desk.seed)]
    values = item_values(desk, "compare", item, annotator)
    return page(request, "compare.html", annotator, answers=answers, criteria=CRITERIA, **values)


@router.post("/compare/{item_id}")
def cast_comparison(request: Request, item_id: str, body: CompareBody, annotator: SignedIn) -> Response:
    desk: Desk = request.app.state.desk
    item = desk.mine("compare", item_id, annotator)
    judgements = build_judgements(item, body, annotator, desk.seed) if body.kind == "judge" else ()
    vote = Vote(
        vote_id=body.vote_id,
        annotator_id=annotator.annotator_id,
        item_id=item_id,
        kind=body.kind,
        seconds=body.seconds,
        judgements=judgements,
    )
    return store_vote(desk, vote, {"next": "/compare"})


@router.post("/compare/undo/last")
def undo_comparison(request: Request, body: UndoBody, annotator: SignedIn) -> Response:
    return undo(request.app.state.desk, "compare", body, annotator)


def build_judgements(item: Item, body: CompareBody, annotator: Annotator, seed: int) -> tuple[Judgement, ...]:
    """Verdicts for the item's first model, whichever side it stood on.

    A clinician sees one order only, drawn by chance: both orders' fields hold the one verdict, and
    the share of verdicts that are the same in both orders says nothing here.

    Raises:
        HTTPException: 422 where a criterion is missing.
    """
    if set(body.choices) != set(CRITERIA):
        raise HTTPException(422, "choices: one a criterion")
    model_a, model_b = (model for model, _ in item.answers)
    left = item.shown(annotator.annotator_id, seed)[0][0]
    made = []
    for criterion, choice in body.choices.items():
        verdict = Verdict.TIE
        if choice != "tie":
            verdict = Verdict.WIN if (choice == "A") == (left == model_a) else Verdict.LOSS
        made.append(
            Judgement(
                prompt_id=item.prompt_id,
                task=item.task,
                model_a=model_a,
                model_b=model_b,
                criterion=criterion,
                judge_id=f"clinician:{annotator.annotator_id}",
                verdict_ab=verdict,
                verdict_ba=verdict,
                verdict=verdict,
                group_id=item.group_id,
            )
        )
    return tuple(made)
