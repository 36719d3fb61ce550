"""Stage ``instructions``: records → one instruction a record and task, or a counted reason.

The prompt is one system prompt, then the visible record, then the task's instruction, so that the
tasks of a record begin alike; a share of the prompts puts the instruction first.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iimedgpt import clinical, io, progress
from iimedgpt.config import InstructionsConfig, RunConfig
from iimedgpt.instructions.quality import poor_answer
from iimedgpt.instructions.targets import Target, build_target, is_stated, without_invented_negations
from iimedgpt.instructions.tasks import Task, load_tasks, task_files
from iimedgpt.instructions.timeline import Trunk, build_trunk, render, visible
from iimedgpt.run import StageContext
from iimedgpt.text import content_id
from iimedgpt.types import Event, EventKind, Instruction, Language, Message, Record
from iimedgpt.workers import Workforce, map_ordered

SYSTEM: dict[Language, str] = {
    "zh": "你是临床文书助手，服务于医务人员。只依据所给病历作答，不编造；回答供专业人员参考，不能代替医生判断。",
    "en": "You assist clinicians with documentation. Answer only from the record given and invent nothing; "
    "your answer is for professionals and does not replace a clinician's judgement.",
}


class Tally:
    """What the stage counts beside kept and dropped rows: sums by name, which parts of the work add up to."""

    def __init__(self, counts: Counter[tuple[str, ...]] | None = None) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter() if counts is None else counts

    def add(self, *name: str, n: int = 1) -> None:
        self.counts[name] += n

    def add_facts(self, when: str, task: str, missing: dict[str, list[str]]) -> None:
        """The facts of one target that its visible record lacks, ``before`` or ``after`` the bound."""
        self.add(when, task, "targets")
        self.add(when, task, "any", n=any(missing.values()))
        for kind, found in missing.items():
            self.add(when, task, kind, n=len(found))

    def facts(self, tasks: Sequence[Task]) -> dict[str, Any]:
        """JSON-able facts for the manifest and the report."""
        names = [task.name for task in tasks]
        per_task = {name: self._under("per_task", name) for name in names}
        per_source: Counter[str] = Counter()
        for sources in per_task.values():
            per_source.update(sources)
        return {
            "per_task": per_task,
            "per_source": dict(sorted(per_source.items())),
            "dropped": {name: self._under("dropped", name) for name in names},
            "unsupported_rate": {
                name: {when: self._rates(when, name) for when in ("before", "after")} for name in names
            },
            "n_stated": {name: self.counts["n_stated", name] for name in names},
            "n_without_diagnosis": self._under("n_without_diagnosis"),
            "n_turns_cut": self._under("n_turns_cut"),
            **{name: self.counts[name,] for name in SUMS},
            "truncated_frac": round(self.counts["n_truncated",] / max(self.counts["n_records",], 1), 4),
        }

    def _under(self, *name: str) -> dict[str, int]:
        found = {key[-1]: n for key, n in self.counts.items() if key[:-1] == name}
        return dict(sorted(found.items()))

    def _rates(self, when: str, task: str) -> dict[str, float]:
        """Share of targets with a fact that the visible record lacks, and such facts per target."""
        found = self._under(when, task)
        n, kinds = found.get("targets", 0), {kind: found.get(kind, 0) for kind in clinical.FACT_KINDS}
        rates = {
            "n_targets": float(n),
            "targets_frac": found.get("any", 0) / max(n, 1),
            "facts_per_target": sum(kinds.values()) / max(n, 1),
            **{f"{kind}_per_target": count / max(n, 1) for kind, count in kinds.items()},
        }
        return {name: round(value, 4) for name, value in rates.items()}


SUMS = ("n_future_sentences_removed", "n_invented_clauses_removed", "n_masked_referrals")


@dataclass
class Made:
    """What came of one record: lines of JSON, (id, reason) of what was dropped, and counts."""

    lines: list[str]
    dropped: list[tuple[str, str]]
    counts: Counter[tuple[str, ...]]


class InstructionMaker:
    """(number of the record, its line of JSON) to what is made of it; sent to worker processes."""

    def __init__(self, config: InstructionsConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.tasks = load_tasks(config.tasks, config.tasks_dir)

    def __call__(self, numbered: tuple[int, str]) -> Made:
        ordinal, line = numbered
        tally, dropped = Tally(), list[tuple[str, str]]()
        record = Record.model_validate_json(line)
        rows = self.instructions(record, ordinal, tally, dropped)
        return Made([io.json_line(row) for row in rows], dropped, tally.counts)

    def instructions(
        self, record: Record, ordinal: int, tally: Tally, dropped: list[tuple[str, str]]
    ) -> Iterator[Instruction]:
        """The instructions of one record, in the order of the tasks; the others are dropped and counted."""
        config, tasks = self.config, self.tasks
        targets = {task.name: build_target(record, task) for task in tasks}
        asked = [task for task in tasks if targets[task.name].reason is None]
        trunk, n_turns_cut = fit_trunk(build_trunk(record), asked, config.max_record_chars)
        tally.add("n_records")
        tally.add("n_truncated", n=n_turns_cut > 0)
        tally.add("n_masked_referrals", n=trunk.n_masked)
        for kind, n in trunk.n_cut.items():
            tally.add("n_turns_cut", kind, n=n)
        is_too_long = _longest(trunk, asked) > config.max_record_chars
        disease = _disease(record)
        for task in tasks:
            target, events = targets[task.name], visible(trunk, task)
            tally.add("n_future_sentences_removed", n=target.n_removed)
            shown = render(events, record.language)
            reason = "record_too_long" if is_too_long else _refusal(target, events, task, config)
            if reason is None:
                target, missing = _check(target, shown, task, tally)
                is_empty = len(target.text) < config.min_response_chars
                reason = "nothing_supported" if is_empty else poor_answer(target.text, record.language)
                reason = reason or _weigh(missing, task, config, tally)
            if reason is not None:
                dropped.append((f"{record.record_id}/{task.name}", reason))
                tally.add("dropped", task.name, reason)
                continue
            rng = random.Random(f"{self.seed}:{ordinal}:{task.name}")
            instruction = _instruction(record, task, target, shown, tuple(missing), disease, rng, config)
            tally.add("per_task", task.name, record.source)
            tally.add("n_stated", task.name, n=instruction.is_stated)
            if EventKind.INITIAL_DIAGNOSIS in task.sees:
                kinds = {event.kind for event in events}
                tally.add("n_without_diagnosis", task.name, n=EventKind.INITIAL_DIAGNOSIS not in kinds)
            yield instruction


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
    tasks, tally = load_tasks(config.tasks, config.tasks_dir), Tally()
    lines = (line for _, line in io.read_lines(ctx.input("records", "records.jsonl")))
    crew = Workforce.of(ctx.config, ctx.directory)
    work = map_ordered(InstructionMaker, (config, ctx.config.seed), enumerate(lines), crew)
    with io.JsonlWriter(ctx.output("instructions.jsonl")) as out:
        for made in progress.track(work, "instructions"):
            for line in made.lines:
                out.write_line(line)
            for item_id, reason in made.dropped:
                ctx.drop(item_id, reason)
            ctx.keep(len(made.lines))
            tally.counts.update(made.counts)
    ctx.facts.update(tally.facts(tasks))
    ctx.check_drops(config.max_drop_frac)


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
    tally.add_facts("before", task.name, missing)
    if task.how != "sections" or "negation" not in missing:
        return target, missing
    text, n_removed = without_invented_negations(target.text, shown)
    tally.add("n_invented_clauses_removed", n=n_removed)
    target = replace(target, text=text)
    return target, clinical.unsupported(text, shown)


def _weigh(missing: dict[str, list[str]], task: Task, config: InstructionsConfig, tally: Tally) -> str | None:
    """Too many numbers and drugs that the visible record lacks drop the target.

    Negations are counted but not weighed: "无胸痛" and "胸口不疼" are one finding in two wordings.
    """
    n_weighed = 0 if "drug" in task.may_add else len(missing.get("drug", ()))
    n_weighed += sum(not ("dose" in task.may_add and clinical.is_dose(fact)) for fact in missing.get("number", ()))
    if n_weighed > config.max_unsupported:
        return "unsupported_target"
    tally.add_facts("after", task.name, missing)
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
