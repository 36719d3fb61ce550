"""A free-text note → events, and what its head says of the patient → identifiers."""

from __future__ import annotations

import re
from collections import Counter

from iimedgpt.records.headings import known_heading, split_note
from iimedgpt.records.raw import Category
from iimedgpt.records.readers.cells import parse_identifiers
from iimedgpt.records.sections import build_events
from iimedgpt.types import Event, EventKind, Language

Identifiers = dict[Category, tuple[str, ...]]

_HEAD_CHARS = 2_000
_STOP = r"(?=[\s，,；;。|]|$|性别|年龄|民族|婚姻|职业|籍贯|科室|床号|住院号|病区|联系)"
_GAP = r"[ \u3000]*"
_COLON = rf"{_GAP}[:：]{_GAP}"
_NAME = r"([\u4e00-\u9fff·]{2,12}?)" + _STOP
_PATTERNS: tuple[tuple[Category, str], ...] = (
    ("name", rf"姓{_GAP}名{_GAP}[:：]?{_GAP}{_NAME}"),
    ("name", rf"(?:联系人|家属|监护人|陈述者|供史者|病史陈述人)(?:姓名)?{_COLON}{_NAME}"),
    (
        "medical_number",
        rf"(?:住院|门诊|病案|病历|就诊|登记|医保)卡?号码?{_GAP}[:：]?{_GAP}([A-Za-z0-9-]{{4,24}})",
    ),
    ("phone", rf"(?:电话|手机)(?:号码)?{_GAP}[:：]?{_GAP}([0-9+()（） -]{{7,20}}[0-9])"),
    ("id_card", rf"身份证号?码?{_GAP}[:：]?{_GAP}([0-9]{{14,17}}[0-9Xx])"),
    ("address", rf"(?:住{_GAP}址|地址){_COLON}([^\s，,；;。]{{4,60}})"),
    ("employer", rf"(?:工作)?单位{_COLON}([^\s，,；;。]{{4,40}})"),
)
_FIELDS = tuple((category, re.compile(pattern)) for category, pattern in _PATTERNS)
_NO_NAMES = re.compile("患者|病人|本人|家属|父|母|配偶|丈夫|妻子|儿子|女儿|可靠|无|不详")
_SEX = re.compile(r"性[ \u3000]*别[ \u3000]*[:：]?[ \u3000]*(男|女)")
_AGE = re.compile(r"年[ \u3000]*龄[ \u3000]*[:：]?[ \u3000]*(\d{1,3}[ \u3000]*(?:岁|月|天|周岁)?)")


def parse_note(note: str, language: Language, counts: Counter[str]) -> tuple[list[Event], Identifiers]:
    """Events of a note by its headings, and the identifiers that its head names.

    Sex and age of the head become demographics; whatever else stands before the first heading, and a
    note without headings, becomes a late note.
    """
    parts = split_note(note, language)
    head = parts[0].text[:_HEAD_CHARS] if parts and not parts[0].heading else ""
    other = "其他" if language == "zh" else "Notes"
    sections = [(known_heading(part.heading) if part.heading else other, part.text) for part in parts]
    if not (len(parts) and any(part.heading for part in parts)):
        counts["notes_without_headings"] += 1
    events, n_unknown = build_events(sections, language)
    counts["unknown_headings"] += n_unknown
    found = [match[1].strip() for match in (_SEX.search(head), _AGE.search(head)) if match]
    has_demographics = any(event.kind is EventKind.DEMOGRAPHICS for event in events)
    if found and not has_demographics:
        events.insert(0, Event(kind=EventKind.DEMOGRAPHICS, text="，".join(found)))
    return events, find_head_identifiers(head)


def find_head_identifiers(head: str) -> Identifiers:
    """姓名：…, 住院号：… of a note's head: the patient's own dictionary."""
    found: dict[Category, list[str]] = {}
    for category, pattern in _FIELDS:
        for match in pattern.finditer(head):
            values = [match[1].strip()] if category == "phone" else parse_identifiers(category, match[1])
            kept = [value for value in values if category != "name" or not _NO_NAMES.match(value)]
            found.setdefault(category, []).extend(kept)
    return {category: tuple(dict.fromkeys(values)) for category, values in found.items() if values}
