"""The report's tables: words in cells, each with the file its numbers came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iimedgpt.report.facts import COMPARISONS, MODELS, OTHER, SPLITS, Cell, Comparison, RunFacts, cell_of
from iimedgpt.report.measures import MISSING, NEITHER_IS_BETTER, count, interval, is_lower_better, metric_order, number
from iimedgpt.report.words import Words
from iimedgpt.types import Score, Verdict

BY_TASK = ("loss", "choice_accuracy", "choice_accuracy_wrong_record", "task_score", "rouge_l")
SETTINGS = (  # stage whose manifest says it, dotted place in its configuration
    ("sft", "model.name"),
    ("sft", "model.dtype"),
    ("sft", "seed"),
    ("sft", "sft.rank"),
    ("sft", "sft.learning_rate"),
    ("sft", "sft.epochs"),
    ("sft", "sft.max_steps"),
    ("sft", "sft.groups_per_step"),
    ("sft", "sft.weighting"),
    ("dpo", "dpo.loss"),
    ("dpo", "dpo.beta"),
    ("dpo", "dpo.learning_rate"),
    ("dpo", "dpo.epochs"),
    ("dpo", "dpo.nll_weight"),
    ("evaluate", "evaluate.n_options"),
    ("evaluate", "evaluate.n_generate"),
    ("evaluate", "evaluate.n_bootstrap"),
)


@dataclass(frozen=True)
class Table:
    """A table as text. The first ``n_text`` columns are words, the others numbers."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sources: tuple[str, ...]
    n_text: int = 1
    note: str = ""


def main_table(words: Words, table: Mapping[str, Mapping[str, Cell]]) -> Table:
    """Measures down, base / SFT / SFT+DPO across, with intervals."""
    rows = []
    for metric in metric_order(table) or ["loss", "choice_accuracy", "preference_accuracy"]:
        cells = [table.get(model, {}).get(metric, Cell()) for model in MODELS]
        n = next((cell.n for cell in reversed(cells) if cell.n is not None), None)
        better = words("lower" if is_lower_better(metric) else "higher")
        if metric in NEITHER_IS_BETTER:
            better = MISSING
        rows.append((words(metric), better, *(with_interval(cell, metric) for cell in cells), count(n)))
    columns = (words("measure"), words("better"), *(words.model(model) for model in MODELS), "n")
    sources = ("evaluate/manifest.json", "evaluate/scores.jsonl")
    return Table("main", words("tab_main"), columns, tuple(rows), sources, 2, words("interval_note"))


def with_interval(cell: Cell, metric: str) -> str:
    """A value and its interval, a dash where there is no value."""
    return f"{number(cell.value, metric)} {interval(cell, metric)}".rstrip() if cell.value is not None else MISSING


def sources_table(words: Words, facts: RunFacts) -> Table:
    columns = ("source", "kind", "language", "license", "caveat", "records", "patients")
    rows = tuple(
        (
            name,
            words("is_synthetic" if source.is_synthetic else "is_real"),
            ", ".join(source.languages),
            ", ".join(source.licenses),
            "; ".join(source.caveats) or MISSING,
            count(source.n_records),
            count(source.n_patients),
        )
        for name, source in facts.sources.items()
    )
    return Table("sources", words("tab_sources"), tuple(map(words, columns)), rows, ("records/records.jsonl",), 5)


def counts_table(words: Words, facts: RunFacts, tasks: Sequence[str]) -> Table:
    rows = []
    for task in (*tasks, OTHER):
        for source in facts.conversation_sources():
            per_split = [facts.n_conversations(task=task, source=source, split=split) for split in SPLITS]
            if sum(per_split):
                rows.append((words.task(task), source, *map(count, (*per_split, sum(per_split)))))
    totals = [facts.n_conversations(split=split) for split in SPLITS]
    if rows:
        rows.append((words("total"), "", *map(count, (*totals, sum(totals)))))
    columns = tuple(map(words, ("task", "source", *SPLITS, "total")))
    files = tuple(f"mixture/{split}.jsonl" for split in SPLITS)
    return Table("counts", words("tab_counts"), columns, tuple(rows), files, 2)


def stages_table(words: Words, facts: RunFacts) -> Table:
    rows = tuple(
        (
            name,
            reasons(made.n_dropped),
            count(made.n_in),
            count(made.n_kept),
            count(sum(made.n_dropped.values())),
        )
        for name, made in facts.manifests.items()
    )
    columns = tuple(map(words, ("stage", "reasons", "n_in", "n_kept", "n_dropped")))
    files = tuple(f"{name}/manifest.json" for name in facts.manifests)
    return Table("stages", words("tab_stages"), columns, rows, files, 2)


