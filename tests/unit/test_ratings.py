"""Strengths and the rate at equal length, on verdicts whose result is known."""

from __future__ import annotations

import math

import pytest

from iimedgpt.evaluation.ratings import Meeting, bradley_terry, length_controlled_win_rate


def test_two_models_get_the_log_odds_of_their_wins() -> None:
    meetings = [Meeting(i, "a", "b", float(i < 30)) for i in range(40)]
    found = bradley_terry(meetings)
    assert found["a"].value == pytest.approx(math.log(30.5 / 10.5) / 2, abs=1e-6)  # half a win added to each
    assert found["b"].value == pytest.approx(-math.log(30.5 / 10.5) / 2, abs=1e-6)
    assert found["a"].n == 40


def test_the_order_of_a_pair_does_not_matter() -> None:
    one = bradley_terry([Meeting(i, "a", "b", float(i % 3 > 0)) for i in range(30)])
    other = bradley_terry([Meeting(i, "b", "a", float(i % 3 == 0)) for i in range(30)])
    assert {name: found.value for name, found in one.items()} == pytest.approx(
        {name: found.value for name, found in other.items()}
    )


def test_a_model_that_won_all_has_a_finite_strength() -> None:
    found = bradley_terry([Meeting(i, "a", "b", 1.0) for i in range(20)])
    assert found["a"].value is not None
    assert math.isfinite(found["a"].value)


def test_a_model_that_nobody_links_has_none() -> None:
    meetings = [Meeting(i, a, b, 1.0) for i in range(5) for a, b in (("a", "b"), ("b", "c"))]
    found = bradley_terry([*meetings, Meeting(0, "x", "y", 1.0)])
    assert found["x"].value is None
    assert "not linked" in found["x"].method
    assert found["a"].value is not None


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_and_one_verdict_are_handled(n: int) -> None:
    meetings = [Meeting(0, "a", "b", 1.0, 3.0)] * n
    found = bradley_terry(meetings)
    assert list(found) == ["a", "b"][: 2 * n]
    assert all(estimate.low is None for estimate in found.values())
    assert length_controlled_win_rate(meetings).value is None


def test_without_overlap_of_lengths_there_is_no_rate() -> None:
    assert length_controlled_win_rate([Meeting(i, "a", "b", 0.0, -200.0 - i) for i in range(50)]).value is None


def test_at_equal_lengths_the_rate_is_the_raw_one() -> None:
    meetings = [Meeting(i, "a", "b", float(i % 4 > 0), 10.0 * (-1) ** (i // 4)) for i in range(400)]
    assert length_controlled_win_rate(meetings).value == pytest.approx(0.75, abs=0.005)
