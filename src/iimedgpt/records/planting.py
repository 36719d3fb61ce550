"""Identifiers planted in the text of synthetic records, with their exact places.

``TEMPLATES`` is the whole table: a test of de-identification holds some of it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Literal, NamedTuple

from iimedgpt.records.people import Person, draw_value, pick
from iimedgpt.records.raw import Category, Span
from iimedgpt.types import EventKind, Speaker

_KIND = EventKind

# lead: in the place of "患者" / "患儿" at the beginning; before / after: put to the text's ends;
# opening / answer: before the patient's first turn, after the last one
Place = Literal["lead", "before", "after", "opening", "answer"]


class Template(NamedTuple):
    """Where a phrase goes and what it says. Slots are the keys of ``SLOTS`` and ``WORDS``."""

    kind: EventKind
    place: Place
    text: str


TEMPLATES: tuple[Template, ...] = (
    Template(_KIND.DEMOGRAPHICS, "before", "姓名：{name}，"),
    Template(_KIND.DEMOGRAPHICS, "before", "{name}，"),
    Template(_KIND.DEMOGRAPHICS, "before", "患者{name}，"),
    Template(_KIND.DEMOGRAPHICS, "before", "病案号：{number}，"),
    Template(_KIND.DEMOGRAPHICS, "before", "{name}（病历号{number}），"),
    Template(_KIND.DEMOGRAPHICS, "after", "，住址：{address}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，家住{address}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，工作单位：{employer}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，就职于{employer}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，身份证号：{id_card}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，证件号码{id_card}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，电话：{phone}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，手机{phone}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，联系人：{relative}（{kin}），{relative_phone}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，医保卡号{insurance}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，护照号：{passport}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，邮箱{email}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，退费银行卡号{bank_card}"),
    Template(_KIND.DEMOGRAPHICS, "after", "，就诊日期：{today}"),
    Template(_KIND.TURN, "opening", "{self}叫{name}，"),
    Template(_KIND.TURN, "opening", "大夫您好，{self}叫{name}。"),
    Template(_KIND.TURN, "answer", "电话留{phone}。"),
    Template(_KIND.TURN, "answer", "有事打{relative_phone}。"),
    Template(_KIND.TURN, "answer", "加我微信{account}吧。"),
    Template(_KIND.TURN, "answer", "我们家住{address}。"),
    Template(_KIND.TURN, "answer", "{earlier}在{hospital}看过一次。"),
    Template(_KIND.TURN, "answer", "陪着来的是{self}{kin}{relative}。"),
    Template(_KIND.PRESENT_ILLNESS, "lead", "患者{name}"),
    Template(_KIND.PRESENT_ILLNESS, "lead", "{name}，"),
    Template(_KIND.PRESENT_ILLNESS, "after", "由{kin}{relative}陪同。"),
    Template(_KIND.PRESENT_ILLNESS, "after", "病史由{kin}{relative}（{relative_phone}）补充。"),
    Template(_KIND.PRESENT_ILLNESS, "after", "曾于{earlier}在{hospital}就诊。"),
    Template(_KIND.PRESENT_ILLNESS, "after", "{earlier}就诊于{hospital}，未予特殊处理。"),
    Template(_KIND.PRESENT_ILLNESS, "after", "今日由{hospital}转来。"),
    Template(_KIND.PRESENT_ILLNESS, "after", "乘自家车（车牌{plate}）来院。"),
    Template(_KIND.PRESENT_ILLNESS, "after", "于{today}来诊。"),
    Template(_KIND.PAST_HISTORY, "after", "{month}曾在{hospital}体检。"),
    Template(_KIND.PAST_HISTORY, "after", "末次体检：{month}。"),
    Template(_KIND.PHYSICAL_EXAMINATION, "after", "检查医师：{doctor}"),
    Template(_KIND.PHYSICAL_EXAMINATION, "after", "查体者：{doctor}主治医师"),
    Template(_KIND.PHYSICAL_EXAMINATION, "before", "（{today}，{doctor}医师查体）"),
    Template(_KIND.AUXILIARY_EXAMINATION, "before", "{today}："),
    Template(_KIND.AUXILIARY_EXAMINATION, "before", "（{today}本院）"),
    Template(_KIND.AUXILIARY_EXAMINATION, "before", "{hospital}检查结果："),
    Template(_KIND.AUXILIARY_EXAMINATION, "after", "报告医师：{doctor}"),
    Template(_KIND.AUXILIARY_EXAMINATION, "after", "检查号：{report}"),
    Template(_KIND.AUXILIARY_EXAMINATION, "after", "标本条码{report}，审核者：{doctor}"),
    Template(_KIND.COURSE, "before", "{later}查房："),
    Template(_KIND.COURSE, "before", "{later} {doctor}主任医师查房："),
    Template(_KIND.COURSE, "after", "记录医师：{doctor}"),
    Template(_KIND.DISCHARGE_SUMMARY, "lead", "患者{name}（住院号{number}）"),
    Template(_KIND.DISCHARGE_SUMMARY, "lead", "患者{name}"),
    Template(_KIND.DISCHARGE_SUMMARY, "lead", "{today}患者"),
    Template(_KIND.DISCHARGE_SUMMARY, "after", "出院日期：{later}。"),
    Template(_KIND.DISCHARGE_SUMMARY, "after", "随访电话{relative_phone}，联系人{relative}。"),
    Template(_KIND.DISCHARGE_SUMMARY, "after", "复诊加科室微信：{account}。"),
    Template(_KIND.DISCHARGE_SUMMARY, "after", "随访问卷发至{email}。"),
    Template(_KIND.DISCHARGE_SUMMARY, "after", "经治医师：{doctor}，{later}"),
)

SLOTS: dict[str, Category] = {
    "name": "name",
    "relative": "name",
    "doctor": "name",
    "id_card": "id_card",
    "passport": "passport",
    "phone": "phone",
    "relative_phone": "phone",
    "email": "email",
    "account": "account",
    "address": "address",
    "hospital": "hospital",
    "number": "medical_number",
    "report": "medical_number",
    "insurance": "medical_number",
    "employer": "employer",
    "plate": "plate",
    "bank_card": "bank_card",
    "today": "date",
    "earlier": "date",
    "later": "date",
    "month": "date",
}
WORDS = frozenset({"kin", "self"})  # slots that identify nobody

AGE_IDENTIFIES = 90  # years
_N_TRIES = 30
_OWN = frozenset({"name", "relative", "id_card", "phone", "relative_phone", "address", "employer", "number", "kin"})
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(slots=True)
class Draft:
    """An event that is still being written. ``place`` tells what may be planted in it."""

    kind: EventKind
    text: str
    time: int
    speaker: Speaker | None = None
    lead: str = ""  # the beginning that a "lead" template replaces
    places: tuple[Place, ...] = ()
    is_planted: bool = False


@dataclass(slots=True)
class Room:
    """How many characters may still be planted."""

    n_chars: int


@dataclass(frozen=True, slots=True)
class _Compiled:
    template: Template
    parts: tuple[tuple[str, str], ...]  # (literal text, slot after it or "")
    n_spans: int


class Planter:
    """Plants one to four identifiers in a record; ``templates`` is the table, or a part of it."""

    def __init__(self, templates: Sequence[Template] = TEMPLATES) -> None:
        self._compiled = tuple(_compile(template) for template in templates)
        self._by_host: dict[tuple[EventKind, Place], tuple[_Compiled, ...]] = {}
        for compiled in self._compiled:
            host = (compiled.template.kind, compiled.template.place)
            self._by_host[host] = (*self._by_host.get(host, ()), compiled)

    def plant(
        self, drafts: Sequence[Draft], person: Person, day: date, room: Mapping[EventKind, Room], rng: Random
    ) -> list[Span]:
        """Write identifiers into the drafts, in place, and return where they stand.

        An age of 90 or more is one of them: it stands in the demographics already.
        ``room`` limits the kinds that it names; kinds with one ``Room`` share it.
        """
        is_aged = person.age_on(day) >= AGE_IDENTIFIES
        wanted = pick((1, 1, 1, 1, 2, 2, 2, 3, 3, 4), rng) - is_aged
        hosts = [
            (i, draft, compiled)
            for i, draft in enumerate(drafts)
            for place in draft.places
            for compiled in self._by_host.get((draft.kind, place), ())
        ]
        spans: list[Span] = []
        for _ in range(_N_TRIES if hosts else 0):
            if len(spans) >= wanted:
                break
            index, draft, compiled = pick(hosts, rng)
            if draft.is_planted or compiled.n_spans > wanted - len(spans):
                continue
            planted = _render(compiled, person, day, rng)
            if planted is None:
                continue
            if (limit := room.get(draft.kind)) is not None:
                if len(planted[0]) > limit.n_chars:
                    continue
                limit.n_chars -= len(planted[0])
            spans += _insert(draft, index, compiled.template.place, *planted)
        if is_aged:
            spans.append(_age_span(drafts, person.age_on(day)))
        return sorted(spans, key=lambda span: (span.event, span.start))


def _compile(template: Template) -> _Compiled:
    pieces = _SLOT.split(template.text)
    parts = tuple((pieces[i], pieces[i + 1] if i + 1 < len(pieces) else "") for i in range(0, len(pieces), 2))
    unknown = [slot for _, slot in parts if slot and slot not in SLOTS and slot not in WORDS]
    if unknown:
        raise ValueError(f"unknown slot {{{unknown[0]}}} in a template")
    return _Compiled(template, parts, sum(slot in SLOTS for _, slot in parts))


def _render(
    compiled: _Compiled, person: Person, day: date, rng: Random
) -> tuple[str, list[tuple[int, int, Category]]] | None:
    """The phrase and its identifiers' places in it; None where the patient has no such thing."""
    text = ""
    places: list[tuple[int, int, Category]] = []
    for literal, slot in compiled.parts:
        text += literal
        if not slot:
            continue
        value = _value(slot, person, day, rng)
        if not value:
            return None
        if slot in SLOTS:
            places.append((len(text), len(text) + len(value), SLOTS[slot]))
        text += value
    return text, places


