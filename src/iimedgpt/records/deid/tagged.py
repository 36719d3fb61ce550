"""What a named-entity model of the user's own found, as identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from iimedgpt.entities import Entity, EntityKind
from iimedgpt.records.deid.found import Found
from iimedgpt.records.deid.roles import LABELS, NOBODY, PATIENTS, RELATIVES, STAFF, TITLES
from iimedgpt.records.deid.words import CJK, NOT_NAMES
from iimedgpt.records.raw import Category

_CATEGORIES: dict[EntityKind, Category] = {"person": "name", "location": "address", "organisation": "employer"}
_HOSPITAL = re.compile("医院|卫生院|卫生所|诊所|门诊部|医学中心|保健院|hospital|clinic|medical cent", re.IGNORECASE)
_HAS_LETTERS = re.compile(f"[{CJK}A-Za-z]")
_NOBODY = NOT_NAMES.union(LABELS, NOBODY, PATIENTS, RELATIVES, STAFF, TITLES)  # a role is no name
_LATIN = re.compile("[A-Za-zÀ-ɏ'’]")


def read_entities(text: str, entities: Iterable[Entity]) -> Iterator[Found]:
    """Entities without the space around them, Latin words whole; what holds no letter is none.

    Args:
        text: what the tagger read; offsets beyond its end are cut.
    """
    for entity in entities:
        start, end = _whole(text, max(0, entity.start), min(len(text), entity.end))
        value = text[start:end]
        if not _HAS_LETTERS.search(value) or value in _NOBODY:
            continue
        category = _CATEGORIES[entity.kind]
        if entity.kind == "organisation" and _HOSPITAL.search(value):
            category = "hospital"
        yield Found(start, end, category, is_full=entity.kind == "person" and len(value) > 1)


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """A model may tag a piece of a word only: ``Mc`` of ``McAllister``."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        while start > 0 and _LATIN.match(text[start]) and _LATIN.match(text[start - 1]):
            start -= 1
        while end < len(text) and _LATIN.match(text[end - 1]) and _LATIN.match(text[end]):
            end += 1
    return start, end
