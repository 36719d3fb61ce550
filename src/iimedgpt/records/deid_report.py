"""What de-identification did in one run, and the verdict of the leak gate: counts and places, never text."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from heapq import nsmallest
from importlib.resources import files
from typing import Any

from iimedgpt.config import RecordsConfig
from iimedgpt.gate import Verdict
from iimedgpt.records.convert import Outcome
from iimedgpt.text import content_id

N_POSITIONS = 200  # sampled, evenly over the run
_UNSURE = ("deid_timeout", "deid_failed")  # quarantined too: nobody knows what they held
Position = tuple[
    str, str, int, int, int, str
]  # its hash, which decides the sample; record, event, start, end, category


class DeidReport:
    """Counts over a run's records; the order in which they come does not matter."""

    def __init__(self) -> None:
        self.replaced: Counter[str] = Counter()
        self.residues: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.n_untouched: Counter[str] = Counter()  # records by source in which nothing was replaced
        self.n_records: Counter[str] = Counter()
        self.n_leaking = self.n_unsure = 0
        self._positions: list[Position] = []

    def add(self, outcome: Outcome) -> None:
        """Count one row."""
        self.n_unsure += outcome.reason in _UNSURE
        self.residues.update(outcome.residues)
        self.n_leaking += bool(outcome.residues)
        if outcome.reason is not None:
            return
        self.n_records[outcome.source] += 1
        self.languages[outcome.language] += 1
        self.replaced.update(outcome.replaced)
        self.n_untouched[outcome.source] += not outcome.replaced
        self._positions += (
            (content_id(outcome.item_id, str(n)), outcome.item_id, span.event, span.start, span.end, span.category)
            for n, span in enumerate(outcome.positions)
        )
        if len(self._positions) > 20 * N_POSITIONS:
            self._positions = nsmallest(N_POSITIONS, self._positions)

    def verdict(self, config: RecordsConfig) -> Verdict:
        """Failed where more records than allowed held identifiers, or could not be looked at."""
        n_seen = sum(self.n_records.values()) + self.n_leaking + self.n_unsure
        reasons = []
        for n, what in ((self.n_leaking, "still held identifiers"), (self.n_unsure, "could not be looked at")):
            if n > config.max_leak_frac * n_seen:
                reasons.append(f"{n} of {n_seen} records {what} (records.max_leak_frac {config.max_leak_frac})")
        warnings = [
            f"source '{source}': nothing was replaced in any of its {n} records"
            for source, n in self.n_records.items()
            if n > 1 and self.n_untouched[source] == n
        ]
        return Verdict(state="failed" if reasons else "passed", reasons=tuple(reasons), warnings=tuple(warnings))

    def as_json(self, verdict: Verdict, n_dropped: Mapping[str, int]) -> dict[str, Any]:
        """The report as it is written."""
        places = (
            dict(zip(("record", "event", "start", "end", "category"), place[1:], strict=True))
            for place in (nsmallest(N_POSITIONS, self._positions))
        )
        return {
            "gate": verdict.model_dump(mode="json"),
            "rules": rules_version(),
            "n_records": dict(sorted(self.n_records.items())),
            "n_records_by_language": dict(sorted(self.languages.items())),
            "n_records_untouched": dict(sorted((+self.n_untouched).items())),
            "n_replaced": dict(sorted(self.replaced.items())),
            "n_quarantined": self.n_leaking + self.n_unsure,
            "n_residues": dict(sorted(self.residues.items())),
            "n_dropped": dict(sorted(n_dropped.items())),
            "sampled_positions": list(places),
        }


@cache
def rules_version() -> str:
    """Hash of the code that finds identifiers: reports of the same version can be compared."""
    digest = hashlib.sha256()
    for path in sorted(files("iimedgpt.records").iterdir(), key=lambda path: path.name):
        if path.is_file() and path.name.endswith((".py", ".txt")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