def _value(slot: str, person: Person, day: date, rng: Random) -> str:
    if slot in _OWN:
        value: str = getattr(person, slot)
        return value
    if slot == "self":
        return "孩子" if person.age_on(day) < 14 else "我"
    if slot == "today":
        return _full_date(day, rng)
    if slot == "earlier":
        past = day - timedelta(days=3 + int(rng.random() * 25))
        return _full_date(past, rng) if rng.random() < 0.5 else f"{past.month}月{past.day}日"
    if slot == "later":
        return _full_date(day + timedelta(days=4 + int(rng.random() * 10)), rng)
    if slot == "month":
        past = day - timedelta(days=200 + int(rng.random() * 700))
        return pick((f"{past.year}年", f"{past.year}年{past.month}月", f"{past:%Y-%m}"), rng)
    return draw_value(slot, person, rng)


def _full_date(day: date, rng: Random) -> str:
    year, month, number = day.year, day.month, day.day
    chance = int(rng.random() * 5)
    if chance == 0:
        return f"{year}-{month:02d}-{number:02d}"
    if chance == 1:
        return f"{year}.{month}.{number}"
    return f"{year}/{month:02d}/{number:02d}" if chance == 2 else f"{year}年{month}月{number}日"


def _age_span(drafts: Sequence[Draft], age: int) -> Span:
    text = f"{age}岁"
    index = next(i for i, draft in enumerate(drafts) if draft.kind is EventKind.DEMOGRAPHICS)
    start = drafts[index].text.index(text)
    return Span(index, start, start + len(text), "age")


def _insert(draft: Draft, index: int, place: Place, phrase: str, places: list[tuple[int, int, Category]]) -> list[Span]:
    if place in ("before", "opening"):
        offset, draft.text = 0, phrase + draft.text
    elif place == "lead":
        offset, draft.text = 0, phrase + draft.text[len(draft.lead) :]
    else:
        offset, draft.text = len(draft.text), draft.text + phrase
    draft.is_planted = True
    return [Span(index, offset + start, offset + end, category) for start, end, category in places]
