"""Stage ``instructions``: records → one instruction a record and task, or a counted reason.

The prompt is one system prompt, then the visible record, then the task's instruction, so that the
tasks of a record begin alike; a share of the prompts puts the instruction first.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from iimedgpt import clinical, io, progress
from iimedgpt.config import InstructionsConfig, RunConfig
from iimedgpt.instructions.targets import Target, build_target, is_stated, without_invented_negations
from iimedgpt.instructions.tasks import Task, load_tasks, task_files
from iimedgpt.instructions.timeline import Trunk, build_trunk, render, visible
from iimedgpt.run import StageContext
from iimedgpt.text import content_id
from iimedgpt.types import Event, EventKind, Instruction, Language, Message, Record

SYSTEM: dict[Language, str] = {
    "zh": "你是临床文书助手，服务于医务人员。只依据所给病历作答，不编造；回答供专业人员参考，不能代替医生判断。",
    "en": "You assist clinicians with documentation. Answer only from the record given and invent nothing; "
    "your answer is for professionals and does not replace a clinician's judgement.",
}


@dataclass
class Tally:
    """What the stage counts beside kept and dropped rows."""

    n_records: int = 0
    n_truncated: int = 0
    n_masked_referrals: int = 0
    n_future_sentences_removed: int = 0
    n_invented_clauses_removed: int = 0
    n_turns_cut: Counter[str] = field(default_factory=Counter)
    n_stated: Counter[str] = field(default_factory=Counter)
    n_without_diagnosis: Counter[str] = field(default_factory=Counter)
    per_task: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    dropped: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    facts_before: dict[str, list[dict[str, int]]] = field(default_factory=lambda: defaultdict(list))
    facts_after: dict[str, list[dict[str, int]]] = field(default_factory=lambda: defaultdict(list))

    def facts(self, tasks: Sequence[Task]) -> dict[str, Any]:
        """JSON-able facts for the manifest and the report."""
        per_source: Counter[str] = Counter()
        for sources in self.per_task.values():
            per_source.update(sources)
        names = [task.name for task in tasks]
        return {
            "per_task": {name: dict(sorted(self.per_task[name].items())) for name in names},
            "per_source": dict(sorted(per_source.items())),
            "dropped": {name: dict(sorted(self.dropped[name].items())) for name in names},
            "unsupported_rate": {
                name: {"before": _rates(self.facts_before[name]), "after": _rates(self.facts_after[name])}
                for name in names
            },
            "n_stated": {name: self.n_stated[name] for name in names},
            "n_without_diagnosis": dict(sorted(self.n_without_diagnosis.items())),
            "n_turns_cut": dict(sorted(self.n_turns_cut.items())),
            "n_future_sentences_removed": self.n_future_sentences_removed,
            "n_invented_clauses_removed": self.n_invented_clauses_removed,
            "n_masked_referrals": self.n_masked_referrals,
            "truncated_frac": round(self.n_truncated / max(self.n_records, 1), 4),
        }


def _rates(counts: Sequence[dict[str, int]]) -> dict[str, float]:
    """Share of targets with a fact that the visible record lacks, and such facts per target."""
    n = len(counts)
    rates = {
        "n_targets": float(n),
        "targets_frac": sum(any(c.values()) for c in counts) / max(n, 1),
        "facts_per_target": sum(sum(c.values()) for c in counts) / max(n, 1),
    }
    for kind in clinical.FACT_KINDS:
        rates[f"{kind}_per_target"] = sum(c.get(kind, 0) for c in counts) / max(n, 1)
    return {name: round(value, 4) for name, value in rates.items()}


def inputs(config: RunConfig) -> dict[str, Path]:
    """The task files, which decide the result as much as the configuration."""
    files = task_files(config.instructions.tasks_dir)
    return {f"tasks/{number:02d}-{path.name}": path for number, path in enumerate(files)}


def run(ctx: StageContext) -> None:
    """Build the instructions of every record.

    Raises:
        ConfigError: an unknown task or a wrong task file.
        DataError: nothing left, or more dropped than ``max_drop_frac``.
    """
    config = ctx.config.instructions
    tasks = load_tasks(config.tasks, config.tasks_dir)
    tally = Tally()
    records = ctx.read("records", "records.jsonl", Record)
    with io.JsonlWriter(ctx.output("instructions.jsonl")) as out:
        for ordinal, record in enumerate(progress.track(records, "instructions")):
            for instruction in build_instructions(ctx, record, tasks, tally, ordinal):
                out.write(instruction)
                ctx.keep()
    ctx.facts.update(tally.facts(tasks))
    ctx.check_drops(config.max_drop_frac)


def build_instructions(
    ctx: StageContext, record: Record, tasks: Sequence[Task], tally: Tally, ordinal: int
) -> Iterator[Instruction]:
    """The instructions of one record, in the order of the tasks; the others are dropped and counted."""
    config = ctx.config.instructions
    targets = {task.name: build_target(record, task) for task in tasks}
    asked = [task for task in tasks if targets[task.name].reason is None]
    trunk, n_turns_cut = fit_trunk(build_trunk(record), asked, config.max_record_chars)
    tally.n_records += 1
    tally.n_masked_referrals += trunk.n_masked
    tally.n_turns_cut.update(trunk.n_cut)
    tally.n_truncated += n_turns_cut > 0
    is_too_long = _longest(trunk, asked) > config.max_record_chars
    disease = _disease(record)
    for task in tasks:
        target, events = targets[task.name], visible(trunk, task)
        tally.n_future_sentences_removed += target.n_removed
        shown = render(events, record.language)
        reason = "record_too_long" if is_too_long else _refusal(target, events, task, config)
        if reason is None:
            target, missing = _check(target, shown, task, tally)
            is_empty = len(target.text) < config.min_response_chars
            reason = "nothing_supported" if is_empty else _weigh(missing, task, config, tally)
        if reason is not None:
            ctx.drop(f"{record.record_id}/{task.name}", reason)
            tally.dropped[task.name][reason] += 1
            continue
        rng = random.Random(f"{ctx.config.seed}:{ordinal}:{task.name}")
        instruction = _instruction(record, task, target, shown, tuple(missing), disease, rng, config)
        tally.per_task[task.name][record.source] += 1
        tally.n_stated[task.name] += instruction.is_stated
        if EventKind.INITIAL_DIAGNOSIS in task.sees:
            kinds = {event.kind for event in events}
            tally.n_without_diagnosis[task.name] += EventKind.INITIAL_DIAGNOSIS not in kinds
        yield instruction


def fit_trunk(trunk: Trunk, tasks: Sequence[Task], max_chars: int) -> tuple[Trunk, int]:
    """(trunk, dialogue turns cut): the oldest turns go until every task's view fits, the same for all."""
    n_turns = sum(item.turn is not None for item in trunk.items)
    for n in range(n_turns + 1):
        cut = trunk.without_oldest_turns(n) if n else trunk
        if _longest(cut, tasks) <= max_chars:
            return cut, n
    return trunk, 0


