"""From a clinician's ranking to preferences: which answer is better than which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from iimedgpt.types import Ranking

Against = Literal["all", "best"]


def preferences(ranking: Ranking, against: Against = "all") -> Iterator[tuple[str, str]]:
    """(chosen id, rejected id), better answers first; ties give none.

    An answer marked unsafe is never chosen, whatever it is better than: a model must not be drawn
    towards it.

    Args:
        against: "all" gives every ordered pair, "best" only those whose chosen answer is in the
            first tier.
    """
    chosen_tiers = ranking.tiers if against == "all" else ranking.tiers[:1]
    for place, tier in enumerate(chosen_tiers):
        for chosen in tier:
            if "unsafe" in ranking.marks.get(chosen, ()):
                continue
            for worse in ranking.tiers[place + 1 :]:
                for rejected in worse:
                    yield chosen, rejected
