"""Agreement with GPT-4 as the benchmark counts it, on verdicts written down by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import evaluation_judges as benchmark
from iimedgpt import io
from iimedgpt.evaluation.judging.duels import Duel, Question
from iimedgpt.types import Message, Verdict

WIN, TIE, LOSS, INVALID = Verdict.WIN, Verdict.TIE, Verdict.LOSS, Verdict.INVALID


def _rows(verdicts: list[Verdict]) -> list[benchmark.Judged]:
    prompt = (Message(role="user", content="问"),)
    questions = [Question(f"q{n}", "s", f"g{n}", prompt) for n in range(len(verdicts))]
    return [(Duel(q, "a", "好", "b", "很好"), verdict) for q, verdict in zip(questions, verdicts, strict=True)]


def test_kappa_holds_ties_and_leaves_invalid_out() -> None:
    gpt4, judge = [WIN, WIN, LOSS, TIE, WIN], [WIN, LOSS, LOSS, TIE, INVALID]
    found = benchmark._agreement(_rows(gpt4), judge)
    # 3 of 4 agree; by chance 2/4·1/4 + 1/4·2/4 + 1/4·1/4 = 5/16
    assert found["kappa"]["value"] == pytest.approx((3 / 4 - 5 / 16) / (1 - 5 / 16), abs=1e-4)
    assert found["agreement"]["value"] == pytest.approx(0.75)
    assert found["accuracy_where_gpt4_decided"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert (found["n"], found["n_invalid"], found["ties"]) == (4, 1, 0.25)


def test_the_longer_answer_is_told() -> None:
    (duel, _), *_ = _rows([WIN])
    assert benchmark._longer(duel) is LOSS
    assert benchmark._longer(duel.turned()) is WIN


def test_pairs_are_read_with_their_verdict_and_unparsed_ones_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "pulse_eval" / "eval" / "elo"
    row: dict[str, Any] = {"question": "问？", "reference_answer": "", "model_a": "A", "model_b": "B"}
    row |= {"model_a_predict_answer": "甲", "model_b_predict_answer": "乙"}
    io.write_jsonl(folder / "elo_data" / "X_1207.jsonl", [row] * 4)
    contents = ["8 3\n\n因为", "5 5\n", "3, 9\n", "两个都好"]
    replies: list[Any] = [{"output": json.dumps({"content": text})} for text in contents]
    io.write_jsonl(folder / "elo_outputs" / "X_1207.jsonl", replies)
    assert [verdict for _, verdict in benchmark.read_judged(tmp_path, "X")] == [WIN, TIE, LOSS]


@pytest.mark.skipif("IIMEDGPT_DATA" not in os.environ, reason="IIMEDGPT_DATA names no folder with pulse_eval")
def test_the_published_pairs_are_read_whole() -> None:
    data = Path(os.environ["IIMEDGPT_DATA"])
    assert sum(len(benchmark.read_judged(data, name)) for name in benchmark.SETS) == 3_298
