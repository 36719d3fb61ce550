"""The mixture: split by patient and disease, other data read, filtered and capped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from iimedgpt.config import AgainstSource, MixtureConfig, OtherSource, RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.mixture import inputs
from iimedgpt.mixture.build import _n_other_max, _quotas
from iimedgpt.mixture.contamination import Decontaminator, read_texts
from iimedgpt.mixture.other import (
    PACKAGED,
    Row,
    build_conversation,
    build_row,
    has_identifier,
    read_other,
    source_path,
)
from iimedgpt.mixture.split import round_robin, split_patients, spread
from iimedgpt.types import Conversation, Message

PACKAGED_SOURCE = OtherSource(reader="conversations")


def message(text: str, role: str = "user") -> Message:
    return Message.model_validate({"role": role, "content": text})


def held_out(text: str, answer: str = "答") -> Conversation:
    return Conversation(
        conversation_id="c",
        messages=(
            message("所有任务共用的系统提示一共有这么多字", "system"),
            message(text),
            message(answer, "assistant"),
        ),
        group_id="p",
        source="s",
        license="l",
        split="test",
    )


# --- split ---


def sides(n: int, **config: float) -> list[str]:
    patients = {f"p{index}": [f"d{index % 5}"] for index in range(n)}
    return list(split_patients(patients, MixtureConfig.model_validate(config), 0).sides.values())


def test_shares_of_patients_are_as_asked() -> None:
    found = sides(40, test_frac=0.25, validation_frac=0.05)
    assert (found.count("train"), found.count("validation"), found.count("test")) == (28, 2, 10)


def test_small_share_still_gives_one_patient() -> None:
    found = sides(6, test_frac=0.05, validation_frac=0.01)
    assert (found.count("train"), found.count("validation"), found.count("test")) == (4, 1, 1)


def test_training_goes_before_validation_where_patients_are_few() -> None:
    found = sides(2, test_frac=0.25, validation_frac=0.05)
    assert sorted(found) == ["test", "train"]


def test_zero_shares_train_on_everybody() -> None:
    assert set(sides(5, test_frac=0.0, validation_frac=0.0)) == {"train"}


def test_nobody_left_for_training_is_an_error() -> None:
    with pytest.raises(DataError, match="no patient is left for training: 4 of 4"):
        sides(4, test_frac=1.0, validation_frac=0.0)


def test_patient_with_any_held_out_disease_is_test_altogether() -> None:
    patients = {"a": ["d1"], "b": ["d2", "d1"], "c": ["d3"], "d": ["d3", "d2"], "e": [], "f": ["d4"]}
    config = MixtureConfig(test_frac=0.1, validation_frac=0.0, hold_out_diseases_frac=0.25)
    assignment = split_patients(patients, config, 3)
    (disease,) = assignment.held_out_diseases
    in_test = {patient for patient, side in assignment.sides.items() if side == "test"}
    assert in_test == {patient for patient, found in patients.items() if disease in found}


def test_patients_are_added_until_the_test_share_is_reached() -> None:
    patients = {f"p{index}": [f"d{index}"] for index in range(20)}
    config = MixtureConfig(test_frac=0.25, validation_frac=0.0, hold_out_diseases_frac=0.1)
    assignment = split_patients(patients, config, 0)
    assert len(assignment.held_out_diseases) == 2
    assert list(assignment.sides.values()).count("test") == 5


def test_split_depends_on_the_order_and_not_on_the_ids() -> None:
    first = {f"p{index}": [f"d{index % 7}"] for index in range(30)}
    second = {f"{997 * index % 1009}": [f"d{index % 7}"] for index in range(30)}
    config = MixtureConfig(hold_out_diseases_frac=0.2)
    one, two = split_patients(first, config, 5), split_patients(second, config, 5)
    assert list(one.sides.values()) == list(two.sides.values())
    assert list(one.sides.values()) != list(split_patients(first, config, 6).sides.values())


def test_round_robin_takes_turns_in_order_of_appearance() -> None:
    assert round_robin(["a1", "a2", "b1", "a3", "c1", "b2"], lambda name: name[0]) == [
        "a1", "b1", "c1", "a2", "b2", "a3",
    ]  # fmt: skip


def test_spread_keeps_even_distances() -> None:
    assert spread(list(range(10)), 4) == [0, 2, 5, 7]
    assert spread([1, 2], 5) == [1, 2]


@pytest.mark.parametrize(
    ("frac", "n_record", "expected"), [(0.2, 80, 20), (0.2, 7, 1), (0.0, 80, 0), (0.5, 9, 9), (1.0, 9, None)]
)
def test_other_share_is_of_the_whole_training_set(frac: float, n_record: int, expected: int | None) -> None:
    assert _n_other_max(frac, n_record) == expected


@pytest.mark.parametrize(
    ("sizes", "n_max", "expected"),
    [
        ([100, 4], 20, [16, 4]),
        ([30, 30], 20, [10, 10]),
        ([3, 2], None, [3, 2]),
        ([3, 2], 50, [3, 2]),
        ([], 5, []),
    ],
)
def test_sources_share_the_cap_alike(sizes: list[int], n_max: int | None, expected: list[int]) -> None:
    assert _quotas(sizes, n_max) == expected


# --- readers ---


def rows_of(reader: str, path: Path) -> list[Row]:
    return list(read_other(OtherSource.model_validate({"reader": reader, "path": str(path)}), path))


def test_toyhom_reads_gb18030_and_counts_ragged_rows(tmp_path: Path) -> None:
    path = tmp_path / "qa.csv"
    text = '部门,标题,问,答\n内科,题,怎么办？,"多休息，\n多喝水"\n内科,题,少一列\n内科,用标题问,无,好的\n内科,题,问,\n'
    path.write_bytes(text.replace("部门,标题,问,答", "department,title,ask,answer").encode("gb18030"))
    rows = rows_of("toyhom", path)
    assert [row.reason for row in rows] == [None, "ragged_row", None, "empty_turn"]
    assert [item.content for item in rows[0].messages] == ["怎么办？", "多休息，\n多喝水"]
    assert rows[2].messages[0].content == "用标题问"


def test_toyhom_drops_bytes_that_are_no_gb18030(tmp_path: Path) -> None:
    path = tmp_path / "qa.csv"
    path.write_bytes(b"department,title,ask,answer\na,b,\xff\xff,d\na,b,c,d\n")
    assert [row.reason for row in rows_of("toyhom", path)] == ["not_decodable", None]


def test_toyhom_without_its_columns_names_the_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "qa.csv"
    path.write_bytes(b"department,title,ask\na,b,c\n")
    with pytest.raises(DataError, match=r"qa\.csv:1: field 'answer': column is missing"):
        rows_of("toyhom", path)


def test_sharegpt_keeps_turns_and_cuts_what_nobody_answered(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    turns = [
        ("system", "甲"),
        ("human", "乙"),
        ("gpt", "丙"),
        ("human", "丁"),
        ("gpt", "戊"),
        ("human", "己"),
    ]
    rows = [
        {"conversations": [{"from": role, "value": text} for role, text in turns]},
        {"conversations": [{"from": "gpt", "value": "先答"}]},
        {"conversations": [{"from": "tool", "value": "x"}]},
        {"other": 1},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = rows_of("sharegpt", path)
    assert [row.reason for row in found] == [None, "malformed_turns", "unknown_role", "malformed_row"]
    assert [(item.role, item.content) for item in found[0].messages] == [
        ("system", "甲"), ("user", "乙"), ("assistant", "丙"), ("user", "丁"), ("assistant", "戊"),
    ]  # fmt: skip


def test_file_of_another_format_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text('{"prompt": "a", "answer": "b"}\n')
    with pytest.raises(DataError, match="no usable row"):
        rows_of("sharegpt", path)


@pytest.mark.parametrize("reader", ["toyhom", "sharegpt", "conversations"])
def test_missing_file_is_named(reader: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: file not found"):
        rows_of(reader, tmp_path / "nowhere")


def test_outside_format_needs_a_path() -> None:
    with pytest.raises(ConfigError, match="'toyhom' needs a path"):
        source_path(OtherSource(reader="toyhom"), RunConfig(name="r"))


def test_inputs_name_every_file_and_the_packaged_set(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            "name": "r",
            "data_dir": str(tmp_path),
            "mixture": {"other": [{"reader": "toyhom", "path": "a.csv"}, {"reader": "conversations"}]},
        }
    )
    assert inputs(config) == {"other:a.csv": tmp_path / "a.csv", "other:packaged": PACKAGED}


# --- filters ---


def test_thirteen_characters_of_a_held_out_text_contaminate() -> None:
    check = Decontaminator([held_out("患者三天前受凉后出现发热咳嗽咳黄痰")])
    assert check.met([message("我爸三天前受凉后，出现发热、咳嗽咳黄的痰")])  # 13 shared, punctuation aside
    assert check.met([message("我爸前天受凉后出现发热咳嗽咳嗽厉害")]) is None  # 10 shared at most


def test_answers_contaminate_and_system_prompts_do_not() -> None:
    check = Decontaminator([held_out("问", "建议完善血常规及胸部影像学检查后再定")])
    assert check.met([message("问"), message("建议完善血常规及胸部影像学检查", "assistant")])
    assert check.met([message("所有任务共用的系统提示一共有这么多字")]) is None


def test_short_equal_answers_are_no_contamination() -> None:
    assert Decontaminator([held_out("问", "消化内科")]).met([message("消化内科", "assistant")]) is None


def test_english_needs_a_longer_run_than_chinese() -> None:
    check = Decontaminator([held_out("The patient was admitted with chest pain on exertion since last spring.")])
    assert check.met([message("My uncle was admitted with chest pain, what should we do now?")]) is None
    assert check.met([message("Q: the patient was admitted with chest pain on exertion since last spring. Why?")])


@pytest.mark.parametrize(
    "text",
    [
        "请拨打13912345678",
        "电话010-12345678",
        "身份证11010119900307999X",
        "写信到 a.b@example.com",
        "加QQ：12345678",
        "微信号 abc_12345",
    ],
)
def test_shapes_of_contacts_are_seen(text: str) -> None:
    assert has_identifier([message(text)])


@pytest.mark.parametrize("text", ["血压139/85", "每次0.25克", "编号1391234567890123", "拨打120", "2024-03-01"])
def test_other_numbers_are_no_contacts(text: str) -> None:
    assert not has_identifier([message(text)])


def test_row_licence_goes_before_the_source_licence() -> None:
    source = OtherSource(reader="sharegpt", path="x", license="MIT")
    turns = [("user", "问"), ("assistant", "答")]
    assert build_conversation(build_row(1, turns, "CC0"), source).license == "CC0"
    assert build_conversation(build_row(1, turns), source).license == "MIT"


# --- the packaged set ---


def test_packaged_set_is_ours_marked_and_clean() -> None:
    rows = list(read_other(PACKAGED_SOURCE, PACKAGED))
    assert len(rows) >= 60
    assert all(row.reason is None for row in rows)
    conversations = [build_conversation(row, PACKAGED_SOURCE) for row in rows]
    assert {item.license for item in conversations} == {"Apache-2.0"}
    assert all(item.is_synthetic for item in conversations)
    assert len({item.conversation_id for item in conversations}) == len(rows)
    assert sum(len(item.messages) > 2 for item in conversations) >= 8
    assert max(sum(len(turn.content) for turn in item.messages) for item in conversations) <= 600
    assert not any(has_identifier(item.messages) for item in conversations)


# --- evaluation sets that training must hold no piece of ---

EXAM = "患者进食油腻食物后右上腹绞痛并向右肩放射首先考虑的诊断是"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([{"question": EXAM, "answer": "A"}], ensure_ascii=False)),
        ("a.jsonl", json.dumps({"deep": [{"question": EXAM}]}, ensure_ascii=False)),
        ("lines.json", json.dumps({"question": EXAM}, ensure_ascii=False) + "\n" + json.dumps({"question": "x"})),
        ("a.csv", f"id,question\n1,{EXAM}\n"),
        ("a.tsv", f"id\tquestion\n1\t{EXAM}\n"),
        ("a.txt", EXAM),
    ],
)
def test_an_evaluation_set_is_read_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    config = RunConfig(name="t", data_dir=str(tmp_path))
    fields = () if name.endswith(".txt") else ("question",)
    assert EXAM in list(read_texts(AgainstSource(path=name, fields=fields), config))
    assert EXAM not in list(read_texts(AgainstSource(path=name, fields=("answer",)), config)) or name == "a.txt"


def test_a_row_that_repeats_a_piece_of_an_exam_says_which(tmp_path: Path) -> None:
    check = Decontaminator()
    check.add("exam", [EXAM])
    assert check.met([message("老人进食油腻食物后，右上腹绞痛，并向右肩放射")]) == "exam"
    assert check.met([message("老人进食后右上腹不适")]) is None


def test_an_evaluation_set_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no evaluation set"):
        list(read_texts(AgainstSource(path="nothing"), RunConfig(name="t", data_dir=str(tmp_path))))


SHARED = os.environ.get("IIMEDGPT_DATA")


@pytest.mark.skipif(SHARED is None, reason="IIMEDGPT_DATA does not name the folder with public data")
def test_a_known_leak_between_public_sets_is_caught() -> None:
    """huatuogpt_eval and pulse_eval share question sources with toyhom and zhongjing."""
    config = RunConfig(name="t", data_dir=str(SHARED))
    check = Decontaminator()
    check.add("zhongjing", read_texts(AgainstSource(path="zhongjing/data/CMtMedQA_test.json"), config))
    questions = read_texts(AgainstSource(path="huatuogpt_eval/eval/Med-dialog_100.json"), config)
    assert [check.met([message(text)]) for text in questions] != []
