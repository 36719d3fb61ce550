"""What a clinician sees of a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.io import Secret
from iimedgpt.run import Stage, StageContext, execute
from iimedgpt.types import Candidate, Conversation, Message
from iimedgpt.web.edits import deidentify
from iimedgpt.web.items import ranking_items, record_and_task
from tests.web.synthetic import item


def shown(*messages: Message) -> tuple[list[tuple[str, str]], str]:
    sections, task = record_and_task(messages)
    return [(section.title, section.text or "|".join(map(":".join, section.turns))) for section in sections], task


def user(text: str) -> Message:
    return Message(role="user", content=text)


RECORD = "【主诉】腹痛1天\n【现病史】昨夜起。\n伴恶心。"
SECTIONS = [("主诉", "腹痛1天"), ("现病史", "昨夜起。\n伴恶心。")]


def test_a_record_is_taken_apart_in_its_order_whichever_side_the_task_stands() -> None:
    for prompt in (f"{RECORD}\n\n诊断？", f"诊断？\n\n{RECORD}"):
        assert shown(Message(role="system", content="不显示"), user(prompt)) == (SECTIONS, "诊断？")


def test_a_dialogue_is_turns_and_english_headings_are_known() -> None:
    assert shown(user("【主诉】腹痛\n患者：痛\n医生：多久了？\n\n问")) == (
        [("主诉", "腹痛"), ("", "患者:痛|医生:多久了？")],
        "问",
    )
    text = "Chief complaint: cough\nHistory of present illness: two days\n\nWhich department?"
    assert shown(user(text)) == (
        [("Chief complaint", "cough"), ("History of present illness", "two days")],
        "Which department?",
    )


def test_a_conversation_shows_its_earlier_turns_and_asks_the_last() -> None:
    messages = (user("头痛"), Message(role="assistant", content="多久？"), user("半天"))
    assert shown(*messages) == ([("", "Q:头痛|A:多久？")], "半天")


def test_the_order_is_each_clinicians_own_and_stays() -> None:
    made = item(0)
    orders = {made.shown(f"annotator{number}", 0) for number in range(30)}
    assert len(orders) > 10
    assert made.shown("one", 0) == made.shown("one", 0)


def test_an_edit_loses_shapes_of_identifiers_and_all_dates() -> None:
    edit = deidentify("2024年3月5日复查，电话13912345678；血压120/80 mmHg。", "zh", Secret(b"s" * 32))
    assert edit.text == "[日期]复查，电话[电话]；血压120/80 mmHg。"
    assert edit.n_replaced == 2


def test_prompts_put_forward_stand_first_with_the_answers_the_model_decides_least_between(tmp_path: Path) -> None:
    asked = [
        Conversation(
            conversation_id=f"c{number}",
            messages=(user(f"问题{number}"), Message(role="assistant", content="参考答案")),
            group_id=f"g{number}",
            source="synthetic",
            license="ours",
            split="train",
            task="diagnosis",
        )
        for number in range(3)
    ]
    answers = [
        Candidate(
            candidate_id=f"c{number}-{letter}",
            prompt_id=f"c{number}",
            model_id="sft",
            text=f"答案{letter}",
            temperature=0.8,
            max_new_tokens=8,
            seed=0,
            is_finished=True,
        )
        for number in range(3)
        for letter in "甲乙丙丁"
    ]
    forward = [{"prompt_id": f"c{number}", "candidate_ids": [f"c{number}-丙", f"c{number}-丁"]} for number in (2, 1)]
    written = {
        "mixture": {"train.jsonl": asked, "test.jsonl": []},
        "sample": {"candidates.jsonl": answers, "next.jsonl": forward},
    }
    config = RunConfig.model_validate({"name": "r", "runs_dir": str(tmp_path), "rank": {"n_answers": 3}})
    for name, files in written.items():

        def write(ctx: StageContext, files: dict[str, Any] = files) -> None:
            for file, rows in files.items():
                io.write_jsonl(ctx.output(file), rows)

        execute(Stage(name, (), (), write), config)
    shown_items = ranking_items(config)
    assert [made.prompt_id for made in shown_items] == ["c2", "c1", "c0"]
    assert [answer_id for answer_id, _ in shown_items[0].answers] == ["c2-丙", "c2-丁", "c2"]
    assert [answer_id for answer_id, _ in shown_items[2].answers] == ["c0", "c0-甲", "c0-乙"]
