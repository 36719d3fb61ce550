"""Every control of each task beside the models: what a value has to be set against."""

from __future__ import annotations

from collections.abc import Sequence

from iimedgpt.report.evidence import Table, with_interval
from iimedgpt.report.facts import CONTROL, MODELS, RunFacts, cell_of
from iimedgpt.report.measures import count
from iimedgpt.report.words import Words


def all_controls_table(words: Words, facts: RunFacts, tasks: Sequence[str]) -> Table:
    """Every control, then every model, of each measure and task that has a control."""
    rows = []
    for metric in dict.fromkeys(score.name for score in facts.scores):
        for task in tasks:
            scored = [score for score in facts.scores if score.name == metric and score.task == task]
            known = list(dict.fromkeys(score.model for score in scored if score.model))
            controls = [model for model in known if model.startswith(CONTROL)]
            for model in [*controls, *(model for model in MODELS if model in known)] if controls else ():
                cell = cell_of(facts.score(metric, model, task))
                value = with_interval(cell, metric)
                rows.append((words(metric), words.task(task), words.model(model), value, count(cell.n)))
    columns = (*map(words, ("measure", "task", "model_or_control", "value")), "n")
    return Table("all_controls", words("tab_all_controls"), columns, tuple(rows), ("evaluate/scores.jsonl",), 3)
