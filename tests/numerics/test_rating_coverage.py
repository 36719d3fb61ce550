"""Intervals of strengths and of the length-controlled rate cover a simulated truth as often as they say."""

from __future__ import annotations

import pytest

from benchmarks import rating_simulation as simulation

N_RUNS, N_RESAMPLES = 500, 400
INSIDE = (0.93, 0.97)  # asked for; the simulation itself is known to about 0.02


@pytest.mark.parametrize(("n_prompts", "tie_frac"), [(30, 0.0), (100, 0.3)])
def test_strengths_are_covered(n_prompts: int, tie_frac: float) -> None:
    found = simulation.strength_coverage(n_prompts, tie_frac, N_RUNS, N_RESAMPLES, seed=11)
    assert found["low"] <= INSIDE[1]
    assert found["high"] >= INSIDE[0]


@pytest.mark.parametrize("n", [50, 150])
def test_the_rate_at_equal_length_is_covered(n: int) -> None:
    found = simulation.rate_coverage(n, N_RUNS, N_RESAMPLES, seed=11)
    assert found["low"] <= INSIDE[1]
    assert found["high"] >= INSIDE[0]
    assert found["mean_raw_rate"] > found["truth"] + 0.05  # what the raw rate would have said
