"""Pure functions over many rows on all cores: results in order, memory bounded, the same bytes whatever the number.

Chunks of rows go to worker processes, a few ahead of the one whose result is wanted next. Short
inputs never leave this process: starting the others takes about a second.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from iimedgpt.cluster import map_on_cluster
from iimedgpt.config import RunConfig
from iimedgpt.errors import IIMedGPTError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 64  # rows that travel together: a few hundred kilobytes
N_ALONE = 512  # inputs up to here are worked through in this process
AHEAD = 2  # chunks a worker has waiting


@dataclass(frozen=True)
class Workforce:
    """Who does the work. The results are the same, whoever does it."""

    n_workers: int = 0  # processes; 0 is one a core, with 1 nothing leaves this process
    is_cluster: bool = False
    address: str | None = None  # of the cluster; None starts one on this machine
    folder: Path = Path()  # private, for what a cluster of our own has to put on disk

    @classmethod
    def of(cls, config: RunConfig, folder: Path) -> Workforce:
        records = config.records
        return cls(config.workers, records.engine == "ray", records.ray_address, folder)


def map_ordered(
    make: Callable[..., Callable[[Item], Result]],
    arguments: tuple[Any, ...],
    items: Iterable[Item],
    workforce: Workforce = Workforce(),
) -> Iterator[Result]:
    """``make(*arguments)`` is called once in each process; what it gives is applied to every item, in order.

    Args:
        make, arguments: what is sent to the processes, once; both can be pickled.

    Raises:
        IIMedGPTError: a worker ended without an answer, or failed; never with text of an item.
    """
    n_workers = workforce.n_workers or os.cpu_count() or 1
    if workforce.is_cluster:
        yield from map_on_cluster(make, arguments, items, n_workers, workforce.address, workforce.folder)
        return
    source = iter(items)
    first = list(islice(source, N_ALONE + 1)) if n_workers > 1 else []
    if len(first) <= N_ALONE:
        yield from map(make(*arguments), chain(first, source))
        return
    yield from _spread(make, arguments, chain(first, source), n_workers)


def _spread(
    make: Callable[..., Callable[[Item], Result]], arguments: tuple[Any, ...], items: Iterator[Item], n_workers: int
) -> Iterator[Result]:
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), _prepare, (make, arguments))
    waiting: deque[Future[list[Result] | str]] = deque()
    try:
        while chunk := list(islice(items, CHUNK)):
            waiting.append(pool.submit(_work, chunk))
            if len(waiting) > AHEAD * n_workers:
                yield from _results(waiting.popleft())
        while waiting:
            yield from _results(waiting.popleft())
    except BrokenProcessPool:
        raise IIMedGPTError(
            "a worker process ended (out of memory?)", hint="free memory, or set workers = 1; nothing was written"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(future: Future[list[Result] | str]) -> list[Result]:
    found = future.result()
    if isinstance(found, str):
        raise IIMedGPTError(found, hint="workers = 1 with --debug shows where")
    return found


_apply: Callable[[Any], Any]  # of this worker process


def _prepare(make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Once in each worker. Ctrl-C is for the parent, which ends the workers; a parent that was killed cannot."""
    global _apply
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    _apply = make(*arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(chunk: list[Any]) -> list[Any] | str:
    """The results, or what went wrong: an error itself may quote the row, and may not be picklable."""
    try:
        return [_apply(item) for item in chunk]
    except IIMedGPTError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__} in a worker process"
