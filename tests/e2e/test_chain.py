"""The whole chain through the real command line: once, twice, changed, killed."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from iimedgpt.chain import stages
from iimedgpt.records.synthetic import generate
from tests.e2e.conftest import Workplace

STAGES = [stage.name for stage in stages()]


def _outputs(run_dir: Path) -> dict[str, dict[str, str]]:
    return {name: json.loads((run_dir / name / "manifest.json").read_text())["outputs"] for name in STAGES}


def _ran(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split()[1] for line in result.stderr.splitlines() if line.startswith("✓")]


def test_a_newcomer_sees_the_table_its_limits_and_the_report(finished) -> None:
    _, result = finished
    assert result.returncode == 0, result.stderr
    assert _ran(result) == STAGES
    assert "SFT+DPO" in result.stdout
    assert "This shows the machinery, not medicine." in " ".join(result.stdout.split())
    report = Path(result.stdout.strip().splitlines()[-1].removeprefix("Report: "))
    assert report.read_text().startswith("<!doctype html>")


def test_every_ledger_balances(finished) -> None:
    workplace, _ = finished
    for name in STAGES:
        manifest = json.loads((workplace.run_dir / name / "manifest.json").read_text())
        assert manifest["n_in"] == manifest["n_kept"] + sum(manifest["n_dropped"].values()), name


def test_everything_in_a_run_is_private(finished) -> None:
    workplace, _ = finished
    for path in workplace.run_dir.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_planted_identifier_stands_anywhere_in_the_run_or_the_log(finished) -> None:
    workplace, result = finished
    planted = {
        raw.events[span.event].text[span.start : span.end]
        for raw in generate(30, 0)
        for span in raw.spans
        if span.category in ("id_card", "phone", "email", "medical_number", "name", "bank_card", "plate")
    }
    assert len(planted) > 5
    text = result.stdout + result.stderr
    text += "".join(p.read_text(errors="replace") for p in workplace.run_dir.rglob("*") if p.is_file())
    assert [value for value in sorted(planted) if value in text] == []


def test_a_second_run_does_nothing_and_says_so(finished) -> None:
    workplace, _ = finished
    before = _outputs(workplace.run_dir)
    result = workplace("run", "run.toml")
    assert _ran(result) == []
    assert f"Nothing to do: all {len(STAGES)} stages are up to date" in result.stderr
    assert _outputs(workplace.run_dir) == before


def test_a_changed_value_runs_only_what_depends_on_it(finished, tmp_path: Path) -> None:
    workplace, _ = finished
    copy = Workplace(tmp_path / "copy")
    shutil.copytree(workplace.folder, copy.folder)
    assert _ran(copy("run", "run.toml", "--set", "evaluate.tie_margin=0.1")) == ["evaluate", "report"]
    result = copy("run", "run.toml", "--set", "evaluate.tie_margin=0.1", "--set", "dpo.beta=0.3")
    assert _ran(result) == ["dpo", "evaluate", "report"]


@pytest.mark.parametrize("stage", ["records", "sft", "sample", "dpo", "evaluate"])
def test_a_killed_stage_run_again_gives_the_same_result(stage: str, finished, tmp_path: Path) -> None:
    workplace, _ = finished
    expected = _outputs(workplace.run_dir)
    copy = Workplace(tmp_path / "copy")
    shutil.copytree(workplace.folder, copy.folder)
    for name in STAGES[STAGES.index(stage) :]:
        shutil.rmtree(copy.run_dir / name)

    process = subprocess.Popen(
        copy.command("run", "run.toml"), cwd=copy.folder, env=copy.environment, stderr=subprocess.DEVNULL, stdout=-3
    )
    deadline = time.monotonic() + 120
    while not (copy.run_dir / stage / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    if stage in ("sft", "dpo"):  # in the middle of training: after the first checkpoint
        while not list((copy.run_dir / stage).glob("checkpoints/*/complete.json")) and process.poll() is None:
            time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (copy.run_dir / stage / "manifest.json").exists()

    result = copy("run", "run.toml")
    assert result.returncode == 0, result.stderr
    assert _ran(result) == STAGES[STAGES.index(stage) :]
    again = _outputs(copy.run_dir)
    for name in STAGES[:-1]:
        assert again[name] == expected[name], name


def test_an_interrupted_stage_says_how_to_go_on(finished, tmp_path: Path) -> None:
    workplace, _ = finished
    copy = Workplace(tmp_path / "copy")
    shutil.copytree(workplace.folder, copy.folder)
    for name in STAGES[STAGES.index("sft") :]:
        shutil.rmtree(copy.run_dir / name)
    process = subprocess.Popen(
        copy.command("run", "run.toml"), cwd=copy.folder, env=copy.environment, stderr=subprocess.PIPE, text=True
    )
    while not (copy.run_dir / "sft" / ".lock").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "Interrupted in stage 'sft'" in log
    assert "iimedgpt run run.toml" in log
    shown = copy("show", "runs/tiny")
    assert shown.returncode == 0
    assert "iimedgpt sft" in shown.stdout


def test_show_prints_counts_reasons_and_hashes(finished) -> None:
    workplace, _ = finished
    result = workplace("show", "run.toml")
    assert result.returncode == 0, result.stderr
    for name in STAGES:
        assert name in result.stdout
    manifest = json.loads((workplace.run_dir / "instructions" / "manifest.json").read_text())
    assert manifest["n_dropped"]
    for reason in manifest["n_dropped"]:
        assert reason in result.stdout
    assert manifest["key"][:6] in result.stdout
