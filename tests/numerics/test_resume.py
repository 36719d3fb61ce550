"""A training that stops goes on as if it never had; what cannot go on exactly is refused, and said."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from iimedgpt import dpo, io, sft
from iimedgpt.engine import checkpoints
from iimedgpt.engine.interruption import StopAfterStep
from iimedgpt.errors import Interrupted, TrainingError
from tests.numerics.tiny_training import N_STEPS, RUN, context, strike, write_inputs

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As in the child process: sums are the same bits only where they are cut into the same parts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty steps of SFT and of DPO that nothing interrupts."""
    root = tmp_path_factory.mktemp("whole")
    write_inputs(root)
    for stage, run in RUN.items():
        run(context(root, stage))
    return root


def _fresh(root: Path, whole: Path, stage: str) -> Path:
    """A run with the same inputs (for DPO, the same SFT adapter), of which ``stage`` is still to come."""
    write_inputs(root)
    if stage == "dpo":
        adapter = io.make_private_dir(root / "tiny" / "sft" / "adapter")
        for path in (whole / "tiny" / "sft" / "adapter").iterdir():
            io.write_bytes(adapter / path.name, path.read_bytes())
    return root


def _stop_at(step: int, root: Path, stage: str, **changes: Any) -> None:
    """Train until Ctrl-C reaches optimiser step ``step``."""
    strike(step, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        RUN[stage](context(root, stage, **changes))


def _result(root: Path, stage: str) -> dict[str, Any]:
    """Weights, optimiser state and logs."""
    folder = root / "tiny" / stage
    optimiser = torch.load(folder / "checkpoints" / f"checkpoint-{N_STEPS}" / "optimizer.pt", weights_only=True)
    moments = {f"{i}.{key}": value for i, state in optimiser["state"].items() for key, value in state.items()}
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    return {"tensors": {**weights, **moments}, "log": (folder / "log.jsonl").read_text()}


def _assert_bit_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a["tensors"].keys() == b["tensors"].keys()
    assert [key for key, value in a["tensors"].items() if not torch.equal(value, b["tensors"][key])] == []
    assert a["log"] == b["log"]


def _names(root: Path, stage: str = "sft") -> set[str]:
    return {path.name for path in (root / "tiny" / stage / "checkpoints").iterdir()}


@pytest.mark.parametrize(
    ("stage", "name", "code", "resumes_from"),
    [("sft", "SIGKILL", -9, "checkpoint-10"), ("dpo", "SIGTERM", 1, "checkpoint-13")],
)
def test_a_process_that_dies_in_the_middle_of_a_step_goes_on_bit_for_bit(
    stage: str, name: str, code: int, resumes_from: str, whole: Path, tmp_path: Path
) -> None:
    """Killed, from the checkpoint before; terminated, from one that it still writes. Dropout, shuffling
    and several packs a step are on."""
    root = _fresh(tmp_path, whole, stage)
    child = subprocess.run(
        [sys.executable, "-m", "tests.numerics.tiny_training", stage, str(root), name, "13"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == code, child.stderr
    assert resumes_from in _names(root, stage)
    assert "checkpoint-15" not in _names(root, stage)
    if name == "SIGTERM":
        assert "SIGTERM: stopping after this step, with a checkpoint" in child.stderr
        assert "Interrupted after step 13 of 20; its checkpoint is written" in child.stderr
    RUN[stage](context(root, stage))
    _assert_bit_equal(_result(root, stage), _result(whole, stage))


def test_ctrl_c_loses_no_step_of_sft(whole: Path, tmp_path: Path) -> None:
    root = _fresh(tmp_path, whole, "sft")
    _stop_at(7, root, "sft")
    assert _names(root) == {"checkpoint-5", "checkpoint-7"}
    RUN["sft"](context(root, "sft"))
    _assert_bit_equal(_result(root, "sft"), _result(whole, "sft"))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(whole: Path, tmp_path: Path) -> None:
    again, other = _fresh(tmp_path / "again", whole, "sft"), _fresh(tmp_path / "other", whole, "sft")
    RUN["sft"](context(again, "sft"))
    RUN["sft"](context(other, "sft", seed=1))
    _assert_bit_equal(_result(again, "sft"), _result(whole, "sft"))
    tensors = _result(other, "sft")["tensors"]
    same = [key for key, value in _result(whole, "sft")["tensors"].items() if torch.equal(value, tensors[key])]
    assert [key for key in same if not key.endswith(".step")] == []


@pytest.mark.parametrize("change", ["learning_rate", "seed", "data"])
def test_checkpoints_of_another_training_are_refused(change: str, whole: Path, tmp_path: Path) -> None:
    root = _fresh(tmp_path, whole, "sft")
    _stop_at(6, root, "sft")
    changes: dict[str, Any] = {"learning_rate": {"learning_rate": 1e-2}, "seed": {"seed": 1}, "data": {}}[change]
    if change == "data":
        path = root / "tiny" / "mixture" / "train.jsonl"
        path.write_text(path.read_text().replace("answer 1", "answer 9", 1))
    with pytest.raises(TrainingError, match="checkpoint-6 comes from another training") as caught:
        RUN["sft"](context(root, "sft", **changes))
    assert "--force" in str(caught.value.hint)
    assert _names(root) == {"checkpoint-5", "checkpoint-6"}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("trained.safetensors", _flip, "trained.safetensors is damaged"),
        ("optimizer.pt", _cut, r"optimizer.pt has \d+ bytes instead of \d+"),
        ("rng_state.pth", Path.unlink, "rng_state.pth is missing"),
        ("complete.json", _flip, "complete.json is damaged"),
        ("complete.json", Path.unlink, "its saving was cut short"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    name: str, damage: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [_sealed(tmp_path, step) for step in (5, 10)]
    damage(folders[1] / name)
    with caplog.at_level(logging.WARNING):
        assert checkpoints.last_good(tmp_path, "mine") == folders[0]
    (record,) = caplog.records
    assert record.message.startswith("checkpoint-10 is not used: ")
    assert re.search(reason, record.message)


def _sealed(root: Path, step: int) -> Path:
    folder = io.make_private_dir(root / f"checkpoint-{step}")
    for name in ("trained.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"):
        (folder / name).write_bytes(f"{name} of step {step}".encode())
    checkpoints.mark_complete(folder, step, "mine")
    return folder


def test_training_goes_on_from_the_last_good_checkpoint_and_ends_the_same(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = _fresh(tmp_path, whole, "sft")
    _stop_at(12, root, "sft")
    _flip(root / "tiny" / "sft" / "checkpoints" / "checkpoint-12" / "optimizer.pt")
    RUN["sft"](context(root, "sft"))
    assert "checkpoint-12 is not used: optimizer.pt is damaged" in caplog.text
    _assert_bit_equal(_result(root, "sft"), _result(whole, "sft"))


def test_without_a_good_checkpoint_training_starts_again_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _flip(_sealed(tmp_path, 5) / "optimizer.pt")
    assert checkpoints.last_good(tmp_path, "mine") is None
    assert "no good checkpoint is left: training starts again at step 0" in caplog.text
    assert checkpoints.last_good(tmp_path, "mine") is None
    assert len(caplog.records) == 2


def test_two_checkpoints_are_kept_private_and_sealed(whole: Path) -> None:
    for stage in RUN:
        folder = whole / "tiny" / stage / "checkpoints"
        assert _names(whole, stage) == {"checkpoint-15", "checkpoint-20"}
        for path in (folder, *folder.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        for checkpoint in folder.iterdir():
            mark = json.loads((checkpoint / checkpoints.COMPLETE).read_text())
            assert set(mark["files"]) == {path.name for path in checkpoint.iterdir()} - {checkpoints.COMPLETE}


def test_handlers_come_back_and_a_second_ctrl_c_stops_at_once() -> None:
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine), signal.getsignal(signal.SIGINT)
    try:
        with StopAfterStep() as stop:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # supervisors send it twice
            assert stop.signal_number == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is mine
        with StopAfterStep():
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before[1]
    finally:
        signal.signal(signal.SIGTERM, before[0])


def test_an_ignored_signal_stays_ignored_and_threads_install_nothing() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopAfterStep() as stop:
            signal.raise_signal(signal.SIGINT)
        assert stop.signal_number == 0
    finally:
        signal.signal(signal.SIGINT, before)
    stop = StopAfterStep()
    thread = threading.Thread(target=stop.__enter__)
    thread.start()
    thread.join()
    assert stop.previous == {}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is computed anew, by name."""
    calls: list[str] = []
    validate, refer = sft.validation_loss, dpo._reference_sums
    monkeypatch.setattr(sft, "validation_loss", lambda *a: calls.append("validation") or validate(*a))
    monkeypatch.setattr(dpo, "_reference_sums", lambda *a: calls.append("reference") or refer(*a))
    return calls


def test_a_resumed_sft_does_not_measure_the_base_again(whole: Path, tmp_path: Path, computed: list[str]) -> None:
    root = _fresh(tmp_path, whole, "sft")
    _stop_at(2, root, "sft", max_steps=3)
    ctx = context(root, "sft", max_steps=3)
    RUN["sft"](ctx)
    assert computed == ["validation", "validation"]  # before the interruption, and after training
    first, *_ = (whole / "tiny" / "sft" / "log.jsonl").read_text().splitlines()
    assert json.loads(first) == {"step": 0, "validation_loss": ctx.facts["validation_loss_before"]}


def _dpo_again(root: Path, **changes: Any) -> float:
    """As the pipeline does after a change: without the checkpoints, beside the same cache."""
    shutil.rmtree(root / "tiny" / "dpo" / "checkpoints", ignore_errors=True)
    ctx = context(root, "dpo", **({"max_steps": 1} | changes))
    RUN["dpo"](ctx)
    assert ctx.facts["step0_max_margin"] == 0.0
    return float(ctx.facts["first_loss"])


def test_the_reference_is_computed_once_for_a_model_and_its_packs(
    whole: Path, tmp_path: Path, computed: list[str]
) -> None:
    root = _fresh(tmp_path, whole, "dpo")
    _stop_at(2, root, "dpo", max_steps=3)
    RUN["dpo"](context(root, "dpo", max_steps=3))
    first = _dpo_again(root)
    assert _dpo_again(root, beta=0.3, learning_rate=1e-3, nll_weight=0.0) != first
    assert computed == ["reference"]
    assert stat.S_IMODE((root / "tiny" / "dpo" / ".cache" / "reference.json").stat().st_mode) == 0o600


def test_other_packs_another_adapter_or_a_damaged_file_find_no_reference(
    whole: Path, tmp_path: Path, computed: list[str]
) -> None:
    root = _fresh(tmp_path, whole, "dpo")
    _dpo_again(root)
    _dpo_again(root, tokens_per_pack=128)
    _move(root / "tiny" / "sft" / "adapter" / "adapter_model.safetensors")
    _dpo_again(root, tokens_per_pack=128)
    _flip(root / "tiny" / "dpo" / ".cache" / "reference.json")
    _dpo_again(root, tokens_per_pack=128)
    assert computed == ["reference"] * 4


def _move(path: Path) -> None:
    """Another adapter: one number of one matrix is another."""
    tensors = load_file(path)
    first = tensors[min(tensors)]
    first[0, 0] += 0.5
    path.write_bytes(save(tensors))


def test_a_loss_without_a_reference_computes_none(whole: Path, tmp_path: Path, computed: list[str]) -> None:
    root = _fresh(tmp_path, whole, "dpo")
    RUN["dpo"](context(root, "dpo", loss="simpo", max_steps=1))
    assert computed == []
