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
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, TypeVar

from iimedgpt.errors import IIMedGPTError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 64  # rows that travel together: a few hundred kilobytes
N_ALONE = 512  # inputs up to here are worked through in this process
AHEAD = 2  # chunks a worker has waiting


def map_ordered(
    make: Callable[..., Callable[[Item], Result]], arguments: tuple[Any, ...], items: Iterable[Item], n_workers: int = 0
) -> Iterator[Result]:
    """``make(*arguments)`` is called once in each process; what it gives is applied to every item, in order.

    Args:
        make, arguments: what is sent to the processes, once; both can be pickled.
        n_workers: 0 is one a core; with 1 nothing leaves this process.

    Raises:
        IIMedGPTError: a worker ended without an answer.
    """
    n_workers = n_workers or os.cpu_count() or 1
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
    waiting: deque[Future[list[Result]]] = deque()
    try:
        while chunk := list(islice(items, CHUNK)):
            waiting.append(pool.submit(_work, chunk))
            if len(waiting) > AHEAD * n_workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise IIMedGPTError(
            "a worker process ended (out of memory?)", hint="free memory, or set workers = 1; nothing was written"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_apply: Callable[[Any], Any]  # of this worker process


def _prepare(make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Once in each worker: Ctrl-C is for the parent, which ends the workers."""
    global _apply
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _apply = make(*arguments)


def _work(chunk: list[Any]) -> list[Any]:
    return [_apply(item) for item in chunk]
