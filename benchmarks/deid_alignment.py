"""Where an identifier stood, what stands there now, and what was changed that nobody asked for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from benchmarks.deid_records import Gold

MIN_OVERRUN_CHARS = 2  # of the text beside an identifier that went with it, from which it counts as a false replacement
RUN_OF_NUMBER = 4  # characters of a number or Latin word that may not stay together
RUN_OF_NAME = 2  # characters of a Chinese name that may not stay together

_TEXTUAL = frozenset({"name", "address", "hospital", "employer", "ward", "occupation", "date_relative"})
_PLACEHOLDER = re.compile(r"[\[【〔<][^\]】〕>\d]{1,14}[\]】〕>]")
_NUMERALS = {**{char: number for number, char in enumerate("零一二三四五六七八九")}, "〇": 0, "○": 0, "幺": 1}
_NUMERAL_RUN = re.compile(r"[零一二三四五六七八九十百〇○幺]+|\d+")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_MONTH_NAME = re.compile(r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*")


@dataclass(frozen=True)
class Canonical:
    """Text as compared: NFKC, lower case, without white space; ``origin[i]`` is the source's index of character i."""

    text: str
    origin: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Canonical:
        """Spelling differences that tell nothing are levelled, so that normalising is no false replacement."""
        kept = [
            (char, index)
            for index, source in enumerate(text)
            for char in unicodedata.normalize("NFKC", source).lower()
            if not char.isspace()
        ]
        return cls("".join(char for char, _ in kept), tuple(index for _, index in kept))

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The source's stretch [start, end) in this text."""
        inside = [index for index, origin in enumerate(self.origin) if start <= origin < end]
        if not inside:
            after = sum(origin < start for origin in self.origin)
            return after, after
        return inside[0], inside[-1] + 1


@dataclass(frozen=True)
class Change:
    """A stretch of one event that was changed and is no identifier.

    ``category`` is that of the identifier it was swallowed with, empty where it stands alone;
    ``context`` is the identifier-free text around a lone change.
    """

    category: str
    context: str


@dataclass(frozen=True)
class Scored:
    """One event's outcome: whether each of its identifiers leaked, and what else was changed."""

    leaked: tuple[bool, ...]
    changes: tuple[Change, ...]


def score(original: str, output: str, golds: Sequence[Gold], neutral: Iterable[tuple[int, int]]) -> Scored:
    """Compare one event's text before and after.

    An identifier leaks when at its place, that is between the nearest surviving characters of the
    text around it, any of its identifying parts is still readable (``is_readable``). A part of it
    left is a leak like the whole.
    """
    before, after = Canonical.of(original), Canonical.of(output)
    places = [before.place(gold.start, gold.end) for gold in golds]
    owner: list[int | None] = [None] * len(before.text)  # the identifier a character belongs to, -1 = neutral
    for start, end in (before.place(*stretch) for stretch in neutral):
        owner[start:end] = [-1] * (end - start)
    for number, (start, end) in enumerate(places):
        owner[start:end] = [number] * (end - start)
    codes = SequenceMatcher(None, before.text, after.text, autojunk=False).get_opcodes()
    image: list[int | None] = [None] * len(before.text)
    for tag, i1, i2, j1, _ in codes:
        if tag == "equal":
            image[i1:i2] = range(j1, j1 + i2 - i1)

    def is_anchor(index: int) -> bool:
        # a character of an identifier that seems to have survived is none: a surrogate may share it by chance
        number = owner[index]
        return image[index] is not None and (number is None or number < 0)

    leaked = []
    for gold, (start, end) in zip(golds, places, strict=True):
        left = next((image[i] for i in range(start - 1, -1, -1) if is_anchor(i)), None)
        right = next((image[i] for i in range(end, len(owner)) if is_anchor(i)), None)
        region = after.text[(-1 if left is None else left) + 1 : right]
        leaked.append(is_readable(gold, before.text[start:end], region))
    return Scored(tuple(leaked), tuple(_find_changes(before.text, golds, owner, codes)))


