"""Exams as they are published → questions. A row that cannot be read names file, line and field."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.exam_config import ExamSet
from iimedgpt.text import content_id

LETTERS = "ABCDEFGH"
GENERAL = Path(__file__).with_name("general.jsonl")  # ours: easy questions that a base model may know
_OPTION = re.compile(r"\(([A-H])\)\s*(.*?)(?=\n\([A-H]\)|\Z)", re.S)


@dataclass(frozen=True)
class ExamItem:
    """One question. ``answers`` holds one letter or several, sorted."""

    item_id: str
    exam: str
    subject: str
    question: str
    options: tuple[str, ...]
    answers: str

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.options)]


def files_of(exam: ExamSet, config: RunConfig) -> dict[str, Path]:
    """The exam's files by name.

    Raises:
        ConfigError: the set names no path.
        DataError: nothing is there.
    """
    if exam.format == "general":
        return {GENERAL.name: GENERAL}
    if not exam.path:
        raise ConfigError(f"exams.sets: '{exam.name}' has no path", hint='path = "exam.jsonl", relative to --data')
    path = config.data_path(exam.path)
    found = {path.name: path} if path.is_file() else {str(p.relative_to(path)): p for p in sorted(path.rglob("*.csv"))}
    if not found:
        raise DataError("no exam", path=path, field="exams.sets.path", expected="a file, or a folder of CSV files")
    return found


def read_exam(exam: ExamSet, config: RunConfig) -> list[ExamItem]:
    """Questions of an exam, evenly spread where ``n_max`` leaves some out; equal ones once.

    Raises:
        DataError: a row without question, options or a right answer among them.
    """
    read: Callable[[Path], Iterator[tuple[int, dict[str, Any]]]] = {
        "cmmlu": _read_cmmlu,
        "apollo": _read_apollo,
        "jsonl": _read_jsonl,
        "general": _read_jsonl,
    }[exam.format]
    items: dict[str, ExamItem] = {}
    for name, path in files_of(exam, config).items():
        for line, row in read(path):
            item = _build(exam.name, path, line, row, Path(name).stem)
            items.setdefault(item.item_id, item)
    chosen = list(items.values())
    n = len(chosen) if exam.n_max is None else min(exam.n_max, len(chosen))
    return [chosen[place * len(chosen) // n] for place in range(n)]


def _build(exam: str, path: Path, line: int, row: Mapping[str, Any], subject: str) -> ExamItem:
    question, options = str(row.get("question") or "").strip(), tuple(str(text).strip() for text in row["options"])
    answers = "".join(sorted(set(str(row.get("answer") or "").upper()) - set(" ,、()（）")))
    known = LETTERS[: len(options)]
    for field, is_right, expected in (
        ("question", bool(question), "a question"),
        ("options", 2 <= len(options) <= len(LETTERS) and all(options), "two to eight options, none empty"),
        ("answer", bool(answers) and set(answers) <= set(known), f"letters among {known}"),
    ):
        if not is_right:
            raise DataError("unusable exam question", path=path, line=line, field=field, expected=expected)
    item_id = content_id("exam", exam, question, *options)
    return ExamItem(item_id, exam, str(row.get("subject") or subject), question, options, answers)


def _read_cmmlu(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.read_text(path).splitlines(keepends=True))
    for row in reader:
        options = [row[letter] for letter in LETTERS if row.get(letter)]
        yield reader.line_num, {"question": row.get("Question"), "options": options, "answer": row.get("Answer")}


def _read_apollo(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = io.read_text(path)
    rows = enumerate(json.loads(text), start=1) if text.lstrip().startswith("[") else io.read_json_lines(path)
    for number, row in rows:
        options = [match[1].strip().rstrip(".") for match in _OPTION.findall(str(row.get("options", "")))]
        yield number, {**row, "options": options, "subject": row.get("source")}


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in io.read_json_lines(path):
        options = row.get("options")
        yield number, {**row, "options": options if isinstance(options, list) else ()}
