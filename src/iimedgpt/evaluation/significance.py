"""Differences between models task by task: exact p by patient, corrected for the number of tasks."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from iimedgpt import stats
from iimedgpt.evaluation.scoreboard import Scoreboard, Series
from iimedgpt.evaluation.tables import DIFFERENCES

METRICS = ("choice_accuracy", "task_score")
_LEAST = 1e-9  # sums that differ by less are equal


def sign_test(ours: Series, theirs: Series, task: str | None = None) -> tuple[float, int, int]:
    """(two-sided p, patients on whose shared items the sum is higher, lower): a patient counts once, equal ones not."""
    balance: defaultdict[str, float] = defaultdict(float)
    for key, item in ours.items.items():
        if key in theirs.items and task in (None, item.task):
            balance[item.group] += item.value - theirs.items[key].value
    n_up, n_down = sum(value > _LEAST for value in balance.values()), sum(value < -_LEAST for value in balance.values())
    return stats.sign_test(n_up, n_down), n_up, n_down


def task_rows(board: Scoreboard) -> list[dict[str, Any]]:
    """One row a metric, difference of two models and task: estimate, p, and p corrected over the tasks (Holm 1979)."""
    rows = []
    for name in METRICS:
        for model, other in DIFFERENCES:
            ours, theirs = board.series.get((name, model)), board.series.get((name, other))
            if ours is None or theirs is None:
                continue
            difference = f"{name}_{model}_minus_{other}"
            family: list[dict[str, Any]] = []
            for task in ours.tasks:
                found = board.value(difference, model, task)
                if found is None or found.value is None:
                    continue
                p, n_up, n_down = sign_test(ours, theirs, task)
                family.append(
                    {"metric": name, "model": model, "against": other, "task": task, "value": found.value}
                    | {"ci_low": found.low, "ci_high": found.high, "n": found.n}
                    | {"p": p, "n_patients_up": n_up, "n_patients_down": n_down}
                )
            for row, corrected in zip(family, stats.holm([row["p"] for row in family]), strict=True):
                rows.append({**row, "p_holm": corrected})
    return rows


def task_table(board: Scoreboard) -> list[dict[str, Any]]:
    """The rows as a table of the report: differences and tasks down, metrics across; none where one task was asked."""
    rows = task_rows(board)
    places = list(dict.fromkeys((row["model"], row["against"], row["task"]) for row in rows))
    if len({task for _, _, task in places}) < 2:
        return []
    columns = [name for name in METRICS if any(row["metric"] == name for row in rows)]
    found = {(row["metric"], row["model"], row["against"], row["task"]): row for row in rows}
    shown = []
    for model, other, task in places:
        cells = []
        for name in columns:
            row = found.get((name, model, other, task))
            cells.append(None if row is None else {**row, "unit": "difference"})
        shown.append({"label": f"{model} − {other}: {task}", "cells": cells})
    return [
        {
            "name": "differences_by_task",
            "title_en": "Differences by task, with p corrected for the number of tasks",
            "title_zh": "按任务的差异，p 值已按任务数校正",
            "columns": columns,
            "rows": shown,
            "note_en": "p: exact sign test over patients, corrected over the tasks of one metric and difference "
            "(Holm). "
            "The intervals are not corrected.",
            "note_zh": "p：以患者为单位的精确符号检验，对同一指标、同一差异下的各任务作 Holm 校正。区间未作校正。",
        }
    ]
