"""Multiple-choice exams: formats, what counts as an answer, and the numbers by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.evaluation import exams
from iimedgpt.evaluation.exam_sets import ExamItem, read_exam
from iimedgpt.evaluation.inquiry import Inquiry, Reply
from iimedgpt.evaluation.scoreboard import Scoreboard
from iimedgpt.types import AnswerScore, Generation


def config_of(folder: Path, **exam: Any) -> RunConfig:
    exam = {"name": "考试", "format": "jsonl", "path": "exam.jsonl"} | exam
    return RunConfig.model_validate({"name": "r", "data_dir": str(folder), "exams": {"sets": [exam]}})


def write_rows(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize(
    ("reply", "letters"),
    [
        ("A", "A"),
        ("（B）。", "B"),
        ("A、C", "AC"),
        ("CA", "AC"),
        ("答案：D", "D"),
        ("分析……，故选B。", "B"),
        ("答案是A。再想想，答案是C", "C"),
        ("The answer is: D", "D"),
        ("CT检查", None),
        ("B超", None),
        ("答案是B超", None),
        ("维生素C", None),
        ("A型血患者", None),
        ("不知道", None),
        ("", None),
    ],
)
def test_letters_inside_words_are_no_answer(reply: str, letters: str | None) -> None:
    assert exams.parse_letters(reply) == letters


def test_formats_give_the_same_questions(tmp_path: Path) -> None:
    (tmp_path / "cmmlu").mkdir()
    (tmp_path / "cmmlu" / "anatomy.csv").write_text(",Question,A,B,C,D,Answer\n0,心有几腔,一,二,三,四,D\n", "utf-8")
    apollo = [{"question": "心有几腔", "options": "(A) 一.\n(B) 二.\n(C) 三.\n(D) 四.", "answer": "(D)", "source": "x"}]
    (tmp_path / "zh.json").write_text(json.dumps(apollo, ensure_ascii=False), "utf-8")
    write_rows(tmp_path / "exam.jsonl", {"question": "心有几腔", "options": ["一", "二", "三", "四"], "answer": "d"})
    found = []
    for name, path in (("cmmlu", "cmmlu"), ("apollo", "zh.json"), ("jsonl", "exam.jsonl")):
        config = config_of(tmp_path, format=name, path=path)
        (item,) = read_exam(config.exams.sets[0], config)
        found.append((item.question, item.options, item.answers))
    assert found == [("心有几腔", ("一", "二", "三", "四"), "D")] * 3


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"question": "", "options": ["一", "二"], "answer": "A"}, "question"),
        ({"question": "几", "options": ["一"], "answer": "A"}, "options"),
        ({"question": "几", "options": "一二", "answer": "A"}, "options"),
        ({"question": "几", "options": ["一", "二"], "answer": "C"}, "answer"),
        ({"question": "几", "options": ["一", "二"]}, "answer"),
    ],
)
def test_an_unusable_question_is_named_by_file_line_and_field(tmp_path: Path, row: dict[str, Any], field: str) -> None:
    write_rows(tmp_path / "exam.jsonl", {"question": "好", "options": ["一", "二"], "answer": "A"}, row)
    config = config_of(tmp_path)
    with pytest.raises(DataError, match=rf"exam\.jsonl:2.*{field}"):
        read_exam(config.exams.sets[0], config)


def test_n_max_spreads_over_the_set_and_equal_questions_count_once(tmp_path: Path) -> None:
    rows = [{"question": f"第{n}题", "options": ["一", "二"], "answer": "A"} for n in range(10)]
    write_rows(tmp_path / "exam.jsonl", *rows, *rows)
    config = config_of(tmp_path, n_max=5)
    assert [item.question for item in read_exam(config.exams.sets[0], config)] == [f"第{n}题" for n in (0, 2, 4, 6, 8)]


def reply_of(config: RunConfig, items: list[ExamItem], likes: dict[str, str], says: dict[str, str]) -> Reply:
    """A model that gives the letter it likes, and its option's text, probability 3/4 of all."""
    inquiry = Inquiry()
    exams.ask(inquiry, items, config)
    by_prompt = {exams.prompt_of(item): item for item in items} | {exams.bare_prompt(item): item for item in items}

    def logp(item: ExamItem, answer: str) -> float:
        liked = likes[item.question]
        is_liked = answer in (liked, item.options[item.letters.index(liked)])
        return math.log(0.75) if is_liked else math.log(0.25 / (len(item.options) - 1))

    return Reply(
        model_id="m",
        inquiry=inquiry,
        scores=[AnswerScore(logp=logp(by_prompt[prompt], answer), n_tokens=1) for prompt, answer in inquiry.questions],
        generations=[Generation(text=says[by_prompt[prompt].question], is_finished=True) for prompt in inquiry.prompts],
    )


