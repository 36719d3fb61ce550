"""Lines of plain and compressed files: bounded in length, every trouble told with its line.

CSV goes through the standard library's ``csv`` and not through Polars or pyarrow, because neither
reads a damaged export faithfully (``tests/unit/test_readers_csv.py`` shows it): pyarrow turns an unclosed quote
and every row after it into one cell, in silence, gives no line numbers, and stops at a row longer
than its block; Polars cuts and pads ragged rows in silence, and its lazy reader knows no GB18030.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

from iimedgpt.errors import DataError, MissingExtraError

Encoding = Literal["utf-8", "gb18030"]

_SKIP_BYTES = 2**20
_SAMPLE_LINES = 2_000
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One physical line (from 1) with its end, or the reason why it could not be read."""

    number: int
    raw: bytes
    problem: str | None = None


def open_bytes(path: Path) -> IO[bytes]:
    """A file's bytes, decompressed where the name ends in .gz or .zst.

    Raises:
        DataError: the file is not there.
        MissingExtraError: zst without the extra 'tables'.
    """
    try:
        if path.suffix == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        if path.suffix == ".zst":
            try:
                import pyarrow as pa
            except ImportError:
                raise MissingExtraError("tables", "reading .zst files") from None
            return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
        return path.open("rb")
    except FileNotFoundError:
        raise DataError("file not found", path=path, expected="an existing file") from None


def read_raw_lines(path: Path, max_bytes: int) -> Iterator[Line]:
    """Lines of a file; one that is longer than ``max_bytes`` is passed over, never held.

    A file that breaks off (truncated or damaged compression) ends with a line that says so.
    """
    number = 0
    try:
        with open_bytes(path) as source:
            while raw := source.readline(max_bytes + 1):
                number += 1
                if len(raw) > max_bytes and not raw.endswith(b"\n"):
                    while raw and not raw.endswith(b"\n"):
                        raw = source.readline(_SKIP_BYTES)
                    yield Line(number, b"", "line_too_long")
                    continue
                yield Line(number, raw.removeprefix(_BOM) if number == 1 else raw)
    except (EOFError, OSError, zlib.error):
        yield Line(number + 1, b"", "damaged_file")


def detect_encoding(path: Path, max_bytes: int) -> Encoding:
    """UTF-8, unless more of the first lines are GB18030: one bad byte must not turn a whole file."""
    lines = [line.raw for line in islice(read_raw_lines(path, min(max_bytes, _SKIP_BYTES)), _SAMPLE_LINES)]
    foreign = [raw for raw in lines if not raw.isascii()]
    n_utf8, n_gb18030 = (sum(_is_text(raw, name) for raw in foreign) for name in ("utf-8", "gb18030"))
    return "gb18030" if n_gb18030 > n_utf8 else "utf-8"


def _is_text(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def read_text_lines(path: Path, encoding: Encoding, max_bytes: int) -> Iterator[tuple[int, str | None, str]]:
    """(line number, text or None, problem) of each line that is not blank."""
    for number, raw, problem in read_raw_lines(path, max_bytes):
        if problem:
            yield number, None, problem
        elif raw.strip():
            try:
                yield number, raw.decode(encoding), ""
            except UnicodeDecodeError:
                yield number, None, "wrong_encoding"


class _UnreadableError(Exception):
    """The row cannot be had; the argument is the reason."""


class _Feed:
    """Lines for ``csv.reader`` that remembers those of the row in hand, to give them back where it fails."""

    def __init__(self, lines: Iterator[Line], encoding: Encoding, max_bytes: int) -> None:
        self._lines, self._encoding, self._max_bytes = lines, encoding, max_bytes
        self._returned: list[Line] = []  # last one first
        self._row: list[Line] = []
        self._n_bytes = 0

    def start_row(self) -> None:
        self._row, self._n_bytes = [], 0

    def reject_first(self) -> int:
        """Number of the row's first line; the others are read again, so that a stray quote costs one line."""
        first, *others = self._row
        self._returned += reversed(others)
        return first.number

    @property
    def number(self) -> int:
        return self._row[0].number

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._returned.pop() if self._returned else next(self._lines)
        self._row.append(line)
        self._n_bytes += len(line.raw)
        if line.problem:
            raise _UnreadableError(line.problem if len(self._row) == 1 else "broken_quotes")
        if self._n_bytes > self._max_bytes:
            raise _UnreadableError("broken_quotes")
        return line.raw.decode(self._encoding, "surrogateescape")


def read_delimited(
    path: Path, delimiter: str, encoding: Encoding, max_bytes: int
) -> Iterator[tuple[int, list[str] | str]]:
    """(number of the row's first line, its cells or the reason why it has none). Blank lines give nothing."""
    csv.field_size_limit(max(csv.field_size_limit(), max_bytes + 1))
    feed = _Feed(read_raw_lines(path, max_bytes), encoding, max_bytes)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.start_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _UnreadableError as problem:
            yield feed.reject_first(), str(problem)
        except csv.Error:
            yield feed.reject_first(), "broken_quotes"
        else:
            if any(cell and not cell.isspace() for cell in cells):
                yield feed.number, cells
