"""Formats of tables, each as two functions: the columns that there are, and the rows, streaming.

A row is (its number or first line in the file, from 1; the wanted cells by column, or the reason in
snake_case why it has none).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from iimedgpt.config import RecordSource
from iimedgpt.errors import ConfigError, DataError, MissingExtraError
from iimedgpt.records.readers.cells import keys_of, pick
from iimedgpt.records.readers.lines import (
    Encoding,
    detect_encoding,
    open_bytes,
    read_delimited,
    read_text_lines,
)
from iimedgpt.records.readers.names import show_names

Cells = Mapping[str, object]
Numbered = tuple[int, Cells | str]

_SAMPLE_ROWS = 1_000
_BATCH_ROWS = 256


@dataclass(frozen=True)
class Table:
    """One file of a source; ``place`` is what messages call it."""

    path: Path
    place: str
    source: RecordSource

    @property
    def encoding(self) -> Encoding:
        given = self.source.encoding
        return detect_encoding(self.path, self.source.max_line_bytes) if given == "auto" else given


class Format(NamedTuple):
    """``columns`` may raise DataError where the file has none; ``rows`` never raises for a bad row."""

    suffixes: tuple[str, ...]
    columns: Callable[[Table], list[str]]
    rows: Callable[[Table, Sequence[str]], Iterator[Numbered]]


def _delimited(delimiter: str, *suffixes: str) -> Format:
    def read(table: Table) -> Iterator[tuple[int, list[str] | str]]:
        return read_delimited(table.path, delimiter, table.encoding, table.source.max_line_bytes)

    def columns(table: Table) -> list[str]:
        line, header = next(read(table), (1, []))
        if isinstance(header, str) or not header:
            problem = f"no header line ({header})" if header else "file is empty"
            raise DataError(problem, path=table.place, line=line, expected="a line with the columns' names")
        try:
            "".join(header).encode("utf-8")
        except UnicodeEncodeError:
            expected = f"{table.encoding} text"
            raise DataError("header is in another encoding", path=table.place, line=line, expected=expected) from None
        return [name.strip() for name in header]

    def rows(table: Table, wanted: Sequence[str]) -> Iterator[Numbered]:
        numbered = read(table)
        _, header = next(numbered)
        names = [name.strip() for name in header]
        places = [(column, names.index(column)) for column in wanted]
        for number, cells in numbered:
            if isinstance(cells, str):
                yield number, cells
            elif len(cells) < len(names) or any(cell.strip() for cell in cells[len(names) :]):
                yield number, "ragged_row"  # nobody knows which of its cells have slipped into another column
            else:
                yield number, {column: cells[place] for column, place in places}

    return Format(suffixes, columns, rows)


def _json_columns(rows: Iterator[tuple[int, Any]], table: Table) -> list[str]:
    """Keys of the first rows: an object may leave out what it has no value for."""
    sample = [row for _, row in islice(rows, _SAMPLE_ROWS) if isinstance(row, dict)]
    if not sample:
        raise DataError("no row could be read", path=table.place, line=1, expected="JSON objects")
    return list(dict.fromkeys(name for row in sample for key in row for name in (key, *keys_of({key: row[key]}))))


def _objects(rows: Iterator[tuple[int, Any]], wanted: Sequence[str]) -> Iterator[Numbered]:
    for number, row in rows:
        if isinstance(row, dict):
            yield number, {column: pick(row, column) for column in wanted}
        else:
            yield number, row if isinstance(row, str) else "not_an_object"


def _read_json_lines(table: Table) -> Iterator[tuple[int, Any]]:
    """(line, value); a reason as a string where there is none."""
    for number, line, problem in read_text_lines(table.path, table.encoding, table.source.max_line_bytes):
        if line is None:
            yield number, problem
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "broken_json"
            continue
        yield number, value if isinstance(value, dict) else None


def _read_json(table: Table) -> Iterator[tuple[int, Any]]:
    """Objects of one JSON document, as a stream; where it breaks off the last row says so."""
    try:
        import ijson
    except ImportError:
        raise MissingExtraError("tables", "reading JSON as a stream") from None
    number = 0
    prefix = f"{table.source.items}.item" if table.source.items else "item"
    try:
        with open_bytes(table.path) as source:
            for value in ijson.items(_skip_bom(source), prefix, use_float=True):
                number += 1
                yield number, value if isinstance(value, dict) else None
    except (ijson.JSONError, EOFError, OSError, ValueError, RecursionError):
        yield number + 1, "broken_json"


def _skip_bom(source: Any) -> Any:
    return source if source.peek(3)[:3] != b"\xef\xbb\xbf" else source.read(3) and source


def _parquet_file(table: Table) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("tables", "reading Parquet files") from None
    try:
        return pq.ParquetFile(table.path)
    except (pa.ArrowException, OSError):
        raise DataError("not a whole Parquet file", path=table.place, expected="a Parquet file") from None


def _parquet_rows(table: Table, wanted: Sequence[str]) -> Iterator[Numbered]:
    """Rows, group by group: a damaged group is rejected row by row and the next one is read."""
    file = _parquet_file(table)
    first = 0  # rows before the group
    for group in range(file.num_row_groups):
        n_rows, n_done = file.metadata.row_group(group).num_rows, 0
        try:
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=list(wanted)):
                # column by column: one cell that is no UTF-8 must not cost the batch
                cells = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
                for place in range(batch.num_rows):
                    yield first + n_done + 1, _parquet_row(cells, place)
                    n_done += 1
        except (OSError, ValueError, NotImplementedError):  # what pyarrow raises for damaged pages
            for number in range(n_done, n_rows):
                yield first + number + 1, "damaged_row_group"
        first += n_rows


def _parquet_row(cells: Mapping[str, Any], place: int) -> Cells | str:
    try:
        return {name: column[place].as_py() for name, column in cells.items()}
    except UnicodeDecodeError:
        return "wrong_encoding"
    except (ValueError, OverflowError):  # dates beyond Python's years
        return "bad_cell"


def _sheet(table: Table) -> tuple[int, Iterator[list[Any]]]:
    """(number of the first row, rows) of the sheet."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise MissingExtraError("tables", "reading Excel files") from None
    try:
        book = CalamineWorkbook.from_path(str(table.path))
        names = book.sheet_names
        wanted = table.source.sheet
        if wanted is not None and wanted not in names:
            known = ", ".join(show_names(names))
            raise DataError("sheet is absent", path=table.place, field=wanted, expected=f"one of: {known}")
        sheet = book.get_sheet_by_name(wanted) if wanted else book.get_sheet_by_index(0)
        return (sheet.start or (0, 0))[0] + 1, iter(sheet.iter_rows())
    except (CalamineError, OSError, IndexError):
        raise DataError("not a whole Excel file", path=table.place, expected="an .xlsx file") from None


