"""Who does the work does not decide the result: one process, several, or the machines of a cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from iimedgpt import workers
from iimedgpt.config import RecordsConfig, RecordSource, RunConfig
from iimedgpt.errors import IIMedGPTError
from iimedgpt.instructions import build as instructions
from iimedgpt.records import build as records
from iimedgpt.run import Stage, execute
from iimedgpt.workers import Workforce, map_ordered

STAGES = (
    Stage("records", ("records",), (), records.run, records.inputs),
    Stage("instructions", ("instructions",), ("records",), instructions.run, instructions.inputs),
)
N = 700  # more than this process works through alone


@pytest.fixture(autouse=True)
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IIMEDGPT_SECRET_FILE", str(tmp_path / "secret"))


def config(tmp_path: Path, n_workers: int, **options: str) -> RunConfig:
    return RunConfig(
        name="t",
        runs_dir=str(tmp_path / "runs"),
        workers=n_workers,
        records=RecordsConfig(sources=(RecordSource(reader="synthetic", n_max=N),), **options),
    )


def outputs(run_config: RunConfig) -> list[dict[str, str]]:
    return [execute(stage, run_config, is_forced=True)[0].outputs for stage in STAGES]


def test_one_process_and_two_write_the_same_bytes(tmp_path: Path) -> None:
    assert outputs(config(tmp_path, 1)) == outputs(config(tmp_path, 2))


def test_who_does_the_work_is_no_reason_to_do_it_again(tmp_path: Path) -> None:
    execute(STAGES[0], config(tmp_path, 1))
    _, has_run = execute(STAGES[0], config(tmp_path, 2, engine="ray", ray_address="10.0.0.1:6379"))
    assert not has_run


class Doubling:
    """Twice the number; kills its process at one number, trips over another."""

    def __init__(self, deadly: int = -1, bad: int = -1) -> None:
        self.deadly, self.bad = deadly, bad

    def __call__(self, number: int) -> int:
        if number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.bad:
            raise ValueError("甄测试")
        return 2 * number


def test_rows_are_read_only_a_little_ahead_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def numbers() -> Iterator[int]:
        nonlocal read
        while read < 10_000:
            yield read
            read += 1

    results = map_ordered(Doubling, (), numbers(), Workforce(2))
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert read < workers.N_ALONE + workers.CHUNK * (2 * workers.AHEAD + 2)
    results.close()  # type: ignore[attr-defined]


def test_a_worker_that_is_killed_ends_the_work_with_one_line() -> None:
    with pytest.raises(IIMedGPTError, match="a worker process ended"):
        list(map_ordered(Doubling, (900,), range(2_000), Workforce(2)))


def test_an_error_in_a_worker_is_named_without_the_text_it_quotes() -> None:
    with pytest.raises(IIMedGPTError, match=r"^ValueError in a worker process$") as caught:
        list(map_ordered(Doubling, (-1, 900), range(2_000), Workforce(2)))
    assert "甄测试" not in repr(caught.getrepr())


needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (extra 'ray')")


@needs_ray
def test_a_cluster_that_loses_a_machine_midway_writes_the_same_bytes(tmp_path: Path) -> None:
    """In a process of its own: Ray keeps threads and warnings that are not ours."""
    expected = outputs(config(tmp_path, 1))
    script = Path(__file__).with_name("on_cluster.py")
    short = tempfile.mkdtemp(prefix="t-")  # Ray's sockets need a short path
    try:
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path), short, str(N)], capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        logs = "".join(path.read_text("utf-8", "ignore") for path in Path(short).rglob("*.log"))
    finally:
        shutil.rmtree(short, ignore_errors=True)
    assert told["killed"] == "1"
    assert told["outputs"] == repr(expected)
    assert told["listening"].removeprefix("::ffff:") == "127.0.0.1"
    assert "主诉" not in logs
    assert not (tmp_path / "runs" / "t" / "records" / ".ray").exists()
