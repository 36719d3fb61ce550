"""Losses as pure functions of per-sequence log-probabilities, each with its paper and equation.

Shapes: P pairs, S scored tokens. All log-probabilities are natural logarithms.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def sft_loss(logps_S: Tensor, weight_S: Tensor) -> Tensor:
    """Weighted negative log-likelihood: −Σ w·log p. With weights that sum to 1 it is a mean.

    Args:
        logps_S: log-probability of each trained token, shape [S].
        weight_S: its weight, shape [S], >= 0.
    """
    return -(logps_S * weight_S).sum()


def dpo_loss(margin_P: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """DPO with label smoothing, per pair, shape [P].

    ``margin`` = (log π(chosen) − log π_ref(chosen)) − (log π(rejected) − log π_ref(rejected)).
    −(1 − ε)·log σ(β·margin) − ε·log σ(−β·margin).

    Source: Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; ε: Mitchell, "A note on DPO with noisy
    preferences" (cDPO).
    """
    return -(1 - label_smoothing) * logsigmoid(beta * margin_P) - label_smoothing * logsigmoid(-beta * margin_P)


def ipo_loss(margin_per_token_P: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """IPO, per pair, shape [P]: (margin − 1/(2β))² on log-probabilities averaged per token.

    Source: Azar et al. 2023 (arXiv 2310.12036), eq. 17; per-token averages as their authors advise.
    """
    del label_smoothing  # the squared loss is robust to label noise by itself
    return (margin_per_token_P - 1 / (2 * beta)) ** 2


def simpo_loss(
    advantage_per_token_P: Tensor, *, beta: float, gamma: float = 0.5, label_smoothing: float = 0.0
) -> Tensor:
    """SimPO, per pair, shape [P]: −log σ(β·(mean log π(chosen) − mean log π(rejected)) − γ).

    No reference model. Source: Meng et al. 2024 (arXiv 2405.14734), eq. 6.
    """
    logits = beta * advantage_per_token_P - gamma
    return -(1 - label_smoothing) * logsigmoid(logits) - label_smoothing * logsigmoid(-logits)


def preference_loss(
    kind: str,
    chosen_P: Tensor,
    rejected_P: Tensor,
    reference_chosen_P: Tensor,
    reference_rejected_P: Tensor,
    n_chosen_P: Tensor,
    n_rejected_P: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """(loss per pair, margin per pair), each of shape [P], for a loss by name.

    Args:
        kind: ``sigmoid`` (DPO), ``norm`` (DPO on per-token averages, Tülu 3, arXiv 2411.15124),
            ``ipo`` or ``simpo``.
        chosen_P, rejected_P: the policy's summed log-probabilities.
        reference_chosen_P, reference_rejected_P: the frozen reference's.
        n_chosen_P, n_rejected_P: answer tokens.
    """
    summed = (chosen_P - reference_chosen_P) - (rejected_P - reference_rejected_P)
    if kind == "sigmoid":
        return dpo_loss(summed, beta=beta, label_smoothing=label_smoothing), summed
    averaged = (chosen_P - reference_chosen_P) / n_chosen_P - (rejected_P - reference_rejected_P) / n_rejected_P
    if kind == "simpo":
        advantage = chosen_P / n_chosen_P - rejected_P / n_rejected_P
        return simpo_loss(advantage, beta=beta, label_smoothing=label_smoothing), advantage
    losses: dict[str, Callable[..., Tensor]] = {"norm": dpo_loss, "ipo": ipo_loss}
    return losses[kind](averaged, beta=beta, label_smoothing=label_smoothing), averaged


HAS_REFERENCE = {"sigmoid": True, "norm": True, "ipo": True, "simpo": False}


def nll_per_token(chosen_P: Tensor, n_chosen_P: Tensor) -> Tensor:
    """Chosen answers' negative log-likelihood per token, shape [P].

    Source: RPO's NLL term, Pang et al. 2024 (arXiv 2404.19733), eq. 2.
    """
    return -chosen_P / n_chosen_P


def sum_by_owner(logps_S: Tensor, owner_S: Tensor, n_sequences: int) -> Tensor:
    """Per-sequence sums, shape [N]."""
    sums_N = torch.zeros(n_sequences, dtype=logps_S.dtype, device=logps_S.device)
    return sums_N.index_add(0, owner_S, logps_S)