def reasons(n_dropped: Mapping[str, int]) -> str:
    """Drop reasons with their counts, most frequent first."""
    ordered = sorted(n_dropped.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {n:,}" for reason, n in ordered) or MISSING


def unsupported_table(words: Words, facts: RunFacts, tasks: Sequence[str]) -> Table:
    """References: share of answers with such a fact. Models: the evaluation's unsupported rate."""
    rows = []
    for task in (*tasks, None):
        n = facts.references[task] if task else facts.references.total()
        n_unsupported = facts.unsupported[task] if task else facts.unsupported.total()
        share = f"{100 * n_unsupported / n:.1f} %" if n else MISSING
        cells = [cell_of(facts.score("unsupported_rate", model, task)) for model in ("reference", *MODELS)]
        shown = [with_interval(cell, "unsupported_rate") for cell in cells]
        rows.append((words.task(task) if task else words("all_tasks"), count(n), share, *shown))
    columns = (
        words("task"),
        words("references"),
        words("share"),
        words("reference"),
        *(words.model(model) for model in MODELS),
    )
    files = ("instructions/instructions.jsonl", "evaluate/scores.jsonl")
    return Table("unsupported", words("tab_unsupported"), columns, tuple(rows), files)


def pairs_table(words: Words, facts: RunFacts) -> Table:
    rows = tuple(
        (source, error or MISSING, *(count(facts.pairs[source, error, split]) for split in ("train", "test")))
        for source, error in dict.fromkeys((source, error) for source, error, _ in facts.pairs)
    )
    columns = tuple(map(words, ("origin", "error", "train", "test")))
    note = str(facts.fact("pairs", "caveat") or "")
    return Table("pairs", words("tab_pairs"), columns, rows, ("pairs/train.jsonl", "pairs/test.jsonl"), 2, note)


def errors_table(words: Words, facts: RunFacts) -> Table:
    """Preference accuracy on held-out rule-made pairs, by named error; the caveat goes with it."""
    metric = "preference_accuracy"
    rows = []
    for name in dict.fromkeys(score.name for score in facts.scores):
        measure, _, error = name.partition(":error=")
        if error and measure == metric:
            scores = [facts.score(name, model, None) for model in MODELS]
            shown = [with_interval(cell_of(score), metric) for score in scores]
            rows.append((error, *shown, count(next((score.n for score in reversed(scores) if score), None))))
    columns = (words("error"), *(words.model(model) for model in MODELS), "n")
    note = str(facts.fact("pairs", "caveat") or "")
    return Table("errors", words("tab_errors"), columns, tuple(rows), ("evaluate/scores.jsonl",), 1, note)


def verdict_rows(facts: RunFacts) -> list[tuple[Comparison, Counter[Verdict]]]:
    """Verdicts in the order of the comparisons; other pairs of models after them."""
    order = {pair: place for place, pair in enumerate(COMPARISONS)}
    return sorted(facts.verdicts.items(), key=lambda item: order.get(item[0][:2], len(order)))


def verdicts_table(words: Words, facts: RunFacts) -> Table:
    rows = []
    for comparison, counts in verdict_rows(facts):
        first, second, judge, criterion = comparison
        numbers = [*(counts[verdict] for verdict in Verdict), facts.consistent[comparison]]
        models = f"{words.model(first)} {words('vs')} {words.model(second)}"
        rows.append((models, judge, criterion, *map(count, (*numbers, counts.total()))))
    columns = ("models", "judge", "criterion", "win", "tie", "loss_verdict", "invalid", "consistent")
    files = ("evaluate/judgements.jsonl",)
    return Table("verdicts", words("tab_verdicts"), (*map(words, columns), "n"), tuple(rows), files, 3)


def tasks_table(words: Words, facts: RunFacts, tasks: Sequence[str]) -> Table:
    rows = []
    for metric in BY_TASK:
        for task in (*tasks, None):
            scores = [facts.score(metric, model, task) for model in MODELS]
            if any(scores):
                shown = [with_interval(cell_of(score), metric) for score in scores]
                n = next((score.n for score in reversed(scores) if score), None)
                rows.append((words(metric), words.task(task) if task else words("all_tasks"), *shown, count(n)))
    columns = (words("measure"), words("task"), *(words.model(model) for model in MODELS), "n")
    return Table("tasks", words("tab_tasks"), columns, tuple(rows), ("evaluate/scores.jsonl",), 2)


def controls_table(words: Words, facts: RunFacts, tasks: Sequence[str]) -> Table:
    """Per measure and task: the best control, its value, and what the last model adds to it."""
    rows = []
    for metric in dict.fromkeys(score.name for score in facts.scores):
        for task in (*tasks, None):
            best = facts.best_control(metric, task, is_lower_better=is_lower_better(metric))
            if best is None:
                continue
            ours = cell_of(facts.score(metric, MODELS[-1], task))
            task_name = words.task(task) if task else words("all_tasks")
            shown = (with_interval(cell_of(best), metric), with_interval(ours, metric))
            gap = _gap(facts, metric, best, ours)
            rows.append((words(metric), task_name, words.model(best.model or ""), *shown, gap))
    columns = (
        *map(words, ("measure", "task", "control", "value")),
        words.model(MODELS[-1]),
        words("difference"),
    )
    return Table("controls", words("tab_controls"), columns, tuple(rows), ("evaluate/scores.jsonl",), 3)


def _gap(facts: RunFacts, metric: str, control: Score, ours: Cell) -> str:
    """The paired difference with its interval; without one, the difference of the two values."""
    paired = facts.difference(metric, MODELS[-1], control.model or "", control.task)
    if paired is not None:
        return with_interval(cell_of(paired), f"{metric}_minus_control")
    return number(None if ours.value is None else ours.value - control.value, f"{metric}_minus_control")


def subsets_table(words: Words, facts: RunFacts) -> Table:
    """Measures on parts of the test set (``metric:part``), e.g. answers that the record already states."""
    rows = []
    for name in dict.fromkeys(score.name for score in facts.scores):
        metric, _, part = name.partition(":")
        scores = [facts.score(name, model, None) for model in MODELS]
        if part and any(scores):
            shown = [with_interval(cell_of(score), metric) for score in scores]
            n = next((score.n for score in reversed(scores) if score), None)
            rows.append((words(metric), part, *shown, count(n)))
    columns = (words("measure"), words("part"), *(words.model(model) for model in MODELS), "n")
    return Table("subsets", words("tab_subsets"), columns, tuple(rows), ("evaluate/scores.jsonl",), 2)


def templates_table(words: Words, facts: RunFacts) -> Table:
    rows = tuple(
        (name, words.task(template.task), count(len(template.n_prompt_chars)), *map(count, template.medians))
        for name, template in facts.templates.items()
    )
    columns = (*map(words, ("template", "task")), "n", *map(words, ("prompt_chars", "response_chars")))
    return Table("templates", words("tab_templates"), columns, rows, ("instructions/instructions.jsonl",), 2)


def settings_table(words: Words, facts: RunFacts) -> Table:
    rows = []
    for stage, place in SETTINGS:
        manifest = facts.manifests.get(stage)
        value: Any = manifest.config if manifest else None
        for part in place.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        rows.append((place, MISSING if value is None else str(value)))
    files = tuple(f"{stage}/manifest.json" for stage in dict.fromkeys(stage for stage, _ in SETTINGS))
    return Table("settings", words("tab_settings"), (words("setting"), words("value")), tuple(rows), files, 2)


def manifests_table(words: Words, facts: RunFacts) -> Table:
    rows = tuple(
        (name, made.key, made.config_hash, (made.git_commit or MISSING)[:12], made.device)
        for name, made in facts.manifests.items()
    )
    columns = tuple(map(words, ("stage", "key", "config", "commit", "device")))
    files = tuple(f"{name}/manifest.json" for name in facts.manifests)
    return Table("manifests", words("tab_manifests"), columns, rows, files, 5)


def given_tables(words: Words, facts: RunFacts) -> list[Table]:
    """Tables that the evaluation hands over as they are (``tables``): rows of cells with their intervals."""
    said = facts.fact("evaluate", "tables")
    found = []
    for one in said if isinstance(said, list) else []:
        place = words.language
        rows = tuple((str(row["label"]), *map(_given_cell, row["cells"])) for row in one["rows"])
        columns = (words("model"), *map(str, one["columns"]))
        note = str(one.get(f"note_{place}", ""))
        found.append(
            Table(str(one["name"]), str(one[f"title_{place}"]), columns, rows, ("evaluate/manifest.json",), 1, note)
        )
    return found


def _given_cell(cell: Mapping[str, Any] | None) -> str:
    """A share as a percentage, any other unit as it is; n and what was invalid behind it."""
    if cell is None or cell.get("value") is None:
        return MISSING
    metric = {"share": "win_rate", "difference": "win_rate_minus_other"}.get(str(cell.get("unit")), "")
    bounds = interval(Cell(cell["value"], cell.get("ci_low"), cell.get("ci_high")), metric)
    behind = f"n {cell['n']}" + (f", {cell['n_invalid']} invalid" if cell.get("n_invalid") else "")
    if cell.get("p_holm") is not None:
        behind += f", p {cell['p_holm']:.3g}"
    return f"{number(cell['value'], metric)} {bounds} · {behind}".replace("  ", " ")
