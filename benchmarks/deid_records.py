"""Records of the de-identification benchmark: templates filled with identifiers whose places are known."""

from __future__ import annotations

import random
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from types import MappingProxyType
from typing import Literal, cast

from benchmarks.deid_dates import Spelled, draw_age, spell_date, spell_range, spell_relative
from benchmarks.deid_people import (
    MATERIAL,
    Person,
    Value,
    draw_address,
    draw_organisation,
    draw_person,
    name_value,
)
from benchmarks.deid_values import FILLERS, draw_id_card, draw_number, draw_phone
from iimedgpt.records.raw import Category, RawRecord
from iimedgpt.types import Event, EventKind, Language

SHARE_IN_COLUMNS = 0.35  # of a record's identifiers, those the structured fields hold too

Stratum = Literal["dictionary", "labelled", "bare"]

_SLOT = re.compile(r"\{([=%~]?)(\w+)(?:\|(\w+))?\}")
_PEOPLE = frozenset({"patient", "relative", "relative2", "doctor", "doctor2", "doctor3", "nurse", "nurse2"}) | {
    "person",
    "person2",
}
_PLACES = frozenset(
    ["address", "address2", "address_home", "address_street", "place_road", "community", "village", "town", "hometown"]
)
_ORGANISATIONS = frozenset({"hospital", "hospital2", "ward", "bed", "bed2", "employer", "occupation"})
_PHONES = frozenset({"mobile", "mobile2", "landline", "phone", "phone_hk", "mobile_full_width", "mobile_cn"})


@dataclass(frozen=True)
class Template:
    """One note with slots; ``file`` names the kind of note."""

    id: str
    file: str
    language: Language
    text: str


@dataclass(frozen=True)
class Gold:
    """One identifier's place, end exclusive, in characters of one event.

    ``category`` is the reporting row: a records ``Category``, or ward, occupation, date_relative, which are
    measured apart. ``parts`` are the pieces of which none may stay. Neutral stretches have no parts.
    """

    event: int
    start: int
    end: int
    category: str
    kind: str
    stratum: Stratum
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Filled:
    """A record and the truth about it."""

    template: Template
    raw: RawRecord
    golds: tuple[Gold, ...]
    neutral: tuple[tuple[int, int, int], ...]  # (event, start, end)


@cache
def templates() -> tuple[Template, ...]:
    """Every template, by file and number."""
    found = []
    for path in sorted(MATERIAL.glob("*.toml")):
        for item in tomllib.loads(path.read_text(encoding="utf-8")).get("template", []):
            language: Language = "en" if path.stem == "english" else "zh"
            found.append(Template(item["id"], path.stem, language, item["text"].strip()))
    return tuple(found)


def fill(template: Template, number: int, seed: int = 0) -> Filled:
    """The template with values drawn for its ``number``-th record; equal arguments give equal records."""
    return _Filling(template, random.Random(f"{seed}:{template.id}:{number}")).fill(number)


