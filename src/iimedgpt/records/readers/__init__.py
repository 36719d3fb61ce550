"""Readers: one per source format, each from files to raw records or counted rejections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from iimedgpt.config import RecordSource, RunConfig
from iimedgpt.errors import ConfigError
from iimedgpt.records.readers import ai_hospital, dialmed, documents, easymed, english, jsonl, table
from iimedgpt.records.readers.rows import Files, Reader, Rejected, Row

__all__ = ["SYNTHETIC", "Rejected", "Row", "find_source_files", "patient_namespace", "preview_source", "read_source"]

SYNTHETIC = "synthetic"
DEFAULT_N_SYNTHETIC = 200
PREVIEW_ROWS_PER_RECORD = 50

_READERS: dict[str, Reader] = {
    "table": table.READER,
    "notes": documents.NOTES_READER,
    "dialogues": documents.DIALOGUES_READER,
    "jsonl": jsonl.READER,
    "ai_hospital_records": ai_hospital.RECORDS_READER,
    "ai_hospital": ai_hospital.READER,
    "easymed_spbench": easymed.READER,
    "dialmed": dialmed.READER,
    "mts_dialog": english.MTS_READER,
    "aci_bench": english.ACI_READER,
}
# Both sets number the same patients: one patient must not stand on two sides of a split.
_NAMESPACES = {"ai_hospital_records": "ai_hospital"}


def patient_namespace(reader: str) -> str:
    """The space of numbers in which a source's patient keys are unique."""
    return _NAMESPACES.get(reader, reader)


def find_source_files(source: RecordSource, config: RunConfig) -> Files:
    """Every file the source's reader opens, by its path relative to the source.

    Raises:
        ConfigError: a source of files without a path.
        DataError: the path does not exist or holds no file of the source.
    """
    if source.reader == SYNTHETIC:
        return {}
    if source.path is None and source.format != "sql":
        raise ConfigError(f"records.sources: reader '{source.reader}' needs a path")
    return _READERS[source.reader].files(config.data_path(source.path or ""), source)


def read_source(source: RecordSource, config: RunConfig, counts: Counter[str]) -> Iterator[Row]:
    """Rows of a source in file order, at most ``n_max``; ``counts`` gets what rows do not tell.

    Raises:
        DataError: the input is structurally wrong (missing, not JSON, a required field missing).
    """
    if source.reader == SYNTHETIC:
        return _read_synthetic(source, config)
    files = find_source_files(source, config)
    return islice(_READERS[source.reader].read(files, source, counts), source.n_max)


def preview_source(source: RecordSource, config: RunConfig, n_records: int, counts: Counter[str]) -> Iterator[Row]:
    """Rows of a source as ``read_source`` gives them, of a table from its first rows only."""
    files = find_source_files(source, config)
    if source.reader == "table":
        return table.read_table(files, source, counts, n_rows=PREVIEW_ROWS_PER_RECORD * n_records)
    return read_source(source, config, counts)


def _read_synthetic(source: RecordSource, config: RunConfig) -> Iterator[Row]:
    from iimedgpt.records import synthetic

    n = source.n_max or DEFAULT_N_SYNTHETIC
    return (Row(SYNTHETIC, raw) for raw in synthetic.generate(n, config.seed))
