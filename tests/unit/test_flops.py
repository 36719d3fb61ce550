"""The benchmark's FLOPs model against numbers derived by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from benchmarks.flops import Shape, forward, step_layout, training, visible_pairs
from iimedgpt.engine.trie import TokenSequence

# One layer: hidden 4, one head of 2, one key-value head, MLP 3, vocabulary 5.
CONFIG = SimpleNamespace(
    hidden_size=4,
    num_attention_heads=1,
    num_key_value_heads=1,
    head_dim=2,
    intermediate_size=3,
    num_hidden_layers=1,
    vocab_size=5,
)
# q, k, v: 4x2 each; o: 2x4; gate, up: 4x3; down: 3x4. Weights: 3*8 + 8 + 3*12 = 68.
SHAPE = Shape.of(CONFIG, rank=1)
PAIR = [TokenSequence((1, 2, 3, 4), 3), TokenSequence((1, 2, 3, 5, 6), 3)]  # three shared, three leaves


def test_shape_is_read_from_a_configuration() -> None:
    assert SHAPE.linears == ((4, 2), (4, 2), (4, 2), (2, 4), (4, 3), (4, 3), (3, 4))
    assert SHAPE.n_base == 68
    assert SHAPE.windows == (None,)


def test_layers_with_a_sliding_window_are_told_from_full_ones() -> None:
    kinds = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 7}
    assert Shape.of(SimpleNamespace(**vars(CONFIG) | kinds), rank=1).windows == (7, None)


def test_a_token_sees_its_own_path_up_to_the_window() -> None:
    position = np.array([0, 1, 2, 2])  # two leaves on a trunk of two
    assert visible_pairs(position, None) == 1 + 2 + 3 + 3
    assert visible_pairs(position, 2) == 1 + 2 + 2 + 2


def test_a_shared_step_reads_each_token_once() -> None:
    position, n_rows = step_layout(PAIR, "shared")
    assert position.tolist() == [0, 1, 2, 3, 3, 4]
    # row 2 predicts 4 and 5, row 4 predicts 6: the head is applied to two rows for three trained tokens
    assert n_rows == 2


def test_sequences_apart_are_read_in_full() -> None:
    position, n_rows = step_layout(PAIR, "trained_rows")
    assert position.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert n_rows == 1 + 2
    assert step_layout(PAIR, "every_row")[1] == 3 + 4


def test_training_counts_each_part() -> None:
    position, n_rows = step_layout(PAIR, "shared")  # 6 tokens, 1+2+3+4+4+5 = 19 visible pairs, 2 rows
    found = training(SHAPE, position, n_rows)
    # forward 2*68 a token, gradient 2*(68 - 24): the first layer's q, k, v pass none on
    assert found.linear == 6 * (136 + 88)
    # rank 1: both factors forward 2*sum(in+out), their gradients and the one passed on twice as much,
    # sum(in+out) = 6+6+6+6+7+7+7 = 45; q, k, v of the first layer pass none on: -2*(4+4+4)
    assert found.adapter == 6 * (6 * 45 - 24)
    # 2 + 4 products of 2*head_dim operations a pair and head
    assert found.attention == 19 * 6 * 2 * 2
    # forward and gradient, 2*4*5 each
    assert found.head == 2 * 2 * 40
    assert found.total == found.linear + found.adapter + found.attention + found.head


def test_a_reference_pass_is_forward_alone() -> None:
    position, n_rows = step_layout(PAIR, "shared")
    found = forward(SHAPE, position, n_rows)
    assert (found.linear, found.adapter, found.attention, found.head) == (6 * 136, 0, 19 * 2 * 2 * 2, 2 * 40)


def test_a_step_of_several_packs_adds_up() -> None:
    first, second = (training(SHAPE, np.arange(n), 1) for n in (2, 3))
    assert (first + second).total == first.total + second.total
