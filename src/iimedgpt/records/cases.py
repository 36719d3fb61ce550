"""The facts of one synthetic case, each drawn once, and as many as its texts have room for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeVar

from iimedgpt.clinical import unsupported
from iimedgpt.records.diseases import DURATION, NUMBER_SLOT, Denial, Disease, Finding
from iimedgpt.records.people import Person, pick
from iimedgpt.text import ngrams

T = TypeVar("T")
ResultPart = str | tuple[float, float, int]  # fixed text, or a number: low, high, decimals

MAX_SECTION_CHARS = 175  # facts of the sections a diagnosis is made from, joining words left out
MIN_SECTION_CHARS = 110
MIN_DIALOGUE_CHARS = 48
MAX_DIALOGUE_CHARS = 85  # facts of the dialogue, as they are said

DIALOGUE_FRAC = 0.4
VITALS_FRAC = 0.35
CHILD_YEARS = 14  # a parent speaks for a younger patient

_FEVER = re.compile("发热|高热|低热|发烧|体温|畏寒|寒战")
_PULSE = re.compile("心率|心律|脉搏|心动过|心悸|心慌|房颤|早搏|次/分")
_PRESSURE = re.compile("血压|BP|休克|mmHg")
_FAMILY = re.compile("家族|遗传|父|母|姨|兄|姐|家属")
_VITAL_IN_SIGN = re.compile(r"体温|脉搏|T\s?\d|P\s?\d")


class Complaint(NamedTuple):
    """A chief complaint with what adds to it: findings that are new, denials that do not contradict."""

    head: str  # before the duration
    tail: str
    findings: tuple[Finding, ...]
    spoken: tuple[Finding, ...]  # those whose numbers the patient says too: a dialogue tells no others
    denied: tuple[Denial, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A disease with what can be worked out once."""

    disease: Disease
    complaints: tuple[Complaint, ...]
    examinations: tuple[tuple[str, tuple[ResultPart, ...]], ...]
    has_temperature: bool  # the knowledge itself speaks of it: nothing made up beside it
    has_pulse: bool
    has_pressure: bool
    is_allergic: bool
    is_familial: bool


def compile_plan(disease: Disease) -> Plan:
    """Parse the slots and look up what the disease's texts speak of."""
    signs = "".join(disease.signs)
    told = "".join((disease.name, *disease.complaints, *(f.record for f in disease.findings), signs, *disease.past))
    everything = told + "".join(denial.record for denial in disease.denied)
    return Plan(
        disease=disease,
        complaints=tuple(_compile_complaint(disease, text) for text in disease.complaints),
        examinations=tuple((exam.name, _parse_result(exam.result)) for exam in disease.examinations),
        has_temperature=bool(_FEVER.search(told)),
        has_pulse=bool(_PULSE.search(told)),
        has_pressure=bool(_PRESSURE.search(told)),
        is_allergic="过敏" in everything,
        is_familial=bool(_FAMILY.search(everything)),
    )


def _compile_complaint(disease: Disease, text: str) -> Complaint:
    head, _, tail = text.partition(DURATION)
    words = ngrams(head + tail, 2)
    new = tuple(finding for finding in disease.findings if _is_news(finding, words))
    new = new if len(new) > 1 else disease.findings
    spoken = tuple(finding for finding in new if "number" not in unsupported(finding.record, finding.patient))
    denied = tuple(d for d in disease.denied if not any(word in head + tail for word in denied_words(d)))
    return Complaint(head, tail, new, spoken if len(spoken) > 1 else new, denied or disease.denied[:1])


def _is_news(finding: Finding, told: set[str]) -> bool:
    """True where less than half of the finding stands in the complaint already (in pairs of characters)."""
    bare = finding.record.removeprefix("伴")
    return len(ngrams(bare, 2) & told) * 2 < len(bare)


def denied_words(denial: Denial) -> list[str]:
    """无呕血、黑便 → 呕血, 黑便."""
    text = denial.record.removeprefix("否认").removeprefix("无").removeprefix("明显")
    return [word for word in re.split("[、及和或与]", text) if len(word) > 1]


def _parse_result(result: str) -> tuple[ResultPart, ...]:
    parts: list[ResultPart] = []
    end = 0
    for slot in NUMBER_SLOT.finditer(result):
        low, high, given = slot.groups()
        n_written = max(len(number.partition(".")[2]) for number in (low, high))
        parts += [result[end : slot.start()], (float(low), float(high), int(given) if given else n_written)]
        end = slot.end()
    return tuple(part for part in (*parts, result[end:].rstrip("。")) if part)


def _render_result(parts: tuple[ResultPart, ...], rng: Random) -> str:
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
        else:
            low, high, n_decimals = part
            text += f"{low + rng.random() * (high - low):.{n_decimals}f}"
    return text


