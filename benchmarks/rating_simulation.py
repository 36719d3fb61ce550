"""Verdicts whose truth is known, to see how often the intervals of ``evaluation/ratings.py`` cover it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from iimedgpt import stats
from iimedgpt.evaluation.ratings import Meeting, bradley_terry, length_controlled_win_rate

STRENGTHS = np.array([0.8, 0.2, -0.2, -0.8])
THETA, PHI = 0.3, 1.2  # log odds at equal length, and what length adds


def tournament(rng: np.random.Generator, n_prompts: int, tie_frac: float = 0.0) -> list[Meeting]:
    """Utilities s + Gumbel noise per prompt and model: P(i beats j) = σ(s_i − s_j) exactly, and verdicts on one
    prompt hang together, as they do where one answer meets several. A share of the verdicts is redrawn with ties, the
    expected points left at σ(s_i − s_j)."""
    quality = STRENGTHS + rng.gumbel(size=(n_prompts, len(STRENGTHS)))
    found = []
    for prompt in range(n_prompts):
        for i in range(len(STRENGTHS)):
            for j in range(i + 1, len(STRENGTHS)):
                points = float(quality[prompt, i] > quality[prompt, j])
                if rng.random() < tie_frac:
                    p = 1.0 / (1.0 + math.exp(STRENGTHS[j] - STRENGTHS[i]))
                    points = 0.5 if rng.random() < 2 * min(p, 1 - p) else float(p > 0.5)
                found.append(Meeting(prompt, f"m{i}", f"m{j}", points))
    return found


def lengths(rng: np.random.Generator, n: int) -> list[Meeting]:
    """A judge who likes length beside quality: a's answers are longer by 40 characters on average."""
    delta_N = rng.normal(40.0, 80.0, n)
    p_N = 1.0 / (1.0 + np.exp(-(THETA + PHI * np.tanh(delta_N / delta_N.std()))))
    won_N = rng.random(n) < p_N
    return [Meeting(i, "a", "b", float(won_N[i]), float(delta_N[i])) for i in range(n)]


def strength_coverage(n_prompts: int, tie_frac: float, n_runs: int, n_resamples: int, seed: int) -> dict[str, Any]:
    """Share of the runs whose interval holds a model's true strength, mean over the models."""
    rng = np.random.default_rng(seed)
    hits = 0
    for run in range(n_runs):
        found = bradley_terry(tournament(rng, n_prompts, tie_frac), n_resamples=n_resamples, seed=run)
        hits += sum(_holds(found[f"m{k}"], float(truth)) for k, truth in enumerate(STRENGTHS))
    return _coverage(hits / len(STRENGTHS), n_runs, n_prompts)


def rate_coverage(n: int, n_runs: int, n_resamples: int, seed: int) -> dict[str, Any]:
    """The same of the length-controlled win rate; and the mean of the raw rate beside the truth."""
    rng = np.random.default_rng(seed)
    truth = 1.0 / (1.0 + math.exp(-THETA))
    hits, raw = 0, 0.0
    for run in range(n_runs):
        meetings = lengths(rng, n)
        hits += _holds(length_controlled_win_rate(meetings, n_resamples=n_resamples, seed=run), truth)
        raw += sum(meeting.points for meeting in meetings) / n / n_runs
    return {**_coverage(hits, n_runs, n), "truth": round(truth, 4), "mean_raw_rate": round(raw, 4)}


def coverage(n_runs: int = 500, n_resamples: int = 400) -> dict[str, Any]:
    """Both methods at sizes that a report has."""
    cases: dict[str, Callable[[], dict[str, Any]]] = {
        "bradley_terry, 30 prompts": lambda: strength_coverage(30, 0.0, n_runs, n_resamples, 7),
        "bradley_terry, 100 prompts, ties": lambda: strength_coverage(100, 0.3, n_runs, n_resamples, 7),
        "length_controlled_win_rate, 50 prompts": lambda: rate_coverage(50, n_runs, n_resamples, 7),
        "length_controlled_win_rate, 100 prompts": lambda: rate_coverage(100, n_runs, n_resamples, 7),
    }
    return {name: measure() for name, measure in cases.items()}


def _holds(estimate: stats.Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def _coverage(hits: float, n_runs: int, n: int) -> dict[str, Any]:
    low, high = stats.wilson(round(hits), n_runs) or (None, None)
    return {"covered": round(hits / n_runs, 4), "low": low, "high": high, "n_runs": n_runs, "n_prompts": n}
