"""Losses against values derived by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from iimedgpt.engine.losses import (
    dpo_loss,
    ipo_loss,
    nll_per_token,
    preference_loss,
    sft_loss,
    simpo_loss,
    sum_by_owner,
)


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_sft_is_the_weighted_mean_when_weights_sum_to_one() -> None:
    # −(0.25·(−1) + 0.75·(−3)) = 0.25 + 2.25
    assert sft_loss(torch.tensor([-1.0, -3.0]), torch.tensor([0.25, 0.75])).item() == pytest.approx(2.5)


def test_dpo_at_margin_zero_is_log_two_whatever_beta() -> None:
    assert dpo_loss(torch.zeros(1), beta=0.7).item() == pytest.approx(log(2))


def test_dpo_is_minus_log_sigmoid_of_beta_times_margin() -> None:
    assert dpo_loss(torch.tensor([3.0]), beta=0.5).item() == pytest.approx(-log(_sigmoid(1.5)), rel=1e-6)


def test_label_smoothing_mixes_the_flipped_label_in() -> None:
    expected = -0.9 * log(_sigmoid(1.5)) - 0.1 * log(_sigmoid(-1.5))
    assert dpo_loss(torch.tensor([3.0]), beta=0.5, label_smoothing=0.1).item() == pytest.approx(expected, rel=1e-6)


def test_ipo_is_zero_at_half_over_beta() -> None:
    # (margin − 1/(2β))²: with β = 0.25 the target is 2
    assert ipo_loss(torch.tensor([2.0, 3.0]), beta=0.25).tolist() == pytest.approx([0.0, 1.0])


def test_simpo_subtracts_gamma_from_the_scaled_advantage() -> None:
    # −log σ(2·1.0 − 0.5)
    assert simpo_loss(torch.tensor([1.0]), beta=2.0).item() == pytest.approx(-log(_sigmoid(1.5)), rel=1e-6)


def test_length_normalised_dpo_divides_each_log_ratio_by_its_own_length() -> None:
    # ((−4 − −6)/2) − ((−9 − −6)/3) = 1 + 1 = 2; −log σ(0.5·2)
    losses, margin = preference_loss("norm", *(torch.tensor([v]) for v in (-4.0, -9.0, -6.0, -6.0, 2.0, 3.0)), beta=0.5)
    assert margin.item() == pytest.approx(2.0)
    assert losses.item() == pytest.approx(-log(_sigmoid(1.0)), rel=1e-6)


def test_simpo_ignores_the_reference() -> None:
    values = [torch.tensor([v]) for v in (-4.0, -9.0, 0.0, 0.0, 2.0, 3.0)]
    moved = [*values[:2], torch.tensor([5.0]), torch.tensor([-7.0]), *values[4:]]
    assert preference_loss("simpo", *values, beta=1.0)[0] == preference_loss("simpo", *moved, beta=1.0)[0]


def test_nll_is_per_token() -> None:
    assert nll_per_token(torch.tensor([-6.0]), torch.tensor([4.0])).item() == pytest.approx(1.5)


def test_sums_are_per_sequence_even_for_sequences_without_scored_tokens() -> None:
    sums = sum_by_owner(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0, 2]), 3)
    assert sums.tolist() == [2.0, 0.0, 5.0]
