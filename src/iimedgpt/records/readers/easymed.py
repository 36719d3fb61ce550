"""EasyMED SPBench (FreedomIntelligence/EasyMED, MIT): standardised-patient cases and human dialogues."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iimedgpt import io
from iimedgpt.config import RecordSource
from iimedgpt.records.raw import Category, RawRecord
from iimedgpt.records.readers.rows import Files, Reader, Rejected, Row, build_event, find_files
from iimedgpt.types import Event, EventKind

LICENSE = "MIT"
CAVEAT = "standardised patient"
_CASES = "SPBench/SPBench_case/*.json"
_DIALOGUES = "SPBench/SPBench_taking/*.json"

# kind → fields and the heading each keeps; the first of a kind needs none
_FIELDS: dict[EventKind, dict[str, str]] = {
    EventKind.PRESENT_ILLNESS: {"present_illness_history": "", "system_review": "系统回顾："},
    EventKind.PAST_HISTORY: {
        "past_medical_history": "",
        "other_medical_history": "其他病史：",
        "surgery_injury_history": "手术外伤史：",
        "transfusion_history": "输血史：",
        "infection_history": "传染病史：",
        "allergy_history": "过敏史：",
    },
    EventKind.PERSONAL_HISTORY: {
        "personal_history": "",
        "menstrual_history": "月经史：",
        "reproductive_history": "婚育史：",
    },
    EventKind.FAMILY_HISTORY: {"family_history": ""},
    EventKind.NOTE: {"idea": "想法：", "concern": "担忧：", "expectation": "期望："},
}
_ABSENT = {"", "无", "无。", "None", "不适用", "不详"}
_VITAL_SIGNS = re.compile(r"生命征[：:]?\s*(.*)", re.DOTALL)
_REAL_NAME = re.compile(r"(?!无名|不详|未知)[\u4e00-\u9fff]{2,6}")


def _find(path: Path, source: RecordSource) -> Files:
    return {name: file for part in (_CASES, _DIALOGUES) for name, file in find_files(path, (part,)).items()}


def _read(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    cases = {name: file for name, file in files.items() if "SPBench_taking" not in name}
    for name, path in cases.items():
        dialogue = files.get(name.replace("SPBench_case", "SPBench_taking"))
        rounds = io.read_json(dialogue) if dialogue is not None and dialogue != path else []
        yield Row(name, _parse(io.read_json(path), path.stem, rounds, counts))


def _parse(value: Any, case: str, rounds: Any, counts: Counter[str]) -> RawRecord | Rejected:
    profile = value.get("patientProfile") if isinstance(value, dict) else None
    if not isinstance(profile, dict):
        return Rejected(1, "malformed_row")
    if not isinstance(rounds, list) or not rounds:
        counts["no_dialogue"] += 1
        rounds = []
    events = [*_patient(profile, counts), *_turns(rounds)]
    for kind, fields in _FIELDS.items():
        parts = [f"{heading}{text}" for field, heading in fields.items() if (text := _value(profile, field, counts))]
        events += build_event(kind, "\n".join(parts))
    events += build_event(EventKind.FINAL_DIAGNOSIS, value.get("caseTitle"))
    if not events:
        return Rejected(1, "empty_record")
    name = str(profile.get("name") or "")
    is_named = _REAL_NAME.fullmatch(name) is not None
    identifiers: dict[Category, tuple[str, ...]] = {"name": (name,)} if is_named else {}
    return RawRecord(
        # some role players stand in two cases: one patient
        patient_key=f"{name}:{profile.get('age_value')}" if is_named else case,
        encounter_key=case,
        row=1,
        language="zh",
        events=tuple(events),
        identifiers=identifiers,
        caveats=(CAVEAT,),
        license=LICENSE,
    )


def _value(profile: dict[str, Any], field: str, counts: Counter[str]) -> str:
    text = str(profile.get(field) or "").strip()
    if text in _ABSENT:
        counts[f"empty_{field}"] += 1
        return ""
    return text


def _patient(profile: dict[str, Any], counts: Counter[str]) -> list[Event]:
    """Demographics (never the name), vital signs, complaint and department."""
    age = f"{profile.get('age_value', '')}{profile.get('age_unit', '')}"
    rest = [_value(profile, field, counts) for field in ("gender", "occupation", "marital_status")]
    demographics = "，".join(part for part in (rest[0], age, *rest[1:]) if part)
    vital_signs = _VITAL_SIGNS.search(str(profile.get("basic_info") or ""))
    return [
        *build_event(EventKind.DEMOGRAPHICS, demographics),
        *build_event(EventKind.CHIEF_COMPLAINT, _value(profile, "chief_complaint", counts)),
        *build_event(EventKind.DEPARTMENT, _value(profile, "hospital_department_name", counts)),
        *build_event(EventKind.PHYSICAL_EXAMINATION, vital_signs.group(1) if vital_signs else ""),
    ]


def _turns(rounds: list[Any]) -> list[Event]:
    pairs = [turn for turn in rounds if isinstance(turn, dict)]
    return [
        event
        for turn in pairs
        for event in (
            *build_event(EventKind.TURN, turn.get("question"), "doctor"),
            *build_event(EventKind.TURN, turn.get("answer"), "patient"),
        )
    ]


READER = Reader(_find, _read)
