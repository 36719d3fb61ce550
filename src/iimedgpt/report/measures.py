"""The measures of an evaluation: their order, which way is better, and their numbers as text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from iimedgpt.report.facts import Cell

MISSING = "—"
_INSIDE = re.compile(r"\[[^\[\]]*\]|\d (?:%|pp)")
METRICS = (
    "loss",
    "choice_accuracy",
    "choice_accuracy_wrong_record",
    "choice_accuracy_minus_wrong_record",
    "choice_accuracy_minus_best_control",
    "preference_accuracy",
    "preference_accuracy_per_token",
    "implicit_reward_accuracy",
    "task_score",
    "task_score_wrong_record",
    "task_score_minus_best_control",
    "rouge_l",
    "unsupported_rate",
    "repetition_rate",
    "finished_share",
    "answer_chars",
)
LOWER_IS_BETTER = ("loss", "unsupported_rate", "repetition_rate")
NEITHER_IS_BETTER = ("answer_chars", "choice_accuracy_wrong_record", "task_score_wrong_record")
PERCENT = (
    "choice_accuracy",
    "preference_accuracy",
    "implicit_reward_accuracy",
    "finished_share",
    "win_rate",
    "position_consistency",
)


def is_lower_better(metric: str) -> bool:
    """True for measures, and parts of them (``loss:stated``), that should fall."""
    return metric.split(":", 1)[0] in LOWER_IS_BETTER


def is_percent(metric: str) -> bool:
    """True for measures shown as percentages."""
    return metric.startswith(PERCENT)


def number(value: float | None, metric: str = "") -> str:
    """A value as text in the metric's unit, differences with their sign; a dash for None."""
    if value is None:
        return MISSING
    scale, decimals = _unit(metric)
    sign = "+" if "_minus_" in metric else ""
    percent = (" pp" if sign else " %") if is_percent(metric) else ""
    shown = f"{scale * value:{sign}.{decimals}f}"
    if not shown.strip("+-0."):
        shown = shown.lstrip("+-")  # a zero has no sign
    return shown.replace("-", "−") + percent


def interval(cell: Cell, metric: str = "") -> str:
    """``[low, high]`` in the unit of the value, empty where unknown."""
    if cell.low is None or cell.high is None:
        return ""
    scale, decimals = _unit(metric)
    return f"[{scale * cell.low:.{decimals}f}, {scale * cell.high:.{decimals}f}]".replace("-", "−")


def unbroken(text: str) -> str:
    """The text with intervals and percentages that no line end can tear apart."""
    return _INSIDE.sub(lambda found: found.group().replace(" ", "\u00a0"), text)


def compact(text: str) -> str:
    """The text with no space inside intervals and percentages: a narrow terminal breaks at any space."""
    return _INSIDE.sub(lambda found: found.group().replace(" ", ""), text)


def _unit(metric: str) -> tuple[int, int]:
    """(factor, decimals) of a metric: percentages, characters, everything else."""
    if is_percent(metric):
        return 100, 1
    return (1, 0) if metric.startswith("answer_chars") else (1, 3)


def count(value: int | None) -> str:
    """A count with thousands apart, a dash for None."""
    return MISSING if value is None else f"{value:,}"


def metric_order(table: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """Metrics of the main table: the known ones first, in reading order."""
    present = list(dict.fromkeys(metric for cells in table.values() for metric in cells))
    return [metric for metric in METRICS if metric in present] + [metric for metric in present if metric not in METRICS]
