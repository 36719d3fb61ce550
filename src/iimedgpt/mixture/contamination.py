"""What training must not hold: pieces of the held-out records and of the exams and evaluation sets named.

Compared are runs of characters, spaces and punctuation aside, as 8-byte hashes: a million characters
of exams take about 100 MB.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from iimedgpt import io
from iimedgpt.config import AgainstSource, RunConfig
from iimedgpt.errors import DataError
from iimedgpt.text import fold, is_chinese
from iimedgpt.types import Conversation, Message

N_GRAM_CHINESE = 13  # characters; GPT-3's 13-gram rule (arXiv 2005.14165, appendix C), a character for a word
N_GRAM_OTHER = 50  # characters without spaces, 11 to 13 English words
HELD_OUT = "held-out records"
SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt")


class Decontaminator:
    """Knows the texts of evaluation and finds others that repeat a long piece of one.

    A text shares an n-gram when 13 characters in a row (50 outside Chinese, spaces and punctuation
    aside) stand in a text of evaluation. System prompts are the same for all tasks and do not count;
    texts shorter than one n-gram never match.
    """

    def __init__(self, held_out: Iterable[Conversation] = ()) -> None:
        self._source_of: dict[int, str] = {}
        for conversation in held_out:
            self.add(HELD_OUT, _compared(conversation.messages))

    def add(self, source: str, texts: Iterable[str]) -> None:
        """Texts of evaluation, under the name of where they come from."""
        for text in texts:
            self._source_of.update(dict.fromkeys(_long_ngrams(text), source))

    def met(self, messages: Iterable[Message]) -> str | None:
        """The source whose text a conversation repeats a piece of, None where it repeats none."""
        for text in _compared(messages):
            for gram in _long_ngrams(text):
                if gram in self._source_of:
                    return self._source_of[gram]
        return None


def against_files(source: AgainstSource, config: RunConfig) -> dict[str, Path]:
    """The files of an evaluation set, by their path in it.

    Raises:
        DataError: the path is not there, or holds no file of a known form.
    """
    path = config.data_path(source.path)
    if path.is_file():
        return {path.name: path}
    files = {str(p.relative_to(path)): p for p in sorted(path.rglob("*")) if p.suffix in SUFFIXES}
    if not files:
        raise DataError("no evaluation set", path=path, expected="a file or folder of " + ", ".join(SUFFIXES))
    return files


def read_texts(source: AgainstSource, config: RunConfig) -> Iterator[str]:
    """Every text of an evaluation set, or those of the named fields.

    Raises:
        DataError: a file is missing or broken.
    """
    for path in against_files(source, config).values():
        yield from _texts(path, frozenset(source.fields))


def _texts(path: Path, fields: frozenset[str]) -> Iterator[str]:
    if path.suffix == ".jsonl":
        for _, row in io.read_json_lines(path):
            yield from _strings(row, fields, not fields)
    elif path.suffix == ".json":
        yield from _strings(_read_json(path), fields, not fields)
    elif path.suffix in (".csv", ".tsv"):
        lines = io.read_text(path).splitlines(keepends=True)
        rows = csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
        for row in rows:
            yield from (str(cell) for name, cell in row.items() if cell and (not fields or name in fields))
    else:
        yield from io.read_text(path).splitlines()


def _read_json(path: Path) -> Any:
    """One document, or, as some sets have it under this name, a line each."""
    text = io.read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [row for _, row in io.read_json_lines(path)]


def _strings(value: Any, fields: frozenset[str], is_wanted: bool) -> Iterator[str]:
    """Texts anywhere in a value; with fields, those that stand under one of them."""
    if isinstance(value, str):
        if is_wanted:
            yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, fields, is_wanted or name in fields)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, fields, is_wanted)


def _compared(messages: Iterable[Message]) -> list[str]:
    return [message.content for message in messages if message.role != "system"]


def _long_ngrams(text: str) -> Iterator[int]:
    n = N_GRAM_CHINESE if is_chinese(text) else N_GRAM_OTHER
    folded = fold(text)
    return (hash(folded[start : start + n]) for start in range(len(folded) - n + 1))
