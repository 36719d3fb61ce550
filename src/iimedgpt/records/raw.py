"""A record as a source gives it, identifiers still inside, and what de-identification makes of it.

The first lives in memory only, never on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from iimedgpt.types import Event, Language

Category = Literal[
    "name",
    "id_card",
    "passport",
    "phone",
    "email",
    "account",  # WeChat, QQ
    "address",
    "hospital",
    "medical_number",  # 住院号, 门诊号, 病案号, 医保号, barcode
    "date",
    "age",  # 90 and older
    "employer",
    "plate",
    "bank_card",
]


@dataclass(frozen=True)
class Span:
    """One identifier's place in one event's text, end exclusive, in characters."""

    event: int
    start: int
    end: int
    category: Category


@dataclass(frozen=True)
class Scrubbed:
    """One encounter after de-identification.

    ``typed`` holds typed placeholders (what a leak gate reads), ``events`` what is written: equal to ``typed``
    unless surrogates are on. ``counts`` are replacements by category, ``positions`` their places in ``events``
    (index and characters of what stands there now), without text.
    """

    typed: tuple[Event, ...]
    events: tuple[Event, ...]
    counts: Counter[Category]
    positions: tuple[Span, ...]


@dataclass(frozen=True)
class RawRecord:
    """One encounter before de-identification.

    ``identifiers`` holds what the source's structured fields say of this patient (names, phones,
    numbers …): the patient's own dictionary, scrubbed from all of the record's text.
    ``spans`` is known for synthetic records only: the planted truth.
    """

    patient_key: str
    encounter_key: str
    row: int
    language: Language
    events: tuple[Event, ...]
    identifiers: Mapping[Category, tuple[str, ...]] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    caveats: tuple[str, ...] = ()
    license: str = "unstated"
    is_synthetic: bool = False
    started: datetime | None = None  # the true one: shifted before it leaves memory
    diagnosis_codes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"RawRecord(row={self.row}, n_events={len(self.events)})"
