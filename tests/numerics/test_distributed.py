"""Two processes train what one trains: replicated (DDP) and sharded (FSDP2), on gloo."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file

from iimedgpt.chain import stage_named
from iimedgpt.manifest import read_manifest
from iimedgpt.recipe import load
from iimedgpt.run import execute
from tests.numerics.launched import STOPPED_AT, prepare, train

ROOT = Path(__file__).parents[2]


def _environment(recipe: str) -> dict[str, str]:
    """What ``accelerate launch --config_file recipes/accelerate/RECIPE.yaml`` tells the processes it starts."""
    arguments = launch_command_parser().parse_args(
        ["--config_file", str(ROOT / "recipes" / "accelerate" / f"{recipe}.yaml"), "-m", "iimedgpt", "run", "RUN.toml"]
    )
    arguments, _, _ = _validate_launch_command(arguments)
    told = prepare_multi_gpu_env(arguments)
    return {key: value for key, value in told.items() if key.startswith(("ACCELERATE_", "FSDP_"))}


def launch(*command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command as two processes on this machine."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    return subprocess.run(
        [*torchrun, *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one process."""
    root = tmp_path_factory.mktemp("one")
    prepare(root)
    train("sft", root, root / "sft")
    prepare(root, root / "sft" / "adapter")
    train("dpo", root, root / "dpo")
    prepare(root / "b", root / "sft" / "adapter")
    train("dpo", root / "b", root / "bfloat16", compute="bfloat16")
    return root


def _two(told: dict[str, str], one: Path, root: Path) -> Path:
    """Results of two processes, DPO from the one process's SFT adapter."""
    for folder in (root, root / "bfloat16", root / "through", root / "resumed"):
        prepare(folder, one / "sft" / "adapter")
    told["ACCELERATE_MIXED_PRECISION"] = "bf16"  # accelerate's own switch: model.compute decides, nothing else
    done = launch("tests.numerics.launched", str(root), environment=told)
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@pytest.fixture(scope="module", params=["ddp", "fsdp2"])
def two(request: pytest.FixtureRequest, one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = _two(_environment(request.param), one, tmp_path_factory.mktemp(request.param))
    wrapper = {"ddp": "DistributedDataParallel", "fsdp2": "FSDP"}[request.param]
    names = json.loads((root / "rank0" / "wrapped.json").read_text())
    assert len(names) == 6
    assert all(name.startswith(wrapper) for name in names), names  # else a comparison would prove nothing
    return root


def _log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def _adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_two_processes_give_the_losses_and_weights_of_one(stage: str, one: Path, two: Path) -> None:
    alone, together = _log(one / stage), _log(two / "rank0" / stage)
    losses = [row["loss"] for row in alone if "loss" in row]
    assert len(losses) >= 4
    assert [row["loss"] for row in together if "loss" in row] == pytest.approx(losses, rel=1e-6)
    for a, b in zip(alone, together, strict=True):
        assert b == pytest.approx(a, rel=1e-5, abs=1e-5)  # sums over answers, a difference of them, a norm
    weights, expected = _adapter(two / "rank0" / stage), _adapter(one / stage)
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("stage", ["sft", "dpo", "bfloat16", "through"])
def test_all_processes_end_with_the_same_bits(stage: str, two: Path) -> None:
    for file in ("log.jsonl", "adapter/adapter_model.safetensors"):
        assert (two / "rank0" / stage / file).read_bytes() == (two / "rank1" / stage / file).read_bytes()


def test_a_signal_to_one_stops_all_at_one_step_and_the_resumed_training_ends_with_the_same_bits(two: Path) -> None:
    """The checkpoint holds gathered tensors and one optimiser state, and is spread again on resume."""
    checkpoints = two / "resumed" / "tiny" / "dpo" / "checkpoints"
    assert (checkpoints / f"checkpoint-{STOPPED_AT + 1}" / "complete.json").exists()
    for file in ("log.jsonl", "adapter/adapter_model.safetensors"):
        assert (two / "rank0" / "through" / file).read_bytes() == (two / "rank0" / "resumed" / file).read_bytes()


def test_a_stage_that_does_not_train_runs_in_the_first_process_only(two: Path) -> None:
    assert (two / "ran.txt").read_text() == "0"
    assert (two / "rank1" / "manifest.txt").read_text() == "ran, 1 kept"  # the other one waited for its manifest


def test_the_arithmetic_does_not_change_with_the_number_of_processes(one: Path, two: Path) -> None:
    """Under bfloat16 compute too: FSDP's own mixed precision would round the log-probabilities."""
    first, expected = _log(two / "rank0" / "bfloat16")[0], _log(one / "bfloat16")[0]
    assert first["margin"] == 0.0
    assert first["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert first["chosen_logp"] == pytest.approx(expected["chosen_logp"], rel=1e-6)


RECIPE = """
name = "tiny"
runs_dir = "{runs}"
[model]
name = "tiny"
compute = "float32"
[[records.sources]]
reader = "synthetic"
n_max = 12
[instructions]
tasks = ["triage", "diagnosis"]
[mixture]
n_max_train_records = 4
[sft]
groups_per_step = 2
tokens_per_pack = 1_024
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose stages before SFT are complete."""
    folder = tmp_path_factory.mktemp("run")
    path = folder / "run.toml"
    path.write_text(RECIPE.format(runs=folder / "runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IIMEDGPT_SECRET_FILE", str(folder / "secret"))
        for name in ("records", "instructions", "mixture"):
            execute(stage_named(name), load(path))
    return path


def test_the_command_line_in_two_processes_makes_what_it_makes_in_one(recipe: Path, tmp_path: Path) -> None:
    shutil.copytree(recipe.parent / "runs", tmp_path / "runs")
    alone = load(recipe, [f"runs_dir='{tmp_path / 'runs'}'"])
    expected, _ = execute(stage_named("sft"), alone)
    done = launch("iimedgpt", "sft", str(recipe), environment={"HOME": str(tmp_path), "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr[-3000:]
    folder = load(recipe).run_dir / "sft"
    assert done.stdout.split() == [str(folder)]
    assert len(re.findall(r"✓ sft", done.stderr)) == 1
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.facts["n_processes"] == 2
    assert manifest.outputs.keys() == expected.outputs.keys()
    assert (manifest.key, manifest.n_in, manifest.n_dropped) == (expected.key, expected.n_in, expected.n_dropped)
    assert manifest.facts["validation_loss_after"] == pytest.approx(expected.facts["validation_loss_after"], rel=1e-5)
    for key, value in _adapter(alone.run_dir / "sft").items():
        torch.testing.assert_close(_adapter(folder)[key], value, rtol=1e-4, atol=1e-5, msg=key)
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("torchelastic")}
    assert left == {"runs"}  # what the second process wrote is gone


def test_an_error_in_one_process_ends_all_and_is_told_once(recipe: Path) -> None:
    done = launch("tests.numerics.launched", "fail", "sft", str(recipe), "--force")
    assert done.returncode != 0
    assert re.findall(r"^.*(?:rror:|Interrupted).*\n.*", done.stderr.split("torch.distributed")[0], re.M) == [
        "error: loss is nan at step 2\n  → a hint"
    ]
    assert done.stdout == ""
    assert read_manifest(load(recipe).run_dir / "sft") is None
