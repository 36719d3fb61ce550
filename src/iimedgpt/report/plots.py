"""From a run's facts to the figures: which numbers go where. Each is SVG text, or None without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iimedgpt.config import RunConfig
from iimedgpt.report import figures, rivals
from iimedgpt.report.evidence import verdict_rows
from iimedgpt.report.facts import MODELS, OTHER, SPLITS, RunFacts, cell_of, finite
from iimedgpt.report.measures import count, is_lower_better
from iimedgpt.report.pipeline import Branch, Step, pipeline
from iimedgpt.report.words import Words
from iimedgpt.types import Verdict

SEES = {  # what is known at each packaged task's branch point
    "triage": "at_complaint",
    "record": "at_dialogue",
    "examination": "at_examination",
    "diagnosis": "at_results",
    "basis": "at_diagnosis",
    "treatment": "at_diagnosis",
}
Points = list[tuple[float, float]]


def draw_all(facts: RunFacts, config: RunConfig, words: Words) -> dict[str, str | None]:
    """Name → SVG text, in the order of the report."""
    tasks = facts.tasks(config.instructions.tasks)
    return {
        "pipeline": _pipeline(facts, config, words),
        "distribution": _distribution(facts, tasks, words),
        "curves": _curves(facts, words),
        "verdicts": _verdicts(facts, words),
        "rivals": rivals.figure(facts, words),
        "ablation": _ablation(facts, tasks, config.evaluate.n_options, words),
    }


def _pipeline(facts: RunFacts, config: RunConfig, words: Words) -> str:
    branches = [
        Branch(words.task(task), words(SEES.get(task, "at_record")), count(_known(facts.references[task])))
        for task in config.instructions.tasks
    ]
    n_pairs = {split: sum(n for (_, _, s), n in facts.pairs.items() if s == split) for split in SPLITS}
    loss = [_last(facts.sft_log, "loss"), _last(facts.dpo_log, "loss")]
    n_test = f"{count(_known(n_pairs['test']))} {words('n_test')}"
    steps = [
        Step(words("mixture"), (count(_known(facts.n_conversations())), words("conversations"))),
        Step("SFT", (*_n_steps(facts.sft_log, words), f"loss {loss[0]}")),
        Step(words("pairs"), (f"{count(_known(n_pairs['train']))} {words('n_pairs')}", n_test)),
        Step("DPO", (*_n_steps(facts.dpo_log, words), f"loss {loss[1]}")),
        Step(
            words("evaluation"),
            (f"{count(_known(len(facts.held_out)))} {words('n_patients')}", words("n_test")),
        ),
    ]
    n_records = sum(source.n_records for source in facts.sources.values())
    n_patients = sum(source.n_patients for source in facts.sources.values())
    title = (
        f"{words('timeline')} · {count(_known(n_records))} {words('n_records')}, "
        f"{count(_known(n_patients))} {words('n_patients')}"
    )
    return pipeline(title, branches, steps, words("never_shown"))


def _known(n: int) -> int | None:
    """A count of rows read: nothing read means not known, never a finding of zero."""
    return n or None


def _n_steps(log: Sequence[Mapping[str, Any]], words: Words) -> tuple[str]:
    points = series(log, "loss")
    return (f"{count(int(points[-1][0]) if points else None)} {words('steps')}",)


def _last(log: Sequence[Mapping[str, Any]], name: str) -> str:
    points = series(log, name)
    return f"{points[-1][1]:.3f}" if points else count(None)


def series(log: Sequence[Mapping[str, Any]], name: str) -> Points:
    """(step, value) of the rows of a training log that hold the value."""
    points = [(finite(row.get("step")), finite(row.get(name))) for row in log]
    return [(step, value) for step, value in points if step is not None and value is not None]


def _distribution(facts: RunFacts, tasks: Sequence[str], words: Words) -> str | None:
    sources = facts.conversation_sources()
    rows = [task for task in (*tasks, OTHER) if facts.n_conversations(task=task)]
    by_source = [[facts.n_conversations(task=task, source=source) for source in sources] for task in rows]
    by_split = [[facts.n_conversations(task=task, split=split) for split in SPLITS] for task in rows]
    panels = [(sources, by_source), ([words(split) for split in SPLITS], by_split)]
    return figures.distribution([words.task(task) for task in rows], panels) if rows else None


def _curves(facts: RunFacts, words: Words) -> str | None:
    panels = [
        (
            words("sft_loss"),
            [
                (words("train"), series(facts.sft_log, "loss")),
                (words("validation_loss"), series(facts.sft_log, "validation_loss")),
            ],
        ),
        *(
            (words(f"dpo_{name}"), [(words("train"), series(facts.dpo_log, name))])
            for name in ("loss", "margin", "accuracy")
        ),
    ]
    return figures.curves(panels, words("step"))


def _verdicts(facts: RunFacts, words: Words) -> str | None:
    names = {
        Verdict.WIN.value: words("win"),
        Verdict.TIE.value: words("tie"),
        Verdict.LOSS.value: words("loss_verdict"),
        Verdict.INVALID.value: words("invalid"),
    }
    rows = [
        (
            f"{words.model(first)} {words('vs')} {words.model(second)}",
            f"{judge} · {criterion}",
            {verdict.value: n for verdict, n in counts.items()},
        )
        for (first, second, judge, criterion), counts in verdict_rows(facts)
    ]
    return figures.verdicts(rows, names)


def _ablation(facts: RunFacts, tasks: Sequence[str], n_options: int, words: Words) -> str | None:
    rows = (*tasks, None)
    panels = []
    for metric in ("loss", "choice_accuracy"):
        controls = [facts.best_control(metric, task, is_lower_better=is_lower_better(metric)) for task in rows]
        cells = [{model: cell_of(facts.score(metric, model, task)) for model in MODELS} for task in rows]
        panels.append(
            figures.Panel(
                title=words(metric),
                rows=cells,
                controls=[control.value if control else None for control in controls],
                chance=1 / n_options if metric == "choice_accuracy" else None,
            )
        )
    labels = [*(words.task(task) for task in tasks), words("all_tasks")]
    names = {model: words.model(model) for model in MODELS}
    return figures.ablation(labels, panels, names, (words("control").lower(), words("chance")))
