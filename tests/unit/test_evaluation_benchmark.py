"""The evaluation benchmark's frame: parts are kept, a failing part is named and stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import evaluation, evaluation_coverage
from iimedgpt import io


@pytest.mark.parametrize("method", ["share by patient, 0.1", "win rate with ties", "Krippendorff's alpha"])
def test_intervals_hold_a_simulated_truth(method: str) -> None:
    found = evaluation_coverage.coverage(method, 30, n_runs=200, n_resamples=300)
    assert 0.91 <= found["covered"] <= 0.99  # 200 runs: 95 % give or take 3


def test_every_part_is_kept_and_one_that_fails_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rouge_chinese")
    out = tmp_path / "evaluation.json"
    io.write_json(out, {"parts": {"coverage": {"result": "from before"}}})
    assert evaluation.collect(["judges", "metrics"], None, True, out) == ["judges"]
    assert "judges: ValueError: needs --data DIR" in capsys.readouterr().err
    parts = io.read_json(out)["parts"]
    assert parts["coverage"]["result"] == "from before"
    assert parts["metrics"]["result"]["rouge_l_against_rouge_chinese"]["max_difference"] < 1e-6
