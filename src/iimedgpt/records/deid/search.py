"""Known values in a record's text, in every way people write them, without compiling a pattern for each.

``dictionary.compile_value`` says what counts as a value's spelling. To compile its pattern takes a
thousand times as long as a search in a text, and a patient's values are the patient's own. So a
value is looked for in a copy of the text without separators, spellings made one, and each hit is
checked against the text itself. Spellings that this cannot tell (masks, dotted and Latin names) go
through the pattern, where the copy says that they may stand in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from iimedgpt.records.deid.dictionary import NUMBERS, NUMERALS, compile_value
from iimedgpt.records.deid.words import COMPOUND
from iimedgpt.records.raw import Category
from iimedgpt.types import Language

Place = tuple[int, int, int]  # which text, start, end

_SEPARATORS = " -·•‧・.\n/()"
_AS_DIGITS = {ord(char): digit for digit, chars in NUMERALS.items() for char in chars[1:-1].casefold()}
_DROPPED: dict[int, str | None] = {ord(char): None for char in _SEPARATORS}
_NUMBER_GAP, _N_NUMBER_GAP = frozenset(" \n.·/()-"), 2
_NAME_GAP, _N_NAME_GAP = frozenset(" \n"), 3
_WORD_GAP, _N_WORD_GAP = frozenset(" \n-"), 2
_LEFT_OUT = frozenset(" -·•‧・\n")  # of a Chinese value, as compile_value leaves them out
_DOTS = frozenset("·•‧・")
_MASKS = "某*×＊○x"
_MASKED_NUMBER = re.compile(
    "(?<![0-9])[0-9]{3,}[*×✱＊xX]{2}"
)  # as in 138****5678; a lab value, 3.5×10, has one mark alone


class RecordText:
    """The texts of one record, ready to be searched for values."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._text = "\0".join(texts)
        self._folded = self._text.casefold()
        self._words = self._folded.translate(_DROPPED)
        self._numbers = self._words.translate(_AS_DIGITS)
        self._masked = _MASKED_NUMBER.findall(self._text)
        self._has_places = len(self._folded) == len(self._text)  # else a character folds into two

    def find(self, category: Category, value: str, language: Language) -> Iterator[Place]:
        """Where the value stands, in the order of the texts; what ``compile_value``'s pattern matches."""
        if not self._may_hold(category, value, language):
            return iter(())
        if self._needs_pattern(category, value, language):
            return self._match(category, value, language)
        return self._search(category, value)

    def is_repeated(self, value: str, language: Language) -> bool:
        """False only where a name that was found once stands nowhere else, spelt out or masked."""
        if language != "zh" or value.isascii():
            return True
        return self._words.count(value.casefold().translate(_DROPPED)) > 1 or self._holds_masked(value)

    def _may_hold(self, category: Category, value: str, language: Language) -> bool:
        """False only where the value's pattern matches nowhere in the texts."""
        bare = value.casefold().translate(_DROPPED)
        if category in NUMBERS:
            number = _number(bare)
            return number in self._numbers or self._holds_masked_number(value)
        if language == "zh" and not value.isascii():
            return bare in self._words or (category == "name" and self._holds_masked(value))
        return value.casefold().split()[0] in self._folded

    def _needs_pattern(self, category: Category, value: str, language: Language) -> bool:
        if not self._has_places or len(value.casefold()) != len(value):
            return True
        if category in NUMBERS:
            return self._holds_masked_number(value)
        if language != "zh" or value.isascii() or _DOTS & set(value):
            return True
        return value[0] in _SEPARATORS or (category == "name" and self._holds_masked(value))

    def _holds_masked(self, name: str) -> bool:
        surname = name[:2] if name[:2] in COMPOUND else name[:1]
        return any(surname + mask in self._folded or name[:1] + mask in self._folded for mask in _MASKS)

    def _holds_masked_number(self, value: str) -> bool:
        head = "".join(char for char in value if char.isalnum())[:3]
        return any(head in run for run in self._masked)

    def _match(self, category: Category, value: str, language: Language) -> Iterator[Place]:
        pattern = compile_value(category, value, language)
        for number, text in enumerate(self._texts):
            for match in pattern.finditer(text):
                yield number, match.start(), match.end()

    def _search(self, category: Category, value: str) -> Iterator[Place]:
        is_number = category in NUMBERS
        if is_number:
            bare, haystack = _number(value.casefold().translate(_DROPPED)), self._numbers
            chars = [NUMERALS[char][1:-1] if char in NUMERALS else char for char in value if char.isalnum()]
            gap, n_gap = _NUMBER_GAP, _N_NUMBER_GAP
        else:
            bare, haystack = value.casefold().translate(_DROPPED), self._words
            chars = [char for char in value if char not in _LEFT_OUT]
            gap, n_gap = (_NAME_GAP, _N_NAME_GAP) if category == "name" else (_WORD_GAP, _N_WORD_GAP)
        alternatives = [char + char.swapcase() for char in chars]
        hit, done = haystack.find(bare), 0
        while hit >= 0:
            start = self._kept[hit]
            end = self._follow(start, alternatives, gap, n_gap) if start >= done else None
            if end is not None and self._stands_alone(value, start, end):
                number = self._number_at(start)
                yield number, start - self._starts[number], end - self._starts[number]
                done = end
            hit = haystack.find(bare, hit + 1)

    def _follow(self, start: int, alternatives: Sequence[str], gap: frozenset[str], n_gap: int) -> int | None:
        """One past the last character where all of them stand from ``start`` on, few separators between; else None."""
        text, place = self._text, start
        for number, allowed in enumerate(alternatives):
            limit = place + n_gap
            while number and place < limit and text[place : place + 1] in gap:
                place += 1
            if text[place : place + 1] not in allowed or place >= len(text):
                return None
            place += 1
        return place

    def _stands_alone(self, value: str, start: int, end: int) -> bool:
        """A value that begins or ends with a digit (a Latin letter) is no piece of a longer number (word)."""
        before, after = self._text[start - 1 : start] if start else "", self._text[end : end + 1]
        return not (_continues(value[0], before) or _continues(value[-1], after))

    @cached_property
    def _kept(self) -> list[int]:
        """Places of the characters that are no separators."""
        return [place for place, char in enumerate(self._folded) if ord(char) not in _DROPPED]

    @cached_property
    def _starts(self) -> list[int]:
        starts, place = [], 0
        for text in self._texts:
            starts.append(place)
            place += len(text) + 1
        return starts

    def _number_at(self, place: int) -> int:
        return sum(start <= place for start in self._starts) - 1


def _number(bare: str) -> str:
    return "".join(char for char in bare if char.isalnum()).translate(_AS_DIGITS)


def _continues(edge: str, neighbour: str) -> bool:
    if not (edge.isascii() and edge.isalnum() and neighbour.isascii() and neighbour):
        return False
    return neighbour.isdigit() if edge.isdigit() else neighbour.isalpha()
