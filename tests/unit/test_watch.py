"""What `iimedgpt watch` makes of a run's files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from iimedgpt import progress
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError, IIMedGPTError
from iimedgpt.run import PROGRESS, Stage, StageContext, execute, is_running
from iimedgpt.watch import StageView, view, watch


def by_name(run_dir: Path, now: float | None = None) -> dict[str, StageView]:
    return {one.name: one for one in view(run_dir, time.time() if now is None else now)}


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(name="r", runs_dir=str(tmp_path))


def test_a_stage_that_runs_tells_how_far_it_is_and_when_it_ends(config: RunConfig) -> None:
    seen: list[StageView] = []

    def work(ctx: StageContext) -> None:
        with progress.bar("sft", 10) as bar:
            started = json.loads((ctx.directory / PROGRESS).read_text())["started"]
            progress_file = ctx.directory / PROGRESS
            bar.advance(4, "loss 2.000  margin 0.100")
            told = {"label": "sft", "done": 4, "total": 10, "note": "loss 2.000  margin 0.100", "started": started}
            progress_file.write_text(json.dumps(told | {"at": started + 8}))
            seen.append(by_name(config.run_dir, started + 8)["sft"])
        ctx.keep(3)
        ctx.drop("x", "why")

    execute(Stage("sft", (), (), work), config)
    assert seen == [StageView("sft", "running", "sft: 4 of 10", 8.0, 12.0, "loss 2.000  margin 0.100")]
    done = by_name(config.run_dir)
    assert (done["sft"].state, done["sft"].counts) == ("done", "3 kept, 1 dropped")
    assert done["dpo"] == StageView("dpo", "waiting")
    assert not (config.run_dir / "sft" / PROGRESS).exists()


def test_a_killed_stage_is_interrupted_and_nobody_runs_it(config: RunConfig) -> None:
    folder = config.run_dir / "sft"
    child = os.fork()
    if child == 0:  # a process that dies in the middle, as by kill -9

        def work(ctx: StageContext) -> None:
            with progress.bar("sft", 10):
                os._exit(1)

        execute(Stage("sft", (), (), work), config)
    os.waitpid(child, 0)
    assert not is_running(folder)
    found = by_name(config.run_dir)["sft"]
    assert (found.state, found.counts, found.eta) == ("interrupted", "sft: 0 of 10", None)


def test_a_stage_that_fails_leaves_no_progress(config: RunConfig) -> None:
    def work(ctx: StageContext) -> Iterator[None]:
        with progress.bar("records"):
            raise IIMedGPTError("no")

    with pytest.raises(IIMedGPTError):
        execute(Stage("records", (), (), work), config)
    assert by_name(config.run_dir)["records"].state == "waiting"


def test_once_prints_a_table_and_ends(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    execute(Stage("records", (), (), lambda ctx: ctx.keep(5)), config)
    watch(config.run_dir, Console(width=120), once=True)
    printed = capsys.readouterr().out
    assert "records" in printed
    assert "5 kept" in printed
    assert "waiting" in printed
    with pytest.raises(DataError, match="no such run"):
        watch(config.run_dir / "missing", Console(), once=True)