def test_numbers_by_hand(tmp_path: Path) -> None:
    options = ["甲一", "乙二", "丙三", "丁四"]
    right = {"一题": "A", "二题": "A", "三题": "B", "四题": "AC"}
    write_rows(tmp_path / "exam.jsonl", *({"question": q, "options": options, "answer": a} for q, a in right.items()))
    config = config_of(tmp_path, n_generate=4)
    items = exams.read_all(config)
    reply = reply_of(
        config,
        items,
        likes={"一题": "A", "二题": "B", "三题": "B", "四题": "A"},
        says={"一题": "A", "二题": "B超", "三题": "答案：B", "四题": "CA"},
    )
    board = Scoreboard(200, 0)
    facts = exams.measure(board, items, {"base": reply}, config)
    value = {name: board.value(f"考试/{name}", "base") for name in (exams.LETTER, exams.TEXT, exams.SAID)}
    assert {name: (found.value, found.n) for name, found in value.items() if found} == {
        exams.LETTER: (pytest.approx(2 / 3), 3),
        exams.TEXT: (pytest.approx(2 / 3), 3),
        exams.SAID: (pytest.approx(3 / 4), 4),
    }
    controls = [board.value(f"考试/{exams.LETTER}", name) for name in (exams.CHANCE, exams.MAJORITY)]
    assert [found.value for found in controls if found] == [pytest.approx(1 / 4), pytest.approx(2 / 3)]
    unparsed = board.value(f"考试/{exams.UNPARSED}", "base")
    assert unparsed is not None
    assert unparsed.value == pytest.approx(1 / 4)
    # confidence 3/4 in three answers, two of them right: |2 - 2.25| / 3
    assert facts["calibration_error"]["考试"]["base"] == pytest.approx(0.25 / 3)
    assert facts["n_several_answers"] == 1
    table = exams.table(board, config, ["base"])
    assert table is not None
    assert table["columns"] == ["考试", "考试, said"]
    assert [row["label"] for row in table["rows"]] == ["base", "chance", "commonest letter"]


def test_partial_f1_and_calibration() -> None:
    assert exams.partial_f1("AC", "AC") == 1.0
    assert exams.partial_f1("A", "AC") == pytest.approx(2 / 3)
    assert exams.partial_f1("", "AC") == 0.0
    assert exams.calibration_error([]) is None
    assert exams.calibration_error([(1.0, True), (1.0, True)]) == 0.0
    assert exams.calibration_error([(0.95, False), (0.15, True)]) == pytest.approx((0.95 + 0.85) / 2)


def test_the_packaged_general_questions_are_sound() -> None:
    config = RunConfig.model_validate({"name": "r", "exams": {"sets": [{"name": "general", "format": "general"}]}})
    items = exams.read_all(config)
    assert len(items) == 60
    assert all(len(item.options) == 4 and len(item.answers) == 1 for item in items)
    letters = [item.answers for item in items]
    assert all(letters.count(letter) >= 9 for letter in "ABCD")  # no letter wins by itself


def test_a_set_without_a_path_is_refused() -> None:
    config = RunConfig.model_validate({"name": "r", "exams": {"sets": [{"name": "x", "format": "jsonl"}]}})
    with pytest.raises(ConfigError, match="no path"):
        exams.read_all(config)


def test_what_training_made_the_model_forget_is_a_paired_difference(tmp_path: Path) -> None:
    rows = [{"question": f"第{n}题", "options": ["甲一", "乙二"], "answer": "A"} for n in range(4)]
    write_rows(tmp_path / "exam.jsonl", *rows)
    config = config_of(tmp_path)
    items = exams.read_all(config)
    likes = {"base": "AAAA", "sft": "AABB"}
    replies = {
        name: reply_of(config, items, {row["question"]: liked[n] for n, row in enumerate(rows)}, {})
        for name, liked in likes.items()
    }
    board = Scoreboard(200, 0)
    exams.measure(board, items, replies, config)
    found = board.value(f"考试/{exams.LETTER}_minus_base", "sft")
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(-0.5), 4)
    table = exams.table(board, config, ["base", "sft"])
    assert table is not None
    assert table["rows"][-1]["label"] == "sft − base"
    assert table["rows"][-1]["cells"][0]["unit"] == "difference"