def _longest(trunk: Trunk, tasks: Sequence[Task]) -> int:
    return max((len(render(visible(trunk, task), trunk.language)) for task in tasks), default=0)


def _refusal(target: Target, events: Sequence[Event], task: Task, config: InstructionsConfig) -> str | None:
    """Why a task of a record gives no instruction, None where it does."""
    if target.reason is not None:
        return target.reason
    if task.is_from_dialogue and not any(event.speaker == "patient" for event in events):
        return "no_dialogue"
    if all(event.kind is EventKind.DEMOGRAPHICS for event in events):
        return "nothing_visible"
    if len(target.text) < config.min_response_chars:
        return "answer_too_short"
    return "answer_too_long" if len(target.text) > config.max_response_chars else None


def _check(target: Target, shown: str, task: Task, tally: Tally) -> tuple[Target, dict[str, list[str]]]:
    """(target, facts that the visible record lacks); a note is first freed of invented negations."""
    missing = clinical.unsupported(target.text, shown)
    tally.facts_before[task.name].append(_count(missing))
    if task.how != "sections" or "negation" not in missing:
        return target, missing
    text, n_removed = without_invented_negations(target.text, shown)
    tally.n_invented_clauses_removed += n_removed
    target = replace(target, text=text)
    return target, clinical.unsupported(text, shown)


def _count(missing: dict[str, list[str]]) -> dict[str, int]:
    return {kind: len(facts) for kind, facts in missing.items()}


def _weigh(missing: dict[str, list[str]], task: Task, config: InstructionsConfig, tally: Tally) -> str | None:
    """Too many numbers and drugs that the visible record lacks drop the target.

    Negations are counted but not weighed: "无胸痛" and "胸口不疼" are one finding in two wordings.
    """
    n_weighed = 0 if "drug" in task.may_add else len(missing.get("drug", ()))
    n_weighed += sum(not ("dose" in task.may_add and clinical.is_dose(fact)) for fact in missing.get("number", ()))
    if n_weighed > config.max_unsupported:
        return "unsupported_target"
    tally.facts_after[task.name].append(_count(missing))
    return None


def _instruction(
    record: Record,
    task: Task,
    target: Target,
    shown: str,
    missing: tuple[str, ...],
    disease: str | None,
    rng: random.Random,
    config: InstructionsConfig,
) -> Instruction:
    wordings = task.wordings(record.language)
    number = rng.randrange(len(wordings))
    is_first = rng.random() < config.instruction_first_frac
    parts = (wordings[number], shown) if is_first else (shown, wordings[number])
    prompt = (
        Message(role="system", content=SYSTEM[record.language]),
        Message(role="user", content="\n\n".join(parts)),
    )
    template_id = f"{task.name}/{record.language}/{number}" + ("/first" if is_first else "")
    return Instruction(
        instruction_id=content_id(record.record_id, template_id, prompt[-1].content, target.text),
        task=task.name,
        record_id=record.record_id,
        patient_id=record.patient_id,
        source=record.source,
        language=record.language,
        prompt=prompt,
        response=target.text,
        template_id=template_id,
        disease=disease,
        is_stated=is_stated(target, shown),
        instruction_first=is_first,
        unsupported=missing,
        is_synthetic=record.provenance.is_synthetic,
    )


def _disease(record: Record) -> str | None:
    """The record's main diagnosis, whichever tasks it serves: the key for holding out diseases."""
    for kind in (EventKind.INITIAL_DIAGNOSIS, EventKind.FINAL_DIAGNOSIS):
        for event in record.events:
            name = clinical.main_diagnosis(event.text) if event.kind is kind else None
            if name:
                return name
    return None
