"""What records and their instructions are to the mixture: who they are of, and what they repeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from iimedgpt import io, progress
from iimedgpt.mixture.duplicates import cluster
from iimedgpt.run import StageContext
from iimedgpt.text import content_id, fold
from iimedgpt.types import EventKind, Instruction, Record

FREE_TEXT = ("record", "basis", "treatment")  # answers of which many equal ones are boilerplate
NOT_COMPARED = (EventKind.DEMOGRAPHICS, EventKind.DEPARTMENT)


@dataclass(frozen=True)
class Known:
    """What of a record decides where its instructions go."""

    patient_id: str
    license: str
    cluster: int  # number of the first record that says nearly the same


def read_known(ctx: StageContext) -> dict[str, Known]:
    """Every record by its id, empty where the stage is not wired to read them."""
    if "records" not in ctx.stage.needs:
        return {}
    whose: list[tuple[str, str, str]] = []  # record, patient, licence: noted while the texts go by

    def texts() -> Iterator[str]:
        for record in progress.track(ctx.read("records", "records.jsonl", Record), "near-duplicates"):
            whose.append((record.record_id, record.patient_id, record.provenance.license))
            yield _said(record)

    labels = cluster(texts(), io.make_private_dir(ctx.directory))
    return {name: Known(patient, terms, label) for (name, patient, terms), label in zip(whose, labels, strict=True)}


def _said(record: Record) -> str:
    """What two records are compared by: everything but who and where."""
    return "\n".join(event.text for event in record.events if event.kind not in NOT_COMPARED)


def cluster_facts(known: Mapping[str, Known]) -> dict[str, Any]:
    """How many records say nearly what another says, and how many patients hang together by them."""
    sizes = Counter(record.cluster for record in known.values())
    repeated = {label for label, size in sizes.items() if size > 1}
    patients = {record.patient_id for record in known.values() if record.cluster in repeated}
    return {
        "near_duplicates": {
            "n_clusters": len(repeated),
            "n_records": sum(sizes[label] for label in repeated),
            "n_patients": len(patients),
        }
    }


def usable(ctx: StageContext, instructions: Iterable[Instruction], known: Mapping[str, Known]) -> list[Instruction]:
    """Without exact repeats, also of another patient (first one kept), near ones where asked, and boilerplate."""
    config = ctx.config.mixture
    seen: set[str] = set()
    same: Counter[tuple[str, str]] = Counter()
    first_of: dict[int, str] = {}
    for record_id, record in known.items():
        first_of.setdefault(record.cluster, record_id)
    kept = []
    for item in instructions:
        answer = content_id(fold(item.response))
        key = content_id(*(fold(message.content) for message in item.prompt), fold(item.response))
        is_first = item.record_id not in known or first_of[known[item.record_id].cluster] == item.record_id
        if key in seen:
            ctx.drop(item.instruction_id, "duplicate")
        elif config.near_duplicates == "drop" and not is_first:
            ctx.drop(item.instruction_id, "near_duplicate")
        elif item.task in FREE_TEXT and same[item.task, answer] >= config.max_same_answer:
            ctx.drop(item.instruction_id, "same_answer")
        else:
            seen.add(key)
            same[item.task, answer] += 1
            kept.append(item)
    return kept
