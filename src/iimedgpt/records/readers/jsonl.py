"""The open format: one JSON object per line, one encounter each.

    {"patient_id": "P1", "encounter_id": "E1", "language": "zh",
     "identifiers": {"name": ["…"], "phone": ["…"]},
     "events": [{"kind": "turn", "speaker": "patient", "text": "…", "time": 0}, …]}

or, instead of events, ``"sections": {"主诉": "…", "现病史": "…"}`` with headings as hospitals write
them (``records/sections.py``); an unknown heading becomes a note and is counted. A line that cannot be read is
rejected and counted; a line that is JSON but not this format stops the stage, because its writer is wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr, ValidationError

from iimedgpt.config import RecordSource
from iimedgpt.errors import DataError
from iimedgpt.records.raw import Category, RawRecord
from iimedgpt.records.readers.lines import read_text_lines
from iimedgpt.records.readers.names import label_files
from iimedgpt.records.readers.rows import Files, Reader, Rejected, Row, find_files
from iimedgpt.records.sections import build_events
from iimedgpt.text import content_id
from iimedgpt.types import Event, EventKind, Frozen, Language, Speaker

Key = Annotated[StrictStr, Field(min_length=1)] | StrictInt


class _Event(Frozen):
    kind: EventKind
    text: str
    speaker: Speaker | None = None
    time: int | None = Field(default=None, ge=0)


class _Line(Frozen):
    patient_id: Key
    encounter_id: Key | None = None
    language: Language | None = None
    identifiers: dict[Category, tuple[str, ...]] = Field(default_factory=dict)
    events: tuple[_Event, ...] | None = None
    sections: dict[str, str] | None = None


def _read(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    for name, path in files.items():
        n_lines = 0
        for row, text, problem in read_text_lines(path, "utf-8", source.max_line_bytes):
            n_lines += 1
            value = problem if text is None else _load(text)
            if isinstance(value, str):
                yield Row(name, Rejected(row, value))
            else:
                yield Row(name, _build(value, path.with_name(name), row, source, counts))
        if n_lines == 0:
            raise DataError("file is empty", path=path, expected="one JSON object per line")


def _load(text: str) -> dict[str, Any] | str:
    """The line's object, or the reason why it is none."""
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():  # half of a pair of escapes is no text that could be written again
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return "lone_surrogate"
    except (ValueError, RecursionError):
        return "broken_json"
    if "\\u0000" in text:
        return "nul_byte"
    return value if isinstance(value, dict) else "not_an_object"


def _build(
    value: dict[str, Any], path: Path, row: int, source: RecordSource, counts: Counter[str]
) -> RawRecord | Rejected:
    line = _parse(value, path, row)
    language = line.language or source.language
    events = _events(line, language, counts)
    if not events:
        return Rejected(row, "empty_record")
    # without an id of its own an encounter is known by its content, so that a repeated
    # line is a duplicate and a second visit is not
    encounter = line.encounter_id
    if encounter is None:
        encounter = content_id(json.dumps(value, sort_keys=True))
    return RawRecord(
        patient_key=str(line.patient_id),
        encounter_key=str(encounter),
        row=row,
        language=language,
        events=tuple(events),
        identifiers=line.identifiers,
    )


def _parse(value: dict[str, Any], path: Path, row: int) -> _Line:
    try:
        line = _Line.model_validate(value)
    except ValidationError as error:
        # never the input itself: it is text of a record
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = _field_name(first["loc"])
        raise DataError("invalid value", path=path, line=row, field=field, expected=first["msg"]) from None
    if (line.events is None) == (line.sections is None):
        raise DataError("invalid record", path=path, line=row, field="events", expected="either 'events' or 'sections'")
    return line


def _field_name(place: tuple[int | str, ...]) -> str:
    """Names of the format only: keys that the file chose itself (headings) may be text of a record."""
    known = {*_Line.model_fields, *_Event.model_fields}
    return ".".join(str(part) if isinstance(part, int) or part in known else "…" for part in place)


def _events(line: _Line, language: Language, counts: Counter[str]) -> list[Event]:
    if line.sections is not None:
        events, n_unknown = build_events(line.sections.items(), language)
        counts["unknown_headings"] += n_unknown
        return events
    given = line.events or ()
    counts["empty_events"] += sum(not event.text.strip() for event in given)
    return [Event.model_validate(event.model_dump()) for event in given if event.text.strip()]


def _find(path: Path, source: RecordSource) -> Files:
    return label_files(path, find_files(path, ("*.jsonl", "*.jsonl.gz", "*.jsonl.zst")))


READER = Reader(_find, _read)
