"""Readers: what each source's rows become, and how broken input is named."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from iimedgpt.config import RecordReader, RecordSource, RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.records.raw import RawRecord
from iimedgpt.records.readers import Rejected, find_source_files, patient_namespace, read_source
from iimedgpt.records.readers.rows import Row
from iimedgpt.records.sections import build_events, parse_heading
from iimedgpt.types import Event, EventKind


def read(
    folder: Path, reader: RecordReader, path: str = ".", n_max: int | None = None
) -> tuple[list[Row], Counter[str]]:
    counts: Counter[str] = Counter()
    source = RecordSource(reader=reader, path=path, n_max=n_max)
    rows = list(read_source(source, RunConfig(name="t", data_dir=str(folder)), counts))
    return rows, counts


def raw(row: Row) -> RawRecord:
    assert isinstance(row.item, RawRecord)
    return row.item


def shown(events: tuple[Event, ...]) -> list[tuple[str, str | None, str]]:
    return [(event.kind.value, event.speaker, event.text) for event in events]


def write(path: Path, value: Any) -> Path:
    """JSON, or one JSON line per item where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_lines = path.suffix in (".jsonl", ".txt")
    texts = [json.dumps(item, ensure_ascii=False) for item in (value if is_lines else [value])]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


class TestJsonl:
    def test_events_keep_order_speaker_time_and_identifiers(self, tmp_path: Path) -> None:
        write(
            tmp_path / "a.jsonl",
            [
                {
                    "patient_id": 7,
                    "encounter_id": "v1",
                    "language": "en",
                    "identifiers": {"name": ["Sample"]},
                    "events": [
                        {"kind": "turn", "text": "it hurts", "speaker": "patient", "time": 3},
                        {"kind": "treatment", "text": "rest"},
                    ],
                }
            ],
        )
        rows, _ = read(tmp_path, "jsonl", "a.jsonl")
        record = raw(rows[0])
        assert (record.patient_key, record.encounter_key, record.row, record.language) == ("7", "v1", 1, "en")
        assert shown(record.events) == [("turn", "patient", "it hurts"), ("treatment", None, "rest")]
        assert record.events[0].time == 3
        assert record.identifiers == {"name": ("Sample",)}

    def test_headings_map_to_kinds_and_unknown_ones_become_counted_notes(self, tmp_path: Path) -> None:
        sections = {"主诉": "咳嗽3天", "过敏史": "无", "既往史": "体健", "样例栏": "内容", "家族史": " "}
        write(tmp_path / "a.jsonl", [{"patient_id": "1", "sections": sections}])
        rows, counts = read(tmp_path, "jsonl", "a.jsonl")
        assert shown(raw(rows[0]).events) == [
            ("chief_complaint", None, "咳嗽3天"),
            ("past_history", None, "过敏史：无\n体健"),
            ("note", None, "样例栏：内容"),
        ]
        assert counts["unknown_headings"] == 1

    def test_without_encounter_ids_equal_lines_share_a_key_and_others_do_not(self, tmp_path: Path) -> None:
        first, second = (
            {"patient_id": "1", "sections": {"主诉": "咳嗽"}},
            {"patient_id": "1", "sections": {"主诉": "腹痛"}},
        )
        write(tmp_path / "a.jsonl", [first, second, first])
        keys = [raw(row).encounter_key for row in read(tmp_path, "jsonl", "a.jsonl")[0]]
        assert keys[0] == keys[2] != keys[1]

    def test_a_record_of_blank_texts_is_a_counted_reason(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", [{"patient_id": "1", "events": [{"kind": "note", "text": " "}]}])
        rows, _ = read(tmp_path, "jsonl", "a.jsonl")
        assert rows[0].item == Rejected(1, "empty_record")

    def test_n_max_limits_the_rows(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", [{"patient_id": str(i), "sections": {"主诉": "咳嗽"}} for i in range(5)])
        assert len(read(tmp_path, "jsonl", "a.jsonl", n_max=2)[0]) == 2

    @pytest.mark.parametrize(
        ("line", "place"),
        [
            ('{"events": [{"kind": "note", "text": "甲"}]}', ":2: field 'patient_id'"),
            ('{"patient_id": "", "events": [{"kind": "note", "text": "甲"}]}', ":2: field 'patient_id"),
            ('{"patient_id": "1", "events": [{"kind": "机密", "text": "甲"}]}', ":2: field 'events.0.kind'"),
            ('{"patient_id": "1", "events": [{"kind": "note", "text": 5}]}', ":2: field 'events.0.text'"),
            (
                '{"patient_id": "1", "events": [{"kind": "note", "text": "甲", "time": -1}]}',
                ":2: field 'events.0.time'",
            ),
            ('{"patient_id": "1", "sections": {"机密": 5}}', ":2: field 'sections.…'"),
            ('{"patient_id": "1", "机密": 5, "events": []}', ":2: field '…'"),
            ('{"patient_id": "1"}', ":2: field 'events'"),
            ('{"patient_id": "1", "events": [], "sections": {}}', ":2: field 'events'"),
        ],
    )
    def test_structural_trouble_names_file_line_and_field_but_no_text(
        self, tmp_path: Path, line: str, place: str
    ) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"patient_id": "0", "sections": {"主诉": "咳嗽"}}\n' + line + "\n", encoding="utf-8")
        with pytest.raises(DataError) as caught:
            read(tmp_path, "jsonl", "a.jsonl")
        assert f"{path}{place}" in str(caught.value)
        assert "expected" in str(caught.value)
        assert "机密" not in str(caught.value)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b'{"patient_id": "1", "events": [', "broken_json"),
            (b'["no object"]', "not_an_object"),
            (b'{"patient_id": "1", "sections": {"\xd6\xf7": ""}}', "wrong_encoding"),
            (b'{"patient_id": "1", "events": [{"kind": "note", "text": "a\\u0000b"}]}', "nul_byte"),
            (b'{"patient_id": "1", "events": [{"kind": "note", "text": "a\\ud800b"}]}', "lone_surrogate"),
            (b'{"patient_id": "1", "events": [{"kind": "note", "text": "' + b"a" * 2_000 + b'"}]}', "line_too_long"),
        ],
    )
    def test_a_line_that_cannot_be_read_is_rejected_and_the_next_one_is_read(
        self, tmp_path: Path, line: bytes, reason: str
    ) -> None:
        good = '{"patient_id": "0", "sections": {"主诉": "咳嗽"}}\n'.encode()
        (tmp_path / "a.jsonl").write_bytes(good + line + b"\n" + good.replace(b'"0"', b'"2"'))
        source = RecordSource(reader="jsonl", path="a.jsonl", max_line_bytes=1_500)
        rows = list(read_source(source, RunConfig(name="t", data_dir=str(tmp_path)), Counter()))
        assert [isinstance(row.item, RawRecord) for row in rows] == [True, False, True]
        assert rows[1].item == Rejected(2, reason)

    @pytest.mark.parametrize("content", ["", "\n \n"])
    def test_an_empty_file_is_an_error(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "a.jsonl").write_text(content)
        with pytest.raises(DataError, match="empty"):
            read(tmp_path, "jsonl", "a.jsonl")


