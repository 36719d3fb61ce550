"""The records stage: sources → de-identified, clean records under unguessable ids, and a verdict on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iimedgpt import gate, io, progress
from iimedgpt.config import RunConfig
from iimedgpt.entities import EntityTagger
from iimedgpt.errors import ConfigError
from iimedgpt.gate import REPORT
from iimedgpt.io import Secret
from iimedgpt.records import forgotten
from iimedgpt.records.convert import Converter, Outcome, SourceRow
from iimedgpt.records.deid_report import DeidReport
from iimedgpt.records.raw import Category
from iimedgpt.records.readers import Rejected, find_source_files, read_source
from iimedgpt.records.seen import Seen
from iimedgpt.run import StageContext
from iimedgpt.workers import Workforce, map_ordered

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


def run(ctx: StageContext, load_tagger: Callable[[], EntityTagger] | None = None) -> None:
    """Read, de-identify, look again, clean and write ``records.jsonl``; every row is kept or dropped with a reason.

    ``deid.json`` tells what was replaced and whether the records pass the leak gate.

    Args:
        load_tagger: makes the tagger of ``records.ner`` in each process; can be pickled.

    Raises:
        DataError: an input is structurally wrong, or too large a share of rows was dropped.
        ConfigError: English records without the configuration's leave.
        IIMedGPTError: a worker process ended.
    """
    config, secret = ctx.config, Secret.load()
    tally, report = _Tally(), DeidReport()
    marks = forgotten.read_ledger(config)
    rows = _rows(ctx, tally)
    arguments = (config.records, secret, tuple(marks), load_tagger)
    outcomes = map_ordered(Converter, arguments, rows, Workforce.of(config, ctx.directory))
    with io.JsonlWriter(ctx.output(RECORDS)) as out:
        for outcome in outcomes:
            report.add(outcome)
            reason = outcome.reason or ("duplicate_record" if tally.has(outcome) else None)
            if reason is not None:
                ctx.drop(outcome.item_id, reason)
                continue
            tally.add(outcome)
            out.write_line(outcome.line)
            ctx.keep()
    verdict = report.verdict(config.records)
    io.write_json(ctx.output(REPORT), report.as_json(verdict, ctx.n_dropped))
    ctx.facts.update(tally.facts() | {"leak_gate": verdict.model_dump(mode="json")})
    if gate.is_accepted(config):
        ctx.facts["leaks_accepted"] = True
    ctx.check_drops(config.records.max_drop_frac)


@dataclass
class _Tally:
    """What the stage tells about itself: counts only, never text."""

    records: Counter[str] = field(default_factory=Counter)
    patients: dict[str, Seen] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    deid: Counter[Category] = field(default_factory=Counter)
    reading: dict[str, Counter[str]] = field(default_factory=dict)
    caveats: dict[str, dict[str, None]] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)

    def has(self, outcome: Outcome) -> bool:
        """True where the same record was added before."""
        return outcome.item_id in self.seen

    def add(self, outcome: Outcome) -> None:
        self.seen.add(outcome.item_id)
        self.records[outcome.source] += 1
        self.patients.setdefault(outcome.source, Seen()).add(outcome.patient_id)
        self.events.update(outcome.kinds)
        self.deid.update(outcome.replaced)
        self.caveats.setdefault(outcome.source, {}).update(dict.fromkeys(outcome.caveats))

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


def _rows(ctx: StageContext, tally: _Tally) -> Iterator[SourceRow]:
    """Rows of all sources in the order of the configuration and of the files; rejected ones are dropped here."""
    for source in ctx.config.records.sources:
        files = find_source_files(source, ctx.config)
        hashes = {name: io.sha256_file(path) for name, path in files.items()}
        counts = tally.reading.setdefault(source.reader, Counter())
        rows = read_source(source, ctx.config, counts)
        for row in progress.track(rows, f"records {source.reader}", source.n_max):
            if isinstance(row.item, Rejected):
                ctx.drop(f"{source.reader}:{row.file}:{row.item.row}", row.item.reason)
                continue
            if row.item.language == "en" and not ctx.config.records.allow_english:
                raise ConfigError(
                    f"records.sources: '{source.reader}' holds English records, whose de-identification misses more",
                    hint="docs/records.md has what was measured; records.allow_english = true reads them",
                )
            yield SourceRow(source.reader, row.file, hashes.get(row.file, ""), row.item)
