"""Preference pairs: what is filtered, what is chosen, what is counted."""

from __future__ import annotations

import pytest

from iimedgpt.config import PairsConfig, SampleConfig
from iimedgpt.preferences.filters import drop_reason, is_same_answer
from iimedgpt.preferences.pairs import spread_patients
from iimedgpt.preferences.sample import choose_conversations, has_repetition, plan_asks
from iimedgpt.types import Conversation, Message, PreferencePair


def pair(chosen: str, rejected: str, source: str = "reference", task: str = "treatment") -> PreferencePair:
    return PreferencePair.model_validate(
        {
            "pair_id": "p",
            "prompt": [{"role": "user", "content": "问"}],
            "chosen": chosen,
            "rejected": rejected,
            "source": source,
            "group_id": "g",
            "split": "train",
            "task": task,
        }
    )


def conversation(record: str | None, task: str = "triage", patient: str | None = None) -> Conversation:
    return Conversation(
        conversation_id=f"{record}-{task}",
        messages=(Message(role="user", content="问"), Message(role="assistant", content="答")),
        group_id=patient or str(record),
        source="s",
        license="l",
        split="train",
        task=task,
        record_id=record,
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("口服阿莫西林一周", "多饮水，卧床休息", None),
        ("口服阿莫西林。", "口服 阿莫西林", "self_pair"),  # the same but for a space and a mark
        ("口服阿莫西林", "。。", "empty_answer"),
        ("地高辛0.25mg", "地高辛025mg", None),  # a point inside a number is no mark
        (
            "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉",
            "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申",
            None,
        ),  # 19/20 = 0.95
        (
            "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌",
            "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉",
            "too_similar",
        ),  # 20/21
        ("甲乙丙丁", "子丑寅卯辰巳午未申酉戌亥金木水火", None),  # four times as long
        ("甲乙丙丁", "子丑寅卯辰巳午未申酉戌亥金木水火土", "length_ratio"),
    ],
)
def test_filter_by_hand(chosen: str, rejected: str, reason: str | None) -> None:
    assert drop_reason(pair(chosen, rejected), PairsConfig()) == reason


def test_rules_are_exempt_from_the_similarity_bound_only() -> None:
    chosen = "患者无发热，" * 10
    assert drop_reason(pair(chosen, chosen.replace("无", "有", 1), "rule"), PairsConfig()) is None
    assert drop_reason(pair(chosen, chosen, "rule"), PairsConfig()) == "self_pair"
    assert drop_reason(pair(chosen, "短", "rule"), PairsConfig()) == "length_ratio"


@pytest.mark.parametrize(
    ("task", "first", "second", "is_same"),
    [
        ("triage", "心血管内科", "建议挂心内科", True),
        ("triage", "心内科", "消化内科", False),
        ("triage", "不清楚", "不知道", False),  # naming nothing is not agreeing
        ("examination", "血常规、胸片", "胸片，血常规", True),
        ("diagnosis", "1.急性胃炎 2.高血压", "高血压；急性胃炎", True),
        ("treatment", "血常规", "血常规。", False),  # free text has no set to compare
    ],
)
def test_same_set_in_other_words_is_no_preference(task: str, first: str, second: str, is_same: bool) -> None:
    assert is_same_answer(task, first, second) is is_same


def test_patients_of_the_test_share_are_spread_over_the_file() -> None:
    rows = [conversation(f"r{index}", patient=f"p{index}") for index in range(8)]
    assert spread_patients(rows, 0.5) == {"p0", "p2", "p4", "p6"}
    assert spread_patients(rows, 0.0) == set()


def test_first_records_with_all_their_tasks_are_sampled() -> None:
    rows = [
        conversation(None, "chat"),
        conversation("a", "triage"),
        conversation("a", "diagnosis"),
        conversation("b", "diagnosis"),
        conversation("c", "triage"),
    ]
    ids = [item.conversation_id for item in choose_conversations(rows, 2, ())]
    assert ids == ["a-triage", "a-diagnosis", "b-diagnosis"]
    ids = [item.conversation_id for item in choose_conversations(rows, 2, ("triage",))]
    assert ids == ["a-triage", "c-triage"]
    assert choose_conversations(rows, 0, ()) == []


def test_every_answer_has_its_own_seed_and_test_is_greedy_once() -> None:
    rows = [conversation(f"r{index}") for index in range(3)]
    asks = list(plan_asks(rows, rows[:1], SampleConfig(n_samples=2, temperature=0.7), 0))
    assert [(ask.split, ask.conversation.record_id, ask.sample, ask.temperature) for ask in asks] == [
        ("train", "r0", 0, 0.7),
        ("train", "r0", 1, 0.7),  # answers of one prompt side by side: it is read once
        ("train", "r1", 0, 0.7),
        ("train", "r1", 1, 0.7),
        ("train", "r2", 0, 0.7),
        ("train", "r2", 1, 0.7),
        ("test", "r0", 0, 0.0),
    ]
    assert len({ask.seed for ask in asks}) == 6  # r0's first answer is one prompt, one seed, whichever side


def test_greedy_training_samples_are_not_repeated() -> None:
    assert len(list(plan_asks([conversation("r")], [], SampleConfig(n_samples=3, temperature=0.0), 0))) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("建议口服药物治疗，建议口服药物治疗。", True),  # eight characters, twice
        ("建议口服药物，建议口服药物。", False),  # six, twice
        ("好好好好好好好好好", True),
        ("one two three four five six seven eight nine", False),
        ("a b c d e f g h x a b c d e f g h", True),
    ],
)
def test_repetition_is_a_run_of_eight_seen_twice(text: str, expected: bool) -> None:
    assert has_repetition(text) is expected
