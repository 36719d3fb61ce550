"""Every control of each task beside the models: what a value has to be set against."""

from __future__ import annotations

from collections.abc import Sequence

from iimedgpt.report.evidence import Table, with_interval
from iimedgpt.report.facts import CONTROL, MODELS, Cell, RunFacts, cell_of
from iimedgpt.report.measures import count
from iimedgpt.report.words import Words

METRICS = ("loss", "choice_accuracy", "preference_accuracy", "task_score")


def all_controls_table(words: Words, facts: RunFacts, tasks: Sequence[str]) -> Table:
    """Measures by task down; every control, then every model across, each with its interval and number of items."""
    known = list(dict.fromkeys(score.model for score in facts.scores if score.model and score.name in METRICS))
    across = [*(model for model in known if model.startswith(CONTROL)), *(model for model in MODELS if model in known)]
    rows = []
    for metric in METRICS:
        for task in tasks:
            cells = {model: cell_of(facts.score(metric, model, task)) for model in across}
            if any(model.startswith(CONTROL) and cell.value is not None for model, cell in cells.items()):
                rows.append((words(metric), words.task(task), *(_shown(cell, metric) for cell in cells.values())))
    columns = (*map(words, ("measure", "task")), *map(words.model, across))
    note = words("note_all_controls")
    return Table("all_controls", words("tab_all_controls"), columns, tuple(rows), ("evaluate/scores.jsonl",), 2, note)


def _shown(cell: Cell, metric: str) -> str:
    value = with_interval(cell, metric)
    return value if cell.value is None or cell.n is None else f"{value} ({count(cell.n)})"
