"""Pairwise comparison of two answers, asked in both orders and folded into one verdict.

A judge is anything with ``compare``; this module holds the *reference judge*, which needs no model.
A judge that reads (a language model, a clinician) fits the same protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from iimedgpt import stats
from iimedgpt.evaluation.metrics import rouge_l
from iimedgpt.types import Judgement, Message, Verdict

_TURNED = {
    Verdict.WIN: Verdict.LOSS,
    Verdict.LOSS: Verdict.WIN,
    Verdict.TIE: Verdict.TIE,
    Verdict.INVALID: Verdict.INVALID,
}
_POINTS = {Verdict.WIN: 1.0, Verdict.TIE: 0.5, Verdict.LOSS: 0.0}


@dataclass(frozen=True)
class Case:
    """One prompt that two models answered, with the reference answer."""

    prompt_id: str
    task: str | None
    group_id: str
    prompt: tuple[Message, ...]
    reference: str


class Judge(Protocol):
    """Compares two answers to one prompt on one criterion."""

    @property
    def judge_id(self) -> str: ...

    @property
    def criterion(self) -> str: ...

    def compare(self, case: Case, first: str, second: str) -> Verdict:
        """Verdict for the answer shown first; INVALID where there is nothing to compare."""
        ...


@dataclass(frozen=True)
class ReferenceJudge:
    """Prefers the answer closer to the reference: ROUGE-L F1 on characters.

    Differences up to ``tie_margin`` are ties, and an empty answer is INVALID. It sees nothing but
    likeness to one reference: neither safety nor style, and a correct answer in other words loses.
    """

    tie_margin: float
    criterion: str = "reference-closeness"

    @property
    def judge_id(self) -> str:
        return f"reference-closeness (character ROUGE-L F1, ties within {self.tie_margin:g})"

    def compare(self, case: Case, first: str, second: str) -> Verdict:
        if not first.strip() or not second.strip() or not case.reference.strip():
            return Verdict.INVALID
        gap = rouge_l(first, case.reference) - rouge_l(second, case.reference)
        if abs(gap) <= self.tie_margin:
            return Verdict.TIE
        return Verdict.WIN if gap > 0 else Verdict.LOSS


@dataclass(frozen=True)
class Tally:
    """Outcome of many judgements for the first model; INVALID is its own class."""

    wins: int
    ties: int
    losses: int
    invalid: int
    n_consistent: int  # valid in both orders, with the same verdict

    @property
    def n_valid(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def win_rate(self) -> float | None:
        return stats.win_rate(self.wins, self.ties, self.losses)

    @property
    def position_consistency(self) -> float | None:
        """Share of valid judgements whose verdict did not depend on the order."""
        return self.n_consistent / self.n_valid if self.n_valid else None


def turned(verdict: Verdict) -> Verdict:
    """The same verdict, for the other answer."""
    return _TURNED[verdict]


def fold(verdict_ab: Verdict, verdict_ba: Verdict) -> Verdict:
    """One verdict of two orders, both for model a: agreement decides, disagreement is a tie.

    INVALID in either order is INVALID, never a tie.
    """
    if Verdict.INVALID in (verdict_ab, verdict_ba):
        return Verdict.INVALID
    return verdict_ab if verdict_ab == verdict_ba else Verdict.TIE


def judge_pair(
    judge: Judge, case: Case, model_a: str, answer_a: str | None, model_b: str, answer_b: str | None
) -> Judgement:
    """Ask in both orders and fold. A missing answer (None) is INVALID without asking."""
    verdict_ab = verdict_ba = Verdict.INVALID
    if answer_a is not None and answer_b is not None:
        verdict_ab = judge.compare(case, answer_a, answer_b)
        verdict_ba = turned(judge.compare(case, answer_b, answer_a))
    return Judgement(
        prompt_id=case.prompt_id,
        task=case.task,
        model_a=model_a,
        model_b=model_b,
        criterion=judge.criterion,
        judge_id=judge.judge_id,
        verdict_ab=verdict_ab,
        verdict_ba=verdict_ba,
        verdict=fold(verdict_ab, verdict_ba),
        group_id=case.group_id,
    )


def points(verdict: Verdict) -> float | None:
    """1 for a win, ½ for a tie, 0 for a loss, None for INVALID."""
    return _POINTS.get(verdict)


def tally(judgements: Iterable[Judgement]) -> Tally:
    """Count verdicts for the first model."""
    judgements = list(judgements)
    counts = Counter(judgement.verdict for judgement in judgements)
    return Tally(
        wins=counts[Verdict.WIN],
        ties=counts[Verdict.TIE],
        losses=counts[Verdict.LOSS],
        invalid=counts[Verdict.INVALID],
        n_consistent=sum(
            judgement.verdict is not Verdict.INVALID and judgement.verdict_ab == judgement.verdict_ba
            for judgement in judgements
        ),
    )


def sign_test_by_patient(judgements: Iterable[Judgement]) -> tuple[float, int, int]:
    """(two-sided p, patients won, patients lost): a patient counts once, by wins minus losses."""
    balance: Counter[str] = Counter()
    for judgement in judgements:
        balance[judgement.group_id] += (judgement.verdict is Verdict.WIN) - (judgement.verdict is Verdict.LOSS)
    n_won = sum(value > 0 for value in balance.values())
    n_lost = sum(value < 0 for value in balance.values())
    return stats.sign_test(n_won, n_lost), n_won, n_lost
