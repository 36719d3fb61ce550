"""Dates in clinical text: found in their many spellings, shifted by whole days, format kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from iimedgpt.types import Language

_Y = r"(?P<y>(?:19|20)[0-9]{2})"
_M = r"(?P<m>1[0-2]|0?[1-9])"
_D = r"(?P<d>3[01]|[12][0-9]|0?[1-9])"
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip
_NAME = r"(?P<name>" + "|".join(f"{month}|{month[:3]}" for month in _MONTHS) + r"|sept)"
_NOT_IN_NUMBER = r"(?<![0-9])(?<![0-9][./])"
# a range's end stands behind a date: "3~4日一次" and "5~6月龄" do not
_RANGE = r"(?<=[年月日号][-~—至到])"
_DAY_RANGE = rf"(?:{_RANGE}|(?<=月[0-9][-~—至到])|(?<=月[0-9]{{2}}[-~—至到]))"
_ZH_DIGIT = "[〇零○一二三四五六七八九]"

_SHARED = [
    # 2023-05-01, 2023/5/1, 2023.05.01
    _NOT_IN_NUMBER + _Y + r" ?(?P<sep>[-/.]) ?" + _M + r" ?(?P=sep) ?" + _D + r"(?![0-9])",
    # 20230501
    r"(?<![0-9A-Za-z.])" + _Y + r"(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12][0-9]|3[01])(?![0-9A-Za-z])",
    # 2023-05 (not 2017.05ng/ml)
    _NOT_IN_NUMBER + _Y + r"(?P<sep>[-/.])(?P<m>0[1-9]|1[0-2])(?![0-9])(?![-/.][0-9])(?! ?[A-Za-z%μ×*^])",
]
_ZH = [
    _NOT_IN_NUMBER + _Y + r" ?年 ?" + _M + r" ?月 ?" + _D + r"(?: ?[日号]|(?![0-9]))",
    r"(?<![0-9])(?P<yy>[0-9]{2})年" + _M + r"月" + _D + r"[日号]",
    _NOT_IN_NUMBER + _Y + r" ?年 ?" + _M + r" ?月(?! ?[0-9])",
    _NOT_IN_NUMBER + _Y + r" ?年(?! ?[0-9])",
    _NOT_IN_NUMBER + _Y + r"(?= ?(?:-|~|—|至|到) ?(?:19|20)[0-9]{2} ?年)",
    r"(?<![0-9])" + _M + r" ?月 ?" + _D + r" ?[日号]",
    # the end of a range: 2023年5月1日至3日, 2019年5月-8月
    _RANGE + _M + r"月(?![0-9])",
    _DAY_RANGE + _D + r"[日号]",
    # written out: replaced, not shifted
    r"(?P<words>" + _ZH_DIGIT + r"{4}年(?:[一二三四五六七八九十]{1,3}月(?:[一二三四五六七八九十]{1,3}[日号])?)?)",
]
_EN = [
    r"(?<![0-9/])" + _M + r"/" + _D + r"/(?:" + _Y + r"|(?P<yy>[0-9]{2}))(?![0-9/])",
    r"(?<![A-Za-z])" + _NAME + r"\.? " + _D + r"(?P<ord>st|nd|rd|th)?,? " + _Y + r"(?![0-9])",
    r"(?<![0-9])" + _D + r"(?P<ord>st|nd|rd|th)? (?:of )?" + _NAME + r"\.?,? " + _Y + r"(?![0-9])",
    r"(?<![A-Za-z])" + _NAME + r"\.?,? (?:of )?" + _Y + r"(?![0-9])",
    r"(?<![A-Za-z])" + _NAME + r"\.? " + _D + r"(?P<ord>st|nd|rd|th)?(?![0-9A-Za-z])",
    r"(?:(?<=in )|(?<=since )|(?<=until )|(?<=year )|(?<=during ))" + _Y + r"(?![0-9])",
]
# every alternative of a number is as long as it can be: 3[01] before [1-9] and a guard after it
_PATTERNS: dict[Language, list[re.Pattern[str]]] = {
    "zh": [re.compile(pattern) for pattern in (*_SHARED, *_ZH)],
    "en": [re.compile(pattern, re.IGNORECASE) for pattern in (*_SHARED, *_EN)],
}
_CENTURY_TURN = 40  # two-digit years up to here are of this century


def find_dates(text: str, language: Language) -> Iterator[re.Match[str]]:
    """Every date and partial date, overlaps included: the longest one counts."""
    for pattern in _PATTERNS[language]:
        yield from pattern.finditer(text)


@dataclass
class DateShifter:
    """Moves the dates of one record by ``days``, so that the intervals between them stay.

    A year alone stands for its middle, a month alone for its 15th day. A date without a year
    takes the year of the last full date before it, because that decides on 29 February only.
    """

    days: int
    _year: int = 2001
    _last: date | None = None
    _last_end: int = field(default=-9)

    def start_text(self) -> None:
        """Forget where the last date ended: ranges do not cross texts."""
        self._last_end = -9

    def shift(self, match: re.Match[str], placeholder: str) -> str:
        """The date as it reads after the shift; the placeholder where it is no date of the calendar."""
        groups = {name: value for name, value in match.groupdict().items() if value}
        if "words" in groups:
            return placeholder
        is_range_end = not groups.keys() & {"y", "yy"} and not ("d" in groups and groups.keys() & {"m", "name"})
        if is_range_end and (self._last is None or match.start() - self._last_end > 1):
            return match.group()  # "8月" and "3日" alone are durations or ordinals as often as dates
        try:
            old = date(*self._parts(groups))
            new = old + timedelta(days=self.days)
        except (ValueError, OverflowError):
            return placeholder
        last_new = self._last + timedelta(days=self.days) if self._last else new
        self._last, self._last_end, self._year = old, match.end(), old.year
        if is_range_end and (new.year, new.month) != (last_new.year, last_new.month) and "d" in groups:
            return f"{new.month}月{new.day}日"
        return _render(match, groups, new)

    def _parts(self, groups: dict[str, str]) -> tuple[int, int, int]:
        year = int(groups.get("y", self._year))
        if "yy" in groups:
            short = int(groups["yy"])
            year = short + (2000 if short <= _CENTURY_TURN else 1900)
        if "name" in groups:
            month = [name[:3] for name in _MONTHS].index(groups["name"][:3].lower()) + 1
        elif "m" in groups:
            month = int(groups["m"])
        else:
            month = self._last.month if self._last and "d" in groups else 7
        day = int(groups.get("d", 15 if groups.keys() & {"m", "name"} else 1))
        return year, month, day


def _render(match: re.Match[str], groups: dict[str, str], new: date) -> str:
    """The match with its numbers replaced, zero-padded where the original is."""
    is_padded = any(groups.get(name, "").startswith("0") for name in "md") or (
        "sep" in groups and all(len(groups.get(name, "00")) == 2 for name in "md")
    )
    values = {
        "y": f"{new.year:04d}",
        "yy": f"{new.year % 100:02d}",
        "m": f"{new.month:02d}" if is_padded or _is_compact(match) else str(new.month),
        "d": f"{new.day:02d}" if is_padded or _is_compact(match) else str(new.day),
        "name": _like(groups.get("name", ""), _MONTHS[new.month - 1]),
        "ord": {1: "st", 2: "nd", 3: "rd"}.get(new.day % 10 if new.day // 10 != 1 else 0, "th"),
    }
    text, offset = match.group(), match.start()
    for name in sorted(groups.keys() & values.keys(), key=match.start, reverse=True):
        start, end = match.span(name)
        text = text[: start - offset] + values[name] + text[end - offset :]
    return text


def _is_compact(match: re.Match[str]) -> bool:
    return match.group().isdigit() and len(match.group()) == 8


def _like(old: str, month: str) -> str:
    """The new month's name, as long and as capital as the old one's."""
    name = month[:3] if len(old) <= 4 and old.lower() not in ("may", "june", "july") else month
    if old.isupper():
        return name.upper()
    return name.capitalize() if old[:1].isupper() else name
