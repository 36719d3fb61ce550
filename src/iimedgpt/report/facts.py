"""What the report knows: upstream manifests and files read once into plain counts.

Everything here may be absent. An absent number is ``None``; NaN and infinities are absent too.
No text of a record is kept but that of one synthetic example.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from pydantic import BaseModel

from iimedgpt import io
from iimedgpt.manifest import Manifest, read_manifest
from iimedgpt.types import Conversation, Instruction, Judgement, PreferencePair, Record, Score, Split, Verdict

Row = TypeVar("Row", bound=BaseModel)
Comparison = tuple[str, str, str, str]  # model, other model, judge, criterion

STAGES = ("records", "instructions", "mixture", "sft", "sample", "pairs", "dpo", "evaluate", "report")
MODELS = ("base", "sft", "sft+dpo")
COMPARISONS = (("sft", "base"), ("sft+dpo", "base"), ("sft+dpo", "sft"))
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
CONTROL = "control:"
HELD_OUT = "held_out"  # question set of the run's own records
OTHER = "other"  # conversations that answer none of the clinical tasks
EXAMPLE_TASK = "diagnosis"


@dataclass(frozen=True)
class Cell:
    """One number of the main table with its 95 % interval and the items behind it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class SourceFacts:
    """One source of records, as its provenance says."""

    n_records: int
    n_patients: int
    languages: tuple[str, ...]
    licenses: tuple[str, ...]
    caveats: tuple[str, ...]
    is_synthetic: bool


@dataclass
class TemplateFacts:
    """One instruction template: how many prompts use it, and their lengths in characters."""

    task: str
    n_prompt_chars: list[int] = field(default_factory=list)
    n_response_chars: list[int] = field(default_factory=list)

    @property
    def medians(self) -> tuple[int, int]:
        return round(median(self.n_prompt_chars)), round(median(self.n_response_chars))


@dataclass
class RunFacts:
    """Counts and scores of one run."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    sources: dict[str, SourceFacts] = field(default_factory=dict)
    conversations: Counter[tuple[str, str, Split]] = field(default_factory=Counter)  # task, source, split
    held_out: set[str] = field(default_factory=set)  # patients of the test split; counted, never shown
    example: Conversation | None = None  # synthetic, or None
    templates: dict[str, TemplateFacts] = field(default_factory=dict)
    references: Counter[str] = field(default_factory=Counter)  # task → reference answers
    unsupported: Counter[str] = field(default_factory=Counter)  # … of them with an unsupported fact
    pairs: Counter[tuple[str, str, Split]] = field(default_factory=Counter)  # source, error, split
    scores: list[Score] = field(default_factory=list)
    verdicts: dict[Comparison, Counter[Verdict]] = field(default_factory=dict)
    consistent: Counter[Comparison] = field(default_factory=Counter)  # both orders gave the same verdict
    sft_log: list[dict[str, Any]] = field(default_factory=list)
    dpo_log: list[dict[str, Any]] = field(default_factory=list)

    def fact(self, stage: str, name: str) -> Any:
        """A stage's fact, None where the stage or the fact is missing."""
        manifest = self.manifests.get(stage)
        return manifest.facts.get(name) if manifest else None

    def score(self, name: str, model: str, task: str | None) -> Score | None:
        """The first score of that name, None where there is none or it is not a number."""
        for score in self.scores:
            if (score.name, score.model, score.task) == (name, model, task) and math.isfinite(score.value):
                return score
        return None

    def difference(self, name: str, model: str, other: str, task: str | None) -> Score | None:
        """The paired difference ``model − other`` of a measure, None where it was not scored."""
        score = self.score(f"{name}_{model}_minus_{other}", model, task)
        if score is None and other.startswith(CONTROL):
            score = self.score(f"{name}_minus_best_control", model, task)
            if score is not None and not score.method.startswith(f"paired difference to {other},"):
                return None
        return score

    def best_control(self, name: str, task: str | None, *, is_lower_better: bool) -> Score | None:
        """The control that does best on a measure: what a model has to beat."""
        controls = [
            score
            for score in self.scores
            if score.name == name and score.task == task and (score.model or "").startswith(CONTROL)
        ]
        known = [score for score in controls if math.isfinite(score.value)]
        if not known:
            return None
        return min(known, key=lambda score: score.value if is_lower_better else -score.value)

    @property
    def is_synthetic(self) -> bool:
        """True where there are synthetic records among the sources."""
        return any(source.is_synthetic for source in self.sources.values())

    @property
    def is_real(self) -> bool:
        """True where there are records that are not synthetic."""
        return any(not source.is_synthetic for source in self.sources.values())

    def tasks(self, configured: Sequence[str]) -> list[str]:
        """Tasks that occur, in the configured order, then in order of appearance."""
        found = [task for task, _, _ in self.conversations] + [score.task for score in self.scores if score.task]
        known = [*configured, *(task for task in found if task != OTHER)]
        present = set(found) | set(self.references)
        return [task for task in dict.fromkeys(known) if task in present]

    def conversation_sources(self) -> list[str]:
        """Sources of the mixture in order of appearance."""
        return list(dict.fromkeys(source for _, source, _ in self.conversations))

    def n_conversations(self, *, task: str | None = None, source: str | None = None, split: str | None = None) -> int:
        """Conversations that match; None matches all."""
        return sum(
            n
            for (of_task, of_source, of_split), n in self.conversations.items()
            if task in (None, of_task) and source in (None, of_source) and split in (None, of_split)
        )


