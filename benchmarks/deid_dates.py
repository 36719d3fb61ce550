"""Dates and high ages of the de-identification benchmark, in the spellings hospitals use."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date

from benchmarks.deid_people import Value, chinese_digits, full_width

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_RELATIVE = (
    "去年中秋", "今年春节前", "上周三", "前年国庆", "去年腊月二十三", "上个月15号", "正月初八", "元旦那天", "端午节后",
)  # fmt: skip
_FULL = {
    "zh": ("iso", "long", "long", "iso_slash", "dot", "cn", "full_width", "compact"),
    "en": ("iso", "us", "long"),
}


@dataclass(frozen=True)
class Spelled:
    """A stretch of text with the dates in it: (start, end, kind, identifying numbers); what lies between is neutral."""

    text: str
    dates: tuple[tuple[int, int, str, tuple[str, ...]], ...]


def _year_cn(day: date, zero: str = "〇") -> str:
    return chinese_digits(str(day.year), zero)


def _count_cn(number: int) -> str:
    tens, ones = divmod(number, 10)
    head = "" if tens == 0 else "十" if tens == 1 else chinese_digits(str(tens)) + "十"
    return head + (chinese_digits(str(ones)) if ones else "")


def _forms(day: date) -> dict[str, tuple[str, ...]]:
    y, m, d = day.year, day.month, day.day
    cn = f"年{_count_cn(m)}月{_count_cn(d)}日"
    return {
        "iso": (f"{y}-{m:02d}-{d:02d}", f"{y}-{m}-{d}"),
        "long": (f"{y}年{m}月{d}日", f"{y}年{m:02d}月{d:02d}日", f"{y} 年 {m} 月 {d} 日"),
        "iso_slash": (f"{y}/{m:02d}/{d:02d}", f"{y}/{m}/{d}"),
        "dot": (f"{y}.{m}.{d}", f"{y}.{m:02d}.{d:02d}"),
        "short": tuple(
            f"{y % 100:02d}{a}{m}{b}{d}{c}"
            for a, b, c in ((".", ".", ""), ("-", "-", ""), ("/", "/", ""), ("年", "月", "日"))
        ),
        "cn": (_year_cn(day) + cn, _year_cn(day, "零") + cn, _year_cn(day, "○") + cn),
        "full_width": (full_width(f"{y}年{m}月{d}日"), full_width(f"{y}-{m:02d}-{d:02d}")),
        "compact": (f"{y}{m:02d}{d:02d}",),
        "md": (f"{m}月{d}日", f"{m}月{d}号", f"{m:02d}月{d:02d}日", f"{_count_cn(m)}月{_count_cn(d)}日", f"{m}.{d}日"),
        "year_month": (
            f"{y}年{m}月", f"{y}.{m:02d}", f"{y}-{m:02d}", f"{_year_cn(day)}年{_count_cn(m)}月", f"{y}年{m}月份",
        ),
    }  # fmt: skip


def _english_forms(day: date) -> dict[str, tuple[str, ...]]:
    y, m, d, name = day.year, day.month, day.day, _MONTHS[day.month - 1]
    us = (f"{m:02d}/{d:02d}/{y}", f"{m}/{d}/{y}", f"{m}/{d}/{y % 100:02d}")
    return {
        "iso": (f"{y}-{m:02d}-{d:02d}",),
        "us": us,
        "long": (f"{name} {d}, {y}", f"{d} {name} {y}", f"{name[:3]} {d}, {y}", f"{d}-{name[:3]}-{y}"),
        "md": (f"{name} {d}", f"{d} {name}", f"{m}/{d}"),
        "year_month": (f"{name} {y}", f"{m:02d}/{y}"),
    }


def spell_date(rng: random.Random, day: date, form: str, language: str) -> Spelled:
    """One date in the named form, "" for any full form; ``time`` adds a time of day, which identifies nobody."""
    forms = _forms(day) if language == "zh" else _english_forms(day)
    unfit = ("compact", "cn") if form == "time" else ()
    kind = form if form in forms else rng.choice([name for name in _FULL[language] if name not in unfit])
    text = rng.choice(forms[kind])
    numbers = (f"{day.year}", f"{day.month}") if kind == "year_month" else (f"{day.month}", f"{day.day}")
    tail = ""
    if form == "time":
        hour, minute = rng.randrange(24), rng.randrange(60)
        tails = (f" {hour:02d}:{minute:02d}", f" {hour:02d}:{minute:02d}:{rng.randrange(60):02d}")
        tail = rng.choice((*tails, f"{hour}时{minute}分", f"{hour}:{minute:02d}") if language == "zh" else tails)
        if kind != "long" and tail[0] != " ":  # 2023-05-069:10 is not a way anyone writes
            tail = tails[0]
    return Spelled(text + tail, ((0, len(text), kind, numbers),))


def spell_range(rng: random.Random, first: date, last: date) -> Spelled:
    """Two dates joined, the second often shortened."""
    a, b = first, last
    pieces = [
        (f"{a.year}年{a.month}月{a.day}日", "至", f"{b.month}月{b.day}日", True),
        (f"{a.isoformat()}", "~", f"{b.isoformat()}", True),
        (f"{a.year}.{a.month}.{a.day}", "-", f"{b.month}.{b.day}", True),
        (f"{a.year}年{a.month}月{a.day}日", "—", f"{b.year}年{b.month}月{b.day}日", True),
        (f"{a.month}月{a.day}日", "到", f"{b.month}月{b.day}日", True),
    ]
    if a.month == b.month:
        pieces += [
            (f"{a.month}月{a.day}", "-", f"{b.day}日", False),
            (f"{a.year}年{a.month}月{a.day}日", "至", f"{b.day}日", False),
        ]
    head, joint, tail, has_month = rng.choice(pieces)
    start = len(head) + len(joint)
    return Spelled(
        head + joint + tail,
        (
            (0, len(head), "range", (f"{a.month}", f"{a.day}")),
            (start, start + len(tail), "range", (f"{b.month}", f"{b.day}") if has_month else (f"{b.day}",)),
        ),
    )


def spell_relative(rng: random.Random) -> str:
    """A date told by a feast or a weekday."""
    return rng.choice(_RELATIVE)


def draw_age(rng: random.Random, language: str) -> Value:
    """An age above 89."""
    age = rng.choice((*range(91, 100), 101, 102, 104))
    if language == "en":
        text = rng.choice((f"{age}-year-old", f"{age} year old", f"{age} y/o", f"{age}yo", f"aged {age}"))
        return Value(text, "age", "English", (str(age),))
    words = ("九十" if age < 100 else "一百零") + chinese_digits(str(age % 10))
    kind, text = rng.choice((
        ("digits", f"{age}岁"), ("digits", f"{age}周岁"), ("spaced", f"{age} 岁"),
        ("full-width", full_width(f"{age}岁")), ("Chinese numerals", f"{words}岁"),
    ))  # fmt: skip
    return Value(text, "age", kind, (str(age),))
