"""`iimedgpt ablate` through the real command line, tiny model: arms, a second call, a kill, a patient forgotten."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import io
from tests.e2e.conftest import Workplace

SETS = ("--set", "ablation.other_fracs=[0.1]")  # the run itself has a share of 0.2
ARMS = ("sft-without-records", "sft-without-other", "sft-other-0.1")


def copied(finished: tuple[Workplace, Any], folder: Path) -> Workplace:
    copy = Workplace(folder)
    shutil.copytree(finished[0].folder, copy.folder)
    return copy


def result_of(workplace: Workplace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workplace.run_dir / "ablation" / "ablation.json").read_text())
    return found


@pytest.fixture(scope="module")
def ablated(
    finished: tuple[Workplace, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workplace, subprocess.CompletedProcess[str]]:
    workplace = copied(finished, tmp_path_factory.mktemp("ablated") / "copy")
    return workplace, workplace("ablate", "run.toml", *SETS)


def test_all_arms_are_trained_and_scored_on_the_same_patients(
    ablated: tuple[Workplace, subprocess.CompletedProcess[str]],
) -> None:
    workplace, called = ablated
    assert called.returncode == 0, called.stderr
    result = result_of(workplace)
    assert [arm["name"] for arm in result["arms"]] == ["base", *ARMS, "sft", "sft+dpo"]
    assert all(arm["metrics"]["loss"]["n"] == result["arms"][0]["metrics"]["loss"]["n"] for arm in result["arms"])
    n_other = {arm["name"]: arm["training"].get("n_other") for arm in result["arms"]}
    assert n_other == {"base": None, ARMS[0]: 4, ARMS[1]: 0, ARMS[2]: 2, "sft": 4, "sft+dpo": 4}
    losses = [arm["metrics"]["loss"]["value"] for arm in result["arms"]]
    assert len(set(losses)) == len(losses)  # six models, not one under six names
    held_out = (workplace.run_dir / "mixture" / "test.jsonl").read_bytes()
    rows = {"run": list(io.read_json_lines(workplace.run_dir / "mixture" / "train.jsonl"))}
    for arm in ARMS:
        own = workplace.run_dir / "arms" / arm / "tiny" / "mixture"
        assert (own / "test.jsonl").read_bytes() == held_out
        rows[arm] = list(io.read_json_lines(own / "train.jsonl"))
    has_record = {name: {row.get("record_id") is not None for _, row in found} for name, found in rows.items()}
    assert has_record == {"run": {True, False}, ARMS[0]: {False}, ARMS[1]: {True}, ARMS[2]: {True, False}}
    assert len(rows["run"]) == len(rows[ARMS[0]]) + len(rows[ARMS[1]])
    assert "SFT without the" in called.stdout  # the table wraps


def test_differences_are_to_sft_with_corrected_p(ablated: tuple[Workplace, subprocess.CompletedProcess[str]]) -> None:
    rows = result_of(ablated[0])["differences"]
    assert {row["against"] for row in rows} == {"sft"}
    assert {row["arm"] for row in rows} == {"base", *ARMS, "sft+dpo"}
    assert all(0 <= row["p"] <= row["p_holm"] <= 1 for row in rows)
    assert [point["other_frac"] for point in result_of(ablated[0])["curve"] if point["metric"] == "loss"] == [0.1, 0.2]


def test_a_second_call_does_nothing(ablated: tuple[Workplace, subprocess.CompletedProcess[str]]) -> None:
    workplace, _ = ablated
    before = result_of(workplace)
    again = workplace("ablate", "run.toml", *SETS)
    assert "Nothing to do" in again.stderr
    assert result_of(workplace) == before


def test_a_killed_ablation_goes_on_with_what_is_missing(
    ablated: tuple[Workplace, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    workplace = copied(ablated, tmp_path / "copy")
    kept, missing = (workplace.run_dir / "arms" / arm / "tiny" / "sft" / "manifest.json" for arm in ARMS[1:])
    written = kept.stat().st_mtime_ns
    shutil.rmtree(workplace.run_dir / "arms" / ARMS[2])
    shutil.rmtree(workplace.run_dir / "ablation")
    process = subprocess.Popen(
        workplace.command("ablate", "run.toml", *SETS),
        cwd=workplace.folder,
        env=workplace.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not missing.exists() and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    trained = missing.stat().st_mtime_ns
    assert not (workplace.run_dir / "ablation" / "ablation.json").exists()
    assert workplace("ablate", "run.toml", *SETS).returncode == 0
    assert (kept.stat().st_mtime_ns, missing.stat().st_mtime_ns) == (written, trained)
    assert result_of(workplace) == result_of(ablated[0])


def test_a_forgotten_patient_is_in_no_arm(
    ablated: tuple[Workplace, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    workplace = copied(ablated, tmp_path / "copy")
    patient = next(row["group_id"] for _, row in io.read_json_lines(workplace.run_dir / "mixture" / "train.jsonl"))
    assert workplace("records", "run.toml", "--forget", patient).returncode == 0
    assert not (workplace.run_dir / "arms").exists()
    assert not (workplace.run_dir / "ablation").exists()
