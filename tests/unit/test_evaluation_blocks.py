"""Blocks, choice, controls and the scoreboard: the parts of the evaluation that read no file."""

from __future__ import annotations

from typing import Any

import pytest

from iimedgpt.evaluation import likelihood
from iimedgpt.evaluation.controls import TrainingAnswers, with_shots
from iimedgpt.evaluation.heldout import HeldOutRecord, build_blocks, n_repeated_diseases, select_records
from iimedgpt.evaluation.inquiry import Prompt
from iimedgpt.evaluation.scoreboard import Scoreboard, Series
from iimedgpt.types import AnswerScore, Conversation, Message


def _conversation(
    name: str, answer: str, *, task: str = "diagnosis", question: str = "?", disease: str | None = None
) -> Conversation:
    return Conversation(
        conversation_id=f"{name}-{task}",
        messages=(
            Message(role="system", content="S"),
            Message(role="user", content=question),
            Message(role="assistant", content=answer),
        ),
        group_id=f"p-{name}",
        source="t",
        license="own",
        split="test",
        task=task,
        record_id=name,
        disease=disease,
    )


def _record(
    name: str,
    answer: str = "x",
    *,
    patient: str | None = None,
    disease: str | None = None,
    department: str | None = None,
) -> HeldOutRecord:
    item = _conversation(name, answer, question=name, disease=disease)
    return HeldOutRecord(name, patient or f"p-{name}", disease, department, {"diagnosis": item})


def test_records_are_taken_one_disease_after_another() -> None:
    records = [_record(name, disease=name[0]) for name in ("a1", "a2", "a3", "b1", "c1", "c2")]
    assert [record.record_id for record in select_records(records, 4)] == ["a1", "b1", "c1", "a2"]
    assert len(select_records(records, None)) == 6


def test_records_of_one_patient_never_share_a_block() -> None:
    records = [_record(f"r{i}", patient="one" if i < 3 else f"p{i}") for i in range(6)]
    blocks = build_blocks(records, 4, seed=0)
    assert sorted(record.record_id for block in blocks for record in block) == [f"r{i}" for i in range(6)]
    for block in blocks:
        patients = [record.group_id for record in block]
        assert len(patients) == len(set(patients))


@pytest.mark.parametrize("seed", range(8))
def test_blocks_hold_different_diseases_and_departments_where_they_can(seed: int) -> None:
    # 4 diseases in 2 departments, 2 records each: 2 blocks of 4 different diseases are possible.
    records = [_record(f"{d}{i}", disease=d, department=d[0]) for d in ("xa", "xb", "ya", "yb") for i in range(2)]
    blocks = build_blocks(records, 4, seed)
    assert [len(block) for block in blocks] == [4, 4]
    assert n_repeated_diseases(blocks) == 0


def test_a_disease_that_must_repeat_is_counted() -> None:
    assert n_repeated_diseases(build_blocks([_record(f"r{i}", disease="a") for i in range(3)], 4, 0)) == 3


def test_blocks_depend_on_the_order_and_the_seed_not_on_ids() -> None:
    def places(prefix: str, seed: int) -> list[list[int]]:
        records = [_record(f"{prefix}{i}", disease=str(i % 3)) for i in range(9)]
        return [[records.index(record) for record in block] for block in build_blocks(records, 3, seed)]

    assert places("a", 1) == places("zz", 1)
    assert places("a", 1) != places("a", 2)


def test_a_tie_shares_the_credit() -> None:
    assert likelihood.credit({"a": 1.0, "b": 1.0, "c": 0.0}, "a") == 0.5
    assert likelihood.credit({"a": 1.0, "b": 2.0}, "a") == 0.0


def test_equal_answers_of_a_block_are_one_option_and_no_wrong_record() -> None:
    block = (_record("a", "胃炎。"), _record("b", "胃炎"), _record("c", "肺炎"))
    first = next(likelihood.questions_of([block]))
    assert sorted(first.options.values()) == sorted(["胃炎。", "肺炎"])
    assert [rival.record_id for rival in first.rivals] == ["c"]
    chance = likelihood.measure_chance([block], "chance")
    assert [item.value for item in chance.items.values()] == [0.5, 0.5, 0.5]