@dataclass(slots=True)
class Case:
    """The drawn facts. Every text of the record speaks of these and of no others."""

    plan: Plan
    person: Person
    age: int
    head: str  # the complaint before its duration, and after it
    duration: str
    tail: str
    findings: list[Finding]
    denied: list[Denial]
    past: str
    vitals: str
    signs: list[str]
    results: list[tuple[str, str]]  # examination, result
    key: int  # the place in ``results`` of the one that settles it
    has_dialogue: bool

    @property
    def complaint(self) -> str:
        return f"{self.head}{self.duration}{self.tail}"

    @property
    def is_child(self) -> bool:
        return self.age < CHILD_YEARS

    def n_section_chars(self) -> int:
        """Facts that the written sections tell, in characters."""
        n = len(self.complaint) * 2 + len(self.past) + len(self.vitals)
        n += sum(len(finding.record) for finding in self.findings)
        n += sum(len(denial.record) for denial in self.denied)
        n += sum(map(len, self.signs))
        return n + sum(len(name) + len(result) + 2 for name, result in self.results)

    def n_dialogue_chars(self) -> int:
        """Facts that the dialogue tells, in characters."""
        n = len(self.complaint) + len(self.past) + len(self.plan.disease.assertion)
        n += sum(len(finding.patient) for finding in self.findings)
        return n + sum(len(denial.question) + len(denial.patient) for denial in self.denied)

    def drop_result(self) -> None:
        """Take out the last examination but the one that settles it."""
        place = len(self.results) - 1
        if place == self.key:
            place -= 1
        del self.results[place]
        self.key -= place < self.key


def draw_case(plan: Plan, person: Person, age: int, rng: Random) -> Case:
    """Facts for one record of the disease, within the budget of length."""
    disease = plan.disease
    complaint = pick(plan.complaints, rng)
    has_dialogue = rng.random() < DIALOGUE_FRAC
    case = Case(
        plan=plan,
        person=person,
        age=age,
        head=complaint.head,
        duration=pick(disease.durations, rng),
        tail=complaint.tail,
        findings=_some(complaint.spoken if has_dialogue else complaint.findings, 2 if rng.random() < 0.4 else 3, rng),
        denied=_some(complaint.denied, 1 if rng.random() < 0.4 else 2, rng),
        past=pick(disease.past, rng),
        vitals="",
        signs=[disease.signs[0]],
        results=[(name, _render_result(parts, rng)) for name, parts in plan.examinations],
        key=disease.key_examination,
        has_dialogue=has_dialogue,
    )
    if rng.random() < 0.6:
        case.signs.append(pick(disease.signs[1:], rng))
    while len(case.results) > 2 and rng.random() < 0.4:
        case.drop_result()
    if rng.random() < VITALS_FRAC:
        case.vitals = _draw_vitals(case, rng)
    _fit(case, complaint, rng)
    return case


def _some(items: Sequence[T], n: int, rng: Random) -> list[T]:
    """``n`` of the items in their own order."""
    return [items[i] for i in sorted(rng.sample(range(len(items)), min(n, len(items))))]


def _fit(case: Case, complaint: Complaint, rng: Random) -> None:
    """Leave out what can best be spared until the texts fit; fill up what is too short."""
    if case.has_dialogue and case.n_dialogue_chars() > MAX_DIALOGUE_CHARS and len(case.findings) > 2:
        case.findings.pop()
    if case.has_dialogue and case.n_dialogue_chars() > MAX_DIALOGUE_CHARS:
        del case.denied[1:]
    if case.has_dialogue and case.n_dialogue_chars() < MIN_DIALOGUE_CHARS:
        case.denied = list(complaint.denied[:2])
    n_chars = case.n_section_chars()
    if n_chars < MIN_SECTION_CHARS:
        case.vitals = case.vitals or _draw_vitals(case, rng)
        if len(case.signs) < 2:
            case.signs.append(case.plan.disease.signs[1])
        return
    if n_chars > MAX_SECTION_CHARS:
        case.vitals = ""
    while len(case.results) > 2 and case.n_section_chars() > MAX_SECTION_CHARS:
        case.drop_result()
    for items, least in ((case.signs, 1), (case.findings, 2), (case.denied, 1)):
        if len(items) > least and case.n_section_chars() > MAX_SECTION_CHARS:
            items.pop()


def _draw_vitals(case: Case, rng: Random) -> str:
    """T, P and BP where they cannot contradict what the record says."""
    plan = case.plan
    told = case.head + "".join(finding.record for finding in case.findings)
    is_febrile = bool(_FEVER.search(told))
    parts = []
    if not _VITAL_IN_SIGN.search("".join(plan.disease.signs)):
        if "低热" in told:
            parts.append(f"T{37.4 + rng.random() * 0.5:.1f}℃")
        elif is_febrile:
            parts.append(f"T{38.1 + rng.random() * 0.9:.1f}℃")
        elif not plan.has_temperature:
            parts.append(f"T{36.3 + rng.random() * 0.6:.1f}℃")
    if not plan.has_pulse:
        slowest = 108 if case.age < 3 else 92 if case.age < 8 else 78 if case.age < CHILD_YEARS else 66
        parts.append(f"P{slowest + 14 * is_febrile + int(rng.random() * 18)}次/分")
    if not plan.has_pressure and case.age >= CHILD_YEARS:
        parts.append(f"BP{112 + int(rng.random() * 24)}/{68 + int(rng.random() * 15)}mmHg")
    return "，".join(parts)
