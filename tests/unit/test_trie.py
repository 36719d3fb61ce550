"""The trie: layout, the one inequality, and what is scored. No torch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iimedgpt.engine.batches import fill_packs, group_by, plan_training
from iimedgpt.engine.trie import TokenSequence, build_trie, count_tokens
from iimedgpt.errors import DataError

small_sequences = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=7).flatmap(
        lambda ids: st.tuples(st.just(tuple(ids)), st.integers(1, len(ids)))
    ),
    min_size=1,
    max_size=8,
).map(lambda rows: [TokenSequence(ids, start) for ids, start in rows])


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


@given(small_sequences)
@settings(max_examples=200)
def test_every_token_sees_exactly_its_own_prefix(sequences: list[TokenSequence]) -> None:
    trie = build_trie(sequences)
    for sequence, leaf in zip(sequences, trie.leaf_N, strict=True):
        seen = [k for k in range(trie.n_tokens) if k <= leaf < trie.end_T[k]]
        assert trie.ids_T[seen].tolist() == list(sequence.ids)
        assert trie.position_T[seen].tolist() == list(range(len(sequence.ids)))


@given(small_sequences)
def test_scored_tokens_are_predicted_by_the_row_before_them(sequences: list[TokenSequence]) -> None:
    trie = build_trie(sequences)
    for index, sequence in enumerate(sequences):
        mine = trie.owner_S == index
        assert trie.targets_S[mine].tolist() == list(sequence.ids[sequence.start :])
        assert trie.ids_T[trie.rows_S[mine]].tolist() == list(sequence.ids[sequence.start - 1 : -1])


@given(small_sequences)
def test_the_trie_is_as_small_as_its_distinct_prefixes(sequences: list[TokenSequence]) -> None:
    prefixes = {s.ids[:n] for s in sequences for n in range(1, len(s.ids) + 1)}
    assert build_trie(sequences).n_tokens == len(prefixes) == count_tokens(sequences)


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
