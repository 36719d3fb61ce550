"""What every reader takes and gives: the files it reads, and rows that are a record or a rejection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from iimedgpt.config import RecordSource
from iimedgpt.errors import DataError
from iimedgpt.records.raw import RawRecord
from iimedgpt.types import Event, EventKind, Speaker

SIMULATED_DIALOGUE = "dialogue simulated by a language model"


@dataclass(frozen=True)
class Rejected:
    """A row that gives no record. ``reason`` is in snake_case and holds no text of the row."""

    row: int
    reason: str


class Row(NamedTuple):
    """One row of one file (a key of the reader's files; rows count from 1)."""

    file: str
    item: RawRecord | Rejected


Files = Mapping[str, Path]  # path relative to the source → file, in reading order
Read = Callable[[Files, RecordSource, Counter[str]], Iterator[Row]]


class Reader(NamedTuple):
    """``files`` lists all that ``read`` opens; ``read`` also counts what it left out of its rows."""

    files: Callable[[Path, RecordSource], Files]
    read: Read


def find_files(path: Path, patterns: Sequence[str]) -> Files:
    """The file itself, or a folder's files that match, pattern by pattern and sorted by name.

    Raises:
        DataError: nothing is there, or nothing matches.
    """
    if path.is_file():
        return {path.name: path}
    found = [file for pattern in patterns for file in sorted(path.glob(pattern)) if file.is_file()]
    if not found:
        raise DataError(
            "holds no file of this source" if path.is_dir() else "not found",
            path=path,
            expected=" or ".join(patterns),
            hint="--data DIR names the folder that relative paths start from",
        )
    return {file.relative_to(path).as_posix(): file for file in found}


def build_event(kind: EventKind, text: object, speaker: Speaker | None = None) -> list[Event]:
    """One event, or none where the text is missing, blank or no string."""
    if not isinstance(text, str) or not text.strip():
        return []
    return [Event(kind=kind, text=text.strip(), speaker=speaker)]