def finite(value: object) -> float | None:
    """The value as a float, None where it is missing, not a number, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def parse_main_table(facts: Mapping[str, Any]) -> dict[str, dict[str, Cell]]:
    """Model → metric → cell, out of evaluate's facts.

    Accepts ``{model: {metric: cell}}``, ``{metric: {model: cell}}`` and rows ``{"model": …, metric: cell}``;
    a cell is ``{value, low, high, n}`` or a bare number.
    """
    raw = facts.get("main_table")
    table: dict[str, dict[str, Cell]] = {}
    if isinstance(raw, Mapping):
        is_by_model = any(name in MODELS for name in raw)
        for outer, cells in raw.items():
            for inner, cell in cells.items() if isinstance(cells, Mapping) else ():
                model, metric = (outer, inner) if is_by_model else (inner, outer)
                if _is_cell(cell):
                    table.setdefault(str(model), {})[_metric(str(metric))] = _parse_cell(cell)
    elif isinstance(raw, list):
        for row in raw:
            if not isinstance(row, Mapping):
                continue
            cells = row["metrics"] if isinstance(row.get("metrics"), Mapping) else row
            metrics = {_metric(str(name)): _parse_cell(cell) for name, cell in cells.items() if _is_cell(cell)}
            table.setdefault(str(row.get("model")), {}).update(metrics)
    absent = Cell()
    measured = {name for cells in table.values() for name, cell in cells.items() if cell != absent}
    return {model: {name: cells[name] for name in cells if name in measured} for model, cells in table.items()}


def _metric(name: str) -> str:
    """One name for preference accuracy by summed log-likelihood, which has two."""
    return name.replace("preference_accuracy_sum", "preference_accuracy", 1)


def _is_cell(raw: object) -> bool:
    """False for what stands beside the numbers: names, outcomes, the best control of a measure."""
    return not isinstance(raw, str) and not (isinstance(raw, Mapping) and ("value" not in raw or "name" in raw))


def _parse_cell(raw: object) -> Cell:
    if not isinstance(raw, Mapping):
        return Cell(finite(raw))
    n = finite(raw.get("n"))
    low, high = finite(raw.get("low", raw.get("ci_low"))), finite(raw.get("high", raw.get("ci_high")))
    return Cell(finite(raw.get("value")), low, high, None if n is None else int(n))


def cell_of(score: Score | None) -> Cell:
    """A score as a cell; an empty cell for None."""
    if score is None:
        return Cell()
    return Cell(finite(score.value), finite(score.ci_low), finite(score.ci_high), score.n)


def gather(run_dir: Path) -> RunFacts:
    """Read a run's manifests and files; what is not there is left empty.

    Raises:
        DataError: a file is there and broken.
    """
    facts = RunFacts()
    for stage in STAGES[:-1]:
        manifest = read_manifest(run_dir / stage)
        if manifest is not None:
            facts.manifests[stage] = manifest
    _gather_sources(run_dir, facts)
    _gather_mixture(run_dir, facts)
    for row in _rows(run_dir / "instructions/instructions.jsonl", Instruction):
        facts.references[row.task] += 1
        facts.unsupported[row.task] += bool(row.unsupported)
        template = facts.templates.setdefault(row.template_id, TemplateFacts(row.task))
        template.n_prompt_chars.append(sum(len(message.content) for message in row.prompt))
        template.n_response_chars.append(len(row.response))
    for split in ("train", "test"):
        for pair in _rows(run_dir / f"pairs/{split}.jsonl", PreferencePair):
            facts.pairs[pair.source, pair.error or "", pair.split] += 1
    for score in _rows(run_dir / "evaluate/scores.jsonl", Score):
        facts.scores.append(score.model_copy(update={"name": _metric(score.name)}))
    _gather_verdicts(run_dir, facts)
    facts.sft_log = _log(run_dir / "sft/log.jsonl")
    facts.dpo_log = _log(run_dir / "dpo/log.jsonl")
    return facts


def _rows(path: Path, model: type[Row]) -> Iterator[Row]:
    if path.exists():
        yield from io.read_jsonl(path, model)


def _log(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in io.read_json_lines(path)] if path.exists() else []


def _gather_sources(run_dir: Path, facts: RunFacts) -> None:
    rows: dict[str, list[Record]] = {}
    for record in _rows(run_dir / "records/records.jsonl", Record):
        rows.setdefault(record.source, []).append(record.model_copy(update={"events": ()}))
    for source, records in rows.items():
        made = [record.provenance for record in records]
        facts.sources[source] = SourceFacts(
            n_records=len(records),
            n_patients=len({record.patient_id for record in records}),
            languages=tuple(dict.fromkeys(record.language for record in records)),
            licenses=tuple(dict.fromkeys(item.license for item in made)),
            caveats=tuple(dict.fromkeys(caveat for item in made for caveat in item.caveats)),
            is_synthetic=all(item.is_synthetic for item in made),
        )


def _gather_mixture(run_dir: Path, facts: RunFacts) -> None:
    for split in SPLITS:
        for row in _rows(run_dir / f"mixture/{split}.jsonl", Conversation):
            facts.conversations[row.task or OTHER, row.source, split] += 1
            if split == "test" and row.task is not None:
                facts.held_out.add(row.group_id)
            is_better = facts.example is None or (row.task == EXAMPLE_TASK and facts.example.task != EXAMPLE_TASK)
            if split == "train" and row.is_synthetic and row.task is not None and is_better:
                facts.example = row


def _gather_verdicts(run_dir: Path, facts: RunFacts) -> None:
    turned = {Verdict.WIN: Verdict.LOSS, Verdict.LOSS: Verdict.WIN}
    for row in _rows(run_dir / "evaluate/judgements.jsonl", Judgement):
        if row.question_set != HELD_OUT:
            continue  # other question sets are told apart in the stage's own facts
        first, second, verdict = row.model_a, row.model_b, row.verdict
        if (second, first) in COMPARISONS:
            first, second, verdict = second, first, turned.get(verdict, verdict)
        key = (first, second, row.judge_id, row.criterion)
        facts.verdicts.setdefault(key, Counter())[verdict] += 1
        facts.consistent[key] += row.verdict_ab == row.verdict_ba != Verdict.INVALID
