"""Our models against others: wins, ties and losses as the paper draws them, and what stands behind each bar.

Read from the facts of the evaluation (``verdicts``, ``ratings``). Held-out records have a chapter of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from iimedgpt.report import figures
from iimedgpt.report.evidence import Table
from iimedgpt.report.facts import HELD_OUT, MODELS, Cell, RunFacts, finite
from iimedgpt.report.measures import MISSING, count, interval, number
from iimedgpt.report.words import Words
from iimedgpt.types import Verdict

DRAWN = ("overall", "reference-closeness")  # criteria of the figure; the table holds them all
N_DRAWN = 30  # bars that a page can hold
SOURCE = "evaluate/manifest.json"
_COUNTS = {
    Verdict.WIN.value: "wins",
    Verdict.TIE.value: "ties",
    Verdict.LOSS.value: "losses",
    Verdict.INVALID.value: "invalid",
}


def verdict_rows(facts: RunFacts) -> list[dict[str, Any]]:
    """Comparisons with one of our models first, on question sets other than the held-out records."""
    said = facts.fact("evaluate", "verdicts")
    rows = [row for row in said if isinstance(row, Mapping)] if isinstance(said, list) else []
    return [
        dict(row) for row in rows if row.get("model_a") in MODELS and row.get("question_set") not in (HELD_OUT, None)
    ]


def figure(facts: RunFacts, words: Words) -> str | None:
    """Stacked bars, one a comparison; None where there is none."""
    names = {
        Verdict.WIN.value: words("win"),
        Verdict.TIE.value: words("tie"),
        Verdict.LOSS.value: words("loss_verdict"),
        Verdict.INVALID.value: words("invalid"),
    }
    rows = [
        (
            f"{words.model(row['model_a'])} {words('vs')} {words.model(row['model_b'])}",
            f"{row['question_set']} · {row['judge']}",
            {verdict: int(row.get(name) or 0) for verdict, name in _COUNTS.items()},
        )
        for row in verdict_rows(facts)
        if row.get("criterion") in DRAWN
    ]
    return figures.verdicts(rows[:N_DRAWN], names)


def tables(facts: RunFacts, words: Words) -> Iterator[Table]:
    """Verdicts with rates and intervals, then strengths; nothing where nobody was met."""
    rows = verdict_rows(facts)
    if rows:
        yield _verdicts_table(rows, words)
    ratings = facts.fact("evaluate", "ratings")
    known = [row for row in ratings if isinstance(row, Mapping)] if isinstance(ratings, list) else []
    if known:
        yield _ratings_table(known, words)


def _verdicts_table(rows: list[dict[str, Any]], words: Words) -> Table:
    columns: tuple[str, ...] = ("models", "asked", "win", "tie", "loss_verdict", "invalid")
    columns += ("win_rate", "lc_win_rate", "consistent", "sign_p", "chars")
    cells = tuple(
        (
            f"{words.model(row['model_a'])} {words('vs')} {words.model(row['model_b'])}",
            f"{row['question_set']} · {row['judge']} · {row.get('criterion', '')}"
            + "".join(f" ⚑ {flag}" for flag in row.get("flags") or ()),
            *(count(int(row.get(name) or 0)) for name in _COUNTS.values()),
            _rate(row, "win_rate", "ci_low", "ci_high"),
            _rate(row, "lc_win_rate", "lc_ci_low", "lc_ci_high"),
            number(finite(row.get("position_consistency")), "position_consistency"),
            _p(finite(row.get("sign_p"))),
            f"{_chars(row.get('mean_chars_a'))} / {_chars(row.get('mean_chars_b'))}",
        )
        for row in rows
    )
    return Table(
        "rivals", words("tab_rivals"), tuple(map(words, columns)), cells, (SOURCE, "evaluate/judgements.jsonl"), 2,
        words("note_rivals"),
    )  # fmt: skip


def _ratings_table(rows: list[Mapping[str, Any]], words: Words) -> Table:
    columns = ("model", "set", "judge", "criterion", "strength", "n")
    cells = tuple(
        (
            words.model(str(row.get("model"))),
            str(row.get("question_set", "")),
            str(row.get("judge", "")),
            str(row.get("criterion", "")),
            _strength(row),
            count(int(row.get("n") or 0)),
        )
        for row in rows
    )
    return Table("ratings", words("tab_ratings"), tuple(map(words, columns)), cells, (SOURCE,), 4)


def _rate(row: Mapping[str, Any], value: str, low: str, high: str) -> str:
    cell = Cell(finite(row.get(value)), finite(row.get(low)), finite(row.get(high)))
    return f"{number(cell.value, 'win_rate')} {interval(cell, 'win_rate')}".rstrip()


def _strength(row: Mapping[str, Any]) -> str:
    value, low, high = (finite(row.get(name)) for name in ("strength", "ci_low", "ci_high"))
    if value is None:
        return MISSING
    bounds = f" [{low:+.2f}, {high:+.2f}]" if low is not None and high is not None else ""
    return f"{value:+.2f}{bounds}".replace("-", "−")


def _chars(value: object) -> str:
    known = finite(value)
    return MISSING if known is None else f"{known:.0f}"


def _p(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"
