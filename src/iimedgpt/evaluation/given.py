"""Tables that the report shows as they are given: models down, measures across."""

from __future__ import annotations

from typing import Any

from iimedgpt.evaluation.scoreboard import Scoreboard

MINUS_BASE = "minus_base"


def cell(board: Scoreboard, name: str, model: str, unit: str | None = None) -> dict[str, Any] | None:
    """One estimate with its interval and counts, None where nothing was measured."""
    found, series = board.value(name, model), board.series.get((name, model))
    if found is None or found.value is None:
        return None
    return {
        "value": found.value, "unit": unit or ("share" if series else "difference"), "ci_low": found.low,
        "ci_high": found.high, "n": found.n, "n_invalid": len(series.invalid) if series else 0,
    }  # fmt: skip
