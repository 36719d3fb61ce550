"""One row of a source to one record, or the reason why not: pure, so that it runs in any process in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from iimedgpt.config import RecordsConfig
from iimedgpt.entities import EntityTagger
from iimedgpt.io import Secret, json_line
from iimedgpt.records import forgotten
from iimedgpt.records.clean import clean
from iimedgpt.records.deid import Deidentifier
from iimedgpt.records.raw import Category, RawRecord, Span
from iimedgpt.records.readers import patient_namespace
from iimedgpt.records.residue import find_residues
from iimedgpt.records.time_limit import TookTooLongError, time_limit
from iimedgpt.types import Event, Provenance, Record


@dataclass(frozen=True)
class SourceRow:
    """A row as read, identifiers inside, and where it stood."""

    reader: str
    file: str
    file_sha256: str
    raw: RawRecord


@dataclass(frozen=True)
class Outcome:
    """What became of a row: a record ready to be written, or the reason why there is none.

    It leaves the process that made it, so it holds no raw text.
    """

    item_id: str  # the record's id; of a forgotten patient, their mark
    reason: str | None = None
    line: str = ""  # the record as a line of JSON
    patient_id: str = ""
    source: str = ""
    language: str = ""
    caveats: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    replaced: Counter[Category] = field(default_factory=Counter)
    residues: Counter[Category] = field(default_factory=Counter)
    positions: tuple[Span, ...] = ()


class Converter:
    """Rows to outcomes under one secret and one configuration.

    Args:
        load_tagger: makes the tagger, in the process that uses it; can be pickled.
    """

    def __init__(
        self,
        config: RecordsConfig,
        secret: Secret,
        forgotten_marks: Collection[str],
        load_tagger: Callable[[], EntityTagger] | None = None,
    ) -> None:
        self._config, self._secret, self._forgotten = config, secret, frozenset(forgotten_marks)
        self._load_tagger = load_tagger

    @cached_property
    def _deidentifier(self) -> Deidentifier:
        tagger = self._load_tagger() if self._load_tagger else None
        return Deidentifier(self._secret, self._config.surrogates, tagger)

    def __call__(self, row: SourceRow) -> Outcome:
        raw, namespace = row.raw, patient_namespace(row.reader)
        patient_id = self._secret.id("patient", namespace, raw.patient_key)
        if self._forgotten and (mark := forgotten.mark(self._secret, patient_id)) in self._forgotten:
            return Outcome(mark, "forgotten")
        record_id = self._secret.id("record", row.reader, raw.patient_key, raw.encounter_key)
        deidentifier = self._deidentifier  # a model that does not load stops the stage, not the record
        try:
            with time_limit(self._config.max_seconds):
                scrubbed = deidentifier.deidentify(raw)
                residues = find_residues(scrubbed.typed, raw.identifiers)
        except TookTooLongError:
            return Outcome(record_id, "deid_timeout")
        except Exception:  # whatever a recogniser trips over, the record is quarantined, never emitted
            return Outcome(record_id, "deid_failed")
        if residues:
            return Outcome(record_id, f"leak_{min(residues)}", source=row.reader, residues=residues)
        events, reason = clean(scrubbed.events, self._config.max_text_chars)
        if reason is not None:
            return Outcome(record_id, reason)
        record = self._record(row, record_id, patient_id, events)
        return Outcome(
            record_id,
            line=json_line(record),
            patient_id=patient_id,
            source=row.reader,
            language=raw.language,
            caveats=raw.caveats,
            kinds=tuple(event.kind.value for event in events),
            replaced=scrubbed.counts,
            positions=scrubbed.positions,
        )

    def _record(self, row: SourceRow, record_id: str, patient_id: str, events: tuple[Event, ...]) -> Record:
        raw, namespace = row.raw, patient_namespace(row.reader)
        return Record(
            record_id=record_id,
            patient_id=patient_id,
            encounter_id=self._secret.id("encounter", namespace, raw.patient_key, raw.encounter_key),
            source=row.reader,
            language=raw.language,
            events=events,
            provenance=Provenance(
                reader=row.reader,
                file=Path(row.file).name,
                file_sha256=row.file_sha256,  # empty for the synthetic generator, which reads no file
                row=raw.row,
                is_synthetic=raw.is_synthetic,
                caveats=raw.caveats,
                license=raw.license,
            ),
            started=self._shifted(raw),
            diagnosis_codes=raw.diagnosis_codes,
        )

    def _shifted(self, raw: RawRecord) -> str | None:
        """The encounter's start, moved like every date of the patient: intervals between encounters stay."""
        if raw.started is None:
            return None
        days = timedelta(days=self._deidentifier.shift_days(raw.patient_key))
        return (raw.started + days).isoformat(timespec="minutes")
