"""What a recogniser finds."""

from __future__ import annotations

from typing import NamedTuple

from iimedgpt.records.raw import Category


class Found(NamedTuple):
    """One identifier in a text, end exclusive, in characters."""

    start: int
    end: int
    category: Category
    is_full: bool = False  # a name to be looked for in the rest of the record