def test_a_block_of_one_answer_offers_no_choice() -> None:
    block = (_record("a", "胃炎"), _record("b", "胃炎"))
    series = likelihood.measure_choice([block], "m", lambda item, text: 0.0, "")
    assert not series.items
    assert len(series.invalid) == 2


def test_loss_weighs_tokens_and_the_choice_goes_by_token_or_by_sum() -> None:
    # Under both records: 短 costs 2 nats in 1 token, 长长 4 nats in 4 tokens.
    scores = {"短": AnswerScore(logp=-2.0, n_tokens=1), "长长": AnswerScore(logp=-4.0, n_tokens=4)}

    def score(prompt: Prompt, answer: str) -> AnswerScore:
        return scores[answer]

    block = (_record("a", "短"), _record("b", "长长"))
    board = Scoreboard(200, 0)
    board.add_all(likelihood.measure_model([block], "m", score, lambda item: item.prompt))
    loss = board.value("loss", "m")
    assert loss is not None
    assert loss.value == pytest.approx(6 / 5)
    per_token, by_sum = board.series["choice_accuracy", "m"], board.series["choice_accuracy_sum", "m"]
    assert [item.value for item in per_token.items.values()] == [0.0, 1.0]
    assert [item.value for item in by_sum.items.values()] == [1.0, 0.0]


def test_the_wrong_record_control_asks_the_same_answer_under_the_other_record() -> None:
    # record, answer → nats per token; every cell differs, so nothing can be mixed up unseen.
    table = {("a", "甲"): 1.0, ("a", "乙"): 3.0, ("b", "甲"): 5.0, ("b", "乙"): 4.0}

    def score(prompt: Prompt, answer: str) -> AnswerScore:
        return AnswerScore(logp=-2 * table[prompt[-1].content, answer], n_tokens=2)

    block = (_record("a", "甲"), _record("b", "乙"))
    made = {s.name: s for s in likelihood.measure_model([block], "m", score, lambda item: item.prompt)}
    assert [item.value for item in made["loss"].items.values()] == [1.0, 4.0]
    # 甲 under b, 乙 under a
    assert [item.value for item in made["loss_wrong_record"].items.values()] == [5.0, 3.0]
    # Each record prefers its own answer, so under the other record it is not picked.
    assert [item.value for item in made["choice_accuracy"].items.values()] == [1.0, 1.0]
    assert [item.value for item in made["choice_accuracy_wrong_record"].items.values()] == [0.0, 0.0]


def test_the_commonest_answer_is_counted_folded_and_the_earliest_of_equals() -> None:
    rows = [_conversation(f"t{i}", answer) for i, answer in enumerate(["肺炎", "胃炎", "胃 炎。", "肺炎"])]
    answers = TrainingAnswers(rows)
    assert answers.majority("diagnosis") == "肺炎"
    assert answers.frequency("diagnosis", "胃炎！") == 2
    assert answers.majority("triage") is None


def test_the_nearest_record_is_of_the_same_task_and_shares_most_three_grams() -> None:
    rows = [
        _conversation("t1", "远", question="完全不同的一段话"),
        _conversation("t2", "近", question="发热咳嗽三天伴胸痛"),
        _conversation("t3", "一样近，但晚", question="发热咳嗽三天伴胸痛"),
        _conversation("t4", "别的任务", task="triage", question="发热咳嗽三天"),
    ]
    wanted = [_conversation("e", "?", question="发热咳嗽三天"), _conversation("e", "?", task="basis")]
    assert TrainingAnswers(rows).nearest(wanted) == {"e-diagnosis": "近"}


