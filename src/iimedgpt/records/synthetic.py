"""Seeded generator of Chinese outpatient and inpatient records, with the truth of what identifies.

The demo's input, the test set of de-identification and the scale benchmark. Clinical content comes
from ``knowledge/*.toml``, people from ``people``, identifiers in the text from ``planting``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import cache
from random import Random

from iimedgpt.records.cases import Plan, compile_plan, draw_case
from iimedgpt.records.composing import VISIBLE, compose
from iimedgpt.records.diseases import Disease, load_knowledge
from iimedgpt.records.people import Person, Sex, draw_person
from iimedgpt.records.planting import TEMPLATES, Draft, Planter, Room, Template
from iimedgpt.records.raw import RawRecord
from iimedgpt.types import Event, EventKind

__all__ = ["Disease", "generate", "load_knowledge"]

MAX_VISIBLE_CHARS = 230  # what the diagnosis task sees beside the dialogue, planted identifiers included
MAX_DIALOGUE_CHARS = 160
SECOND_VISIT_FRAC = 0.11  # tries; about one in ten finds a patient of the right age and sex
AGED_FRAC = 0.04  # of the patients whose disease reaches 75 years: 90 and older
INPATIENT_FRAC = 0.3  # of the diseases that are treated either way

_N_RECENT = 400  # patients that may come again
_N_TRIES = 10
_FIRST_DAY = date(2019, 1, 1)
_N_DAYS = 365 * 5


def generate(n: int, seed: int = 0, *, templates: Sequence[Template] = TEMPLATES) -> Iterator[RawRecord]:
    """``n`` records; equal (n, seed) give equal records, and fewer records are a prefix of more.

    Every disease comes once before any comes again. About one record in ten is a later encounter of
    an earlier patient. ``templates`` is the table of planted phrases, or the part of it to use.

    Raises:
        DataError: a knowledge file breaks the schema.
    """
    plans = _plans()
    planter = Planter(templates)
    recent: list[Person] = []
    order: list[int] = []
    for row in range(1, n + 1):
        place = (row - 1) % len(plans)
        if place == 0:
            order = list(range(len(plans)))
            Random(f"{seed}:order:{row}").shuffle(order)
        rng = Random(f"{seed}:record:{row}")
        plan = plans[order[place]]
        person, day, visit = _choose_patient(plan.disease, row, recent, rng)
        yield _build_record(row, plan, person, day, visit, planter, rng)


@cache
def _plans() -> tuple[Plan, ...]:
    return tuple(compile_plan(disease) for disease in load_knowledge())


def _choose_patient(disease: Disease, row: int, recent: list[Person], rng: Random) -> tuple[Person, date, int]:
    """A patient the disease can befall, the day of the visit, and which visit it is (1 or 2)."""
    youngest, oldest = disease.ages
    if recent and rng.random() < SECOND_VISIT_FRAC:
        for _ in range(_N_TRIES):
            place = int(rng.random() * len(recent))
            person = recent[place]
            day = person.last_visit + timedelta(days=20 + int(rng.random() * 300))
            if disease.sex in ("any", person.sex) and youngest <= person.age_on(day) <= oldest:
                del recent[place]
                return person, day, 2
    sex: Sex = disease.sex if disease.sex != "any" else ("male" if rng.random() < 0.5 else "female")
    age = youngest + int(rng.random() * (oldest - youngest + 1))
    if oldest >= 75 and rng.random() < AGED_FRAC:
        age = 90 + int(rng.random() * 8)
    day = _FIRST_DAY + timedelta(days=int(rng.random() * _N_DAYS))
    if (day.month, day.day) == (2, 29):
        day += timedelta(days=1)
    person = draw_person(f"synthetic-{row}", sex, age, day, rng)
    recent.append(person)
    if len(recent) > _N_RECENT:
        del recent[0]
    return person, day, 1


def _build_record(
    row: int, plan: Plan, person: Person, day: date, visit: int, planter: Planter, rng: Random
) -> RawRecord:
    age = person.age_on(day)
    setting = plan.disease.setting
    is_inpatient = setting == "inpatient" or (setting == "either" and rng.random() < INPATIENT_FRAC)
    drafts = compose(draw_case(plan, person, age, rng), is_inpatient, rng)
    spans = planter.plant(drafts, person, day, _room(drafts), rng)
    return RawRecord(
        patient_key=person.key,
        encounter_key=f"{person.key}-{visit}",
        row=row,
        language="zh",
        events=tuple(
            Event(kind=draft.kind, text=draft.text, speaker=draft.speaker, time=draft.time) for draft in drafts
        ),
        identifiers=person.identifiers(),
        spans=tuple(spans),
        caveats=("synthetic record",),
        license="Apache-2.0",
        is_synthetic=True,
    )


def _room(drafts: Sequence[Draft]) -> dict[EventKind, Room]:
    """What may still be planted: the visible sections share one room, the dialogue has its own."""
    n_turns = sum(len(draft.text) for draft in drafts if draft.kind is EventKind.TURN)
    n_visible = sum(len(draft.text) for draft in drafts if draft.kind in VISIBLE)
    visible = Room(MAX_VISIBLE_CHARS - n_visible)
    return dict.fromkeys(VISIBLE, visible) | {EventKind.TURN: Room(MAX_DIALOGUE_CHARS - n_turns)}
