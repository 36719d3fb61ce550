"""A mapping from a hospital's columns to our sections: one row → the part of a record that it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, get_args

from iimedgpt.config import RecordMapping, RecordSource
from iimedgpt.errors import ConfigError
from iimedgpt.records.raw import Category
from iimedgpt.records.readers.cells import BadCellError, parse_codes, parse_identifiers, parse_time, to_text
from iimedgpt.records.readers.formats import Cells
from iimedgpt.records.readers.notes import parse_note
from iimedgpt.records.readers.turns import parse_turns
from iimedgpt.records.sections import Section, parse_heading
from iimedgpt.types import Event, EventKind, Language

_KINDS = [kind.value for kind in EventKind if kind is not EventKind.TURN]
_CATEGORIES: tuple[Category, ...] = get_args(Category)


class Part(NamedTuple):
    """What one row tells of one encounter. ``encounter`` is empty where the source has no such column."""

    patient: str
    encounter: str
    time: datetime | None
    events: tuple[Event, ...]
    identifiers: tuple[tuple[Category, str], ...]
    codes: tuple[str, ...]

    @property
    def n_chars(self) -> int:
        return sum(len(event.text) for event in self.events) + sum(len(value) for _, value in self.identifiers)


class _Column(NamedTuple):
    column: str
    kind: EventKind
    label: str


class Mapping:
    """The configuration's mapping, checked.

    Raises:
        ConfigError: no column of text, no patient, an unknown kind or category, a column of the long
            format without the other.
    """

    def __init__(self, source: RecordSource) -> None:
        given = self.given = source.mapping
        self.language: Language = source.language
        if (given.kind is None) != (given.text is None):
            raise ConfigError("records.sources.mapping: the long format needs both 'kind' and 'text'")
        if not (given.sections or given.text or given.notes or given.dialogue):
            hint = 'sections = {"主诉" = "chief_complaint"}, kind and text, notes = ["…"] or dialogue = "…"'
            raise ConfigError("records.sources.mapping: no column of text is mapped", hint=hint)
        if given.patient is None and not given.dialogue:
            hint = "splits go by patient: without an id one patient would stand on both sides"
            raise ConfigError("records.sources.mapping: 'patient' is missing", hint=hint)
        if given.encounter is not None and given.patient is None:
            raise ConfigError("records.sources.mapping: 'encounter' needs 'patient'")
        self._wide = tuple(_parse_section(column, value) for column, value in given.sections.items())
        self._kinds = {value: _parse_section(value, kind) for value, kind in given.kinds.items()}
        self._identifiers = tuple((column, _parse_category(value)) for column, value in given.identifiers.items())

    @property
    def keys(self) -> list[str]:
        """Columns that tell which encounter a row belongs to."""
        return [column for column in (self.given.patient, self.given.encounter) if column is not None]

    @property
    def columns(self) -> list[str]:
        """All mapped columns, once each."""
        given: RecordMapping = self.given
        single = (given.patient, given.encounter, given.time, given.department, given.diagnosis_code)
        text = (*given.sections, given.kind, given.text, *given.notes, given.dialogue, *given.identifiers)
        return list(dict.fromkeys(column for column in (*single, *text) if column is not None))

    def unmapped(self, columns: Iterable[str]) -> list[tuple[int, str]]:
        """(place from 1, name) of the columns that the mapping does not speak of."""
        known = {*self.columns, *self.given.ignore}
        nested = {column.partition(".")[0] for column in known if "." in column}
        named = enumerate(columns, start=1)
        return [(place, name) for place, name in named if name not in known and name not in nested]

    def key(self, cells: Cells) -> tuple[str, str] | str:
        """(patient, encounter), or the reason why the row belongs to nobody."""
        try:
            patient, encounter = (
                to_text(cells[column]) if column is not None else None
                for column in (self.given.patient, self.given.encounter)
            )
        except BadCellError as bad:
            return str(bad)
        if patient == "":
            return "no_patient_id"
        if encounter == "":
            return "no_encounter_id"
        return patient or "", encounter or ""

    def parse(self, cells: Cells, counts: Counter[str]) -> Part | str:
        """The row's part, or the reason why it is rejected."""
        key = self.key(cells)
        if isinstance(key, str):
            return key
        try:
            return self._parse(key, cells, counts)
        except BadCellError as bad:
            return str(bad)

    def _parse(self, key: tuple[str, str], cells: Cells, counts: Counter[str]) -> Part | str:
        given = self.given
        identifiers = [
            (category, value)
            for column, category in self._identifiers
            for value in parse_identifiers(category, to_text(cells[column]))
        ]
        events = [*self._wide_events(cells), *self._long_event(cells, counts)]
        for column in given.notes:
            note, found = parse_note(to_text(cells[column]), self.language, counts)
            events += note
            identifiers += [(category, value) for category, values in found.items() for value in values]
        if given.dialogue:
            events += parse_turns(cells[given.dialogue], counts)
        if given.department and (department := to_text(cells[given.department])):
            events.append(Event(kind=EventKind.DEPARTMENT, text=department))
        time = self._time(cells, counts)
        return Part(*key, time, tuple(events), tuple(dict.fromkeys(identifiers)), self._codes(cells, counts))

    def _wide_events(self, cells: Cells) -> list[Event]:
        named = [(kind, label, to_text(cells[column])) for column, kind, label in self._wide]
        merged: dict[EventKind, list[str]] = {}
        for kind, label, text in named:
            if text:
                merged.setdefault(kind, []).append(self._labelled(label, text))
        return [Event(kind=kind, text="\n".join(texts)) for kind, texts in merged.items()]

    def _labelled(self, label: str, text: str) -> str:
        return f"{label}{'：' if self.language == 'zh' else ': '}{text}" if label else text

    def _long_event(self, cells: Cells, counts: Counter[str]) -> list[Event]:
        if not (self.given.kind and self.given.text):
            return []
        heading, text = to_text(cells[self.given.kind]), to_text(cells[self.given.text])
        if not text:
            counts["empty_sections"] += 1
            return []
        if heading in self._kinds:
            _, kind, label = self._kinds[heading]
            return [Event(kind=kind, text=self._labelled(label, text))]
        section = Section(EventKind(heading), False) if heading in _KINDS else parse_heading(heading, self.language)
        if section is None:  # late, so that nothing unknown is ever shown too early
            counts["unknown_headings"] += 1
            section = Section(EventKind.NOTE, is_part=True)
        return [Event(kind=section.kind, text=self._labelled(heading if section.is_part else "", text))]

    def _time(self, cells: Cells, counts: Counter[str]) -> datetime | None:
        if self.given.time is None:
            return None
        time = parse_time(cells[self.given.time])
        counts["rows_without_time"] += time is None
        return time

    def _codes(self, cells: Cells, counts: Counter[str]) -> tuple[str, ...]:
        if self.given.diagnosis_code is None:
            return ()
        codes = parse_codes(to_text(cells[self.given.diagnosis_code]))
        counts["no_icd_codes"] += codes is None
        return codes or ()


def _parse_section(column: str, value: str) -> _Column:
    """``kind`` or ``kind:label``; a column named as one part of its kind (过敏史) is its own label."""
    name, _, label = value.partition(":")
    if name not in _KINDS:
        raise ConfigError(f"records.sources.mapping: '{name}' is no kind of event", hint="kinds: " + ", ".join(_KINDS))
    section = parse_heading(column, "zh") or parse_heading(column, "en")
    is_part = section is not None and section.is_part
    return _Column(column, EventKind(name), label or (column.strip() if is_part else ""))


def _parse_category(value: str) -> Category:
    for category in _CATEGORIES:
        if category == value:
            return category
    known = ", ".join(_CATEGORIES)
    raise ConfigError(f"records.sources.mapping: '{value}' is no category of identifier", hint=f"known: {known}")