READERS_WITH_FILES: list[RecordReader] = [
    "jsonl", "ai_hospital_records", "ai_hospital", "easymed_spbench", "dialmed", "mts_dialog", "aci_bench",
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS_WITH_FILES)
def test_a_missing_source_names_the_path_and_the_way_out(tmp_path: Path, reader: RecordReader) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, reader, "absent")
    assert str(tmp_path / "absent") in str(caught.value)
    assert "--data DIR" in (caught.value.hint or "")


def test_a_source_of_files_without_a_path_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="needs a path"):
        find_source_files(RecordSource(reader="dialmed"), RunConfig(name="t"))


def _hospital_record(key: int) -> dict[str, Any]:
    sections = {
        "一般资料": "女性，40岁",
        "主诉": "咳嗽3天",
        "诊治经过": "给予止咳",
        "诊断结果": "支气管炎",
        "分析总结": "略",
    }
    return {"id": key, "department": "内科病例 消化内科病例 ", "diseases": "损坏", "raw_medical_record": sections}


def _dialogue(key: int) -> dict[str, Any]:
    question = "请您再描述一下咳嗽的情况好吗？"
    return {
        "patient_id": key,
        "dialog_history": [
            {"role": "Doctor", "content": question},
            {"role": "Patient", "content": "<对医生讲> 没有"},
            {"role": "Doctor", "content": question},
            {"role": "Patient", "content": "<对医生讲> 没有"},
            {"role": "Reporter", "content": "胸片正常"},
            {"role": "Patient", "content": "<结束>"},
        ],
    }


