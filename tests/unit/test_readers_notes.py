"""Free-text notes and dialogues: where sections begin, who speaks, whose the file is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from iimedgpt.errors import ConfigError
from iimedgpt.records.headings import split_note
from iimedgpt.records.readers.notes import parse_note
from iimedgpt.records.readers.turns import parse_turns
from tests.unit.tables import read, shown


@pytest.mark.parametrize(
    "written",
    [
        "现病史：", "现病史:", "现 病 史：", "现  病  史 :", "现病史\n", "现病史 ", "  现病史：",
        "\u3000\u3000现病史：", "现病史：\r\n", "病史摘要：", "現病史：",
        "【现病史】", "【现病史】：", "【 现病史 】", "[现病史]", "［现病史］", "〖现病史〗", "<现病史>",
        "一、现病史：", "二、现病史\n", "2.现病史：", "2、现病史:", "２．现病史：", "2.现病史 ", "②现病史：",
        "(2)现病史：", "（2）现病史：", "（二）现病史：", "(二) 现病史\n", "■现病史：", "* 现病史：", "Ⅱ、现病史：",
    ],
)  # fmt: skip
def test_spellings_of_a_heading(written: str) -> None:
    parts = split_note(f"主诉：咳嗽3天\n{written}三天前受凉后起病。\n既往史：体健", "zh")
    assert [part.text for part in parts] == ["咳嗽3天", "三天前受凉后起病。", "体健"]
    assert parts[1].heading in ("现病史", "病史摘要", "現病史")


@pytest.mark.parametrize(
    "sentence",
    [
        "患者诉现病史同前。", "详见现病史：无补充。", "否认家族史：无类似疾病。", "与既往史、个人史无关。",
        "结合辅助检查：考虑肺炎。", "诊断 明确，继续治疗。", "治疗 后好转。", "初步诊断为肺炎。", "体格检查发现肝大。",
        "辅助检查提示肺炎。", "诊断依据不足。", "既往史的采集困难。", "参照 既往史：同前。", "无特殊，查体：未见异常。",
        "主诉与体征不符。", "(详见辅助检查)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["三天前起病。", "三天前起病，", "三天前起病\n"])
def test_a_heading_inside_a_sentence_is_a_word(sentence: str, before: str) -> None:
    (part,) = split_note(f"现病史：{before}{sentence}", "zh")
    assert part.heading == "现病史"
    assert part.text == (before + sentence).strip()


def test_headings_of_a_note_on_one_line() -> None:
    note = "主诉：咳嗽3天。现病史：受凉后起病；既往史：体健。 1.体格检查：T 36.5℃。【初步诊断】肺炎"
    assert [tuple(part) for part in split_note(note, "zh")] == [
        ("主诉", "咳嗽3天。"),
        ("现病史", "受凉后起病；"),
        ("既往史", "体健。"),
        ("体格检查", "T 36.5℃。"),
        ("初步诊断", "肺炎"),
    ]


def test_what_a_diagnosis_rests_on_stays_with_it() -> None:
    note = "诊断依据：1.病史：受凉。2.查体：湿啰音。\n3.辅助检查：白细胞高。\n"
    note += "鉴别诊断：1.肺结核：无。\n辅助检查：白细胞 12"
    assert [part.heading for part in split_note(note, "zh")] == ["诊断依据", "鉴别诊断", "辅助检查"]


def test_what_a_heading_says_in_brackets_stays_with_its_text() -> None:
    (part,) = split_note("辅助检查（2024-03-05）：白细胞 12×10^9/L", "zh")
    assert part.text == "（2024-03-05）白细胞 12×10^9/L"


def test_an_unknown_heading_in_brackets_is_a_late_note_and_ends_the_section_before() -> None:
    counts: Counter[str] = Counter()
    events, _ = parse_note("【主诉】咳嗽\n【转科说明】确诊肺炎", "zh", counts)
    assert [(event.kind.value, event.text) for event in events] == [
        ("chief_complaint", "咳嗽"),
        ("note", "转科说明：确诊肺炎"),
    ]
    assert counts["unknown_headings"] == 1


def test_joined_headings_stand_as_late_as_their_latest() -> None:
    events, _ = parse_note("主诉：咳嗽\n诊断依据及鉴别诊断：甲\n既往史、个人史：无", "zh", Counter())
    assert [event.kind.value for event in events] == ["chief_complaint", "differential", "personal_history"]


def test_the_head_of_a_note_gives_demographics_and_the_patients_dictionary() -> None:
    head = "某院入院记录\n姓 名：林知远  性别：女  年龄：45岁  住院号：ZY0012345\n"
    head += "联系人：林大  电话：138 0000 0000\n陈述者：患者本人\n"
    events, identifiers = parse_note(head + "主诉：咳嗽", "zh", Counter())
    assert [event.kind.value for event in events] == ["demographics", "note", "chief_complaint"]
    assert events[0].text == "女，45岁"
    assert identifiers == {
        "name": ("林知远", "林大"),
        "medical_number": ("ZY0012345",),
        "phone": ("138 0000 0000",),
    }


class TestFiles:
    def test_notes_of_a_folder_belong_to_the_patient_of_their_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "notes"
        folder.mkdir()
        (folder / "甄测试_出院小结.txt").write_text("主诉：咳嗽", encoding="gb18030")
        (folder / "甄测试_病程.txt").write_text("主诉：腹痛", encoding="utf-8-sig")
        records, rejected, _ = read(tmp_path, "notes", {}, "notes")
        assert {record.patient_key for record in records} == {"甄测试"}
        assert len({record.encounter_key for record in records}) == 2
        assert records[0].identifiers == {"name": ("甄测试",)}  # 出院小结 is a word, not a name
        assert rejected == []

    def test_folders_of_patients(self, tmp_path: Path) -> None:
        for patient in ("p1", "p2"):
            (tmp_path / "notes" / patient).mkdir(parents=True)
            (tmp_path / "notes" / patient / "a.txt").write_text("主诉：咳嗽")
        records, _, _ = read(tmp_path, "notes", {}, "notes", patient_from="folder")
        assert [record.patient_key for record in records] == ["p1", "p2"]

    def test_bad_files_are_rejected_one_by_one(self, tmp_path: Path) -> None:
        folder = tmp_path / "notes"
        folder.mkdir()
        bad = {"a": b"", "b": b"\xff\xff", "c": b"a\x00b", "d": b"x" * 5_000, "e": "主诉：咳".encode()}
        for name, raw in bad.items():
            (folder / f"{name}.txt").write_bytes(raw)
        records, rejected, _ = read(tmp_path, "notes", {}, "notes", max_line_bytes=4_000)
        assert len(records) == 1
        assert [reason for *_, reason in rejected] == ["empty_file", "wrong_encoding", "nul_byte", "file_too_long"]

    def test_a_note_of_5_mb_on_one_line(self, tmp_path: Path) -> None:
        text = "主诉：咳嗽。现病史：" + "患者三天前受凉后起病，体温三十八度。" * 100_000
        (tmp_path / "a.txt").write_text(text)
        assert (tmp_path / "a.txt").stat().st_size > 5_000_000
        (record,), _, _ = read(tmp_path, "a.txt", {}, "notes")
        assert [event.kind.value for event in record.events] == ["chief_complaint", "present_illness"]


class TestDialogues:
    @pytest.mark.parametrize(
        "text",
        [
            "患者：咳嗽三天\n医生：发热吗？\n患者：不发热",
            "病人: 咳嗽三天\n大夫: 发热吗？\n家属: 不发热",
            "【患者】：咳嗽三天\n\n【医生】：发热吗？\n[患者]:不发热",
            "患者：咳嗽三天。医生：发热吗？患者：不发热",
            "Patient: 咳嗽三天\nDoctor_1: 发热吗？\nPatient: 不发热",
        ],
    )
    def test_labels_of_speakers(self, text: str) -> None:
        turns = parse_turns(text, Counter())
        assert [(turn.speaker, turn.text.rstrip("。")) for turn in turns] == [
            ("patient", "咳嗽三天"),
            ("doctor", "发热吗？"),
            ("patient", "不发热"),
        ]

    def test_sharegpt_and_messages_need_no_mapping(self, tmp_path: Path) -> None:
        lines = [
            {"conversations": [{"from": "system", "value": "x"}, {"from": "human", "value": "咳嗽"},
                               {"from": "gpt", "value": "发热吗？"}]},
            {"conversations": [{"from": "human", "value": "腹痛"}, 5]},
        ]  # fmt: skip
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
        records, _, counts = read(tmp_path, "a.jsonl", {}, "dialogues")
        assert [[(event.speaker, event.text) for event in record.events] for record in records] == [
            [("patient", "咳嗽"), ("doctor", "发热吗？")],
            [("patient", "腹痛")],
        ]
        assert records[0].patient_key != records[1].patient_key
        assert (counts["system_turns"], counts["malformed_turns"]) == (1, 1)

    def test_a_dialogue_beside_a_department(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text('id,chat,dept\n1,"患者：咳\n医生：几天？",呼吸内科\n')
        mapping = {"patient": "id", "dialogue": "chat", "department": "dept"}
        (record,), _, _ = read(tmp_path, "a.csv", mapping, "dialogues")
        assert [text for _, text, _ in shown(record)] == ["咳", "几天？", "呼吸内科"]

    def test_a_text_without_labels_is_no_dialogue(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("咳嗽三天")
        _, rejected, counts = read(tmp_path, "a.txt", {}, "dialogues")
        assert rejected == [("a.txt", 1, "no_dialogue")]
        assert counts["malformed_turns"] == 1


def test_a_table_without_a_patient_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("note\n主诉：咳\n")
    with pytest.raises(ConfigError, match="patient"):
        read(tmp_path, "a.csv", {"notes": ["note"]})