def test_solved_examples_stand_between_system_and_question() -> None:
    rows = [
        _conversation("t1", "A1", task="triage", question="q1", disease="a"),
        _conversation("t1", "A2", question="q2", disease="a"),
        _conversation("t2", "B1", task="triage", question="q3", disease="a"),
        _conversation("t2", "B2", question="q4", disease="a"),
        _conversation("t3", "C1", task="triage", question="q5", disease="b"),
        _conversation("t3", "C2", question="q6", disease="b"),
        _conversation("t4", "incomplete", question="q7", disease="c"),
    ]
    answers = TrainingAnswers(rows)
    prompt = with_shots(_conversation("e", "?", question="Q").prompt, answers.shots("S", 2))
    # t3 comes before t2: a new disease before a repeated one.
    assert [message.content for message in prompt] == ["S", "q1", "A1", "q2", "A2", "q5", "C1", "q6", "C2", "Q"]
    assert len(answers.shots("S", 3)) == 12
    assert answers.shots("S", 4) == ()
    assert answers.shots("another system prompt", 2) == ()


def _series(name: str, model: str, values: dict[str, float], **options: Any) -> Series:
    series = Series(name, model, "share", "test", **options)
    for key, value in values.items():
        series.add(key, key[0], f"p{key}", value)
    return series


def test_the_overall_value_weighs_tasks_alike_unless_pooled() -> None:
    values = {"t1": 1.0, "t2": 1.0, "t3": 1.0, "d1": 0.0}
    board = Scoreboard(200, 0)
    board.add_all([_series("x", "m", values), _series("y", "m", values, is_pooled=True)])
    assert [score.value for score in board.scores if score.task is None] == [0.5, 0.75]


def test_differences_use_the_items_both_have_and_count_the_rest() -> None:
    board = Scoreboard(200, 0)
    board.add(_series("x", "m", {"t1": 1.0, "t2": 0.0, "t3": 1.0}))
    board.add(_series("x", "other", {"t1": 0.0, "t2": 0.5}))
    board.compare("x", "m", ("x", "other"), "minus_other")
    score = next(score for score in board.scores if score.name == "x_minus_other")
    assert (score.value, score.n, score.n_invalid) == (0.25, 2, 1)


def test_the_best_control_is_the_lowest_where_lower_is_better() -> None:
    board = Scoreboard(200, 0)
    for control, value in (("a", 2.0), ("b", 1.0), ("c", 3.0)):
        board.add(_series("loss", control, {"t1": value}, higher_is_better=False, is_share=False))
        board.add(_series("accuracy", control, {"t1": value / 4}))
    assert board.best_control("loss", ["a", "b", "c", "absent"]) == "b"
    assert board.best_control("accuracy", ["a", "b", "c", "absent"]) == "c"
    assert board.best_control("loss", []) is None


def test_what_was_never_valid_gets_no_number() -> None:
    series = Series("x", "m", "share", "test")
    series.add("k", "t", "p", None)
    board = Scoreboard(200, 0)
    board.add(series)
    assert board.scores == []
    assert {"name": "x", "task": "t", "model": "m", "n_invalid": 1} in board.undefined


def test_a_subset_keeps_its_own_invalid_items() -> None:
    series = _series("x", "m", {"t1": 1.0, "t2": 0.0})
    series.add("t3", "t", "p", None)
    series.add("t4", "t", "p", None)
    subset = series.subset("odd", lambda key: key in ("t1", "t3"))
    assert (subset.name, list(subset.items), list(subset.invalid)) == ("x:odd", ["t1"], ["t3"])


def test_only_compared_tasks_are_put_beside_other_records_answers() -> None:
    block = tuple(
        HeldOutRecord(
            name,
            name,
            None,
            None,
            {task: _conversation(name, name, task=task) for task in ("triage", "basis")},
            frozenset({"triage"}),
        )
        for name in ("a", "b")
    )
    assert [item.record_id for item in block[0].peers("triage", block)] == ["a", "b"]
    assert [item.record_id for item in block[0].peers("basis", block)] == ["a"]


def test_every_patients_first_record_comes_before_anyones_second() -> None:
    records = [_record("a1", patient="a"), _record("a2", patient="a"), _record("b1", patient="b"), _record("c1")]
    assert [record.record_id for record in select_records(records, 3)] == ["a1", "b1", "c1"]
    assert [record.record_id for record in select_records(records, None)] == ["a1", "b1", "c1", "a2"]
