"""Recall, precision and F2 of de-identification per category, with 95 % intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.deid_alignment import Scored, score
from benchmarks.deid_records import Filled, Gold
from iimedgpt.records.raw import RawRecord, Scrubbed
from iimedgpt.stats import wilson
from iimedgpt.types import Event, EventKind

Deidentify = Callable[[RawRecord], Scrubbed]

N_RESAMPLES = 1000
UNATTRIBUTED = "unattributed"


@dataclass
class Outcomes:
    """Counts by template (the cluster of the bootstrap) and by reporting row."""

    n_found: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    n_missed: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    n_false: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    groups: defaultdict[tuple[str, str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    n_failed: int = 0

    def add(self, filled: Filled, leaked: Iterable[tuple[Gold, bool]], false: Iterable[str]) -> None:
        """One record's outcome."""
        template = filled.template
        for gold, is_leaked in leaked:
            (self.n_missed if is_leaked else self.n_found)[template.id, gold.category] += 1
            kind = f"{gold.kind}, {gold.stratum}"
            for group, name in (("strata", gold.stratum), ("kinds", kind), ("languages", template.language)):
                tally = self.groups[gold.category, group, name]
                tally[0] += 1
                tally[1] += not is_leaked
        for row in false:
            self.n_false[template.id, row] += 1

    @property
    def rows(self) -> list[str]:
        """Every category seen."""
        return sorted({row for counts in (self.n_found, self.n_missed, self.n_false) for _, row in counts})


def measure(records: Iterable[Filled], deidentifiers: Sequence[Deidentify]) -> Outcomes:
    """Run the records through de-identification and compare with the truth.

    A surrogate may equal a piece of the value it stands for by chance, and a shifted date another
    date: an identifier counts as leaked only if it is readable under every one of the secrets
    that ``deidentifiers`` were made with.
    """
    outcomes = Outcomes()
    for filled in records:
        try:
            events = deidentifiers[0](filled.raw).events
        except Exception:  # a quarantined record leaks nothing, and is told apart
            outcomes.n_failed += 1
            continue
        scored = _score_events(filled, events)
        leaks = [event.leaked for event in scored]
        for again in islice(deidentifiers, 1, None):
            if not any(any(event) for event in leaks):
                break
            repeated = _score_events(filled, again(filled.raw).events)
            leaks = [
                tuple(a and b for a, b in zip(old, new.leaked, strict=True))
                for old, new in zip(leaks, repeated, strict=True)
            ]
        golds = [gold for event in _by_event(filled) for gold in event]
        leaked = zip(golds, (leak for event in leaks for leak in event), strict=True)
        changes = [change for event in scored for change in event.changes]
        false = [change.category or attribute(filled.raw, change.context, deidentifiers[0]) for change in changes]
        outcomes.add(filled, leaked, false)
    return outcomes


def attribute(raw: RawRecord, context: str, deidentify: Deidentify) -> str:
    """The category under which a stretch without identifiers is changed, found by giving it alone."""
    event = Event(kind=EventKind.NOTE, text=context or "-")
    alone = RawRecord(raw.patient_key, raw.encounter_key, raw.row, raw.language, (event,), raw.identifiers)
    counts = deidentify(alone).counts
    return counts.most_common(1)[0][0] if counts else UNATTRIBUTED


def _by_event(filled: Filled) -> list[list[Gold]]:
    return [[gold for gold in filled.golds if gold.event == index] for index in range(len(filled.raw.events))]


def _score_events(filled: Filled, events: Sequence[Event]) -> list[Scored]:
    pairs = zip(filled.raw.events, events, _by_event(filled), strict=True)
    return [
        score(before.text, after.text, golds, [(start, end) for event, start, end in filled.neutral if event == index])
        for index, (before, after, golds) in enumerate(pairs)
    ]


def summarise(outcomes: Outcomes, seed: int = 0) -> dict[str, Any]:
    """Every row's recall (Wilson), precision, F2 (bootstrap over templates), and recall by stratum, kind, language.

    Records of one template resemble each other, so the template is the unit that is resampled;
    Wilson's interval takes identifiers as independent and is the narrower of the two kinds.
    """
    return {row: _summarise_row(outcomes, row, seed) for row in outcomes.rows}


def _summarise_row(outcomes: Outcomes, row: str, seed: int) -> dict[str, Any]:
    tallies = (outcomes.n_found, outcomes.n_missed, outcomes.n_false)
    names = sorted({name for tally in tallies for name, _ in tally})
    counts = np.array([[tally.get((name, row), 0) for tally in tallies] for name in names])
    found, missed, false = (int(total) for total in counts.sum(axis=0))
    weights = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), N_RESAMPLES)
    resampled = [value for value in (f2(*totals) for totals in weights @ counts) if value is not None]
    summary: dict[str, Any] = {
        "n": found + missed,
        "n_found": found,
        "n_false": false,
        **share(found, found + missed, "recall"),
        "precision": found / (found + false) if found + false else None,
        "f2": f2(found, missed, false),
        "f2_interval": [float(bound) for bound in np.quantile(resampled, (0.025, 0.975))] if resampled else None,
    }
    for group in ("strata", "kinds", "languages"):
        summary[group] = {
            name: {"n": n, **share(k, n, "recall")}
            for (category, kind, name), (n, k) in sorted(outcomes.groups.items())
            if (category, kind) == (row, group)
        }
    return summary


def share(k: int, n: int, name: str) -> dict[str, Any]:
    """k of n and its Wilson interval."""
    interval = wilson(k, n)
    return {name: k / n if n else None, f"{name}_interval": list(interval) if interval else None}


def f2(found: float, missed: float, false: float) -> float | None:
    """F with recall weighted twice: 5 TP / (5 TP + 4 FN + FP). None without identifiers."""
    if found + missed == 0:
        return None
    return float(5 * found / (5 * found + 4 * missed + false))
