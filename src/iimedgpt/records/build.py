"""The records stage: sources → de-identified, clean records under unguessable ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from iimedgpt import io, progress
from iimedgpt.config import RunConfig
from iimedgpt.io import Secret
from iimedgpt.records import forgotten
from iimedgpt.records.clean import clean
from iimedgpt.records.deid import Deidentifier
from iimedgpt.records.raw import Category, RawRecord
from iimedgpt.records.readers import Rejected, find_source_files, patient_namespace, read_source
from iimedgpt.run import StageContext
from iimedgpt.types import Event, Provenance, Record

RECORDS = "records.jsonl"


def inputs(config: RunConfig) -> dict[str, Path]:
    """Every file the stage reads, by "source:path relative to the source".

    Raises:
        ConfigError, DataError: a source has no path, or nothing is there; a forgetting was cut off.
    """
    forgotten.check_finished(config)
    found: dict[str, Path] = {}
    for number, source in enumerate(config.records.sources):
        for name, path in find_source_files(source, config).items():
            key = f"{source.reader}:{name}"
            # two sources of one reader may hold files of one name
            found[key if key not in found else f"{source.reader}[{number}]:{name}"] = path
    ledger = forgotten.ledger_path(config)
    return {**found, forgotten.LEDGER: ledger} if ledger.exists() else found


def run(ctx: StageContext) -> None:
    """Read, de-identify, clean and write ``records.jsonl``; every row is kept or dropped with a reason.

    Raises:
        DataError: an input is structurally wrong, or too large a share of rows was dropped.
    """
    tally = _Tally()
    io.write_jsonl(ctx.output(RECORDS), _Builder(ctx, Secret.load(), tally).build())
    ctx.facts.update(tally.facts())
    ctx.check_drops(ctx.config.records.max_drop_frac)


@dataclass
class _Tally:
    """What the stage tells about itself: counts only, never text."""

    records: Counter[str] = field(default_factory=Counter)
    patients: dict[str, set[str]] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    deid: Counter[Category] = field(default_factory=Counter)
    reading: dict[str, Counter[str]] = field(default_factory=dict)
    caveats: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        self.records[record.source] += 1
        self.patients.setdefault(record.source, set()).add(record.patient_id)
        self.events.update(event.kind.value for event in record.events)
        self.caveats.setdefault(record.source, {}).update(dict.fromkeys(record.provenance.caveats))

    def facts(self) -> dict[str, Any]:
        counted = {source: dict(sorted((+counts).items())) for source, counts in self.reading.items()}
        return {
            "n_records": dict(self.records),
            "n_patients": {source: len(ids) for source, ids in self.patients.items()},
            "n_events": dict(sorted(self.events.items())),
            "n_deidentified": dict(sorted(self.deid.items())),
            "n_turns_cut": sum(counts["n_turns_cut"] for counts in self.reading.values()),
            "reading": counted,
            "caveats": {source: list(caveats) for source, caveats in self.caveats.items()},
        }


class _Builder:
    """Rows of sources to records. Nothing of the raw text leaves it."""

    def __init__(self, ctx: StageContext, secret: Secret, tally: _Tally) -> None:
        self._ctx, self._secret, self._tally = ctx, secret, tally
        self._deidentifier = Deidentifier(secret)
        self._forgotten = forgotten.read_ledger(ctx.config)
        self._seen: set[str] = set()

    def build(self) -> Iterator[Record]:
        """Records of all sources in the order of the configuration and of the rows."""
        for source in self._ctx.config.records.sources:
            files = find_source_files(source, self._ctx.config)
            hashes = {name: io.sha256_file(path) for name, path in files.items()}
            counts = self._tally.reading.setdefault(source.reader, Counter())
            rows = read_source(source, self._ctx.config, counts)
            for row in progress.track(rows, f"records {source.reader}", source.n_max):
                if isinstance(row.item, Rejected):
                    self._ctx.drop(f"{source.reader}:{row.file}:{row.item.row}", row.item.reason)
                    continue
                record = self._build_record(source.reader, row.file, hashes.get(row.file, ""), row.item)
                if record is not None:
                    self._ctx.keep()
                    yield record

    def _build_record(self, reader: str, file: str, file_sha256: str, raw: RawRecord) -> Record | None:
        """The record, or None where it was dropped and counted."""
        namespace = patient_namespace(reader)
        patient_id = self._secret.id("patient", namespace, raw.patient_key)
        if self._forgotten and (mark := forgotten.mark(self._secret, patient_id)) in self._forgotten:
            self._ctx.drop(mark, "forgotten")
            return None
        record_id = self._secret.id("record", reader, raw.patient_key, raw.encounter_key)
        events = self._clean_events(record_id, raw)
        if events is None:
            return None
        record = Record(
            record_id=record_id,
            patient_id=patient_id,
            encounter_id=self._secret.id("encounter", namespace, raw.patient_key, raw.encounter_key),
            source=reader,
            language=raw.language,
            events=events,
            provenance=Provenance(
                reader=reader,
                file=Path(file).name,
                file_sha256=file_sha256,  # empty for the synthetic generator, which reads no file
                row=raw.row,
                is_synthetic=raw.is_synthetic,
                caveats=raw.caveats,
                license=raw.license,
            ),
            started=self._shifted(raw),
            diagnosis_codes=raw.diagnosis_codes,
        )
        self._seen.add(record_id)
        self._tally.add(record)
        return record

    def _shifted(self, raw: RawRecord) -> str | None:
        """The encounter's start, moved like every date of the patient: intervals between encounters stay."""
        if raw.started is None:
            return None
        days = timedelta(days=self._deidentifier.shift_days(raw.patient_key))
        return (raw.started + days).isoformat(timespec="minutes")

    def _clean_events(self, record_id: str, raw: RawRecord) -> tuple[Event, ...] | None:
        if record_id in self._seen:
            self._ctx.drop(record_id, "duplicate_record")
            return None
        try:
            scrubbed = self._deidentifier.deidentify(raw)
        except Exception:  # whatever a recogniser trips over, the record is quarantined, never emitted
            self._ctx.drop(record_id, "deid_failed")
            return None
        events, reason = clean(scrubbed.events, self._ctx.config.records.max_text_chars)
        if reason is not None:
            self._ctx.drop(record_id, reason)
            return None
        self._tally.deid.update(scrubbed.counts)
        return events
