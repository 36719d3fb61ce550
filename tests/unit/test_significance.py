"""Differences by task: p by patient, Holm over the tasks of one difference, by hand."""

from __future__ import annotations

import pytest

from iimedgpt.evaluation import significance
from iimedgpt.evaluation.scoreboard import Scoreboard, Series

N = 8


def board_of(right: dict[str, dict[str, int]]) -> Scoreboard:
    """``right``: model → task → on how many of eight patients it is right."""
    board = Scoreboard(200, 0)
    for model, tasks in right.items():
        series = Series("choice_accuracy", model, "share", "made up")
        for task, n_right in tasks.items():
            for patient in range(N):
                series.add(f"{patient}:{task}", task, str(patient), float(patient < n_right))
        board.add(series)
    for model in right:
        if model != "base":
            board.compare("choice_accuracy", model, ("choice_accuracy", "base"), f"{model}_minus_base")
    return board


def test_p_is_corrected_over_the_tasks_of_a_difference() -> None:
    board = board_of({"base": {"triage": 0, "diagnosis": 0}, "sft": {"triage": 8, "diagnosis": 6}})
    rows = {row["task"]: row for row in significance.task_rows(board)}
    assert rows["triage"]["p"] == pytest.approx(2 / 2**8)
    assert rows["diagnosis"]["p"] == pytest.approx(2 / 2**6)  # two patients are equal and do not count
    assert rows["triage"]["p_holm"] == pytest.approx(4 / 2**8)
    assert rows["diagnosis"]["p_holm"] == pytest.approx(2 / 2**6)
    assert (rows["diagnosis"]["n_patients_up"], rows["diagnosis"]["n_patients_down"]) == (6, 0)


def test_a_patient_counts_once_whatever_the_number_of_items() -> None:
    ours, theirs = (Series("task_score", name, "share", "made up") for name in ("sft", "base"))
    for item in range(6):
        ours.add(f"a{item}", "triage", "one patient", 1.0)
        theirs.add(f"a{item}", "triage", "one patient", 0.0)
    assert significance.sign_test(ours, theirs) == (1.0, 1, 0)


def test_the_table_shows_every_difference_and_is_left_out_for_one_task() -> None:
    both = board_of({"base": {"triage": 2, "diagnosis": 2}, "sft": {"triage": 6, "diagnosis": 1}})
    (table,) = significance.task_table(both)
    assert [row["label"] for row in table["rows"]] == ["sft − base: triage", "sft − base: diagnosis"]
    assert table["rows"][0]["cells"][0]["value"] == pytest.approx(0.5)
    assert significance.task_table(board_of({"base": {"triage": 2}, "sft": {"triage": 6}})) == []
