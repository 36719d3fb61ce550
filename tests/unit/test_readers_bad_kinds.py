"""Every kind of bad input in every format that has rows: the bad row is located and counted, the others are read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tables import HEADER, WIDE, read

MAX_BYTES = 2**20
BAD: dict[str, bytes] = {
    "nul_byte": "咳\x00嗽".encode(),
    "lone_surrogate_bytes": b"a\xed\xa0\x80b",
    "gb18030": "持续咳嗽咳痰，加重入院".encode("gb18030"),
    "huge": b"x" * (MAX_BYTES + 10),
}
REASON = {
    "nul_byte": "nul_byte",
    "lone_surrogate_bytes": "wrong_encoding",
    "gb18030": "wrong_encoding",
    "huge": "line_too_long",
}


def as_csv(cell: bytes, number: int) -> bytes:
    return f"{number},V{number},".encode() + cell + ",无\n".encode()


def as_jsonl(cell: bytes, number: int) -> bytes:
    cell = cell.replace(b"\x00", b"\\u0000")
    return f'{{"患者编号":"{number}","住院号":"V{number}","现病史":"无","主诉":"'.encode() + cell + b'"}\n'


def as_record(cell: bytes, number: int) -> bytes:
    cell = cell.replace(b"\x00", b"\\u0000")
    head = f'{{"patient_id":"{number}","encounter_id":"V{number}","sections":{{"现病史":"无","主诉":"'
    return head.encode() + cell + b'"}}\n'


FORMS: dict[str, tuple[str, dict[str, Any], str, Any]] = {
    "a.csv": (HEADER, WIDE, "table", as_csv),
    "b.jsonl": ("", WIDE, "table", as_jsonl),
    "c.jsonl": ("", {}, "jsonl", as_record),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_bad_row_costs_that_row(tmp_path: Path, kind: str, form: str, is_packed: bool) -> None:
    header, mapping, reader, line = FORMS[form]
    rows = [line(b"cough", 0), line(BAD[kind], 1), line("咳嗽".encode(), 2)]
    content = header.encode() + b"".join(rows)
    name = form + ".gz" * is_packed
    (tmp_path / name).write_bytes(gzip.compress(content) if is_packed else content)
    records, rejected, _ = read(tmp_path, name, mapping, reader, max_line_bytes=MAX_BYTES)
    assert [record.encounter_key for record in records] == ["V0", "V2"]
    assert rejected == [(name, 2 + bool(header), REASON[kind])]


@pytest.mark.parametrize("form", ["b.jsonl", "c.jsonl"])
@pytest.mark.parametrize(
    ("cell", "reason"), [(rb"a\ud800b", "lone_surrogate"), (b'a"b', "broken_json"), (b'a"}', "broken_json")]
)
def test_a_bad_line_of_json_costs_that_line(tmp_path: Path, form: str, cell: bytes, reason: str) -> None:
    _, mapping, reader, line = FORMS[form]
    (tmp_path / form).write_bytes(line(b"a", 0) + line(cell, 1) + b"[" * 100_000 + b"\n" + b"7\n" + line(b"b", 4))
    records, rejected, _ = read(tmp_path, form, mapping, reader)
    assert [record.encounter_key for record in records] == ["V0", "V4"]
    assert rejected == [(form, 2, reason), (form, 3, "broken_json"), (form, 4, "not_an_object")]


@pytest.mark.parametrize("form", ["b.jsonl", "c.jsonl"])
def test_truncated_compression_ends_with_a_counted_line(tmp_path: Path, form: str) -> None:
    _, mapping, reader, line = FORMS[form]
    packed = gzip.compress(b"".join(line(f"咳嗽{number * 7919}".encode(), number) for number in range(3_000)))
    (tmp_path / f"{form}.gz").write_bytes(packed[: len(packed) // 2])
    records, rejected, _ = read(tmp_path, f"{form}.gz", mapping, reader)
    assert 100 < len(records) < 3_000
    assert [(row, reason) for _, row, reason in rejected] == [(len(records) + 1, "damaged_file")]


@pytest.mark.parametrize("name", ["a.csv", "b.jsonl", "c.parquet"])
def test_ten_thousand_columns(tmp_path: Path, name: str) -> None:
    columns = [f"列{number}" for number in range(10_000)]
    known = {"患者编号": "1", "住院号": "V1", "主诉": "咳嗽", "现病史": "无"}
    if name.endswith("csv"):
        lines = [",".join([*known, *columns]), ",".join([*known.values(), *columns]), ",".join(["2", "V2", "a"])]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif name.endswith("jsonl"):
        (tmp_path / name).write_text(json.dumps(known | dict.fromkeys(columns, "甲")) + "\n", encoding="utf-8")
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({key: [value] for key, value in (known | dict.fromkeys(columns, "甲")).items()}),
                       tmp_path / name)  # fmt: skip
    records, rejected, _ = read(tmp_path, name, WIDE)
    assert [event.text for event in records[0].events] == ["咳嗽", "无"]
    assert rejected == ([(name, 3, "ragged_row")] if name.endswith("csv") else [])


@pytest.mark.parametrize("reader", ["notes", "dialogues"])
def test_bad_text_files_cost_their_file(tmp_path: Path, reader: str) -> None:
    good = "主诉：咳嗽3天" if reader == "notes" else "患者：咳嗽3天。\n医生：有痰吗？"
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, content in {**BAD, "empty": b"", "good": good.encode()}.items():
        (folder / f"{name}.txt").write_bytes(content)
    (folder / "gb18030.txt").write_bytes(BAD["gb18030"] + b"\xff\xff")
    records, rejected, _ = read(tmp_path, "texts", {}, reader, max_line_bytes=MAX_BYTES)
    assert len(records) == 1
    reasons = {Path(file).stem: reason for file, _, reason in rejected}
    assert len(rejected) == 5
    assert sorted(reasons.values()) == ["empty_file", "file_too_long", "nul_byte", "wrong_encoding", "wrong_encoding"]
