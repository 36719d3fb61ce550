"""Pairs from elsewhere: every format, every bad row."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.preferences.imports import files, read_import
from iimedgpt.preferences.votes import pairs_of, pairs_of_rankings
from iimedgpt.types import Candidate, Conversation, Judgement, Message, PreferencePair, Ranking, Verdict

USER = {"role": "user", "content": "问"}
GOOD, BAD = {"role": "assistant", "content": "好"}, {"role": "assistant", "content": "坏"}
HUMAN = {"from": "human", "value": "问"}


def read(folder: Path, format_name: str, *rows: Any, **fields: Any) -> tuple[list[PreferencePair], Counter[str]]:
    (folder / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = {"format": format_name, "path": "f.jsonl"} | fields
    config = RunConfig.model_validate({"name": "r", "data_dir": str(folder), "pairs": {"imports": [source]}})
    found = list(read_import(config.pairs.imports[0], config))
    pairs = [row for row in found if isinstance(row, PreferencePair)]
    return pairs, Counter(row[1] for row in found if not isinstance(row, PreferencePair))


@pytest.mark.parametrize(
    ("format_name", "row"),
    [
        ("trl", {"prompt": "问", "chosen": "好", "rejected": "坏"}),
        ("trl", {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}),
        ("trl", {"chosen": [USER, GOOD], "rejected": [USER, BAD]}),
        ("llamafactory", {"conversations": [HUMAN], "chosen": {"from": "gpt", "value": "好"}, "rejected": "坏"}),
        ("llamafactory", {"instruction": "问", "input": "", "chosen": "好", "rejected": "坏"}),
        ("medicalgpt", {"question": "问", "response_chosen": "好", "response_rejected": "坏"}),
        ("ultrafeedback", {"instruction": "问", "completions": [{"response": "坏", "overall_score": 2},
                                                               {"response": "好", "overall_score": 7.5}]}),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_pair(tmp_path: Path, format_name: str, row: Any) -> None:
    (made,), _ = read(tmp_path, format_name, row)
    assert made.prompt == (Message(role="user", content="问"),)
    assert (made.chosen, made.rejected, made.source, made.origin) == ("好", "坏", "import", "f")
    assert made.from_ids == ("f:1",)
    assert made.score_gap == (5.5 if format_name == "ultrafeedback" else None)


def test_bad_rows_are_counted_and_the_others_read(tmp_path: Path) -> None:
    good = {"prompt": "问", "chosen": "好", "rejected": "坏"}
    rows = [
        good,
        good | {"prompt": [GOOD]},
        good | {"prompt": [{"role": "robot", "content": "?"}]},
        good | {"chosen": ""},
        good | {"rejected": 5},
        {"chosen": [USER, GOOD], "rejected": [GOOD, BAD]},
        good | {"chosen": "长" * 3000},
    ]
    pairs, reasons = read(tmp_path, "trl", *rows)
    assert len(pairs) == 1
    assert reasons == {"no_prompt": 2, "empty_answer": 2, "two_prompts": 1, "too_long": 1}


def test_a_broken_line_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.jsonl:2"):
        read(tmp_path, "trl", {"prompt": "问", "chosen": "好", "rejected": "坏"}, ["no object"])


def test_a_file_of_another_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable row"):
        read(tmp_path, "medicalgpt", {"prompt": "问", "chosen": "好", "rejected": "坏"})


def test_equal_scores_and_small_gaps_give_no_pair(tmp_path: Path) -> None:
    scores = [("好", 8), ("同", 8), ("近", 7), ("坏", 2)]
    row = {"prompt": "问", "completions": [{"response": text, "score": score} for text, score in scores]}
    pairs, reasons = read(tmp_path, "ultrafeedback", row, min_score_gap=2)
    assert [(item.chosen, item.rejected, item.score_gap) for item in pairs] == [("好", "坏", 6.0)]
    assert reasons == {"tie": 1, "score_gap": 1}


def pulse(folder: Path, verdicts: list[str], question: str = "问") -> tuple[list[PreferencePair], Counter[str]]:
    rows = [
        {"question": question, "model_a_predict_answer": f"甲{n}", "model_b_predict_answer": f"乙{n}"}
        for n in range(len(verdicts))
    ]
    replies = [
        {"input": json.dumps({"messages": [{"content": "[Question]\n问"}]}), "output": json.dumps({"content": text})}
        for text in verdicts
    ]
    (folder / "v.jsonl").write_text("".join(json.dumps(reply) + "\n" for reply in replies))
    return read(folder, "pulse", *rows, verdicts="v.jsonl", name="set")


def test_verdicts_decide_which_answer_is_chosen(tmp_path: Path) -> None:
    pairs, reasons = pulse(tmp_path, ["9 2\n\n…", "3 8.5\n…", "7 7\n…", "Both are good"])
    assert [(item.chosen, item.rejected, item.score_gap) for item in pairs] == [
        ("甲0", "乙0", 7.0),
        ("乙1", "甲1", 5.5),
    ]
    assert reasons == {"tie": 1, "verdict_not_parsed": 1}
    assert len({item.split for item in pairs}) == 1  # one question, one side


def test_verdicts_on_other_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"v\.jsonl:1: verdict on another question"):
        pulse(tmp_path, ["9 2\n"], question="别的问题")


def test_two_imports_of_one_name_are_refused() -> None:
    imports = [{"format": "trl", "path": "a/x.jsonl"}, {"format": "trl", "path": "b/x.jsonl"}]
    with pytest.raises(ConfigError, match="two are called 'x'"):
        files(RunConfig.model_validate({"name": "r", "pairs": {"imports": imports}}))


@pytest.mark.skipif(not os.environ.get("IIMEDGPT_DATA"), reason="IIMEDGPT_DATA is not set")
@pytest.mark.parametrize(
    ("source", "n_pairs"),
    [
        ({"format": "medicalgpt", "path": "medicalgpt/data/reward/test.json"}, 90),
        ({"format": "llamafactory", "path": "medicalgpt/data/reward/dpo_zh_500.jsonl"}, 400),
        (
            {
                "format": "pulse",
                "path": "pulse_eval/eval/elo/elo_data/WebMedQA_1207.jsonl",
                "verdicts": "pulse_eval/eval/elo/elo_outputs/WebMedQA_1207.jsonl",
            },
            350,
        ),
    ],
)
def test_public_files_are_read(source: dict[str, Any], n_pairs: int) -> None:
    tree = {"name": "r", "data_dir": os.environ["IIMEDGPT_DATA"], "pairs": {"imports": [source]}}
    config = RunConfig.model_validate(tree)
    pairs = [row for row in read_import(config.pairs.imports[0], config) if isinstance(row, PreferencePair)]
    assert len(pairs) >= n_pairs
    sides: dict[str, set[str]] = {}
    for item in pairs:
        sides.setdefault(item.group_id, set()).add(item.split)
    assert all(len(found) == 1 for found in sides.values())
    assert {"train", "test"} == set().union(*sides.values())


# --- votes ---

ITEM = Conversation(
    conversation_id="c",
    messages=(Message(role="user", content="问"), Message(role="assistant", content="参考")),
    group_id="p",
    source="s",
    license="l",
    split="train",
    record_id="r",
)


def test_rankings_give_every_ordered_pair_the_reference_by_its_conversation() -> None:
    rows = [
        Ranking(ranking_id="1", prompt_id="c", annotator_id="a", tiers=(("c",), ("x", "y")), shown_order=(), seconds=1),
        Ranking(ranking_id="2", prompt_id="c", annotator_id="b", tiers=(("x", "c"),), shown_order=(), seconds=1),
        Ranking(ranking_id="3", prompt_id="?", annotator_id="b", tiers=(("x",),), shown_order=(), seconds=1),
    ]
    found = list(pairs_of_rankings(rows, {"x": "一", "y": "二"}, {"c": ITEM}))
    pairs = [row for row in found if isinstance(row, PreferencePair)]
    assert [(item.chosen, item.rejected) for item in pairs] == [("参考", "一"), ("参考", "二")]
    assert {(item.source, item.n_annotators, item.record_id) for item in pairs} == {("clinician", 1, "r")}
    assert found[2:] == [("2", "ranked_no_preference"), ("3", "ranked_prompt_unknown")]


def test_verdicts_give_the_winner_over_the_loser() -> None:
    def judgement(verdict: Verdict, prompt: str = "c") -> Judgement:
        return Judgement(
            prompt_id=prompt, task=None, model_a="a", model_b="b", criterion="safety", judge_id="j",
            verdict_ab=verdict, verdict_ba=verdict, verdict=verdict, group_id="p",
        )  # fmt: skip

    answers = {
        ("c", model): Candidate(
            candidate_id=f"c{model}",
            prompt_id="c",
            model_id=model,
            text=f"答{model}",
            temperature=0.0,
            max_new_tokens=9,
            seed=0,
            is_finished=True,
        )
        for model in "ab"
    }
    rows = [judgement(Verdict.WIN), judgement(Verdict.LOSS), judgement(Verdict.TIE), judgement(Verdict.INVALID)]
    found = list(pairs_of(rows, answers, {"c": ITEM}))
    pairs = [row for row in found if isinstance(row, PreferencePair)]
    assert [(item.chosen, item.rejected) for item in pairs] == [("答a", "答b"), ("答b", "答a")]
    assert found[2:] == [("c", "judged_tie"), ("c", "judged_invalid")]
