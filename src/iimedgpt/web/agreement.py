"""How far clinicians agree, and which items they should talk about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from fastapi import APIRouter, Request, Response

from iimedgpt import stats
from iimedgpt.agreement import cohen_kappa
from iimedgpt.preferences.store import Vote
from iimedgpt.types import Ranking
from iimedgpt.web.access import SignedIn
from iimedgpt.web.app import Desk, page

router = APIRouter()
N_DISCUSSED = 50


@dataclass
class Labels:
    """What two clinicians said of the same things, side by side."""

    first: list[str] = field(default_factory=list)
    second: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """Agreement of two clinicians in one thing."""

    names: tuple[str, str]
    what: str
    n_items: int
    raw: stats.Estimate
    kappa: stats.Estimate


@dataclass(frozen=True)
class Dispute:
    """An item that clinicians see differently."""

    item_id: str
    mode: str
    n_opposite: int
    is_safety_disputed: bool


@router.get("/agreement")
def agreement_page(request: Request, annotator: SignedIn) -> Response:
    desk: Desk = request.app.state.desk
    votes = [vote for vote in desk.store.all_in_force() if vote.kind != "skip"]
    names = {person.annotator_id: person.name for person in desk.store.annotators()}
    mine = {vote.item_id for vote in votes if vote.annotator_id == annotator.annotator_id}
    shown = [dispute for dispute in disputes(votes) if dispute.item_id in mine]
    known = [dispute for dispute in shown if dispute.item_id in desk.of_mode(dispute.mode)]
    return page(
        request, "agreement.html", annotator, rows=agreement(votes, names), disputes=known[:N_DISCUSSED], mode="agree"
    )


def agreement(votes: Sequence[Vote], names: Mapping[str, str]) -> list[Row]:
    """One row for every two clinicians and thing they both judged."""
    rows = []
    for (one, other), things in _compared(votes).items():
        for what, labels in things.items():
            same = [float(a == b) for a, b in zip(labels.first, labels.second, strict=True)]
            rows.append(
                Row(
                    (names.get(one, one), names.get(other, other)),
                    what,
                    len(set(labels.items)),
                    stats.bootstrap_mean(same, labels.items, is_share=True),
                    cohen_kappa(labels.first, labels.second, labels.items),
                )
            )
    return rows


def disputes(votes: Sequence[Vote]) -> list[Dispute]:
    """Items with opposite preferences, or of whose safety opinions differ; the worst first."""
    found = []
    for item_id, of_item in _by_item(votes).items():
        n_opposite, is_safety_disputed = 0, False
        for one, other in combinations(of_item, 2):
            for what, a, b in _labels(one, other):
                n_opposite += {a, b} in ({"<", ">"}, {"win", "loss"})
                is_safety_disputed |= what == "unsafe" and a != b
        if n_opposite or is_safety_disputed:
            mode = "rank" if of_item[0].kind == "rank" else "compare"
            found.append(Dispute(item_id, mode, n_opposite, is_safety_disputed))
    return sorted(found, key=lambda dispute: (-dispute.is_safety_disputed, -dispute.n_opposite, dispute.item_id))


def _compared(votes: Sequence[Vote]) -> dict[tuple[str, str], dict[str, Labels]]:
    compared: dict[tuple[str, str], dict[str, Labels]] = defaultdict(lambda: defaultdict(Labels))
    for item_id, of_item in _by_item(votes).items():
        for one, other in combinations(sorted(of_item, key=lambda vote: vote.annotator_id), 2):
            for what, a, b in _labels(one, other):
                labels = compared[one.annotator_id, other.annotator_id][what]
                labels.first.append(a)
                labels.second.append(b)
                labels.items.append(item_id)
    return compared


def _by_item(votes: Sequence[Vote]) -> dict[str, list[Vote]]:
    by_item: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_item[vote.item_id].append(vote)
    return by_item


def _labels(one: Vote, other: Vote) -> Iterator[tuple[str, str, str]]:
    """(what, the first one's label, the other's) of everything both judged."""
    if one.ranking and other.ranking:
        mine, theirs = _places(one.ranking), _places(other.ranking)
        both = sorted(mine.keys() & theirs.keys())
        for left, right in combinations(both, 2):
            yield "preference", _order(mine, left, right), _order(theirs, left, right)
        for answer in both:
            for mark in ("unsafe", "unsupported", "wrong"):
                said = (mark in ranking.marks.get(answer, ()) for ranking in (one.ranking, other.ranking))
                yield mark, *("yes" if is_marked else "no" for is_marked in said)  # type: ignore[misc]
    theirs_by = {judgement.criterion: judgement.verdict for judgement in other.judgements}
    for judgement in one.judgements:
        if judgement.criterion in theirs_by:
            yield judgement.criterion, judgement.verdict.value, theirs_by[judgement.criterion].value


def _places(ranking: Ranking) -> dict[str, int]:
    return {answer: place for place, tier in enumerate(ranking.tiers) for answer in tier}


def _order(places: Mapping[str, int], left: str, right: str) -> str:
    return "<" if places[left] < places[right] else ">" if places[left] > places[right] else "="