def _write_hospital(folder: Path) -> None:
    outputs = folder / "ai_hospital/src/outputs"
    write(outputs / "dialog_history_iiyi/dialog_history_gpt4.jsonl", [_dialogue(1), _dialogue(2)])
    references = [
        {"diagnosis": "支气管炎\n", "basis": " 咳嗽", "treatment": None},
        {"diagnosis": "感冒", "basis": "咳嗽", "treatment": "休息"},
        {"diagnosis": "感冒", "basis": "咳嗽", "treatment": "休息"},
        None,
    ]
    write(
        outputs / "evaluation/evaluation_iiyi_gpt4_onestep.jsonl",
        [{"patient_id": key, "reference_diagnosis": value} for key, value in enumerate(references, start=1)],
    )


TURNS = [
    ("turn", "doctor", "请您再描述一下咳嗽的情况好吗？"),
    ("turn", "patient", "没有"),
    ("turn", "patient", "没有"),  # a short answer may repeat, the long question was a loop
    ("turn", "reporter", "胸片正常"),
]


class TestAIHospital:
    def test_records_take_sections_verbatim_department_and_the_dialogue_beside(self, tmp_path: Path) -> None:
        _write_hospital(tmp_path)
        write(tmp_path / "records/src/data/patients_a.json", [_hospital_record(1), _hospital_record(9)])
        rows, counts = read(tmp_path, "ai_hospital_records", "records")
        assert shown(raw(rows[0]).events) == [
            ("department", None, "消化内科"),
            *TURNS,
            ("demographics", None, "女性，40岁"),
            ("chief_complaint", None, "咳嗽3天"),
            ("treatment", None, "给予止咳"),
            ("final_diagnosis", None, "支气管炎"),
            ("discharge_summary", None, "略"),
        ]
        assert "dialogue simulated by a language model" in raw(rows[0]).caveats
        assert counts == Counter({"n_turns_cut": 1, "no_dialogue": 1, "unknown_headings": 0})
        assert all(event.kind != EventKind.TURN for event in raw(rows[1]).events)
        assert "dialogue simulated by a language model" not in raw(rows[1]).caveats

    def test_the_dialogues_are_listed_where_they_are_read(self, tmp_path: Path) -> None:
        config = RunConfig(name="t", data_dir=str(tmp_path))
        source = RecordSource(reader="ai_hospital_records", path="records")
        write(tmp_path / "records/src/data/patients_a.json", [_hospital_record(1)])
        assert list(find_source_files(source, config)) == ["src/data/patients_a.json"]
        _write_hospital(tmp_path)
        dialogues = "../ai_hospital/src/outputs/dialog_history_iiyi/dialog_history_gpt4.jsonl"
        assert list(find_source_files(source, config)) == ["src/data/patients_a.json", dialogues]

    def test_a_record_without_sections_is_rejected(self, tmp_path: Path) -> None:
        write(tmp_path / "patients_a.json", [{"id": 1}, "text"])
        rows, _ = read(tmp_path, "ai_hospital_records", "patients_a.json")
        assert [row.item for row in rows] == [Rejected(1, "no_sections"), Rejected(2, "malformed_row")]

    def test_references_join_their_dialogue_and_empty_fields_are_counted(self, tmp_path: Path) -> None:
        _write_hospital(tmp_path)
        rows, counts = read(tmp_path, "ai_hospital", "ai_hospital")
        assert shown(raw(rows[0]).events) == [
            *TURNS,
            ("final_diagnosis", None, "支气管炎"),
            ("basis", None, "咳嗽"),
        ]
        assert shown(raw(rows[1]).events)[-1] == ("treatment", None, "休息")
        assert [row.item for row in rows[2:]] == [Rejected(3, "no_dialogue"), Rejected(4, "malformed_row")]
        assert counts["empty_treatment"] == 1
        assert counts["empty_basis"] == 0

    def test_both_sets_number_the_same_patients(self) -> None:
        assert patient_namespace("ai_hospital_records") == patient_namespace("ai_hospital")
        assert patient_namespace("dialmed") != patient_namespace("ai_hospital")