def _excel_columns(table: Table) -> list[str]:
    line, rows = _sheet(table)
    header = next(rows, None)
    if not header:
        raise DataError("sheet is empty", path=table.place, line=line, expected="a row with the columns' names")
    return [str(cell).strip() for cell in header]


def _excel_rows(table: Table, wanted: Sequence[str]) -> Iterator[Numbered]:
    first, rows = _sheet(table)
    names = [str(cell).strip() for cell in next(rows)]
    places = [(column, names.index(column)) for column in wanted]
    for number, cells in enumerate(rows, start=first + 1):
        if any(cell not in ("", None) for cell in cells):
            yield number, {column: cells[place] for column, place in places}


FORMATS: Mapping[str, Format] = {
    "csv": _delimited(",", ".csv", ".csv.gz", ".csv.zst"),
    "tsv": _delimited("\t", ".tsv", ".tsv.gz", ".tsv.zst", ".tab"),
    "json": Format(
        (".json", ".json.gz", ".json.zst"),
        lambda table: _json_columns(_read_json(table), table),
        lambda table, wanted: _objects(_read_json(table), wanted),
    ),
    "jsonl": Format(
        (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson"),
        lambda table: _json_columns(_read_json_lines(table), table),
        lambda table, wanted: _objects(_read_json_lines(table), wanted),
    ),
    "parquet": Format((".parquet", ".pq"), lambda table: list(_parquet_file(table).schema_arrow.names), _parquet_rows),
    "excel": Format((".xlsx", ".xlsm", ".xlsb", ".xls"), _excel_columns, _excel_rows),
}


def format_of(path: Path, given: str) -> Format:
    """The format named in the configuration, else the one of the file's suffix.

    Raises:
        ConfigError: the suffix tells nothing.
    """
    if given != "auto":
        return FORMATS[given]
    for form in FORMATS.values():
        if path.name.lower().endswith(form.suffixes):
            return form
    known = ", ".join(suffix for form in FORMATS.values() for suffix in form.suffixes)
    raise ConfigError(
        "records.sources: the format of a table is not told by its file's name",
        hint=f"set format, or rename the file; known endings: {known}",
    )
