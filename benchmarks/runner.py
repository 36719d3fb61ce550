"""Measurements in processes of their own, which wait for the next one.

One process a side, started fresh for each workload: importing and the first memory of one side never
touch the other's, and alternating repeats does not import everything anew each time. Each measurement
loads the model again. Peak memory is read in a process's first measurement.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import traceback
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from benchmarks.workloads import Workload


class RunnerError(Exception):
    """The other process could not do it; the message is its last line."""


class Runner:
    """A process that trains one side of a comparison whenever it is asked to."""

    def __init__(self, side: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, side), daemon=True)
        self._process.start()
        theirs.close()

    def measure(self, workload: Workload, settings: dict[str, Any]) -> dict[str, Any]:
        """Train one epoch there and return what it took.

        Raises:
            RunnerError: it raised, or the process is gone (out of memory, for one).
        """
        try:
            self._connection.send((workload, settings))
            result = self._connection.recv()
        except (EOFError, OSError):
            raise RunnerError("the process ended (out of memory?)") from None
        if isinstance(result, str):
            raise RunnerError(result)
        answer: dict[str, Any] = result
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # it may be gone already
            self._connection.send(None)
        self._process.join(timeout=20)
        self._process.kill()
        self._process.join()


def measure_once(side: str, workload: Workload, settings: dict[str, Any]) -> dict[str, Any]:
    """One measurement in a fresh process."""
    with Runner(side) as runner:
        return runner.measure(workload, settings)


def _serve(connection: Connection, side: str) -> None:
    """Runs in the other process until it is killed; what libraries print goes nowhere."""
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    if not os.environ.get("IIMEDGPT_BENCH_DEBUG"):
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
    if side == "ours":
        from benchmarks import ours as module
    else:
        from benchmarks import peers as module  # type: ignore[no-redef]
    from transformers import AutoTokenizer

    from benchmarks.measure import give_back_memory

    tokenizers: Any = AutoTokenizer  # reading the vocabulary takes seconds, and is not measured
    tokenizers.from_pretrained = cache(tokenizers.from_pretrained)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        if request is None:
            return
        workload, settings = request
        give_back_memory()
        try:
            with tempfile.TemporaryDirectory() as folder:
                result: Any = module.run(workload, settings, Path(folder))
        except Exception as error:
            if os.environ.get("IIMEDGPT_BENCH_DEBUG"):
                traceback.print_exc()
            result = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error) else ''}"
        connection.send(result)
