"""Rows → encounters, in bounded memory.

Rows of one encounter mostly stand together. A first pass over the keys alone (eight bytes a run of
rows) tells which do not; only those are held until their last row has come.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from iimedgpt.errors import DataError
from iimedgpt.records.raw import Category, RawRecord
from iimedgpt.records.readers.mapping import Part
from iimedgpt.records.readers.rows import Rejected, Row
from iimedgpt.text import content_id
from iimedgpt.types import Event, EventKind, Language

Key = tuple[str, str]  # patient, encounter
Numbered = tuple[str, int, Part | str]  # file, row, its part or the reason why there is none


def hash_key(key: Key) -> int:
    """64 bits: two of ten million keys collide with a chance of 3 in a million."""
    raw = json.dumps(key).encode()
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")


def find_scattered(keys: Iterable[Key]) -> dict[int, int]:
    """Hash → number of runs of rows, of the keys that have more than one run. 8 bytes a run."""
    runs = array("Q")
    last: Key | None = None
    for key in keys:
        if key != last:
            runs.append(hash_key(key))
            last = key
    hashes, n_runs = np.unique(np.frombuffer(runs, dtype=np.uint64), return_counts=True)
    is_scattered = n_runs > 1
    return dict(zip(hashes[is_scattered].tolist(), n_runs[is_scattered].tolist(), strict=True))


@dataclass
class _Open:
    """An encounter whose rows are still coming."""

    file: str
    row: int  # the first
    parts: list[Part] = field(default_factory=list)
    n_bytes: int = 0

    def add(self, part: Part) -> int:
        n_bytes = 2 * part.n_chars + 500  # Chinese text takes two bytes a character, objects some more
        self.parts.append(part)
        self.n_bytes += n_bytes
        return n_bytes


class Merger:
    """Merges rows into raw records, each when its last row has come."""

    def __init__(self, scattered: dict[int, int], language: Language, max_held_mb: int, counts: Counter[str]) -> None:
        self._left = scattered
        self._language, self._max_held_mb, self._counts = language, max_held_mb, counts
        self._held: dict[Key, _Open] = {}
        self._n_held = 0  # bytes

    def merge(self, rows: Iterable[Numbered]) -> Iterator[Row]:
        """Records and rejections.

        Raises:
            DataError: more text has to be held than was allowed.
        """
        key: Key | None = None
        for file, row, part in rows:
            self._counts["rows"] += 1
            if isinstance(part, str):
                yield Row(file, Rejected(row, part))
                continue
            if not part.encounter:
                if key is not None:
                    yield from self._close(key)
                    key = None
                yield self._build(_Open(file, row, [part]))
                continue
            new = (part.patient, part.encounter)
            if new != key:
                if key is not None:
                    yield from self._close(key)
                key = new
            held = self._held.setdefault(new, _Open(file, row))
            self._counts["merged_rows"] += bool(held.parts)
            self._n_held += held.add(part)
            if self._n_held > self._max_held_mb * 2**20:
                self._refuse(file, row)
        for last in list(self._held):
            yield self._build(self._held.pop(last))

    def _close(self, key: Key) -> Iterator[Row]:
        """A run of rows has ended: the record, unless more runs are to come."""
        hashed = hash_key(key)
        left = self._left.get(hashed, 1) - 1
        if left > 0:
            self._left[hashed] = left
            return
        held = self._held.pop(key)
        self._n_held -= held.n_bytes
        yield self._build(held)

    def _refuse(self, file: str, row: int) -> None:
        raise DataError(
            f"rows of {len(self._held)} encounters are mixed, and their text is more than {self._max_held_mb} MiB",
            path=file,
            line=row,
            expected="rows of one encounter near each other",
            hint="sort the export by patient and encounter, read it through SQL, or raise max_held_mb",
        )

    def _build(self, held: _Open) -> Row:
        first = held.parts[0]
        times = [part.time for part in held.parts if part.time is not None]
        started = min(times, default=None)
        events = _events(held.parts, started, self._counts)
        if not events:
            return Row(held.file, Rejected(held.row, "empty_record"))
        # without an id of its own an encounter is known by its content (and time), so that a
        # repeated row is a duplicate and a second visit is not
        content = [f"{event.kind} {event.speaker} {event.text}" for event in events]
        encounter = first.encounter or content_id(str(started), *content)
        record = RawRecord(
            patient_key=first.patient or encounter,
            encounter_key=encounter,
            row=held.row,
            language=self._language,
            events=events,
            identifiers=_identifiers(held.parts),
            started=started,
            diagnosis_codes=tuple(dict.fromkeys(code for part in held.parts for code in part.codes)),
        )
        return Row(held.file, record)


def _events(parts: list[Part], started: datetime | None, counts: Counter[str]) -> tuple[Event, ...]:
    """Events in order of time, then of rows; the same section of the same time is taken once."""
    ordered = sorted(parts, key=lambda part: part.time or datetime.max)
    seen: set[tuple[EventKind, str, int | None]] = set()
    events: list[Event] = []
    for part in ordered:
        minutes = None if part.time is None or started is None else int((part.time - started).total_seconds()) // 60
        for event in part.events:
            what = (event.kind, event.text, minutes)
            if event.kind is not EventKind.TURN and what in seen:
                counts["repeated_sections"] += 1
                continue
            seen.add(what)
            events.append(event if minutes is None else event.model_copy(update={"time": minutes}))
    return tuple(events)


def _identifiers(parts: list[Part]) -> dict[Category, tuple[str, ...]]:
    found: dict[Category, dict[str, None]] = {}
    for part in parts:
        for category, value in part.identifiers:
            found.setdefault(category, {})[value] = None
    return {category: tuple(values) for category, values in found.items()}
