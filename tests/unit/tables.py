"""Reading one invented source with the generic readers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from iimedgpt.config import RecordSource, RunConfig
from iimedgpt.records.raw import RawRecord
from iimedgpt.records.readers import Rejected, read_source

WIDE = {
    "patient": "患者编号",
    "encounter": "住院号",
    "sections": {"主诉": "chief_complaint", "现病史": "present_illness"},
}
HEADER = "患者编号,住院号,主诉,现病史\n"


def read(
    folder: Path, path: str | None, mapping: dict[str, Any], reader: str = "table", **source: Any
) -> tuple[list[RawRecord], list[tuple[str, int, str]], Counter[str]]:
    """(records, rejections as (file, row, reason), counts)."""
    counts: Counter[str] = Counter()
    given = RecordSource.model_validate({"reader": reader, "path": path, "mapping": mapping, **source})
    rows = list(read_source(given, RunConfig(name="t", data_dir=str(folder)), counts))
    records = [row.item for row in rows if isinstance(row.item, RawRecord)]
    rejected = [(row.file, row.item.row, row.item.reason) for row in rows if isinstance(row.item, Rejected)]
    return records, rejected, counts


def shown(record: RawRecord) -> list[tuple[str, str, int | None]]:
    return [(event.kind.value, event.text, event.time) for event in record.events]
