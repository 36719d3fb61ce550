"""Intervals of strengths and of the length-controlled rate cover a simulated truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from iimedgpt.evaluation.ratings import Meeting, bradley_terry, length_controlled_win_rate

STRENGTHS = np.array([0.8, 0.2, -0.2, -0.8])
N_RUNS, N_RESAMPLES = 500, 400
INSIDE = (0.925, 0.975)  # 95 % ± what 500 runs leave to chance: 2.6 standard errors


def tournament(rng: np.random.Generator, n_prompts: int, tie_frac: float = 0.0) -> list[Meeting]:
    """Utilities s + Gumbel noise per prompt and model: P(i beats j) = σ(s_i − s_j) exactly, and verdicts on one
    prompt hang together, as they do where one answer meets several. A share of the verdicts is made a tie where the
    truth stays: with σ(s_i − s_j) as the expected points both ways."""
    quality = STRENGTHS + rng.gumbel(size=(n_prompts, len(STRENGTHS)))
    found = []
    for prompt in range(n_prompts):
        for i in range(len(STRENGTHS)):
            for j in range(i + 1, len(STRENGTHS)):
                points = float(quality[prompt, i] > quality[prompt, j])
                if rng.random() < tie_frac:  # half a point each, and the loser of a mirrored draw gives it back
                    p = 1.0 / (1.0 + math.exp(STRENGTHS[j] - STRENGTHS[i]))
                    points = 0.5 if rng.random() < 2 * min(p, 1 - p) else float(p > 0.5)
                found.append(Meeting(prompt, f"m{i}", f"m{j}", points))
    return found


@pytest.mark.parametrize(("n_prompts", "tie_frac"), [(30, 0.0), (100, 0.3)])
def test_strengths_are_covered_as_often_as_the_interval_says(n_prompts: int, tie_frac: float) -> None:
    rng = np.random.default_rng(7)
    hits = np.zeros(len(STRENGTHS))
    for run in range(N_RUNS):
        found = bradley_terry(tournament(rng, n_prompts, tie_frac), n_resamples=N_RESAMPLES, seed=run)
        for k, truth in enumerate(STRENGTHS):
            estimate = found[f"m{k}"]
            assert estimate.low is not None
            assert estimate.high is not None
            hits[k] += estimate.low <= truth <= estimate.high
    assert np.all(hits / N_RUNS >= INSIDE[0]), hits / N_RUNS
    assert INSIDE[0] <= hits.mean() / N_RUNS <= INSIDE[1]


def lengths(rng: np.random.Generator, n: int, theta: float, phi: float) -> list[Meeting]:
    """A judge who likes length beside quality: a's answers are longer by 40 characters on average."""
    delta = rng.normal(40.0, 80.0, n)
    p = 1.0 / (1.0 + np.exp(-(theta + phi * np.tanh(delta / delta.std()))))
    return [
        Meeting(i, "a", "b", float(won), float(d))
        for i, (won, d) in enumerate(zip(rng.random(n) < p, delta, strict=True))
    ]


@pytest.mark.parametrize("n", [50, 150])
def test_the_rate_at_equal_length_is_covered_as_often_as_the_interval_says(n: int) -> None:
    rng = np.random.default_rng(11)
    truth, hits, raw = 1.0 / (1.0 + math.exp(-0.3)), 0, 0.0
    for run in range(N_RUNS):
        meetings = lengths(rng, n, 0.3, 1.2)
        estimate = length_controlled_win_rate(meetings, n_resamples=N_RESAMPLES, seed=run)
        assert estimate.low is not None
        assert estimate.high is not None
        hits += estimate.low <= truth <= estimate.high
        raw += sum(meeting.points for meeting in meetings) / n / N_RUNS
    assert INSIDE[0] <= hits / N_RUNS <= INSIDE[1]
    assert raw > truth + 0.05  # what the raw rate would have said
