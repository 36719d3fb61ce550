"""DialMed (f-window/DialMed, MIT): consultations whose recommended drugs are masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iimedgpt import clinical, io
from iimedgpt.config import RecordSource
from iimedgpt.records.raw import RawRecord
from iimedgpt.records.readers.rows import Files, Reader, Rejected, Row, build_event, find_files
from iimedgpt.types import Event, EventKind, Speaker

LICENSE = "MIT"
CAVEAT = "treatment is a list of drugs"
MASK = "[MASK]"
_SPEAKERS: dict[str, Speaker] = {"患者": "patient", "医生": "doctor"}


def _find(path: Path, source: RecordSource) -> Files:
    return find_files(path, ("data/dataset/dev.txt", "data/dataset/test.txt"))


def _read(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    for name, path in files.items():
        for number, value in io.read_json_lines(path):
            yield Row(name, _parse(value, f"{path.stem}:{number}", number, counts))


def _parse(value: dict[str, Any], key: str, row: int, counts: Counter[str]) -> RawRecord | Rejected:
    lists = [value.get(field) for field in ("dialog", "label", "disease")]
    if not all(isinstance(part, list) and all(isinstance(item, str) for item in part) for part in lists):
        return Rejected(row, "malformed_row")
    dialogue, drugs, diseases = (list(part) for part in lists if part is not None)
    first_masked = next((i for i, turn in enumerate(dialogue) if MASK in turn), None)
    if first_masked is None:
        return Rejected(row, "no_masked_turn")
    if not drugs:
        return Rejected(row, "no_drugs")
    # from the first masked drug on, the dialogue is the answer
    counts["n_turns_cut"] += len(dialogue) - first_masked
    turns = [event for turn in dialogue[:first_masked] for event in _turn(turn, counts)]
    if not turns:
        return Rejected(row, "no_dialogue")
    # the label "other disease, or none established" is no diagnosis
    diagnosis = build_event(EventKind.FINAL_DIAGNOSIS, "、".join(filter(clinical.diagnoses, diseases)))
    counts["no_diagnosis"] += not diagnosis
    return RawRecord(
        patient_key=key,
        encounter_key="",
        row=row,
        language="zh",
        events=(*turns, *diagnosis, *build_event(EventKind.TREATMENT, "、".join(drugs))),
        caveats=(CAVEAT,),
        license=LICENSE,
    )


def _turn(turn: str, counts: Counter[str]) -> list[Event]:
    name, separator, text = turn.partition("：")
    if not separator or name not in _SPEAKERS:
        counts["malformed_turns"] += 1
        return []
    return build_event(EventKind.TURN, text, _SPEAKERS[name])


READER = Reader(_find, _read)
