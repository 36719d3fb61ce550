"""The answer in one sentence, by rule: what each step changed and how sure that is.

A change counts as clear where the 95 % interval of the paired difference excludes zero; where no
difference was scored, where the two intervals do not overlap (which is stricter).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iimedgpt.report.facts import Cell, RunFacts, cell_of
from iimedgpt.report.measures import interval, is_lower_better, number
from iimedgpt.report.words import Words

STEPS = (  # metric, before, after, the step's name
    ("loss", "base", "sft", "SFT"),
    ("preference_accuracy", "sft", "sft+dpo", "DPO"),
)
_NAMES = {
    "loss": ("held-out loss", "留出损失"),
    "preference_accuracy": ("preference accuracy", "偏好准确率"),
}


@dataclass(frozen=True)
class Change:
    """One measure before and after one step."""

    metric: str
    step: str
    before: Cell
    after: Cell
    difference: Cell  # paired, empty where it was not scored

    @property
    def is_clear(self) -> bool | None:
        """Whether the change is more than noise; None where no interval says so."""
        gap, before, after = self.difference, self.before, self.after
        if gap.low is not None and gap.high is not None:
            return gap.low > 0 or gap.high < 0
        if before.low is None or before.high is None or after.low is None or after.high is None:
            return None
        return after.low > before.high or after.high < before.low


def answer(words: Words, table: Mapping[str, Mapping[str, Cell]], facts: RunFacts, n_patients: int | None) -> str:
    """One sentence for the head of the report; a step that was not measured is said to be so."""
    changes = [
        Change(
            metric,
            step,
            table.get(first, {}).get(metric, Cell()),
            table.get(second, {}).get(metric, Cell()),
            cell_of(facts.difference(metric, second, first, None)),
        )
        for metric, first, second, step in STEPS
    ]
    if words.language == "zh":
        who = f"在 {n_patients} 名留出患者上，" if n_patients else "在留出患者上，"
        return who + "；".join(map(_chinese, changes)) + "。"
    plural = "s" if n_patients != 1 else ""
    who = f"{n_patients:,} held-out patient{plural}" if n_patients else "held-out patients"
    return f"On {who}, " + "; ".join(map(_english, changes)) + "."


def _english(change: Change) -> str:
    name, first, second = _said(change, 0)
    if change.before.value is None or change.after.value is None:
        return f"what {change.step} did to {name} was not measured"
    gap = interval(change.difference, change.metric)
    if not change.is_clear:
        why = "no interval, so not known to be real" if change.is_clear is None else "no clear change"
        why += f": the difference's 95 % interval {gap} includes zero" if gap else ""
        return f"{change.step} left {name} at {second} after {first} ({why})"
    is_up = change.after.value > change.before.value
    worse = ", which is worse" if is_up == is_lower_better(change.metric) else ""
    sure = f" (95 % interval of the difference {gap})" if gap else ""
    return f"{change.step} {'raised' if is_up else 'lowered'} {name} from {first} to {second}{sure}{worse}"


def _chinese(change: Change) -> str:
    name, first, second = _said(change, 1)
    if change.before.value is None or change.after.value is None:
        return f"{change.step} 对{name}的影响没有测得"
    gap = interval(change.difference, change.metric)
    if not change.is_clear:
        why = "没有区间，是否可靠未知" if change.is_clear is None else "变化不明确"
        why += f"：差异的 95 % 区间 {gap} 含零" if gap else ""
        return f"{change.step} 后{name}由 {first} 变为 {second}（{why}）"
    is_up = change.after.value > change.before.value
    worse = "，即变差" if is_up == is_lower_better(change.metric) else ""
    sure = f"（差异的 95 % 区间 {gap}）" if gap else ""
    return f"{change.step} 使{name}由 {first} {'提高' if is_up else '降低'}到 {second}{sure}{worse}"


def _said(change: Change, place: int) -> tuple[str, str, str]:
    """The measure's name, and both values; with their own intervals where there is no difference's."""
    shown = []
    for cell in (change.before, change.after):
        bounds = "" if interval(change.difference) else interval(cell, change.metric)
        shown.append(f"{number(cell.value, change.metric)} {bounds}".rstrip())
    return _NAMES[change.metric][place], shown[0], shown[1]