def test_easymed_profile_becomes_events_and_its_name_the_dictionary(tmp_path: Path) -> None:
    profile = {
        "name": "甄样例", "age_value": 40, "age_unit": "岁", "gender": "女性", "occupation": "教师",
        "marital_status": "无", "basic_info": "甄样例，女。生命征：T 37.0°C", "hospital_department_name": "急诊科",
        "chief_complaint": "腹痛1天", "present_illness_history": "1天前腹痛。", "system_review": "无咳嗽。",
        "past_medical_history": "体健。", "allergy_history": "无", "family_history": "父亲体健。", "idea": "胃病",
    }  # fmt: skip
    folder = tmp_path / "SPBench"
    write(folder / "SPBench_case/01.json", {"caseTitle": "胆囊炎", "patientProfile": profile})
    write(folder / "SPBench_case/02.json", {"caseTitle": "胆囊炎", "patientProfile": None})
    write(folder / "SPBench_taking/01.json", [{"question": "哪里疼？", "answer": "右边。"}, {"question": ""}])
    rows, counts = read(tmp_path, "easymed_spbench")
    assert shown(raw(rows[0]).events) == [
        ("demographics", None, "女性，40岁，教师"),
        ("chief_complaint", None, "腹痛1天"),
        ("department", None, "急诊科"),
        ("physical_examination", None, "T 37.0°C"),
        ("turn", "doctor", "哪里疼？"),
        ("turn", "patient", "右边。"),
        ("present_illness", None, "1天前腹痛。\n系统回顾：无咳嗽。"),
        ("past_history", None, "体健。"),
        ("family_history", None, "父亲体健。"),
        ("note", None, "想法：胃病"),
        ("final_diagnosis", None, "胆囊炎"),
    ]
    assert raw(rows[0]).identifiers == {"name": ("甄样例",)}
    assert raw(rows[0]).caveats == ("standardised patient",)
    assert counts["empty_allergy_history"] == 1
    assert rows[1].item == Rejected(1, "malformed_row")


def test_dialmed_ends_before_the_first_masked_drug(tmp_path: Path) -> None:
    good = {
        "label": ["甲药", "乙药"],
        "disease": ["胃炎"],
        "dialog": ["患者：胃痛", "医生：多久了", "患者：两天", "医生：服[MASK]和[MASK]", "患者：好"],
    }
    bad = [{**good, "dialog": ["患者：胃痛"]}, {**good, "label": []}, {**good, "dialog": None}]
    undiagnosed = {**good, "disease": ["其他疾病或无确诊"]}
    write(tmp_path / "data/dataset/dev.txt", [good, *bad, undiagnosed])
    rows, counts = read(tmp_path, "dialmed")
    assert shown(raw(rows[0]).events) == [
        ("turn", "patient", "胃痛"),
        ("turn", "doctor", "多久了"),
        ("turn", "patient", "两天"),
        ("final_diagnosis", None, "胃炎"),
        ("treatment", None, "甲药、乙药"),
    ]
    assert counts["n_turns_cut"] == 2 + 2
    assert [event.kind for event in raw(rows[4]).events] == ["turn", "turn", "turn", "treatment"]
    assert counts["no_diagnosis"] == 1
    assert [row.item for row in rows[1:4]] == [
        Rejected(2, "no_masked_turn"),
        Rejected(3, "no_drugs"),
        Rejected(4, "malformed_row"),
    ]


