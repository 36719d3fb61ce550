"""Packs: every sequence once, within the budget, even, and named where one cannot fit. No torch."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iimedgpt.engine.batches import Budget, fill_packs, plan_training
from iimedgpt.engine.trie import TokenSequence, count_tokens
from iimedgpt.errors import DataError

BUDGET = 12
grouped = st.lists(  # groups of sequences over two token ids, so that some share and some do not
    st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=BUDGET), min_size=1, max_size=4), min_size=1, max_size=6
)


def _given(groups: list[list[list[int]]]) -> tuple[list[TokenSequence], list[list[int]]]:
    sequences = [TokenSequence(tuple(ids), 1) for group in groups for ids in group]
    starts = [sum(map(len, groups[:i])) for i in range(len(groups))]
    return sequences, [list(range(start, start + len(group))) for start, group in zip(starts, groups, strict=True)]


def _size(sequences: list[TokenSequence], pack: tuple[int, ...]) -> int:
    return count_tokens([sequences[i] for i in pack])


def _apart(n: int, *lengths: int) -> list[TokenSequence]:
    """Sequences that share nothing: ``n`` names the first token of the first one."""
    return [TokenSequence((n + i,) * length, 1) for i, length in enumerate(lengths)]


@given(grouped, st.integers(1, 3))
@settings(max_examples=200)
def test_every_sequence_comes_once_in_order_and_no_pack_is_over_the_budget(
    groups: list[list[list[int]]], multiple_of: int
) -> None:
    sequences, indices = _given(groups)
    packs = fill_packs(sequences, indices, BUDGET, multiple_of=multiple_of)
    assert [i for pack in packs for i in pack] == list(range(len(sequences)))
    assert all(0 < _size(sequences, pack) <= BUDGET for pack in packs)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
@settings(max_examples=200)
def test_the_largest_pack_is_as_small_as_any_cut_into_as_many_packs_allows(lengths: list[int]) -> None:
    """Against all cuts of the row of sequences, tried one by one."""
    sequences = _apart(0, *lengths)
    packs = fill_packs(sequences, [[i] for i in range(len(lengths))], BUDGET)
    largest = {}
    for n_cuts in range(len(lengths)):
        for cuts in combinations(range(1, len(lengths)), n_cuts):
            edges = [0, *cuts, len(lengths)]
            worst = max(sum(lengths[a:b]) for a, b in pairwise(edges))
            largest[n_cuts + 1] = min(worst, largest.get(n_cuts + 1, worst))
    fewest = min(n for n, worst in largest.items() if worst <= BUDGET)
    assert len(packs) == fewest
    assert max(_size(sequences, pack) for pack in packs) == largest[fewest]


def test_packs_are_even_where_filling_would_leave_a_small_rest() -> None:
    # filling to 1,000 would give 900 + 900 + 300; two records a pack is the fewest, and 700 the evenest
    sequences = _apart(0, 400, 300, 200, 500, 400, 300)
    packs = fill_packs(sequences, [[i] for i in range(6)], 1_000)
    sizes = [_size(sequences, pack) for pack in packs]
    assert sizes == [700, 700, 700]


def test_a_plan_is_even_within_each_step_and_the_same_every_time() -> None:
    lengths = [97 * i % 400 + 200 for i in range(40)]  # 200 to 599 tokens
    sequences = _apart(0, *lengths)
    plans = [
        plan_training(sequences, [[i] for i in range(40)], epochs=1, groups_per_step=8, budget=1_536, seed=3)
        for _ in range(2)
    ]
    assert plans[0] == plans[1]
    spreads = []
    for step in plans[0].steps:
        sizes = [_size(sequences, pack) for pack in step if pack]
        spreads.append(max(sizes) / (sum(sizes) / len(sizes)))
    assert max(spreads) < 1.25  # filled to the brim one after another: 1.58


def test_several_processes_get_as_many_packs_each_and_of_even_size() -> None:
    sequences = _apart(0, *[100] * 7)
    (step,) = plan_training(
        sequences, [[i] for i in range(7)], epochs=1, groups_per_step=7, budget=300, seed=0, n_processes=2
    ).steps
    # 7 x 100 fill three packs (300, 300, 100); for two processes there are four, and none larger than 200
    assert [_size(sequences, pack) for pack in step] == [200, 200, 200, 100]


def test_a_group_over_the_preferred_budget_stays_whole_where_it_fits_and_others_are_not_made_larger() -> None:
    record = [TokenSequence((1,) * 20 + (leaf,) * 5, 20) for leaf in (2, 3, 4)]  # 35 trie tokens
    others = _apart(10, 8, 8, 8)
    groups = [[0, 1, 2], [3], [4], [5]]
    packs = fill_packs([*record, *others], groups, Budget(tokens=16, group_tokens=40, sequence_tokens=40))
    assert packs == [(0, 1, 2), (3, 4), (5,)]
    packs = fill_packs([*record, *others], groups, Budget(tokens=16, group_tokens=30, sequence_tokens=40))
    assert packs == [(0, 1), (2,), (3, 4), (5,)]


def test_a_sequence_that_cannot_fit_is_named_with_its_length_and_what_to_set() -> None:
    sequences = _apart(0, 5, 9)
    with pytest.raises(DataError, match=r"sequence case-7 has 9 tokens, over the 8 of one pack") as caught:
        plan_training(
            sequences,
            [[0], [1]],
            epochs=1,
            groups_per_step=1,
            budget=Budget(4, 8, 8),
            seed=0,
            is_shared=False,
            names=["case-6", "case-7"],
        )
    for way_out in ("max_tokens", "checkpointing = true", "quantization", "tokens_per_pack = 9"):
        assert way_out in str(caught.value.hint)
