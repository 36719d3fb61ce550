"""The trie: layout, the one inequality, and what is scored. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iimedgpt.engine.batches import fill_packs, group_by, plan_training
from iimedgpt.engine.trie import TokenSequence, Trie, build_trie, count_tokens, shared_prefix
from iimedgpt.errors import DataError

unhurried = settings(deadline=None)  # a busy machine is no counterexample
small_sequences = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=7).flatmap(
        lambda ids: st.builds(
            TokenSequence, st.just(tuple(ids)), st.integers(1, len(ids)), st.sampled_from([0.25, 1.0, 2.0])
        )
    ),
    min_size=1,
    max_size=8,
)


def test_a_trunk_with_two_branches_stands_once() -> None:
    #   5 6 ─ 7        tokens  5 6 7 8 9
    #      └─ 8 9      depth   0 1 2 2 3
    trie = build_trie([TokenSequence((5, 6, 7), 2), TokenSequence((5, 6, 8, 9), 2)])
    assert trie.ids_T.tolist() == [5, 6, 7, 8, 9]
    assert trie.position_T.tolist() == [0, 1, 2, 2, 3]
    assert trie.end_T.tolist() == [5, 5, 3, 5, 5]
    assert trie.rows_S.tolist() == [1, 1, 3]  # 7 and 8 are both predicted by the row of 6
    assert trie.targets_S.tolist() == [7, 8, 9]
    assert trie.owner_S.tolist() == [0, 1, 1]
    assert trie.token_ratio == pytest.approx(7 / 5)


def test_a_prefix_of_another_and_identical_sequences_add_no_tokens() -> None:
    whole = TokenSequence((1, 2, 3), 1)
    trie = build_trie([whole, TokenSequence((1, 2), 1), whole])
    assert trie.n_tokens == 3
    assert trie.leaf_N.tolist() == [2, 1, 2]


def parent(trie: Trie, row: int) -> int | None:
    """The nearest earlier row that is one less deep: depth-first order knows no other."""
    return next((r for r in range(row - 1, -1, -1) if trie.position_T[r] == trie.position_T[row] - 1), None)


def path(trie: Trie, row: int) -> list[int]:
    """Rows from the root down to this one."""
    before = parent(trie, row)
    return [row] if before is None else [*path(trie, before), row]


def distinct_prefixes(sequences: Sequence[TokenSequence]) -> list[tuple[int, ...]]:
    return sorted({s.ids[:n] for s in sequences for n in range(1, len(s.ids) + 1)})


@unhurried
@given(small_sequences)
def test_a_row_stands_for_each_distinct_prefix_and_for_nothing_else(sequences: list[TokenSequence]) -> None:
    trie = build_trie(sequences)
    found = [tuple(trie.ids_T[path(trie, row)].tolist()) for row in range(trie.n_tokens)]
    assert found == distinct_prefixes(sequences)  # once each, and depth-first is their sorted order
    assert trie.n_tokens == len(found) == count_tokens(sequences)


@unhurried
@given(small_sequences)
def test_a_token_sees_its_own_ancestors_and_no_other(sequences: list[TokenSequence]) -> None:
    trie = build_trie(sequences)
    for q in range(trie.n_tokens):
        assert [k for k in range(trie.n_tokens) if k <= q < trie.end_T[k]] == path(trie, q)


@unhurried
@given(small_sequences)
def test_every_sequence_is_read_back_from_its_last_row(sequences: list[TokenSequence]) -> None:
    trie = build_trie(sequences)
    for sequence, leaf in zip(sequences, trie.leaf_N.tolist(), strict=True):
        seen = [k for k in range(trie.n_tokens) if k <= leaf < trie.end_T[k]]
        assert tuple(trie.ids_T[seen].tolist()) == sequence.ids
        assert trie.position_T[seen].tolist() == list(range(len(sequence.ids)))


@unhurried
@given(small_sequences)
def test_scored_are_the_tokens_from_start_on_each_at_the_row_of_what_precedes_it(
    sequences: list[TokenSequence],
) -> None:
    trie = build_trie(sequences)
    scored = [
        (tuple(trie.ids_T[path(trie, row)].tolist()), target, owner, weight)
        for row, target, owner, weight in zip(
            trie.rows_S.tolist(), trie.targets_S.tolist(), trie.owner_S.tolist(), trie.weight_S.tolist(), strict=True
        )
    ]
    assert scored == [
        (sequence.ids[:n], sequence.ids[n], index, sequence.weight)
        for index, sequence in enumerate(sequences)
        for n in range(sequence.start, len(sequence.ids))
    ]


@unhurried
@given(small_sequences, st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_only_who_owns_what(sequences: list[TokenSequence], random: Random) -> None:
    order = list(range(len(sequences)))
    random.shuffle(order)
    trie, shuffled = build_trie(sequences), build_trie([sequences[i] for i in order])
    for layout in ("ids_T", "position_T", "end_T"):
        assert getattr(trie, layout).tolist() == getattr(shuffled, layout).tolist()
    assert trie.leaf_N[order].tolist() == shuffled.leaf_N.tolist()
    for place, index in enumerate(order):
        for scored in ("rows_S", "targets_S", "weight_S"):
            mine = getattr(trie, scored)[trie.owner_S == index]
            assert mine.tolist() == getattr(shuffled, scored)[shuffled.owner_S == place].tolist()


@unhurried
@given(small_sequences)
def test_the_token_ratio_counts_every_sequence_in_full(sequences: list[TokenSequence]) -> None:
    trie = build_trie(sequences)
    assert trie.n_original == sum(len(sequence.ids) for sequence in sequences)
    assert trie.token_ratio == trie.n_original / len(distinct_prefixes(sequences)) >= 1


@unhurried
@given(st.lists(st.integers(0, 1), max_size=9).map(tuple), st.lists(st.integers(0, 1), max_size=9).map(tuple))
def test_the_shared_prefix_is_where_the_first_difference_stands(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    n = shared_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


def test_of_nothing_there_is_an_empty_trie() -> None:
    trie = build_trie([])
    assert (trie.n_tokens, trie.n_sequences, len(trie.rows_S), count_tokens([])) == (0, 0, 0, 0)


def test_the_first_token_cannot_be_trained() -> None:
    with pytest.raises(ValueError, match=r"start 0 outside 1\.\.2"):
        TokenSequence((1, 2), 0)


def test_packs_keep_groups_together_and_within_the_budget() -> None:
    # two records of trunk 4 and two leaves of 1: 6 trie tokens each; a budget of 12 holds both
    sequences = [TokenSequence((r, r, r, r, leaf), 4) for r in (1, 2, 3) for leaf in (8, 9)]
    groups = group_by(["a", "a", "b", "b", "c", "c"])
    assert fill_packs(sequences, groups, 12) == [(0, 1, 2, 3), (4, 5)]


def test_a_group_over_the_budget_is_cut_between_sequences() -> None:
    sequences = [TokenSequence((1, 1, leaf, leaf), 2) for leaf in (2, 3, 4)]
    assert fill_packs(sequences, [[0, 1, 2]], 6) == [(0, 1), (2,)]


def test_a_sequence_over_the_budget_says_how_long_and_what_to_set() -> None:
    with pytest.raises(DataError, match="sequence 0 has 9 tokens, over the 8 of one pack") as caught:
        fill_packs([TokenSequence((1,) * 9, 1)], [[0]], 8)
    assert "tokens_per_pack" in str(caught.value.hint)


def test_without_sharing_every_sequence_is_a_pack() -> None:
    sequences = [TokenSequence((1, 2), 1)] * 3
    assert fill_packs(sequences, [[0, 1], [2]], 100, is_shared=False) == [(0,), (1,), (2,)]


def test_every_step_has_as_many_packs_and_every_group_comes_once_an_epoch() -> None:
    sequences = [TokenSequence((i, i, i, 9), 3) for i in range(5)]
    plan = plan_training(
        sequences, [[i] for i in range(5)], epochs=2.0, groups_per_step=2, budget=4, seed=1, n_processes=2
    )
    assert {len(step) for step in plan.steps} == {2}
    seen = [i for step in plan.steps for pack in step for i in pack]
    assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 1, 2, 3, 4]
    assert seen[:5] != seen[5:]


def test_the_plan_is_the_same_for_the_same_seed() -> None:
    sequences = [TokenSequence((i, 9), 1) for i in range(8)]
    plans = [
        plan_training(sequences, [[i] for i in range(8)], epochs=1.5, groups_per_step=3, budget=9, seed=s)
        for s in (4, 4, 5)
    ]
    assert plans[0] == plans[1] != plans[2]
    assert sum(len(pack) for step in plans[0].steps for pack in step) == 12