class TestEnglish:
    @pytest.mark.parametrize(
        ("header", "text", "kind"),
        [
            ("GENHX", "Cough.", "present_illness"),
            ("PASTMEDICALHX", "None.", "past_history"),
            ("CC", "Cough.", "chief_complaint"),
            ("EXAM", "Clear.", "physical_examination"),
            ("ASSESSMENT", "Bronchitis.", "final_diagnosis"),
            ("DIAGNOSIS", "Bronchitis.", "final_diagnosis"),
            ("PLAN", "Rest.", "treatment"),
            ("FAM/SOCHX", "Mother had diabetes.", "family_history"),
            ("FAM/SOCHX", "Married, does not smoke.", "personal_history"),
            ("FAM/SOCHX", "Father had gout. He smokes.", "personal_history"),
            ("SOMETHING", "Else.", "note"),
        ],
    )
    def test_mts_section_headers(self, tmp_path: Path, header: str, text: str, kind: str) -> None:
        (tmp_path / "a.csv").write_text(
            "ID,section_header,section_text,dialogue\n"
            f'0,{header},"{text}","Doctor: Hello.\n and good day.\nPatient: Hi."\n'
        )
        rows, _ = read(tmp_path, "mts_dialog")
        assert shown(raw(rows[0]).events) == [
            ("turn", "doctor", "Hello.\n and good day."),
            ("turn", "patient", "Hi."),
            (kind, None, text),
        ]
        assert raw(rows[0]).language == "en"
        assert raw(rows[0]).license == "CC BY 4.0"

    def test_rows_without_dialogue_or_section_are_rejected_and_a_missing_column_is_an_error(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.csv"
        path.write_text("ID,section_header,section_text,dialogue\n0,CC,Cough.,\n1,CC,,Doctor: Hello.\n")
        rows, _ = read(tmp_path, "mts_dialog")
        assert [row.item for row in rows] == [Rejected(1, "no_dialogue"), Rejected(2, "empty_section")]
        path.write_text("ID,section_header,dialogue\n0,CC,Doctor: Hello.\n")
        with pytest.raises(DataError, match="section_text"):
            read(tmp_path, "mts_dialog")

    def test_aci_note_is_split_at_its_headings_and_names_come_from_the_metadata(self, tmp_path: Path) -> None:
        note = (
            "CHIEF COMPLAINT\n\nKnee pain.\n\nREVIEW OF SYSTEMS\n\nNo fever.\n\nHISTORY OF PRESENT ILLNESS\n\nFell.\n"
            "ECG, OLD.\n\nRESULTS\n\nX-ray clear.\n\nASSESSMENT AND PLAN\n\nSprain. Rest.\n"
        )
        (tmp_path / "train.csv").write_text(
            f'dataset,encounter_id,dialogue,note\nx,V1,"[doctor] hi , jo .\n[patient_guest] hello","{note}"\n'
        )
        (tmp_path / "train_metadata.csv").write_text(
            "encounter_id,doctor_name,patient_firstname,patient_familyname\nV1,Sample,Jo,Example\n"
        )
        rows, _ = read(tmp_path, "aci_bench")
        assert len(rows) == 1
        assert shown(raw(rows[0]).events) == [
            ("turn", "doctor", "hi , jo ."),
            ("turn", "patient", "hello"),
            ("chief_complaint", None, "Knee pain."),
            ("present_illness", None, "Review of systems: No fever.\nFell.\nECG, OLD."),
            ("auxiliary_examination", None, "X-ray clear."),
            ("treatment", None, "Sprain. Rest."),
        ]
        assert raw(rows[0]).identifiers == {"name": ("Jo Example", "Sample", "Jo", "Example", "Sample")}


class TestSections:
    @pytest.mark.parametrize("heading", ["主诉", "【主诉】", "主 诉：", "入院主诉"])
    def test_spellings_of_one_heading(self, heading: str) -> None:
        section = parse_heading(heading, "zh")
        assert section is not None
        assert section.kind is EventKind.CHIEF_COMPLAINT

    def test_every_kind_but_turn_can_be_headed_in_both_languages(self) -> None:
        zh = {"一般资料", "主诉", "科室", "现病史", "既往史", "个人史", "家族史", "查体", "检查项目", "辅助检查",
              "初步诊断", "诊断依据", "鉴别诊断", "诊治经过", "备注", "病程记录", "诊断结果", "分析总结"}  # fmt: skip
        events, n_unknown = build_events([(heading, "甲") for heading in sorted(zh)], "zh")
        assert n_unknown == 0
        assert {event.kind for event in events} == set(EventKind) - {EventKind.TURN}
        assert parse_heading("History of Present Illness:", "en") is not None
        assert parse_heading("现病史", "en") is None


REAL: list[tuple[RecordReader, str, int, dict[str, int]]] = [
    ("ai_hospital_records", "ai_hospital_records", 18, {}),
    ("ai_hospital", "ai_hospital", 506, {}),
    ("easymed_spbench", "easymed_spbench", 58, {}),
    ("dialmed", "dialmed", 2387, {"no_masked_turn": 4}),
    ("mts_dialog", "en_mts_dialog", 1701, {}),
    ("aci_bench", "en_aci_bench", 207, {}),
]


@pytest.mark.parametrize(("reader", "path", "n", "rejected"), REAL)
def test_the_public_sources_give_what_was_counted_by_hand(
    reader: RecordReader, path: str, n: int, rejected: dict[str, int]
) -> None:
    data = os.environ.get("IIMEDGPT_DATA")
    if not data or not (Path(data) / path).is_dir():
        pytest.skip("IIMEDGPT_DATA does not name a folder with this data set")
    rows, _ = read(Path(data), reader, path)
    assert sum(isinstance(row.item, RawRecord) for row in rows) == n
    assert Counter(row.item.reason for row in rows if isinstance(row.item, Rejected)) == rejected
