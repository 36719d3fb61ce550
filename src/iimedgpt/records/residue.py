"""A second look at a record from which identifiers were taken: what must not be left in it.

Written apart from the rules that remove (``deid``), and simpler: it knows no context. It looks for the
patient's own values however they are spaced or spelt, and for shapes that no clinical text holds.
A finding does not say where, so that nothing of the text leaves this module.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from iimedgpt.records.raw import Category
from iimedgpt.types import Event

_NUMERALS = str.maketrans("〇零○一二三四五六七八九幺壹贰叁肆伍陆柒捌玖两", "00012345678911234567892")
_NUMERAL_RUN = re.compile("[〇零○一二三四五六七八九幺壹贰叁肆伍陆柒捌玖]{7,}")
_BETWEEN = re.compile(r"[\s\-‐-―_.·•,，、/\\]+")
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9])[ \t]?[\r\n \-‐-―][ \t]?(?=[0-9Xx])")
_BIRTH = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_ID_18 = re.compile(r"(?<![0-9])[1-8][0-9]{5}(?:18|19|20)[0-9]{2}" + _BIRTH + r"[0-9]{3}[0-9Xx]")
_ID_15 = re.compile(r"(?<![0-9])[1-8][0-9]{7}" + _BIRTH + r"[0-9]{3}(?![0-9])")
_MOBILE = re.compile(r"(?<![0-9])1[3-9][0-9]{9}(?![0-9])")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}\.[A-Za-z]{2,10}")
_LONG_RUN = re.compile(r"(?<![0-9.])[0-9]{14,}(?![0-9.])")
_SHAPES: tuple[tuple[Category, re.Pattern[str]], ...] = (
    ("id_card", _ID_18),
    ("id_card", _ID_15),
    ("phone", _MOBILE),
    ("email", _EMAIL),
    ("medical_number", _LONG_RUN),
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_MIN_DIGITS, _MIN_LETTERS, _MIN_CHARS = 6, 3, 2


def find_residues(events: Iterable[Event], identifiers: Mapping[Category, tuple[str, ...]]) -> Counter[Category]:
    """How many of each category still stand in events with typed placeholders; empty where all is well.

    Args:
        identifiers: the patient's own values, as the source's structured fields hold them.
    """
    values = [(category, *_forms(value)) for category, given in identifiers.items() for value in given]
    found: Counter[Category] = Counter()
    for event in events:
        text = unicodedata.normalize("NFKC", event.text)
        found.update(_shapes(text))
        squeezed = _squeezed(text)
        for category, word, compact in values:
            if (compact and compact in squeezed) or (word and _has_word(text, word)):
                found[category] += 1
    return found


def _forms(value: str) -> tuple[str, str]:
    """(a Latin value as it is, a Chinese or numeric one squeezed); empty where too short to mean anyone."""
    plain = unicodedata.normalize("NFKC", value).strip()
    squeezed = _squeezed(plain)
    if squeezed.isascii() and any(char.isdigit() for char in squeezed):
        return "", squeezed if len(squeezed) >= _MIN_DIGITS else ""
    if not plain.isascii():
        return "", squeezed if len(plain) >= _MIN_CHARS else ""
    return plain if len(plain) >= _MIN_LETTERS else "", ""


def _has_word(text: str, word: str) -> bool:
    """True where the word stands in the text in the same case, not as a piece of a longer Latin one."""
    start = text.find(word)
    while start >= 0:
        around = text[max(0, start - 1) : start], text[start + len(word) : start + len(word) + 1]
        if not any(char.isascii() and char.isalpha() for char in around):
            return True
        start = text.find(word, start + 1)
    return False


def _squeezed(text: str) -> str:
    """No spaces, hyphens or line breaks; runs of Chinese numerals as digits; lower case."""
    text = _NUMERAL_RUN.sub(lambda run: run.group().translate(_NUMERALS), _BETWEEN.sub("", text))
    return text.lower()


def _shapes(text: str) -> Iterator[Category]:
    """Shapes in the text as it stands, with lines joined inside numbers, and with numerals as digits."""
    for category, pattern in _SHAPES:
        yield from (category for _ in pattern.finditer(text))
    joined = _BETWEEN_DIGITS.sub("", text)
    if joined != text:
        for match in _ID_18.finditer(joined):
            if _has_checksum(match.group()):
                yield "id_card"
    for run in _NUMERAL_RUN.finditer(text):
        digits = run.group().translate(_NUMERALS)
        if _ID_18.match(digits):
            yield "id_card"
        elif _MOBILE.match(digits):
            yield "phone"


def _has_checksum(number: str) -> bool:
    """True where the last character of an 18-digit id is the check character of the others."""
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == number[17].upper()
