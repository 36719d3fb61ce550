"""A cell of any table: as text, as an id, as a time, as identifiers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from iimedgpt.records.raw import Category

_NULLS = frozenset({"", "null", "none", "nan", "nat", "\\n", "n/a", "#n/a"})
_TIME = re.compile(
    r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?"
    r"(?:[T\s]*(\d{1,2})\s*(?:[:：]|[时点])\s*(?:(\d{1,2})(?:\s*分)?(?:[:：]?\s*(\d{1,2})(?:\.\d+)?秒?)?)?)?"
    r"\s*(?:Z|[+-]\d{2}:?\d{2})?"
)
_DIGITS_TIME = re.compile(r"(\d{4})(\d{2})(\d{2})(?:[ T]?(\d{2})(\d{2})(\d{2})?)?")
_CODE = re.compile(r"[A-TV-Z]\d{2}(?:\.?[0-9A-Z]{1,4})?(?:[xX+*]\d{0,4})?")
_LISTED = re.compile(r"[、，,;；/|\n\t]+")
# values of these categories never hold a comma of their own
_LISTS: frozenset[Category] = frozenset(
    {"name", "phone", "id_card", "passport", "email", "account", "medical_number", "bank_card", "plate"}
)


class BadCellError(Exception):
    """The cell holds what no text may hold; the argument is the reason in snake_case."""


def to_text(value: object) -> str:
    """The cell as stripped text; empty for what databases and exports write for nothing.

    Raises:
        BadCellError: NUL bytes, lone surrogates or undecodable bytes.
    """
    if value is None or (isinstance(value, float | Decimal) and not math.isfinite(value)):
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            value = bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise BadCellError("wrong_encoding") from None
    if isinstance(value, float | Decimal) and value == (whole := int(value)):
        value = whole  # Excel keeps every number as a float: 10001.0 is the id 10001
    if isinstance(value, list | tuple):
        value = "、".join(filter(None, map(to_text, value)))
    elif isinstance(value, datetime):
        value = value.isoformat(" ", "minutes")
    text = str(value).strip()
    if "\x00" in text:
        raise BadCellError("nul_byte")
    if not text.isascii() and not _is_encodable(text):
        # bytes that were not of the file's encoding came through as escapes (U+DC80 … U+DCFF)
        is_escape = any("\udc80" <= char <= "\udcff" for char in text)
        raise BadCellError("wrong_encoding" if is_escape else "lone_surrogate")
    return "" if text.lower() in _NULLS else text


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def parse_time(value: object) -> datetime | None:
    """A moment, naive; ``None`` for what is no date of the forms hospitals write, year first."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    text = to_text(value)
    match = _TIME.fullmatch(text) or _DIGITS_TIME.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime(*(int(part) for part in match.groups(default="0")))  # type: ignore[arg-type]
    except ValueError:
        return None


def parse_codes(text: str) -> tuple[str, ...] | None:
    """ICD codes; ``None`` where something else stands there (this field is not de-identified)."""
    codes = tuple(part.strip().upper() for part in re.split(r"[\s,，;；、/|]+", text) if part.strip())
    return codes if all(_CODE.fullmatch(code) for code in codes) else None


def parse_identifiers(category: Category, text: str) -> list[str]:
    """Single values of one cell: several names or numbers are told apart, an address is one."""
    return [part.strip() for part in (_LISTED.split(text) if category in _LISTS else [text]) if part.strip()]


def pick(row: Mapping[str, object], column: str) -> object:
    """A column of an object: its key, else a dotted path through nested objects."""
    if column in row:
        return row[column]
    value: object = row
    for part in column.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def keys_of(row: Mapping[str, object]) -> list[str]:
    """Keys of an object, those of nested objects as dotted paths."""
    keys: list[str] = []
    for key, value in row.items():
        keys += [f"{key}.{inner}" for inner in keys_of(value)] if isinstance(value, Mapping) and value else [key]
    return keys
