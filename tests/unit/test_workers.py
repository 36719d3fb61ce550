"""Work on all cores: the same results in the same order; short inputs stay here. More: tests/stages/test_scale.py."""

from __future__ import annotations

import os

import pytest

from iimedgpt.workers import N_ALONE, Workforce, map_ordered


class AddPid:
    """Adds an offset, and says which process did it."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __call__(self, n: int) -> tuple[int, int]:
        return n + self.offset, os.getpid()


def test_results_come_in_order_from_several_processes() -> None:
    found = list(map_ordered(AddPid, (5,), range(2_000), Workforce(n_workers=2)))
    assert [value for value, _ in found] == [n + 5 for n in range(2_000)]
    assert os.getpid() not in {pid for _, pid in found}


@pytest.mark.parametrize(("n_items", "n_workers"), [(N_ALONE, 2), (2_000, 1)])
def test_short_inputs_and_one_worker_stay_in_this_process(n_items: int, n_workers: int) -> None:
    found = list(map_ordered(AddPid, (0,), range(n_items), Workforce(n_workers)))
    assert {pid for _, pid in found} == {os.getpid()}
    assert len(found) == n_items
