"""Work on all cores: the same results in the same order, and a worker that dies is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from iimedgpt import workers
from iimedgpt.errors import IIMedGPTError


class AddPid:
    """Adds an offset, and says which process did it."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __call__(self, n: int) -> tuple[int, int]:
        return n + self.offset, os.getpid()


def die_at_700(_: int) -> Callable[[int], int]:
    return _kill_at_700


def _kill_at_700(n: int) -> int:
    if n == 700:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_results_come_in_order_from_several_processes() -> None:
    found = list(workers.map_ordered(AddPid, (5,), range(2_000), n_workers=2))
    assert [value for value, _ in found] == [n + 5 for n in range(2_000)]
    assert os.getpid() not in {pid for _, pid in found}


@pytest.mark.parametrize(("n_items", "n_workers"), [(workers.N_ALONE, 2), (2_000, 1)])
def test_short_inputs_and_one_worker_stay_in_this_process(n_items: int, n_workers: int) -> None:
    found = list(workers.map_ordered(AddPid, (0,), range(n_items), n_workers=n_workers))
    assert {pid for _, pid in found} == {os.getpid()}
    assert len(found) == n_items


def test_rows_are_read_a_few_chunks_ahead_only() -> None:
    n_read = 0

    def rows() -> Iterator[int]:
        nonlocal n_read
        for n in range(100_000):
            n_read += 1
            yield n

    results = workers.map_ordered(AddPid, (0,), rows(), n_workers=2)
    next(results)
    assert n_read <= workers.N_ALONE + 1 + (workers.AHEAD * 2 + 2) * workers.CHUNK
    results.close()  # type: ignore[attr-defined]


def test_a_worker_that_is_killed_ends_the_work_with_a_way_out() -> None:
    with pytest.raises(IIMedGPTError, match="worker process ended"):
        list(workers.map_ordered(die_at_700, (0,), range(2_000), n_workers=2))
