"""Ids met so far."""

import random
import tracemalloc

import pytest

from iimedgpt.records.seen import Seen


@pytest.mark.parametrize("n_new_max", [1, 3, 64, 10_000])
def test_answers_as_a_set_of_strings_does(n_new_max: int) -> None:
    chance, seen, reference = random.Random(7), Seen(n_new_max), set[str]()
    for _ in range(3_000):
        item = f"{chance.randrange(1_500) * 0x9E3779B97F4A7C15 % 2**64:016x}"  # spread over all 64 bits, half repeat
        assert (item in seen) == (item in reference)
        seen.add(item)
        reference.add(item)
    assert len(seen) == len(reference)


def test_smallest_and_largest_id_are_told_apart_from_their_neighbours() -> None:
    seen = Seen(1)
    seen.add("0" * 16)
    seen.add("f" * 16)
    assert "0" * 16 in seen
    assert "f" * 16 in seen
    assert "0" * 15 + "1" not in seen
    assert "f" * 15 + "e" not in seen


def test_a_longer_id_is_refused_and_not_cut() -> None:
    with pytest.raises(OverflowError):
        Seen().add("1" + "0" * 16)


def test_memory_is_eight_bytes_an_id_once_sorted_in() -> None:
    chance, seen = random.Random(1), Seen(1_000)
    tracemalloc.start()
    for _ in range(100_000):
        seen.add(f"{chance.getrandbits(64):016x}")
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 1_000_000  # 800,000 bytes of numbers; Python's set of ints takes over 6,000,000
