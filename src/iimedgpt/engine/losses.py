"""Losses as pure functions of log-probabilities, each with its paper and equation.

A further preference loss is one decorated function here, its name in ``DPOConfig.loss``, and one
test: see ``sigmoid``.

Shapes: S scored tokens, N sequences, P pairs. All log-probabilities are natural logarithms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def sum_by_owner(logps_S: Tensor, owner_S: Tensor, n_sequences: int) -> Tensor:
    """Per-sequence sums, shape [N]."""
    sums_N = torch.zeros(n_sequences, dtype=logps_S.dtype, device=logps_S.device)
    return sums_N.index_add(0, owner_S, logps_S)


def sft_loss(logps_S: Tensor, weight_S: Tensor) -> Tensor:
    """Weighted negative log-likelihood of the answers: −Σ w·log p. With weights that sum to 1 it is a mean.

    Source: Hu et al. 2021 (arXiv 2106.09685), eq. 1, with weights.

    Args:
        logps_S: log-probability of each trained token, shape [S].
        weight_S: its weight, shape [S], >= 0: see ``token_weights``.
    """
    return -(logps_S * weight_S).sum()


def token_weights(weighting: str, n_scored: Sequence[int], tasks: Sequence[str | None]) -> list[float]:
    """Weight of one token of each answer of an optimiser step; over all tokens of the step they sum to one.

    They are made from the whole step, however it is cut into packs, and ``sft_loss`` is linear in
    them: the sum over packs and processes is exact.

    Args:
        weighting: ``token`` (each token counts alike), ``answer`` (each answer, and within it each
            token) or ``task`` (each task that occurs in the step, within it each answer, within that
            each token; answers without a task are a task of their own).
        n_scored: trained tokens of each answer of the step, >= 1.
        tasks: its task, None for other data.
    """
    if weighting == "token":
        return [1 / sum(n_scored)] * len(n_scored)
    alike = list(tasks) if weighting == "task" else [None] * len(tasks)
    n_answers = Counter(alike)
    return [1 / (len(n_answers) * n_answers[task] * n) for task, n in zip(alike, n_scored, strict=True)]


@dataclass(frozen=True)
class Pairs:
    """All that a preference loss may use of P pairs.

    ``chosen_P``, ``rejected_P`` (and ``reference_…``) are the policy's (the frozen reference's)
    log-probabilities of the answers, summed over their ``n_…`` tokens.
    """

    chosen_P: Tensor
    rejected_P: Tensor
    reference_chosen_P: Tensor
    reference_rejected_P: Tensor
    n_chosen_P: Tensor
    n_rejected_P: Tensor
    beta: float
    gamma: float = 0.0
    label_smoothing: float = 0.0

    @classmethod
    def by_turns(
        cls,
        sums_N: Tensor,
        reference_N: Tensor,
        n_scored_N: Tensor,
        *,
        beta: float,
        gamma: float,
        label_smoothing: float,
    ) -> Pairs:
        """From sequences of which those at even places are chosen and those at odd places rejected."""
        return cls(
            sums_N[0::2],
            sums_N[1::2],
            reference_N[0::2],
            reference_N[1::2],
            n_scored_N[0::2],
            n_scored_N[1::2],
            beta=beta,
            gamma=gamma,
            label_smoothing=label_smoothing,
        )

    @property
    def margin(self) -> Tensor:
        """log π/π_ref of the chosen answer minus that of the rejected one, shape [P]."""
        return (self.chosen_P - self.reference_chosen_P) - (self.rejected_P - self.reference_rejected_P)

    @property
    def margin_per_token(self) -> Tensor:
        """The same, each log-ratio divided by its answer's length in tokens, shape [P]."""
        chosen_P = (self.chosen_P - self.reference_chosen_P) / self.n_chosen_P
        return chosen_P - (self.rejected_P - self.reference_rejected_P) / self.n_rejected_P

    @property
    def advantage_per_token(self) -> Tensor:
        """Mean log π of the chosen answer's tokens minus that of the rejected one's, shape [P]; no reference."""
        return self.chosen_P / self.n_chosen_P - self.rejected_P / self.n_rejected_P


