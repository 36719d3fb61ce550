"""The mixture stage: instructions and other data → train.jsonl, validation.jsonl, test.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from iimedgpt import io, progress
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError
from iimedgpt.mixture.contamination import HELD_OUT, Decontaminator, against_files, read_texts
from iimedgpt.mixture.duplicates import components
from iimedgpt.mixture.known import cluster_facts, read_known, usable
from iimedgpt.mixture.other import (
    Row,
    build_conversation,
    has_identifier,
    read_other,
    source_path,
)
from iimedgpt.mixture.split import Assignment, round_robin, split_together, spread
from iimedgpt.run import StageContext
from iimedgpt.text import content_id, fold
from iimedgpt.types import Conversation, Instruction, Split

SPLITS: tuple[Split, ...] = get_args(Split)
CONTAMINATED = "contaminated.jsonl"  # ids of what was dropped, and the set that it met


def inputs(config: RunConfig) -> dict[str, Path]:
    """Files from outside the run, by name; the packaged set counts by its content as well."""
    found = {f"other:{source.path or 'packaged'}": source_path(source, config) for source in config.mixture.other}
    for source in config.mixture.against:
        found |= {f"against:{source.path}:{name}": path for name, path in against_files(source, config).items()}
    return found


def run(ctx: StageContext) -> None:
    """Split the records' conversations, add other data to training, prove that nothing overlaps.

    Training is written record by record (tasks of one record adjacent: the engine reads their
    shared beginning once), other data evenly in between. Within a split the records take turns by
    source and disease, so that the first n of a file are as varied as n can be.

    Raises:
        DataError: nobody is left for training, or a source is not readable.
    """
    config = ctx.config.mixture
    known = read_known(ctx)
    exams = _exams(ctx)
    instructions = usable(ctx, ctx.read("instructions", "instructions.jsonl", Instruction), known)
    first_of = components((record.patient_id, record.cluster) for record in known.values())
    assignment = split_together(_diseases_of(instructions), first_of, config, ctx.config.seed)
    contaminated: list[dict[str, str]] = []
    records: dict[Split, list[list[Conversation]]] = {split: [] for split in SPLITS}
    for group in _by_record(instructions):
        split = assignment.sides[group[0].patient_id]
        license_name = known[group[0].record_id].license if group[0].record_id in known else "unstated"
        made = [_conversation(item, split, license_name) for item in group]
        made = made if split == "test" else _uncontaminated(ctx, made, exams, contaminated)
        if made:
            records[split].append(made)
    records = {split: _in_turns(groups) for split, groups in records.items()}
    records["train"] = _cap_records(ctx, records["train"])
    rows = {split: [item for group in groups for item in group] for split, groups in records.items()}
    exams.add(HELD_OUT, (text.content for row in rows["test"] for text in row.messages if text.role != "system"))
    other = _choose_other(ctx, len(rows["train"]), exams, contaminated)
    rows["train"] = _of_part(ctx, _interleave(records["train"], other))
    for split in SPLITS:
        ctx.keep(io.write_jsonl(ctx.output(f"{split}.jsonl"), rows[split]))
    io.write_jsonl(ctx.output(CONTAMINATED), contaminated)
    ctx.facts.update(_facts(rows, assignment))
    ctx.facts |= {"n_contaminated": dict(Counter(row["met"] for row in contaminated))} | cluster_facts(known)
    ctx.check_drops(1.0)


def _exams(ctx: StageContext) -> Decontaminator:
    """The exams and evaluation sets that the configuration names."""
    exams = Decontaminator()
    for source in ctx.config.mixture.against:
        exams.add(source.path, read_texts(source, ctx.config))
    return exams


def _uncontaminated(
    ctx: StageContext, made: list[Conversation], exams: Decontaminator, contaminated: list[dict[str, str]]
) -> list[Conversation]:
    """Conversations that repeat no piece of an exam; the others are dropped and listed by id."""
    kept = []
    for conversation in made:
        met = exams.met(conversation.messages)
        if met is None:
            kept.append(conversation)
        else:
            ctx.drop(conversation.conversation_id, "contaminated")
            contaminated.append({"id": conversation.conversation_id, "met": met})
    return kept


def _diseases_of(instructions: Iterable[Instruction]) -> dict[str, list[str]]:
    diseases: dict[str, list[str]] = {}
    for instruction in instructions:
        found = diseases.setdefault(instruction.patient_id, [])
        if instruction.disease is not None and instruction.disease not in found:
            found.append(instruction.disease)
    return diseases


def _by_record(instructions: Iterable[Instruction]) -> list[list[Instruction]]:
    groups: dict[str, list[Instruction]] = {}
    for instruction in instructions:
        groups.setdefault(instruction.record_id, []).append(instruction)
    return list(groups.values())


def _conversation(instruction: Instruction, split: Split, license_name: str) -> Conversation:
    answer = {"role": "assistant", "content": instruction.response}
    return Conversation.model_validate(
        {
            "conversation_id": instruction.instruction_id,
            "messages": (*(message.model_dump() for message in instruction.prompt), answer),
            "group_id": instruction.patient_id,
            "source": instruction.source,
            "license": license_name,
            "split": split,
            "task": instruction.task,
            "record_id": instruction.record_id,
            "disease": instruction.disease,
            "is_stated": instruction.is_stated,
            "is_synthetic": instruction.is_synthetic,
        }
    )


def _in_turns(groups: Sequence[list[Conversation]]) -> list[list[Conversation]]:
    return round_robin(round_robin(groups, _disease), lambda group: group[0].source)


def _disease(group: Sequence[Conversation]) -> str | None:
    return next((item.disease for item in group if item.disease), None)


def _cap_records(ctx: StageContext, groups: list[list[Conversation]]) -> list[list[Conversation]]:
    n_max = ctx.config.mixture.n_max_train_records
    if n_max is None:
        return groups
    for group in groups[n_max:]:
        for conversation in group:
            ctx.drop(conversation.conversation_id, "over_n_max_train_records")
    return groups[:n_max]


def _choose_other(
    ctx: StageContext, n_record: int, exams: Decontaminator, contaminated: list[dict[str, str]]
) -> list[Conversation]:
    """Usable other conversations, evenly spread over each source, within the cap of the mixture."""
    usable: list[list[Conversation]] = []
    seen: set[str] = set()
    for index, source in enumerate(ctx.config.mixture.other):
        kept = []
        rows = read_other(source, source_path(source, ctx.config))
        for row in progress.track(rows, f"other data {index + 1}"):
            reason = row.reason or _reason_against(row, ctx.config.mixture.max_other_chars, seen)
            if reason is None and (met := exams.met(row.messages)) is not None:
                reason = "contaminated"
                contaminated.append({"id": f"other:{index}:{row.number}", "met": met})
            if reason is None:
                kept.append(build_conversation(row, source))
            else:
                ctx.drop(f"other:{index}:{row.number}", reason)
        usable.append(_spread_or_drop(ctx, kept, source.n_max, "over_n_max"))
    quotas = _quotas([len(kept) for kept in usable], _n_other_max(ctx.config.mixture.other_frac, n_record))
    chosen = [_spread_or_drop(ctx, kept, quota, "over_other_frac") for kept, quota in zip(usable, quotas, strict=True)]
    return round_robin([item for kept in chosen for item in kept], lambda item: (item.source, item.license))


def _reason_against(row: Row, max_chars: int, seen: set[str]) -> str | None:
    if sum(len(message.content) for message in row.messages) > max_chars:
        return "too_long"
    if has_identifier(row.messages):
        return "identifier_shape"
    key = content_id(*(fold(message.content) for message in row.messages))
    if key in seen:
        return "duplicate"
    seen.add(key)
    return None


def _n_other_max(frac: float, n_record: int) -> int | None:
    """Largest n with n / (n + n_record) <= frac; None where everything may be other data."""
    return None if frac >= 1.0 else int(frac * n_record / (1.0 - frac) + 1e-9)


def _quotas(sizes: Sequence[int], n_max: int | None) -> list[int]:
    """Shares of the cap: alike for all sources, what a small one leaves goes to the larger."""
    quotas = list(sizes)
    left = sum(sizes) if n_max is None else n_max
    by_size = sorted(range(len(sizes)), key=lambda index: sizes[index])
    for rank, index in enumerate(by_size):
        quotas[index] = min(sizes[index], left // (len(sizes) - rank))
        left -= quotas[index]
    return quotas


def _spread_or_drop(ctx: StageContext, items: list[Conversation], n: int | None, reason: str) -> list[Conversation]:
    chosen = items if n is None else spread(items, n)
    kept = {item.conversation_id for item in chosen}
    for item in items:
        if item.conversation_id not in kept:
            ctx.drop(item.conversation_id, reason)
    return chosen


def _interleave(groups: Sequence[list[Conversation]], other: Sequence[Conversation]) -> list[Conversation]:
    """Record groups in order, other data at even distances between them."""
    rows: list[Conversation] = []
    for index, group in enumerate(groups):
        rows += group
        rows += other[index * len(other) // len(groups) : (index + 1) * len(other) // len(groups)]
    return rows


def _of_part(ctx: StageContext, rows: list[Conversation]) -> list[Conversation]:
    """What is trained on: an ablation leaves one part out, all else alike."""
    part = ctx.config.mixture.trains_on
    if part == "all":
        return rows
    kept = [row for row in rows if (row.record_id is not None) == (part == "records")]
    for row in rows:
        if (row.record_id is not None) != (part == "records"):
            ctx.drop(row.conversation_id, "left_out_by_trains_on")
    if not kept:
        raise DataError(f"nothing of '{part}' to train on", field="mixture.trains_on", hint="add to mixture.other")
    return kept


def _facts(rows: dict[Split, list[Conversation]], assignment: Assignment) -> dict[str, Any]:
    records = {split: [item for item in rows[split] if item.record_id is not None] for split in SPLITS}
    diseases = {split: {item.disease for item in records[split] if item.disease} for split in SPLITS}
    n_other = len(rows["train"]) - len(records["train"])
    everything = [item for split in SPLITS for item in rows[split]]
    held_out = set(assignment.held_out_diseases)
    return {
        "splits": {
            split: {
                "n_patients": len({item.group_id for item in records[split]}),
                "n_records": len({item.record_id for item in records[split]}),
                "n_conversations": len(rows[split]),
                "n_diseases": len(diseases[split]),
            }
            for split in SPLITS
        },
        "n_held_out_diseases": len(held_out),
        "n_test_patients_with_held_out_disease": len(
            {item.group_id for item in records["test"] if item.disease in held_out}
        ),
        "overlap_of_test": _overlap(records, held_out),
        "n_other": n_other,
        "other_share_of_train": round(n_other / max(len(rows["train"]), 1), 4),
        "per_source": dict(Counter(item.source for item in everything)),
        "per_license": dict(Counter(item.license for item in everything)),
        "per_task": {split: dict(Counter(item.task or "other" for item in rows[split])) for split in SPLITS},
    }


def _overlap(records: dict[Split, list[Conversation]], held_out: set[str]) -> dict[str, int]:
    """What test shares with the other sides, counted over the rows that are written."""
    seen = records["train"] + records["validation"]
    test_patients = {item.group_id for item in records["test"]}
    test_prompts = {fold(item.prompt[-1].content) for item in records["test"]}
    return {
        "n_patients": len(test_patients & {item.group_id for item in seen}),
        "n_held_out_diseases": len(held_out & {item.disease for item in seen if item.disease}),
        "n_prompts": sum(fold(item.prompt[-1].content) in test_prompts for item in seen),
    }
