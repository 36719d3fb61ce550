"""English dialogues with notes, both CC BY 4.0.

MTS-Dialog (abachaa/MTS-Dialog): one section of a note per dialogue. ACI-Bench (wyim/aci-bench):
the full note of a visit, with the names of patient and doctor in a file of their own.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from iimedgpt.config import RecordSource
from iimedgpt.errors import DataError
from iimedgpt.records.raw import Category, RawRecord
from iimedgpt.records.readers.rows import Files, Reader, Rejected, Row, build_event, find_files
from iimedgpt.records.sections import build_events, parse_heading
from iimedgpt.types import Event, EventKind, Speaker

LICENSE = "CC BY 4.0"
MTS_CAVEAT = "dialogue written from the note by annotators"
ACI_CAVEAT = "fictional visit"

_MTS_COLUMNS = ("ID", "section_header", "section_text", "dialogue")
_ACI_COLUMNS = ("encounter_id", "dialogue", "note")
_NAME_COLUMNS = ("encounter_id", "patient_firstname", "patient_familyname", "doctor_name")
_METADATA = "_metadata.csv"
_TURN = re.compile(
    r"\s*\[?(doctor|patient_guest|patient|guest_family|guest_clinician)(?:_\d+)?(?:\]|\s*:)\s*(.*)", re.IGNORECASE
)
_SPEAKERS: dict[str, Speaker] = {
    "doctor": "doctor",
    "guest_clinician": "doctor",
    "patient": "patient",
    "patient_guest": "patient",
    "guest_family": "patient",
}
_FAMILY = re.compile(r"(?<![a-z])(?:family|mother|father|brother|sister|parent|sibling|grand)", re.IGNORECASE)
_SOCIAL = re.compile(
    r"(?<![a-z])(?:smok|tobacco|alcohol|drink|married|single|widow|divorced|lives|work|retired|occupation|drug)",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z]{2}")


def _read_csv(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number from 1, row) of a CSV with a header line.

    Raises:
        DataError: a column is missing, or the file is not UTF-8 or not CSV.
    """
    with path.open(encoding="utf-8-sig", newline="") as source:
        reader = csv.DictReader(source)
        try:
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                expected = "columns " + ", ".join(columns)
                raise DataError("column is missing", path=path, line=1, field=missing[0], expected=expected)
            for number, row in enumerate(reader, start=1):
                yield number, {column: row.get(column) or "" for column in columns}
        except UnicodeDecodeError:
            raise DataError("not UTF-8", path=path, line=reader.line_num + 1, expected="UTF-8 text") from None
        except csv.Error:
            raise DataError("broken CSV", path=path, line=reader.line_num, expected="CSV") from None


def _parse_turns(dialogue: str, counts: Counter[str]) -> list[Event]:
    """Turns of "Doctor: …" or "[doctor] …" lines; a line without a speaker goes on with the one before."""
    spoken: list[tuple[Speaker, list[str]]] = []
    for line in dialogue.splitlines():
        match = _TURN.match(line)
        if match:
            spoken.append((_SPEAKERS[match.group(1).lower()], [match.group(2)]))
        elif spoken:
            spoken[-1][1].append(line)
        elif line.strip():
            counts["malformed_turns"] += 1
    return [event for speaker, lines in spoken for event in build_event(EventKind.TURN, "\n".join(lines), speaker)]


def _find_mts(path: Path, source: RecordSource) -> Files:
    return find_files(path, ("Main-Dataset/*.csv", "*.csv"))


def _read_mts(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    for name, path in files.items():
        for number, row in _read_csv(path, _MTS_COLUMNS):
            yield Row(name, _parse_mts(row, path.stem, number, counts))


def _parse_mts(row: Mapping[str, str], file: str, number: int, counts: Counter[str]) -> RawRecord | Rejected:
    turns = _parse_turns(row["dialogue"], counts)
    if not turns:
        return Rejected(number, "no_dialogue")
    section = build_event(_section_kind(row["section_header"], row["section_text"]), row["section_text"])
    if not section:
        return Rejected(number, "empty_section")
    return RawRecord(
        patient_key=f"{file}:{row['ID'] or number}",
        encounter_key="",
        row=number,
        language="en",
        events=(*turns, *section),
        caveats=(MTS_CAVEAT,),
        license=LICENSE,
    )


def _section_kind(header: str, text: str) -> EventKind:
    """The kind of a section; family and social history share one header, so its words decide."""
    if header == "FAM/SOCHX" and _FAMILY.search(text) and not _SOCIAL.search(text):
        return EventKind.FAMILY_HISTORY
    section = parse_heading(header, "en")
    return section.kind if section else EventKind.NOTE


def _find_aci(path: Path, source: RecordSource) -> Files:
    return find_files(path, ("data/challenge_data/*.csv", "*.csv"))


def _read_aci(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    for name, path in files.items():
        if name.endswith(_METADATA):
            continue
        metadata = files.get(name.removesuffix(".csv") + _METADATA)
        names = _read_names(metadata) if metadata else {}
        for number, row in _read_csv(path, _ACI_COLUMNS):
            yield Row(name, _parse_aci(row, number, names.get(row["encounter_id"], ()), counts))


def _read_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Patient's and doctor's names of each visit, whole and in parts: the dictionary for de-identification."""
    names: dict[str, tuple[str, ...]] = {}
    for _, row in _read_csv(path, _NAME_COLUMNS):
        given, family, doctor = (row[column].strip() for column in _NAME_COLUMNS[1:])
        candidates = (f"{given} {family}".strip(), doctor, *given.split(), *family.split(), *doctor.split())
        names[row["encounter_id"]] = tuple(name for name in candidates if _NAME.search(name))
    return names


def _parse_aci(
    row: Mapping[str, str], number: int, names: tuple[str, ...], counts: Counter[str]
) -> RawRecord | Rejected:
    turns = _parse_turns(row["dialogue"], counts)
    if not turns:
        return Rejected(number, "no_dialogue")
    sections, _ = build_events(_split_note(row["note"]), "en")
    if not sections:
        return Rejected(number, "empty_note")
    identifiers: dict[Category, tuple[str, ...]] = {"name": names} if names else {}
    return RawRecord(
        patient_key=row["encounter_id"] or str(number),
        encounter_key="",
        row=number,
        language="en",
        events=(*turns, *sections),
        identifiers=identifiers,
        caveats=(ACI_CAVEAT,),
        license=LICENSE,
    )


def _split_note(note: str) -> list[tuple[str, str]]:
    """(heading, text) of a note: a heading is a line in capitals that ``sections`` knows.

    Text before the first heading counts as a note of its own.
    """
    parts: list[tuple[str, list[str]]] = [("Note", [])]
    for line in note.splitlines():
        heading = line.strip()
        if heading and heading == heading.upper() and parse_heading(heading, "en"):
            parts.append((heading.strip(" :").capitalize(), []))
        else:
            parts[-1][1].append(line)
    return [(heading, "\n".join(lines)) for heading, lines in parts]


MTS_READER = Reader(_find_mts, _read_mts)
ACI_READER = Reader(_find_aci, _read_aci)