LossOfPairs = Callable[[Pairs], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class PreferenceLoss:
    """``of(pairs)`` is (loss, margin that the loss pushes up), each of shape [P]."""

    of: LossOfPairs
    needs_reference: bool


PREFERENCE_LOSSES: dict[str, PreferenceLoss] = {}


def _preference_loss(*, needs_reference: bool) -> Callable[[LossOfPairs], LossOfPairs]:
    """Enter a function under its own name."""

    def enter(of: LossOfPairs) -> LossOfPairs:
        PREFERENCE_LOSSES[of.__name__] = PreferenceLoss(of, needs_reference)
        return of

    return enter


def _cross_entropy(logits_P: Tensor, label_smoothing: float) -> Tensor:
    """−(1 − ε)·log σ(x) − ε·log σ(−x): the label is right with probability 1 − ε."""
    return -(1 - label_smoothing) * logsigmoid(logits_P) - label_smoothing * logsigmoid(-logits_P)


@_preference_loss(needs_reference=True)
def sigmoid(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """DPO with label smoothing (cDPO): −(1 − ε)·log σ(β·margin) − ε·log σ(−β·margin).

    Source: Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; ε: Mitchell, "A note on DPO with noisy
    preferences & relationship to IPO" (ericmitchell.ai/cdpo.pdf), eq. 3.
    """
    return _cross_entropy(pairs.beta * pairs.margin, pairs.label_smoothing), pairs.margin


@_preference_loss(needs_reference=True)
def norm(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """DPO on log-ratios averaged per token.

    Source: Lambert et al. 2024 (Tülu 3, arXiv 2411.15124), eq. 6. Label smoothing, which the paper
    does not have, is that of ``sigmoid``.
    """
    margin_P = pairs.margin_per_token
    return _cross_entropy(pairs.beta * margin_P, pairs.label_smoothing), margin_P


@_preference_loss(needs_reference=True)
def ipo(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """IPO: (margin − 1/(2β))², where β is the paper's τ.

    Source: Azar et al. 2023 (arXiv 2310.12036), eq. 17. Two deviations: log-ratios are averaged per
    token, as TRL does on the authors' advice; and with label smoothing it is the expectation of eq. 17
    over flipped labels, (1 − ε)·(margin − 1/(2β))² + ε·(margin + 1/(2β))², which pulls the margin to
    (1 − 2ε)/(2β). TRL ignores label smoothing here.
    """
    margin_P, target = pairs.margin_per_token, 1 / (2 * pairs.beta)
    kept, flipped = (margin_P - target) ** 2, (margin_P + target) ** 2
    return (1 - pairs.label_smoothing) * kept + pairs.label_smoothing * flipped, margin_P


@_preference_loss(needs_reference=False)
def simpo(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """SimPO: −log σ(β·(mean log π(chosen) − mean log π(rejected)) − γ), without a reference.

    Source: Meng et al. 2024 (arXiv 2405.14734), eq. 6. Label smoothing, which the paper does not have,
    turns the sign of the whole logit, γ included, as the authors' code and TRL do.
    """
    advantage_P = pairs.advantage_per_token
    return _cross_entropy(pairs.beta * advantage_P - pairs.gamma, pairs.label_smoothing), advantage_P


def nll_per_token(pairs: Pairs) -> Tensor:
    """Chosen answers' negative log-likelihood per token, shape [P], added to any of the losses above.

    Source: the NLL term of Pang et al. 2024 (Iterative RPO, arXiv 2404.19733), section 2: −log π / |y|,
    averaged over pairs. TRL's ``sft`` term averages over the tokens of a batch instead, so that there
    longer answers count more; the two agree on one pair.
    """
    return -pairs.chosen_P / pairs.n_chosen_P
