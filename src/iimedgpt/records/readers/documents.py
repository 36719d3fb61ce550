"""Text files: one note or one dialogue each. And dialogues in tables, sharegpt among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from iimedgpt.config import RecordSource
from iimedgpt.errors import DataError
from iimedgpt.records.raw import Category, RawRecord
from iimedgpt.records.readers.cells import BadCellError, to_text
from iimedgpt.records.readers.formats import FORMATS, Table, format_of
from iimedgpt.records.readers.names import is_showable, label_files
from iimedgpt.records.readers.notes import parse_note
from iimedgpt.records.readers.rows import Files, Reader, Rejected, Row, find_files
from iimedgpt.records.readers.table import find_table_files, read_table
from iimedgpt.records.readers.turns import parse_turns
from iimedgpt.types import Event

_TEXTS = ("**/*.txt",)
_DIALOGUE_COLUMNS = ("conversations", "messages", "dialogue", "dialog", "conversation", "turns")
_PIECE = re.compile(r"[\u4e00-\u9fff·]{2,8}|[A-Za-z]*\d[A-Za-z0-9]{4,}")


def _find_notes(path: Path, source: RecordSource) -> Files:
    return label_files(path, find_files(path, _TEXTS))


def _find_dialogues(path: Path, source: RecordSource) -> Files:
    """Text files, else tables of dialogues."""
    is_text = path.suffix == ".txt" if path.is_file() else any(path.glob(_TEXTS[0]))
    if is_text:
        return _find_notes(path, source)
    patterns = [
        f"*{suffix}" for name in ("jsonl", "json", "csv", "tsv", "parquet") for suffix in FORMATS[name].suffixes
    ]
    files = label_files(path, find_files(path, patterns))
    find_table_files(path, _with_column(files, source))  # the mapping is checked here
    return files


def _with_column(files: Files, source: RecordSource) -> RecordSource:
    """The source with the column of the dialogue filled in where the configuration leaves it out."""
    if source.mapping.dialogue is not None:
        return source
    label, path = next(iter(files.items()))
    columns = format_of(path, source.format).columns(Table(path, label, source))
    column = next((name for name in _DIALOGUE_COLUMNS if name in columns), None)
    if column is None:
        known = "one of: " + ", ".join(_DIALOGUE_COLUMNS)
        raise DataError(
            "no column of dialogues", path=label, expected=known, hint='name it: mapping = {dialogue = "…"}'
        )
    return source.model_copy(update={"mapping": source.mapping.model_copy(update={"dialogue": column})})


def _read_dialogues(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    if all(path.suffix == ".txt" for path in files.values()):
        return _read_texts(files, source, counts)
    return read_table(files, _with_column(files, source), counts)


def _read_texts(files: Files, source: RecordSource, counts: Counter[str]) -> Iterator[Row]:
    for label, path in files.items():
        yield Row(label, _read_text(path, source, counts))


def _read_text(path: Path, source: RecordSource, counts: Counter[str]) -> RawRecord | Rejected:
    text, problem = _text_of(path, source)
    if problem:
        return Rejected(1, problem)
    identifiers = _identifiers_of(path, source)
    events: list[Event]
    if source.reader == "dialogues":
        events = parse_turns(text, counts)
    else:
        events, found = parse_note(text, source.language, counts)
        for category, values in found.items():
            identifiers[category] = (*identifiers.get(category, ()), *values)
    if not events:
        return Rejected(1, "no_dialogue" if source.reader == "dialogues" else "empty_record")
    # P001_出院小结.txt is of P001
    patient = path.parent.name if source.patient_from == "folder" else path.stem.partition("_")[0]
    return RawRecord(
        patient_key=patient,
        encounter_key=f"{path.parent.name}/{path.name}",
        row=1,
        language=source.language,
        events=tuple(events),
        identifiers=identifiers,
    )


def _text_of(path: Path, source: RecordSource) -> tuple[str, str]:
    """(text, "") or ("", the reason why there is none)."""
    try:
        if path.stat().st_size > source.max_line_bytes:
            return "", "file_too_long"
        raw = path.read_bytes()
    except OSError:
        return "", "unreadable_file"
    for encoding in ("utf-8", "gb18030") if source.encoding == "auto" else (source.encoding,):
        try:
            text = to_text(raw.decode(encoding).removeprefix("\ufeff"))
        except UnicodeDecodeError:
            continue
        except BadCellError as bad:
            return "", str(bad)
        return (text, "") if text else ("", "empty_file")
    return "", "wrong_encoding"


def _identifiers_of(path: Path, source: RecordSource) -> dict[Category, tuple[str, ...]]:
    """What the names of file and folder say of the patient: 张三_0012345.txt."""
    names = [path.stem, *([path.parent.name] if source.patient_from == "folder" else [])]
    pieces = [piece for name in names for piece in _PIECE.findall(name) if not is_showable(piece)]
    found: dict[Category, tuple[str, ...]] = {
        "name": tuple(piece for piece in pieces if not piece[-1].isascii()),
        "medical_number": tuple(piece for piece in pieces if piece[-1].isascii()),
    }
    return {category: values for category, values in found.items() if values}


NOTES_READER = Reader(_find_notes, _read_texts)
DIALOGUES_READER = Reader(_find_dialogues, _read_dialogues)
