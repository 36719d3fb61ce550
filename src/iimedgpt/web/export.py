"""Votes as files: rankings and judgements for the next stages, a table for people."""

from __future__ import annotations

import csv
import io as buffers
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from iimedgpt import io
from iimedgpt.preferences.store import Store
from iimedgpt.types import Ranking
from iimedgpt.web.items import Item

RANKINGS, JUDGEMENTS, TABLE = "rankings.jsonl", "judgements.jsonl", "rankings.csv"
COLUMNS = ("prompt_id", "annotator_id", "rank", "answer_id", "marks", "seconds", "text")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write(store: Store, items: Iterable[Item], folder: Path) -> dict[str, int]:
    """All votes that count; returns rows by file."""
    rankings = store.read_rankings()
    texts = {answer_id: text for item in items for answer_id, text in item.answers}
    out = buffers.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    rows = [row for ranking in rankings for row in _rows(ranking, texts)]
    table.writerows([inert(cell) for cell in row] for row in rows)
    io.write_text(folder / TABLE, "\ufeff" + out.getvalue())  # so that Excel reads Chinese
    return {
        RANKINGS: io.write_jsonl(folder / RANKINGS, rankings),
        JUDGEMENTS: io.write_jsonl(folder / JUDGEMENTS, store.read_judgements()),
        TABLE: len(rows),
    }


def inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _rows(ranking: Ranking, texts: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    edited = {ranking.edited.candidate_id: ranking.edited.text} if ranking.edited else {}
    for rank, tier in enumerate(ranking.tiers, start=1):
        for answer in tier:
            marks = " ".join(ranking.marks.get(answer, ()))
            text = edited.get(answer, texts.get(answer, ""))
            yield (
                ranking.prompt_id,
                ranking.annotator_id,
                str(rank),
                answer,
                marks,
                f"{ranking.seconds:.1f}",
                text,
            )
