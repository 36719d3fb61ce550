"""A clinician's own words are de-identified before they are stored."""

from __future__ import annotations

from dataclasses import dataclass

from iimedgpt.io import Secret
from iimedgpt.records.deid import Deidentifier
from iimedgpt.records.deid.deidentifier import PLACEHOLDERS
from iimedgpt.records.raw import RawRecord
from iimedgpt.types import Event, EventKind, Language


@dataclass(frozen=True)
class Edit:
    """De-identified text, and how many identifiers it lost."""

    text: str
    n_replaced: int


def deidentify(text: str, language: Language, secret: Secret) -> Edit:
    """By shape alone: the patient's own names and numbers are gone by design.

    Dates become placeholders. A shift would be wrong: what was copied from the record has been
    shifted already.
    """
    raw = RawRecord("edit", "edit", 0, language, (Event(kind=EventKind.NOTE, text=text),))
    scrubbed = Deidentifier(secret).deidentify(raw)
    if not scrubbed.typed:
        return Edit("", 0)
    clean = scrubbed.typed[0].text
    for span in reversed(scrubbed.positions):
        if span.category == "date":
            clean = clean[: span.start] + PLACEHOLDERS[language]["date"] + clean[span.end :]
    return Edit(clean, len(scrubbed.positions))
