"""Named entities in a text: what a tagger of the user's own finds, and how its labels are read. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

EntityKind = Literal["person", "location", "organisation"]

_LABELS: dict[EntityKind, str] = {  # as CoNLL, OntoNotes, MSRA, CLUENER, PKU and the i2b2 tasks name them
    "person": "per person persons name nr patient doctor staff hcw username",
    "location": "loc location gpe fac facility address ns scene street city state country district",
    "organisation": "org organization organisation company government nt hospital hosp patorg vendor employer",
}
_KINDS: dict[str, EntityKind] = {label: kind for kind, labels in _LABELS.items() for label in labels.split()}
_PREFIX = re.compile("^[BIEMSLU][-_]")


class Entity(NamedTuple):
    """One entity in a text, end exclusive, in characters."""

    start: int
    end: int
    kind: EntityKind


class EntityTagger(Protocol):
    """Finds persons, places and organisations."""

    def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text, overlaps allowed."""
        ...


def kind_of(label: str) -> EntityKind | None:
    """What a label stands for (``B-PER``, ``I-LOC``, ``E_ORG``, ``person``); ``None`` for all others."""
    return _KINDS.get(_PREFIX.sub("", label).lower())


def is_begin(label: str) -> bool:
    """True where the label opens an entity of its own beside another of its kind."""
    return label[:2] in ("B-", "B_", "S-", "S_", "U-", "U_")