@dataclass
class _Filling:
    """One record in the making: an identity's value is drawn once and may be written several times."""

    template: Template
    rng: random.Random
    people: dict[str, Person] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    days: dict[str, date] = field(default_factory=dict)
    in_columns: dict[str, bool] = field(default_factory=dict)
    columns: defaultdict[Category, list[str]] = field(default_factory=lambda: defaultdict(list))
    golds: list[Gold] = field(default_factory=list)
    neutral: list[tuple[int, int, int]] = field(default_factory=list)

    def fill(self, number: int) -> Filled:
        first = date(2015, 1, 1) + timedelta(days=self.rng.randrange(4000))
        self.days = {
            "date": first,
            "date2": first + timedelta(days=self.rng.randint(2, 40)),
            "birth": date(1935, 1, 1) + timedelta(days=self.rng.randrange(28000)),
        }
        events = tuple(
            Event(kind=kind, text=self._fill_text(index, text), speaker=None)
            for index, (kind, text) in enumerate(self._split())
        )
        raw = RawRecord(
            patient_key=f"{self.template.id}/{number}",
            encounter_key="1",
            row=number,
            language=self.template.language,
            events=events,
            identifiers=MappingProxyType({key: tuple(dict.fromkeys(found)) for key, found in self.columns.items()}),
        )
        return Filled(self.template, raw, tuple(self.golds), tuple(self.neutral))

    def _split(self) -> Iterator[tuple[EventKind, str]]:
        if self.template.file != "dialogues":
            yield EventKind.NOTE, self.template.text
            return
        for line in self.template.text.splitlines():
            yield EventKind.TURN, line.partition("：")[2]

    def _fill_text(self, event: int, text: str) -> str:
        out: list[str] = []
        length = end = 0
        for slot in _SLOT.finditer(text):
            before = text[end : slot.start()]
            mark, name, form = slot.group(1), slot.group(2), slot.group(3) or ""
            written = self._write(event, length + len(before), mark, name, form)
            out += [before, written]
            length += len(before) + len(written)
            end = slot.end()
        return "".join(out) + text[end:]

    def _write(self, event: int, start: int, mark: str, name: str, form: str) -> str:
        """The slot's text; what it identifies is noted."""
        if mark == "%":
            return FILLERS[name](self.rng)
        if name == "year":
            self.neutral.append((event, start, start + 4))
            return str(self.days["date"].year - self.rng.randint(1, 12))
        if name in ("date", "date2", "birth", "month", "range", "reldate"):
            return self._write_date(event, start, mark, name, form)
        value = self._value(name, form)
        stratum: Stratum = "labelled" if mark == "=" else "bare"
        if value.column and self._is_in_columns(name, value):
            stratum = "dictionary"
        row = {"ward": "ward", "bed": "ward", "occupation": "occupation"}.get(value.kind, value.category)
        self.golds.append(Gold(event, start, start + len(value.text), row, value.kind, stratum, value.parts))
        return value.text

    def _write_date(self, event: int, start: int, mark: str, name: str, form: str) -> str:
        stratum: Stratum = "labelled" if mark == "=" else "bare"
        if name == "reldate":
            text = spell_relative(self.rng)
            self.golds.append(Gold(event, start, start + len(text), "date_relative", "relative", stratum, (text,)))
            return text
        if name == "range":
            spelled = spell_range(self.rng, self.days["date"], self.days["date2"])
        else:
            day = self.days["date" if name == "month" else name]
            spelled = spell_date(self.rng, day, "year_month" if name == "month" else form, self.template.language)
        self._note_dates(event, start, spelled, stratum)
        return spelled.text

    def _note_dates(self, event: int, start: int, spelled: Spelled, stratum: Stratum) -> None:
        end = 0
        for first, last, kind, numbers in spelled.dates:
            if first > end:
                self.neutral.append((event, start + end, start + first))
            self.golds.append(Gold(event, start + first, start + last, "date", kind, stratum, numbers))
            end = last
        if end < len(spelled.text):
            self.neutral.append((event, start + end, start + len(spelled.text)))

    def _value(self, name: str, form: str) -> Value:
        if name in _PEOPLE:
            return name_value(self.rng, self._person(name), form)
        if name not in self.values:
            self.values[name] = self._draw(name)
        return self.values[name]

    def _person(self, name: str) -> Person:
        if name not in self.people:
            slots = _SLOT.finditer(self.template.text)
            forms = frozenset(slot.group(3) or "" for slot in slots if slot.group(2) == name)
            drawn = draw_person(self.rng, self.template.language, forms)
            while any(drawn.full == other.full or drawn.surname == other.surname for other in self.people.values()):
                drawn = draw_person(self.rng, self.template.language, forms)
            self.people[name] = drawn
        return self.people[name]

    def _draw(self, name: str) -> Value:
        language = self.template.language
        if name in _PLACES:
            return draw_address(self.rng, name, language)
        if name in _ORGANISATIONS:
            return draw_organisation(self.rng, name, language)
        if name in _PHONES:
            return draw_phone(self.rng, name.rstrip("2"), language)
        if name.startswith("idcard"):
            value = draw_id_card(self.rng, language)
            while self.template.file == "dialogues" and "\n" in value.text:  # a turn is one line
                value = draw_id_card(self.rng, language)
            return value
        if name.startswith("age90"):
            return draw_age(self.rng, language)
        return draw_number(self.rng, name, language)

    def _is_in_columns(self, name: str, value: Value) -> bool:
        if value.category == "age" or value.kind in ("ward", "bed", "occupation"):
            return False
        if name not in self.in_columns:
            self.in_columns[name] = self.rng.random() < SHARE_IN_COLUMNS
            if self.in_columns[name]:
                self.columns[cast(Category, value.category)].append(value.column)
        return self.in_columns[name]


@dataclass(frozen=True)
class Trap:
    """A medical expression in a carrying sentence: nothing of it may change."""

    group: str
    expression: str
    language: Language
    text: str


@cache
def traps() -> tuple[Trap, ...]:
    """Every trap in every carrying sentence of its group."""
    found = []
    for group in tomllib.loads((MATERIAL / "traps.toml").read_text(encoding="utf-8"))["group"]:
        for expression in group["expressions"].strip().splitlines():
            for carrier in group["carriers"]:
                text = carrier.replace("{}", expression)
                found.append(Trap(group["name"], expression, group.get("language", "zh"), text))
    return tuple(found)
