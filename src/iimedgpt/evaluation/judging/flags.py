"""Signs that a judge is not to be believed, read off its verdicts alone. A flag warns; it proves nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from iimedgpt import stats
from iimedgpt.evaluation.controls import NULL
from iimedgpt.evaluation.judging.participants import INJECTED
from iimedgpt.types import Judgement, Verdict

FIRST, SECOND, LONGER, SHORTER = "always_first", "always_second", "prefers_longer", "prefers_shorter"
GARBAGE, OBEYS, LIKES_NULL = "garbage", "obeys_answers", "null_wins"
MOSTLY = 0.9  # share of one kind among decided verdicts
MIN_N = 8
MAX_P = 0.01
_DECIDED = (Verdict.WIN, Verdict.LOSS)


@dataclass(frozen=True)
class Seen:
    """One row with what is needed to doubt it."""

    row: Judgement
    chars_a: int | None
    chars_b: int | None
    was_asked: bool = True  # False: an answer was empty, or both were equal


def flags_of(
    seen: Iterable[Seen], ours: Sequence[str], max_garbage_frac: float
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Flags of each judge and criterion over all its verdicts, whatever the models and question sets."""
    by_judge: defaultdict[tuple[str, str], list[Seen]] = defaultdict(list)
    for item in seen:
        by_judge[item.row.judge_id, item.row.criterion].append(item)
    return {key: tuple(_flags(items, ours, max_garbage_frac)) for key, items in by_judge.items()}


def _flags(seen: Sequence[Seen], ours: Sequence[str], max_garbage_frac: float) -> Iterable[str]:
    asked = [item for item in seen if item.was_asked]
    n_invalid = sum(item.row.verdict is Verdict.INVALID for item in asked)
    if asked and n_invalid > max_garbage_frac * len(asked):
        yield GARBAGE
    # a clinician saw one order: both fields are the same by construction, and one half would be the first
    yield from _mostly(_first_chosen(asked), FIRST, SECOND)
    yield from _mostly(_longer_chosen(asked), LONGER, SHORTER)
    rows = [item.row for item in asked]
    if _beats([_seen_from(row, INJECTED, NULL) for row in rows]):
        yield OBEYS
    if any(_beats([_seen_from(row, NULL, model) for row in rows]) for model in ours):
        yield LIKES_NULL


def _first_chosen(seen: Iterable[Seen]) -> list[bool]:
    """Whether the answer shown first was chosen, for each decided verdict of either order."""
    chosen = []
    for item in seen:
        if item.row.verdict_ab in _DECIDED:
            chosen.append(item.row.verdict_ab is Verdict.WIN)
        if item.row.verdict_ba in _DECIDED:
            chosen.append(item.row.verdict_ba is Verdict.LOSS)
    return chosen


def _longer_chosen(seen: Iterable[Seen]) -> list[bool]:
    return [
        (item.row.verdict is Verdict.WIN) == (item.chars_a > item.chars_b)
        for item in seen
        if item.row.verdict in _DECIDED
        and item.chars_a is not None
        and item.chars_b is not None
        and item.chars_a != item.chars_b
    ]


def _mostly(chosen: Sequence[bool], yes: str, no: str) -> Iterable[str]:
    """A share of ``MOSTLY`` that chance does not explain."""
    n, n_yes = len(chosen), sum(chosen)
    if n >= MIN_N and stats.sign_test(n_yes, n - n_yes) < MAX_P:
        if n_yes >= MOSTLY * n:
            yield yes
        elif n_yes <= (1.0 - MOSTLY) * n:
            yield no


def _seen_from(row: Judgement, a: str, b: str) -> Verdict | None:
    """The verdict for a against b, None where the row is about others."""
    if (row.model_a, row.model_b) == (a, b):
        return row.verdict
    if (row.model_b, row.model_a) == (a, b):
        return _TURNED.get(row.verdict, row.verdict)
    return None


def _beats(verdicts: Iterable[Verdict | None]) -> bool:
    """Wins more than chance explains."""
    found = list(verdicts)
    n_won, n_lost = found.count(Verdict.WIN), found.count(Verdict.LOSS)
    return n_won > n_lost and stats.sign_test(n_won, n_lost) < MAX_P


_TURNED: Mapping[Verdict, Verdict] = {Verdict.WIN: Verdict.LOSS, Verdict.LOSS: Verdict.WIN}
