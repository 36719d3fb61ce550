"""Reading one invented source with the generic readers."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

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


def write_xlsx(path: Path, rows: list[list[Any]], sheet: str = "s") -> None:
    """The smallest workbook that is one: two parts and inline strings."""
    pytest.importorskip("python_calamine")

    def cell(value: Any, row: int, column: int) -> str:
        place = f"{chr(64 + column)}{row}"
        if isinstance(value, str):
            return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>' if value else ""
        return f'<c r="{place}"><v>{value}</v></c>'

    lines = "".join(
        f'<row r="{number}">' + "".join(cell(value, number, place) for place, value in enumerate(row, 1)) + "</row>"
        for number, row in enumerate(rows, 1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}">'
        f'<sheets><sheet name="{sheet}" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w") as book:
        for name, text in parts.items():
            book.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>' + text)
