"""Tables of every format through a mapping: what rows become, and how trouble is named."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from iimedgpt.config import RecordSource
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.records.readers.mapping import Mapping
from tests.unit.tables import HEADER, WIDE, read, shown, write_xlsx

ROWS = [
    {"患者编号": "1", "住院号": "A", "主诉": "咳嗽3天", "现病史": "咳嗽，\n有痰"},
    {"患者编号": "2", "住院号": "B", "主诉": "腹痛", "现病史": "无"},
]
EXPECTED = [
    [("chief_complaint", "咳嗽3天", None), ("present_illness", "咳嗽，\n有痰", None)],
    [("chief_complaint", "腹痛", None), ("present_illness", "无", None)],
]


def delimited(mark: str = ",") -> str:
    lines = [mark.join(ROWS[0])] + [mark.join(f'"{value}"' for value in row.values()) for row in ROWS]
    return "\n".join(lines) + "\n"


def write_format(path: Path) -> None:
    name = path.name
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
    if name.endswith((".csv", ".tsv")):
        path.write_text(delimited("," if name.endswith("csv") else "\t"), encoding="utf-8")
    elif name.endswith(".json"):
        path.write_text(json.dumps(ROWS, ensure_ascii=False, indent=1), encoding="utf-8")
    elif name.endswith(".jsonl"):
        path.write_bytes(lines)
    elif name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines))
    elif name.endswith(".jsonl.zst"):
        pa = pytest.importorskip("pyarrow")
        with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as out:
            out.write(lines)
    elif name.endswith(".parquet"):
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_one_table_gives_the_same_records_in_every_format(tmp_path: Path, name: str) -> None:
    write_format(tmp_path / name)
    records, rejected, _ = read(tmp_path, name, WIDE)
    assert [shown(record) for record in records] == EXPECTED
    assert [(record.patient_key, record.encounter_key) for record in records] == [("1", "A"), ("2", "B")]
    assert rejected == []


def test_excel_numbers_are_ids_without_a_point_and_rows_count_from_the_sheet(tmp_path: Path) -> None:
    write_xlsx(tmp_path / "a.xlsx", [["", "患者编号", "主诉"], ["", 10001.0, "咳嗽"], [], ["", "", "腹痛"]])
    records, rejected, _ = read(tmp_path, "a.xlsx", {"patient": "患者编号", "sections": {"主诉": "chief_complaint"}})
    assert [record.patient_key for record in records] == ["10001"]
    assert rejected == [("a.xlsx", 4, "no_patient_id")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_the_encoding_of_a_csv_is_told(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_text(delimited().replace("腹痛", "腹痛㐂"), encoding=encoding)
    records, _, _ = read(tmp_path, "a.csv", WIDE)
    assert [record.events[0].text for record in records] == ["咳嗽3天", "腹痛㐂"]


def test_one_bad_byte_does_not_turn_a_file_into_another_encoding(tmp_path: Path) -> None:
    lines = [HEADER.encode(), "1,A,咳嗽,无\n".encode(), b"2,B,\xff\xfe,x\n", "3,C,腹痛,无\n".encode()]
    (tmp_path / "a.csv").write_bytes(b"".join(lines))
    records, rejected, _ = read(tmp_path, "a.csv", WIDE)
    assert [record.events[0].text for record in records] == ["咳嗽", "腹痛"]
    assert rejected == [("a.csv", 3, "wrong_encoding")]


class TestMapping:
    def test_rows_of_an_encounter_become_one_record_with_times(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text(
            "pid,vid,at,type,body\n"
            "1,A,2024-03-05 10:00,现病史,咳嗽\n"
            "1,A,2024年3月5日 9时,主诉,咳嗽3天\n"
            "1,A,20240307090000,日常病程记录,好转\n"
            "1,A,2024/3/8 9:00:00,日常病程记录,好转\n"
            "1,B,2024-05-01,主诉,复诊\n"
        )
        mapping = {"patient": "pid", "encounter": "vid", "time": "at", "kind": "type", "text": "body"}
        records, rejected, counts = read(tmp_path, "a.csv", mapping)
        # minutes since 9:00 of 5 March; the same words of another day are another event
        assert shown(records[0]) == [
            ("chief_complaint", "咳嗽3天", 0),
            ("present_illness", "咳嗽", 60),
            ("course", "好转", 2 * 1440),
            ("course", "好转", 3 * 1440),
        ]
        assert shown(records[1]) == [("chief_complaint", "复诊", 0)]
        assert [record.started for record in records] == [datetime(2024, 3, 5, 9), datetime(2024, 5, 1)]
        assert (counts["rows"], counts["merged_rows"], rejected) == (5, 3, [])

    def test_rows_of_an_encounter_that_do_not_stand_together_are_merged(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text(HEADER + "1,A,咳嗽,\n2,B,腹痛,\n1,A,,三天\n3,C,头痛,\n2,B,,两天\n")
        records, _, _ = read(tmp_path, "a.csv", WIDE)
        assert {record.encounter_key: [event.text for event in record.events] for record in records} == {
            "A": ["咳嗽", "三天"], "B": ["腹痛", "两天"], "C": ["头痛"],
        }  # fmt: skip
        assert len(records) == 3

    def test_too_much_mixed_text_is_refused_with_a_way_out(self, tmp_path: Path) -> None:
        text = "咳" * 200_000  # 0.4 MB each, held until the second rows come
        rows = "".join(f"{i},{i},{text},\n" for i in range(4)) + "".join(f"{i},{i},,x\n" for i in range(4))
        (tmp_path / "a.csv").write_text(HEADER + rows)
        with pytest.raises(DataError, match="mixed") as caught:
            read(tmp_path, "a.csv", WIDE, max_held_mb=1)
        assert "sort the export" in (caught.value.hint or "")
        assert len(read(tmp_path, "a.csv", WIDE, max_held_mb=8)[0]) == 4

    def test_columns_of_every_use(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text(
            'id,姓名,联系人,住址,sex,过敏史,科室,code\n7,林知远,林大、林二,"某市某路1号, 2室",女,无,内科,k29.5\n'
        )
        mapping = {
            "patient": "id",
            "department": "科室",
            "diagnosis_code": "code",
            "sections": {"sex": "demographics:性别", "过敏史": "past_history"},
            "identifiers": {"姓名": "name", "联系人": "name", "住址": "address"},
        }
        (record,), _, counts = read(tmp_path, "a.csv", mapping)
        assert shown(record) == [
            ("demographics", "性别：女", None),
            ("past_history", "过敏史：无", None),
            ("department", "内科", None),
        ]
        assert record.identifiers == {"name": ("林知远", "林大", "林二"), "address": ("某市某路1号, 2室",)}
        assert record.diagnosis_codes == ("K29.5",)
        assert counts["unmapped_columns"] == 0

    def test_a_code_column_that_holds_text_is_counted_and_never_kept(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("id,科室,code\n7,内科,林知远\n")
        (record,), _, counts = read(
            tmp_path,
            "a.csv",
            {"patient": "id", "department": "科室", "diagnosis_code": "code", "text": "科室", "kind": "id"},
        )
        assert record.diagnosis_codes == ()
        assert counts["no_icd_codes"] == 1

    def test_an_unknown_section_of_the_long_format_is_a_late_note(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("id,type,body\n1,会诊单,甲\n1,RYZD,胃炎\n")
        mapping = {"patient": "id", "kind": "type", "text": "body", "kinds": {"RYZD": "initial_diagnosis"}}
        records, _, counts = read(tmp_path, "a.csv", mapping)
        assert [shown(record) for record in records] == [
            [("note", "会诊单：甲", None)],
            [("initial_diagnosis", "胃炎", None)],
        ]
        assert counts["unknown_headings"] == 1

    def test_nested_json_is_reached_by_a_dotted_path(self, tmp_path: Path) -> None:
        rows = {"data": {"rows": [{"pat": {"id": 1, "name": "甲乙"}, "note": {"text": "主诉：咳嗽\n现病史：三天"}}]}}
        (tmp_path / "a.json").write_text(json.dumps(rows, ensure_ascii=False))
        mapping = {"patient": "pat.id", "identifiers": {"pat.name": "name"}, "notes": ["note.text"]}
        (record,), _, _ = read(tmp_path, "a.json", mapping, items="data.rows")
        assert shown(record) == [("chief_complaint", "咳嗽", None), ("present_illness", "三天", None)]
        assert record.identifiers == {"name": ("甲乙",)}

    @pytest.mark.parametrize(
        ("mapping", "message"),
        [
            ({}, "no column of text"),
            ({"sections": {"a": "chief_complaint"}}, "'patient' is missing"),
            ({"patient": "p", "sections": {"a": "fax"}}, "'fax' is no kind"),
            ({"patient": "p", "kind": "k"}, "both 'kind' and 'text'"),
            ({"patient": "p", "notes": ["a"], "identifiers": {"b": "nick"}}, "'nick' is no category"),
        ],
    )
    def test_a_wrong_mapping_is_a_config_error(self, mapping: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            Mapping(RecordSource.model_validate({"reader": "table", "path": "a.csv", "mapping": mapping}))


class TestColumns:
    def test_a_mapped_column_that_is_absent_names_file_column_and_what_there_is(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("患者编号,住院号,主诉\n1,A,咳嗽\n")
        with pytest.raises(DataError) as caught:
            read(tmp_path, "a.csv", WIDE)
        message = str(caught.value)
        assert message.startswith("a.csv:1: field '现病史': mapped column is absent")
        assert "患者编号, 住院号, 主诉" in message

    def test_names_that_may_be_identifiers_are_told_by_their_place(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("甄测试,13800000000,主诉,zhangsan,就诊时间,visit_id\n1,2,3,4,5,6\n")
        with pytest.raises(DataError) as caught:
            read(tmp_path, "a.csv", WIDE)
        assert "one of: column 1, column 2, 主诉, column 4, 就诊时间, visit_id" in str(caught.value)

    def test_unmapped_columns_are_reported_by_name_unless_ignored(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("患者编号,住院号,主诉,现病史,费别,甄测试,王五\n1,A,a,b,c,d,e\n")
        _, _, counts = read(tmp_path, "a.csv", {**WIDE, "ignore": ["王五"]})
        assert counts["unmapped_columns"] == 2
        assert {name for name in counts if name.startswith("unmapped: ")} == {"unmapped: 费别", "unmapped: column 6"}

    def test_ten_thousand_columns(self, tmp_path: Path) -> None:
        extra = [f"z{i}" for i in range(9_996)]
        (tmp_path / "a.csv").write_text(
            ",".join([*HEADER.strip().split(","), *extra]) + "\n" + ",".join(["1", "A", "咳嗽", "无", *extra]) + "\n"
        )
        (record,), _, counts = read(tmp_path, "a.csv", WIDE)
        assert record.events[0].text == "咳嗽"
        assert counts["unmapped_columns"] == 9_996
        assert sum(name.startswith("unmapped: ") for name in counts) == 20

    def test_files_of_a_folder_that_may_name_patients_are_told_by_their_place(self, tmp_path: Path) -> None:
        folder = tmp_path / "export"
        folder.mkdir()
        for name in ("patients_1.csv", "甄测试.csv"):
            (folder / name).write_text(HEADER + "1,A,a\n")
        _, rejected, _ = read(tmp_path, "export", WIDE)
        assert rejected == [("patients_1.csv", 2, "ragged_row"), ("file-00002.csv", 2, "ragged_row")]
