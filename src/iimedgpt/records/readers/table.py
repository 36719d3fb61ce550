"""Tables of any format through a mapping: csv, tsv, json, jsonl, parquet, excel, sql."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from iimedgpt.config import RecordSource
from iimedgpt.records.readers import sql
from iimedgpt.records.readers.encounters import Key, Merger, Numbered, find_scattered
from iimedgpt.records.readers.formats import FORMATS, Cells, Table, format_of
from iimedgpt.records.readers.mapping import Mapping
from iimedgpt.records.readers.names import MAX_SHOWN, check_columns, label_files, show_name
from iimedgpt.records.readers.rows import Files, Reader, Row, find_files

log = logging.getLogger(__name__)


def find_table_files(path: Path, source: RecordSource) -> Files:
    """The files of a source under names that may be shown; none for a database server.

    Raises:
        ConfigError: the mapping is wrong.
        DataError: nothing is there.
    """
    Mapping(source)
    if source.format == "sql":
        return sql.find_database(source)
    formats = FORMATS.values() if source.format == "auto" else [FORMATS[source.format]]
    found = find_files(path, [f"*{suffix}" for form in formats for suffix in form.suffixes])
    return label_files(path, found)


def read_table(files: Files, source: RecordSource, counts: Counter[str], n_rows: int | None = None) -> Iterator[Row]:
    """Records and rejections of a source; with ``n_rows`` of its first rows only (for a preview).

    Raises:
        DataError: a mapped column is absent, a file is no table, a database refused, or rows of too
            many encounters are mixed.
    """
    mapping = Mapping(source)
    sheets = [] if source.format == "sql" else _sheets(files, source)
    unmapped = _check(mapping, sheets, source)
    counts["unmapped_columns"] += len(unmapped)
    counts.update(f"unmapped: {name}" for name in unmapped[:MAX_SHOWN])
    if unmapped and n_rows is None:
        more = f" and {len(unmapped) - MAX_SHOWN} more" if len(unmapped) > MAX_SHOWN else ""
        log.warning("columns that the mapping does not speak of: %s%s", ", ".join(unmapped[:MAX_SHOWN]), more)
    is_grouped = source.format == "sql" or mapping.given.encounter is None  # the database sorts
    scattered = {} if is_grouped else find_scattered(_keys(sheets, mapping, n_rows))
    merger = Merger(scattered, source.language, source.max_held_mb, counts)
    return merger.merge(islice(_parts(sheets, source, mapping, counts), n_rows))


def _sheets(files: Files, source: RecordSource) -> list[tuple[str, Table]]:
    """(label, table); messages call a file by its label under the configured path."""
    folder = Path(source.path or "")
    is_one = len(files) == 1 and folder.name in files
    return [(label, Table(path, str(folder if is_one else folder / label), source)) for label, path in files.items()]


def _check(mapping: Mapping, sheets: Sequence[tuple[str, Table]], source: RecordSource) -> list[str]:
    """Names of the unmapped columns, those that may be shown."""
    named = {*mapping.columns, *mapping.given.ignore}
    unmapped: dict[str, None] = {}
    tables = [(table.place, format_of(table.path, source.format).columns(table)) for _, table in sheets]
    for place, columns in tables or [(sql.PLACE, sql.read_columns(source))]:
        check_columns(mapping.columns, columns, place, None if source.format == "sql" else 1, named)
        unmapped.update({show_name(name, place, named): None for place, name in mapping.unmapped(columns)})
    return list(unmapped)


def _keys(sheets: Sequence[tuple[str, Table]], mapping: Mapping, n_rows: int | None) -> Iterator[Key]:
    for _, _, cells in islice(_rows(sheets, mapping.keys), n_rows):
        key = cells if isinstance(cells, str) else mapping.key(cells)
        if not isinstance(key, str):
            yield key


def _parts(
    sheets: Sequence[tuple[str, Table]], source: RecordSource, mapping: Mapping, counts: Counter[str]
) -> Iterator[Numbered]:
    rows: Iterator[tuple[str, int, Cells | str]] = _rows(sheets, mapping.columns)
    if source.format == "sql":
        order = mapping.keys if mapping.given.encounter else []
        rows = ((sql.PLACE, number, cells) for number, cells in sql.read_rows(source, mapping.columns, order))
    for label, number, cells in rows:
        yield label, number, cells if isinstance(cells, str) else mapping.parse(cells, counts)


def _rows(sheets: Sequence[tuple[str, Table]], wanted: Sequence[str]) -> Iterator[tuple[str, int, Cells | str]]:
    for label, table in sheets:
        form = format_of(table.path, table.source.format)
        for number, cells in form.rows(table, wanted):
            yield label, number, cells


READER = Reader(find_table_files, read_table)
