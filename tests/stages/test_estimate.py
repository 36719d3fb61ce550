"""``iimedgpt validate``: hours and memory of training, before it starts, from what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from iimedgpt import chain, estimate
from iimedgpt.cli import app
from iimedgpt.config import RunConfig
from iimedgpt.engine import room
from iimedgpt.manifest import read_manifest
from iimedgpt.recipe import load
from iimedgpt.run import execute

RECIPE = """
name = "tiny"
[model]
name = "tiny"
compute = "float32"
[[records.sources]]
reader = "synthetic"
n_max = 12
[sft]
rank = 4
groups_per_step = 2
"""
NUMBER = r"([\d,]+)"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IIMEDGPT_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def _build_mixture(config: RunConfig) -> None:
    for name in ("records", "instructions", "mixture"):
        execute(chain.stage_named(name), config)


def _validate(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["validate", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_before_the_mixture_is_built_it_says_what_to_run_and_what_memory_is_foreseen(recipe: Path) -> None:
    text = _validate(str(recipe), "--no-measure")
    assert "valid" in text
    assert re.search(r"^sft +— +— +— +— +1,536 +— +1\.\d", text, re.M)  # GiB: next to nothing and the program
    assert "after `iimedgpt mixture`" in text
    assert "hours are not estimated without a measurement" in text


def test_with_the_mixture_built_it_foretells_what_training_then_counts(recipe: Path) -> None:
    config = load(recipe)
    _build_mixture(config)
    text = _validate(str(recipe))
    found = re.search(rf"^sft +{NUMBER} +{NUMBER} +([\d.]+) +{NUMBER} +{NUMBER} +([\d.]+) to ([\d.]+) s", text, re.M)
    assert found, text
    _, n_trie, ratio, n_steps, largest = (float(group.replace(",", "")) for group in found.groups()[:5])
    assert not (config.run_dir / "sft").exists()  # nothing is written
    execute(chain.stage_named("sft"), config)
    manifest = read_manifest(config.run_dir / "sft")
    assert manifest is not None
    facts = manifest.facts
    assert n_steps == facts["n_steps"]
    assert n_trie == pytest.approx(facts["n_trie_tokens"], rel=0.01)  # fillers apart
    assert ratio == pytest.approx(facts["token_ratio"], rel=0.01)
    assert largest <= facts["longest_pack"]
    low, high = float(found[6]), float(found[7])
    assert 0 < low < high


def test_a_sequence_that_cannot_fit_is_said_before_training(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _build_mixture(load(recipe))
    monkeypatch.setattr(estimate, "budget_of", lambda *_: room.Budget.of(40))
    text = _validate(str(recipe), "--no-measure")
    assert re.search(r"sequence \w+ has \d+ tokens, over the 40 of one pack", text)


def test_a_model_that_is_not_here_is_no_error(recipe: Path) -> None:
    assert "no estimate: model 'nobody/nothing' is not on this machine" in _validate(
        str(recipe), "--model", "nobody/nothing"
    )


def test_a_recipe_for_a_gpu_can_be_looked_at_where_there_is_none(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    text = _validate(str(recipe), "--set", "model.device=cuda")
    assert "this machine has no CUDA device" in text
    assert re.search(r"^sft .* 16,384 +— +1\.\d +\?", text, re.M)


def test_a_model_that_does_not_fit_is_not_measured(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "available_bytes", lambda _: 1_000)
    assert "does not fit the free memory" in _validate(str(recipe))


def test_of_many_rows_whole_records_are_looked_at_evenly_spread() -> None:
    keys = [f"r{i // 6}" for i in range(12_000)]
    some = estimate._sample(list(range(12_000)), keys)
    assert len(some) == 3_000
    assert some[:7] == [0, 1, 2, 3, 4, 5, 24]
