"""Every control of each task beside the models: what a value has to be set against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from iimedgpt.report.evidence import Table, with_interval
from iimedgpt.report.facts import CONTROL, MODELS, Cell, RunFacts, cell_of
from iimedgpt.report.measures import count
from iimedgpt.report.words import Words

METRICS = ("loss", "choice_accuracy", "preference_accuracy", "task_score")


def control_tables(words: Words, facts: RunFacts, tasks: Sequence[str]) -> Iterator[Table]:
    """One table a measure that has controls: tasks down, its controls and then the models across."""
    for metric in METRICS:
        scored = [score for score in facts.scores if score.name == metric and score.task in tasks]
        known = list(dict.fromkeys(score.model for score in scored if score.model))
        controls = [model for model in known if model.startswith(CONTROL)]
        across = [*controls, *(model for model in MODELS if model in known)]
        rows = []
        for task in tasks if controls else ():
            cells = [cell_of(facts.score(metric, model, task)) for model in across]
            if any(cell.value is not None for cell in cells):
                rows.append((words.task(task), *(_shown(cell, metric) for cell in cells)))
        if rows:
            yield _table(words, metric, across, rows)


def _table(words: Words, metric: str, across: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    columns = (words("task"), *map(words.model, across))
    title = f"{words('tab_all_controls')}: {words(metric)}"
    note = words("note_all_controls")
    return Table(f"controls-{metric}", title, columns, tuple(rows), ("evaluate/scores.jsonl",), 1, note)


def _shown(cell: Cell, metric: str) -> str:
    value = with_interval(cell, metric)
    return value if cell.value is None or cell.n is None else f"{value} ({count(cell.n)})"
