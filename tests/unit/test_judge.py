"""Pairwise judging: both orders, INVALID apart, ties within the margin, patients count once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from iimedgpt.evaluation.controls import null_answer
from iimedgpt.evaluation.judge import (
    Case,
    ReferenceJudge,
    fold,
    judge_pair,
    points,
    sign_test_by_patient,
    tally,
    turned,
)
from iimedgpt.types import Judgement, Message, Verdict

WIN, TIE, LOSS, INVALID = Verdict.WIN, Verdict.TIE, Verdict.LOSS, Verdict.INVALID


def _case(reference: str = "急性阑尾炎", group_id: str = "p1") -> Case:
    prompt = (Message(role="user", content="?"),)
    return Case("c1", "diagnosis", group_id, prompt, reference)


def _judgement(verdict: Verdict, group_id: str) -> Judgement:
    return Judgement(
        prompt_id="c",
        task=None,
        model_a="a",
        model_b="b",
        criterion="x",
        judge_id="j",
        verdict_ab=verdict,
        verdict_ba=verdict,
        verdict=verdict,
        group_id=group_id,
    )


@dataclass(frozen=True)
class FirstWins:
    """A judge that likes whatever it is shown first."""

    judge_id: str = "first-wins"
    criterion: str = "position"

    def compare(self, case: Case, first: str, second: str) -> Verdict:
        return WIN


@pytest.mark.parametrize(
    ("ab", "ba", "expected"),
    [
        (WIN, WIN, WIN),
        (LOSS, LOSS, LOSS),
        (TIE, TIE, TIE),
        (WIN, LOSS, TIE),
        (WIN, TIE, TIE),
        (WIN, INVALID, INVALID),
        (INVALID, INVALID, INVALID),
    ],
)
def test_agreement_decides_disagreement_is_a_tie_and_invalid_stays_invalid(
    ab: Verdict, ba: Verdict, expected: Verdict
) -> None:
    assert fold(ab, ba) is expected


def test_the_closer_answer_wins_whichever_comes_first() -> None:
    judge = ReferenceJudge(tie_margin=0.05)
    row = judge_pair(judge, _case(), "sft", "急性阑尾炎", "base", "感冒")
    assert (row.verdict_ab, row.verdict_ba, row.verdict) == (WIN, WIN, WIN)
    row = judge_pair(judge, _case(), "base", "感冒", "sft", "急性阑尾炎")
    assert (row.verdict_ab, row.verdict_ba, row.verdict) == (LOSS, LOSS, LOSS)


def test_differences_up_to_the_margin_are_ties() -> None:
    # 急性阑尾炎 against itself 1.0; 阑尾炎 gives 2·3/8 = 0.75: a gap of exactly 0.25.
    row = judge_pair(ReferenceJudge(tie_margin=0.25), _case(), "a", "急性阑尾炎", "b", "阑尾炎")
    assert row.verdict is TIE
    row = judge_pair(ReferenceJudge(tie_margin=0.24), _case(), "a", "急性阑尾炎", "b", "阑尾炎")
    assert row.verdict is WIN


@pytest.mark.parametrize("answer", ["", " \n", None])
def test_an_empty_or_missing_answer_is_invalid_not_a_loss(answer: str | None) -> None:
    row = judge_pair(ReferenceJudge(0.05), _case(), "a", answer, "b", "阑尾炎")
    assert row.verdict is INVALID
    assert points(row.verdict) is None


def test_a_judge_that_follows_the_position_decides_nothing_and_is_seen() -> None:
    row = judge_pair(FirstWins(), _case(), "a", "x", "b", "y")
    assert (row.verdict_ab, row.verdict_ba, row.verdict) == (WIN, LOSS, TIE)
    assert tally([row]).position_consistency == 0.0


def test_the_null_answer_loses_to_a_right_one() -> None:
    case = _case("给予奥美拉唑20mg口服，每日两次")
    null = null_answer(case.reference)
    assert judge_pair(ReferenceJudge(0.05), case, "sft", "奥美拉唑20mg", "null", null).verdict is WIN


def test_the_null_answer_speaks_the_language_of_the_reference() -> None:
    assert null_answer("Take rest.").isascii()
    assert not null_answer("注意休息").isascii()


def test_the_judge_says_what_it_is() -> None:
    assert ReferenceJudge(0.05).judge_id == "reference-closeness (character ROUGE-L F1, ties within 0.05)"


def test_tally_keeps_invalid_out_of_the_rate() -> None:
    rows = [_judgement(verdict, "p") for verdict in (WIN, WIN, TIE, LOSS, INVALID)]
    count = tally(rows)
    assert (count.wins, count.ties, count.losses, count.invalid) == (2, 1, 1, 1)
    assert count.win_rate == pytest.approx(2.5 / 4)
    assert count.position_consistency == 1.0
    assert tally([]).win_rate is None


def test_a_patient_counts_once_in_the_sign_test() -> None:
    # p1 won 2 to 1, p2 won, p3 even, p4 lost: 2 against 1, two-sided p = 1.
    verdicts = [(WIN, "p1"), (WIN, "p1"), (LOSS, "p1"), (WIN, "p2"), (WIN, "p3"), (LOSS, "p3"), (LOSS, "p4")]
    assert sign_test_by_patient(_judgement(verdict, patient) for verdict, patient in verdicts) == (1.0, 2, 1)


def test_turning_a_verdict_twice_gives_it_back() -> None:
    assert [turned(turned(verdict)) for verdict in Verdict] == list(Verdict)
    assert turned(WIN) is LOSS