def _find_changes(
    text: str, golds: Sequence[Gold], owner: Sequence[int | None], codes: Sequence[tuple[str, int, int, int, int]]
) -> Iterable[Change]:
    for tag, i1, i2, _, _ in codes:
        if tag == "equal":
            continue
        # what is put in beside an identifier belongs to its replacement
        touched = [owner[i] for i in range(max(0, i1 - (i1 == i2)), min(len(owner), i2 + (i1 == i2)))]
        lost = sum(owner[i] is None for i in range(i1, i2))
        numbers = [number for number in touched if number is not None and number >= 0]
        if numbers:
            if lost >= MIN_OVERRUN_CHARS:
                yield Change(golds[numbers[0]].category, "")
        elif lost or (i1 == i2 and -1 not in touched):
            beside = [number for i in (i1 - 1, i2) if 0 <= i < len(owner) and (number := owner[i]) is not None]
            if any(number >= 0 for number in beside):  # a replacement that took its neighbours along
                if lost >= MIN_OVERRUN_CHARS:
                    yield Change(golds[max(beside)].category, "")
                continue
            start, end = i1, i2
            while start > 0 and owner[start - 1] is None:
                start -= 1
            while end < len(owner) and owner[end] is None:
                end += 1
            yield Change("", text[start:end])


def is_readable(gold: Gold, value: str, region: str) -> bool:
    """Whether the text at an identifier's place still tells something of it.

    Names, places and organisations: ``RUN_OF_NAME`` consecutive characters of an identifying part
    (all of it, where it is a single one), ``RUN_OF_NUMBER`` of a Latin word, a house number as a whole.
    Numbers and addresses on a network: ``RUN_OF_NUMBER`` consecutive letters or digits, whatever
    separates them, Chinese numerals read as digits. Dates: month and day together (year and month
    where no day is given), or a remnant with either of them. Ages: the number.
    """
    region = _PLACEHOLDER.sub("|", region)
    if gold.category == "age":
        return int(gold.parts[0]) in _numbers(region)
    if gold.category == "date":
        return _is_date_readable(tuple(map(int, gold.parts)), _numbers(value), _numbers(region))
    if gold.category in _TEXTUAL:
        return any(_has_run(Canonical.of(part).text, region) for part in gold.parts)
    seen = _alphanumeric(region)
    return any(_shares_run(_alphanumeric(Canonical.of(part).text), seen, RUN_OF_NUMBER) for part in gold.parts)


def _has_run(part: str, region: str) -> bool:
    if part.isascii():
        if part.isdigit():
            return re.search(rf"(?<!\d){part}(?!\d)", region) is not None
        return _shares_run(part, region, min(RUN_OF_NUMBER, len(part)))
    letters = re.sub(r"\W", "", part)
    return _shares_run(letters, re.sub(r"[^\w|]", "", region), min(RUN_OF_NAME, len(letters)))


def _shares_run(part: str, region: str, length: int) -> bool:
    return any(part[i : i + length] in region for i in range(max(1, len(part) - length + 1)))


def _alphanumeric(text: str) -> str:
    return "".join(str(_NUMERALS.get(char, char)) for char in text if char.isalnum() or char in "|○")


def _numbers(text: str) -> list[int]:
    """Every number of the text in order, in figures or Chinese numerals, names of months as numbers."""
    text = _MONTH_NAME.sub(lambda match: f" {_MONTHS[match.group(1)]} ", text)
    found = []
    for run in _NUMERAL_RUN.findall(text):
        if run.isdigit() and run.isascii():
            found += [int(run[:4]), int(run[4:6]), int(run[6:])] if len(run) == 8 else [int(run)]
        elif set(run) & set("十百"):
            found.append(_read_numeral(run))
        else:
            found.append(int("".join(str(_NUMERALS[char]) for char in run)))
    return found


def _read_numeral(run: str) -> int:
    total, digit = 0, 0
    for char in run:
        if char in "十百":
            total += (digit or 1) * (10 if char == "十" else 100)
            digit = 0
        else:
            digit = _NUMERALS[char]
    return total + digit


def _is_date_readable(parts: tuple[int, ...], whole: list[int], left: list[int]) -> bool:
    orders = {parts, parts[::-1]} if len(parts) == 2 else {parts}
    stated = {tuple(whole[i : i + len(parts)]) for i in range(len(whole))} & orders
    if any(tuple(left[i : i + len(parts)]) in stated for i in range(len(left))):
        return True
    return 0 < len(left) < len(whole) and bool(set(left) & set(parts))
