"""AI Hospital (LibertFan/AI_Hospital, MIT): full records, and simulated dialogues with references.

``ai_hospital_records`` holds a few full records (``patients_*.json``, repeated over the files);
``ai_hospital`` holds 506 dialogues between language models and references normalised by one.
Both number the same patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iimedgpt import io
from iimedgpt.config import RecordSource
from iimedgpt.errors import DataError
from iimedgpt.records.raw import RawRecord
from iimedgpt.records.readers.rows import (
    SIMULATED_DIALOGUE,
    Files,
    Reader,
    Rejected,
    Row,
    build_event,
    find_files,
)
from iimedgpt.records.sections import build_events
from iimedgpt.types import Event, EventKind, Speaker

LICENSE = "MIT"
DIALOGUES = "src/outputs/dialog_history_iiyi/dialog_history_gpt4.jsonl"
REFERENCES = "src/outputs/evaluation/evaluation_iiyi_gpt4_onestep.jsonl"
SIBLING = "../ai_hospital"
TREATMENT_HOLDS_COURSE = "treatment narrates the course too"
NORMALISED_REFERENCE = "reference normalised by a language model"

_SPEAKERS: dict[str, Speaker] = {"Doctor": "doctor", "Patient": "patient", "Reporter": "reporter"}
_MARKERS = ("<对医生讲>", "<对检查员讲>", "<结束>")
_MIN_LOOP_CHARS = 10  # a short turn ("没有") repeats for good reason, a long one only in a loop
_REFERENCE_KINDS = {
    "diagnosis": EventKind.FINAL_DIAGNOSIS,
    "basis": EventKind.BASIS,
    "treatment": EventKind.TREATMENT,
}


def _find_records(path: Path, source: RecordSource) -> Files:
    files = dict(find_files(path, ("src/data/patients_*.json", "patients_*.json")))
    dialogues = path.parent / "ai_hospital" / DIALOGUES
    if path.is_dir() and dialogues.is_file():
        files[f"{SIBLING}/{DIALOGUES}"] = dialogues
    return files


def _read_records(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    dialogue_file = f"{SIBLING}/{DIALOGUES}"
    dialogues = _read_dialogues(files[dialogue_file]) if dialogue_file in files else {}
    for name, path in files.items():
        if name == dialogue_file:
            continue
        rows = io.read_json(path)
        if not isinstance(rows, list):
            raise DataError("not a list", path=path, expected="a JSON list of patients")
        for number, value in enumerate(rows, start=1):
            yield Row(name, _parse_record(value, number, dialogues, counts))


def _parse_record(
    value: Any, row: int, dialogues: Mapping[str, list[Any]], counts: Counter[str]
) -> RawRecord | Rejected:
    if not isinstance(value, dict) or "id" not in value:
        return Rejected(row, "malformed_row")
    sections = value.get("raw_medical_record")
    if not isinstance(sections, dict) or not sections:
        return Rejected(row, "no_sections")
    texts = [(str(heading), text) for heading, text in sections.items() if isinstance(text, str)]
    events, n_unknown = build_events(texts, "zh")
    counts["unknown_headings"] += n_unknown
    turns = _turns(dialogues.get(str(value["id"]), []), counts)
    counts["no_dialogue"] += not turns
    return RawRecord(
        patient_key=str(value["id"]),
        encounter_key="",
        row=row,
        language="zh",
        events=(*build_event(EventKind.DEPARTMENT, _department(value.get("department"))), *turns, *events),
        caveats=(TREATMENT_HOLDS_COURSE, *((SIMULATED_DIALOGUE,) if turns else ())),
        license=LICENSE,
    )


def _department(path: object) -> str | None:
    """The narrowest of the departments: "内科病例 消化内科病例 " is 消化内科."""
    if not isinstance(path, str) or not path.split():
        return None
    return path.split()[-1].removesuffix("病例")


def _read_dialogues(path: Path) -> dict[str, list[Any]]:
    dialogues: dict[str, list[Any]] = {}
    for _, value in io.read_json_lines(path):
        turns = value.get("dialog_history")
        if "patient_id" in value and isinstance(turns, list):
            dialogues[str(value["patient_id"])] = turns
    return dialogues


def _turns(turns: list[Any], counts: Counter[str]) -> list[Event]:
    """Turns without control markers; a long turn that one speaker repeats word for word is cut."""
    events: list[Event] = []
    seen: set[tuple[Speaker, str]] = set()
    for turn in turns:
        speaker = _SPEAKERS.get(turn.get("role", "")) if isinstance(turn, dict) else None
        text = turn.get("content") if speaker else None
        if speaker is None or not isinstance(text, str):
            counts["malformed_turns"] += 1
            continue
        for marker in _MARKERS:
            text = text.replace(marker, "")
        text = text.strip()
        if (speaker, text) in seen and len(text) >= _MIN_LOOP_CHARS:
            counts["n_turns_cut"] += 1
            continue
        seen.add((speaker, text))
        events.extend(build_event(EventKind.TURN, text, speaker))
    return events


def _find_dialogues(path: Path, source: RecordSource) -> Files:
    # both or nothing: a reference without its dialogue is no record
    return {name: file for part in (REFERENCES, DIALOGUES) for name, file in find_files(path, (part,)).items()}


def _read(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    if REFERENCES not in files:
        raise DataError("is a file", path=next(iter(files.values())), expected="the folder of ai_hospital")
    dialogues = _read_dialogues(files[DIALOGUES])
    for number, value in io.read_json_lines(files[REFERENCES]):
        yield Row(REFERENCES, _parse_reference(value, number, dialogues, counts))


def _parse_reference(
    value: dict[str, Any], row: int, dialogues: Mapping[str, list[Any]], counts: Counter[str]
) -> RawRecord | Rejected:
    reference = value.get("reference_diagnosis")
    if "patient_id" not in value or not isinstance(reference, dict):
        return Rejected(row, "malformed_row")
    turns = _turns(dialogues.get(str(value["patient_id"]), []), counts)
    if not turns:
        return Rejected(row, "no_dialogue")
    events = list(turns)
    for field, kind in _REFERENCE_KINDS.items():
        found = build_event(kind, reference.get(field))
        counts[f"empty_{field}"] += not found
        events.extend(found)
    return RawRecord(
        patient_key=str(value["patient_id"]),
        encounter_key="",
        row=row,
        language="zh",
        events=tuple(events),
        caveats=(SIMULATED_DIALOGUE, NORMALISED_REFERENCE, TREATMENT_HOLDS_COURSE),
        license=LICENSE,
    )


RECORDS_READER = Reader(_find_records, _read_records)
READER = Reader(_find_dialogues, _read)
