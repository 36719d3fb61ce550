"""Other instruction data: readers, and the filters every conversation passes before it may train.

Per-row trouble is a reason, never an exception; a file of which no row is usable is bad input.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from iimedgpt import io
from iimedgpt.config import OtherSource, RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.text import content_id, normalise
from iimedgpt.types import ROLES_ELSEWHERE, Conversation, Message

PACKAGED = Path(__file__).with_name("other_zh.jsonl")
_TOYHOM_COLUMNS = ("department", "title", "ask", "answer")
_NO_TEXT = {"", "无", "无。", "暂无"}
# Shapes that are somebody's contact or number in web data. Look-arounds, because \b does not
# separate a digit from a Chinese character.
_IDENTIFIER = re.compile(
    r"(?<!\d)1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)"  # mobile phone
    r"|(?<!\d)0\d{2,3}-\d{7,8}(?!\d)"  # landline
    r"|(?<!\d)\d{17}[\dXx](?![\dA-Za-z])"  # ID card
    r"|[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}"  # e-mail
    r"|(?:QQ|qq|微信号?|加微)[^\u4e00-\u9fff\n]{0,4}[A-Za-z0-9_-]{6,}"
)


@dataclass(frozen=True)
class Row:
    """One row of a source: its messages, or the reason why there are none."""

    number: int  # line or row of the file, from 1
    messages: tuple[Message, ...] = ()
    license: str | None = None
    reason: str | None = None


def source_path(source: OtherSource, config: RunConfig) -> Path:
    """The file of a source; without a path, the packaged set.

    Raises:
        ConfigError: a reader of an outside format without a path.
    """
    if source.path is not None:
        return config.data_path(source.path)
    if source.reader != "conversations":
        raise ConfigError(f"mixture.other: reader '{source.reader}' needs a path", hint='path = "FILE"')
    return PACKAGED


def read_other(source: OtherSource, path: Path) -> Iterator[Row]:
    """Rows of a source in file order.

    Raises:
        DataError: the file is missing, is not of this format, or holds no usable row.
    """
    read = {"toyhom": _read_toyhom, "sharegpt": _read_sharegpt, "conversations": _read_conversations}
    is_usable = False
    for row in read[source.reader](path):
        is_usable = is_usable or row.reason is None
        yield row
    if not is_usable:
        raise DataError("no usable row", path=path, expected=f"conversations in the format of reader '{source.reader}'")


@contextmanager
def _open(path: Path, encoding: str) -> Iterator[TextIO]:
    try:
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            yield file
    except FileNotFoundError:
        raise DataError("file not found", path=path, expected="an existing file") from None
    except IsADirectoryError:
        raise DataError("is a folder", path=path, expected="a file") from None


def _read_toyhom(path: Path) -> Iterator[Row]:
    """Chinese medical questions and answers as CSV in GB18030: department, title, ask, answer."""
    with _open(path, "gb18030") as file:
        rows = csv.reader(file)
        try:
            header = [name.strip().lstrip("\ufeff") for name in next(rows, [])]
            missing = [name for name in _TOYHOM_COLUMNS if name not in header]
            if missing:
                raise DataError(
                    "column is missing",
                    path=path,
                    line=1,
                    field=missing[0],
                    expected=",".join(_TOYHOM_COLUMNS) + " in GB18030",
                )
            for number, cells in enumerate(rows, start=2):
                if cells:
                    yield _toyhom_row(number, header, cells)
        except csv.Error:
            raise DataError("broken CSV", path=path, line=rows.line_num, expected="quoted CSV") from None


def _toyhom_row(number: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        return Row(number, reason="ragged_row")
    if any("\ufffd" in cell for cell in cells):
        return Row(number, reason="not_decodable")
    values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    ask = values["title"] if values["ask"] in _NO_TEXT else values["ask"]
    return build_row(number, [("user", ask), ("assistant", values["answer"])])


def _read_sharegpt(path: Path) -> Iterator[Row]:
    """JSON lines: {"conversations": [{"from": "human" | "gpt" | "system", "value": text}]}."""
    for number, value in io.read_json_lines(path):
        yield build_row(number, _turns(value.get("conversations"), "from", "value"))


def _read_conversations(path: Path) -> Iterator[Row]:
    """JSON lines of our own: {"messages": [{"role", "content"}], "license"?: text}."""
    for number, value in io.read_json_lines(path):
        stated = value.get("license")
        row_license = stated if isinstance(stated, str) else None
        yield build_row(number, _turns(value.get("messages"), "role", "content"), row_license)


def _turns(value: Any, role_key: str, text_key: str) -> list[tuple[str, str]]:
    if not isinstance(value, list):
        return []
    turns = []
    for turn in value:
        if not isinstance(turn, dict) or not isinstance(turn.get(text_key), str):
            return []
        turns.append((str(turn.get(role_key)), turn[text_key]))
    return turns


def build_row(number: int, turns: list[tuple[str, str]], row_license: str | None = None) -> Row:
    """A row from (role, text) turns: optional system, then user and assistant in turn.

    What follows the last answer is cut; anything else out of order gives a reason.
    """
    messages = []
    for name, content in turns:
        role = ROLES_ELSEWHERE.get(name)
        if role is None:
            return Row(number, reason="unknown_role")
        messages.append(Message(role=role, content=normalise(content)))
    while messages and messages[-1].role != "assistant":
        messages.pop()
    spoken = messages[1:] if messages and messages[0].role == "system" else messages
    if not spoken:
        return Row(number, reason="malformed_row")
    if any(message.role != ("user", "assistant")[index % 2] for index, message in enumerate(spoken)):
        return Row(number, reason="malformed_turns")
    if any(not message.content for message in messages):
        return Row(number, reason="empty_turn")
    return Row(number, tuple(messages), row_license)


def has_identifier(messages: Iterable[Message]) -> bool:
    """True where a text holds the shape of a phone, ID card, e-mail or messenger account."""
    return any(_IDENTIFIER.search(message.content) for message in messages)


def build_conversation(row: Row, source: OtherSource) -> Conversation:
    """A training conversation; its id is the hash of its messages."""
    identity = content_id("other", *(f"{message.role}:{message.content}" for message in row.messages))
    is_packaged = source.path is None
    return Conversation(
        conversation_id=identity,
        messages=row.messages,
        group_id=identity,
        source="packaged" if is_packaged else source.reader,
        license=row.license or source.license,
        split="train",
        is_synthetic=is_packaged,
    )
