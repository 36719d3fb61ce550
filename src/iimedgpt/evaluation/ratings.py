"""Strengths of many models out of pairwise verdicts, and the win rate at equal length. numpy and scipy only.

Intervals resample prompts (with all verdicts on them): answers to one prompt are not independent.

Shapes: B resamples, C clusters (prompts), K models, P pairs of models, N verdicts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from iimedgpt import stats
from iimedgpt.stats import Estimate, Floats

Places = npt.NDArray[np.int64]

PSEUDO = 0.5  # wins added to either side of each pair that met: strengths stay finite where one won all
RIDGE = 0.05  # of the length-controlled fit, for the same reason
MIN_EITHER_SIDE = 5  # verdicts with the answer longer, and with it shorter, that a length effect can be read from
N_STEPS = 30
MAX_STEP = 2.0
_FLAT = 1e-9


@dataclass(frozen=True)
class Meeting:
    """One valid verdict: ``points`` for a are 1, ½ (tie) or 0."""

    prompt_id: Hashable
    model_a: str
    model_b: str
    points: float
    length_difference: float = 0.0  # of a over b, in characters


def bradley_terry(
    meetings: Sequence[Meeting], *, n_resamples: int = stats.N_RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Strength of each model in log odds, mean zero over the models that are linked by verdicts.

    P(a beats b) = σ(s_a − s_b), Bradley and Terry 1952; a tie counts as half a win for each. Maximum
    likelihood by Newton's method, with half a win for either side added to each pair that met.
    Models that no chain of verdicts links to the largest group have no strength (value None).
    """
    names = list(dict.fromkeys(name for meeting in meetings for name in (meeting.model_a, meeting.model_b)))
    if not names:
        return {}
    wins_CP, met_CP, pairs_P2, clusters = _count(meetings, names)
    n_C = len(clusters)
    linked = _largest_group(pairs_P2, met_CP.sum(0), len(names))
    value_K = _fit(wins_CP.sum(0)[None], met_CP.sum(0)[None], pairs_P2, linked)[0]
    low_K: list[float | None] = [None] * len(names)
    high_K: list[float | None] = [None] * len(names)
    method = f"Bradley-Terry, log odds, mean 0; {n_C} prompts: no interval"
    if n_C > 1:
        weights_BC = stats.resampled_counts(n_C, n_resamples, seed)
        strength_BK = _fit(weights_BC @ wins_CP, weights_BC @ met_CP, pairs_P2, linked)
        tail = stats.expanded_tail(n_C)
        low_K, high_K = (np.quantile(strength_BK, q, axis=0).tolist() for q in (tail, 1.0 - tail))
        method = (
            f"Bradley-Terry, log odds, mean 0; bootstrap over {n_C} prompts, {n_resamples} resamples, 95 % expanded"
        )
    n_met = {name: sum(name in (meeting.model_a, meeting.model_b) for meeting in meetings) for name in names}
    found = {}
    for k, name in enumerate(names):
        if k in linked:
            found[name] = Estimate(float(value_K[k]), low_K[k], high_K[k], n_met[name], n_C, method)
        else:
            found[name] = Estimate(None, None, None, n_met[name], n_C, "not linked to the other models by verdicts")
    return found


def length_controlled_win_rate(
    meetings: Sequence[Meeting], *, n_resamples: int = stats.N_RESAMPLES, seed: int = 0
) -> Estimate:
    """What a's win rate against b would be were the answers equally long.

    Dubois et al. 2024 (arXiv 2404.04475), equation 2 without the terms that one pair of models does not
    identify: logit P(a wins) = θ + φ · tanh(Δ / sd(Δ)), Δ the difference in characters; the rate is σ(θ). Ties
    count one half. Value None where one side is almost always the longer: then quality and length cannot be
    told apart, and any number would be the model's alone.
    """
    n = len(meetings)
    prompts = list(dict.fromkeys(meeting.prompt_id for meeting in meetings))
    delta_N = np.array([meeting.length_difference for meeting in meetings], dtype=np.float64)
    if min((delta_N > 0).sum(), (delta_N < 0).sum()) < MIN_EITHER_SIDE:
        return Estimate(None, None, None, n, len(prompts), "too few answers are the longer on one of the two sides")
    place = {prompt: number for number, prompt in enumerate(prompts)}
    owner_N = np.array([place[meeting.prompt_id] for meeting in meetings])
    x_N2 = np.stack([np.ones(n), np.tanh(delta_N / delta_N.std())], axis=1)
    y_N = np.array([meeting.points for meeting in meetings])
    value = float(_logistic(x_N2, y_N, np.ones((1, n)))[0])
    if len(prompts) == 1:
        return Estimate(value, None, None, n, 1, "length-controlled; one prompt: no interval")
    weights_BN = stats.resampled_counts(len(prompts), n_resamples, seed)[:, owner_N]
    tail = stats.expanded_tail(len(prompts))
    low, high = (float(q) for q in np.quantile(_logistic(x_N2, y_N, weights_BN), [tail, 1.0 - tail]))
    method = f"length-controlled; bootstrap over {len(prompts)} prompts, {n_resamples} resamples, 95 % expanded"
    return Estimate(value, low, high, n, len(prompts), method)


def _count(meetings: Sequence[Meeting], names: Sequence[str]) -> tuple[Floats, Floats, Places, dict[Hashable, int]]:
    """Points of the first model and verdicts, per prompt and pair; and which two models each pair is."""
    number = {name: k for k, name in enumerate(names)}
    pairs: dict[tuple[int, int], int] = {}
    clusters: dict[Hashable, int] = {}
    cells = []
    for meeting in meetings:
        a, b = number[meeting.model_a], number[meeting.model_b]
        points = meeting.points if a < b else 1.0 - meeting.points
        pair = pairs.setdefault((min(a, b), max(a, b)), len(pairs))
        cells.append((clusters.setdefault(meeting.prompt_id, len(clusters)), pair, points))
    wins_CP = np.zeros((len(clusters), len(pairs)))
    met_CP = np.zeros_like(wins_CP)
    for cluster, pair, points in cells:
        wins_CP[cluster, pair] += points
        met_CP[cluster, pair] += 1.0
    return wins_CP, met_CP, np.array(list(pairs), dtype=np.int64), clusters


def _largest_group(pairs_P2: Places, met_P: Floats, n_models: int) -> list[int]:
    graph = coo_array((met_P, (pairs_P2[:, 0], pairs_P2[:, 1])), shape=(n_models, n_models))
    _, group_K = connected_components(graph, directed=False)
    return [int(k) for k in np.flatnonzero(group_K == np.bincount(group_K).argmax())]


def _fit(wins_BP: Floats, met_BP: Floats, pairs_P2: Places, linked: Sequence[int]) -> Floats:
    """Strengths [B, K], mean zero over the linked models, zero for the others."""
    n_models = int(pairs_P2.max()) + 1
    strength_BK = np.zeros((len(wins_BP), n_models))
    design_PK = np.zeros((len(pairs_P2), n_models))
    rows = np.arange(len(pairs_P2))
    design_PK[rows, pairs_P2[:, 0]], design_PK[rows, pairs_P2[:, 1]] = 1.0, -1.0
    wins_BP, met_BP = wins_BP + PSEUDO, met_BP + 2.0 * PSEUDO
    level_KK = np.full((n_models, n_models), 1.0 / n_models) + _FLAT * np.eye(n_models)
    for _ in range(N_STEPS):
        p_BP = _sigmoid(strength_BK @ design_PK.T)
        gradient_BK = (wins_BP - met_BP * p_BP) @ design_PK
        weight_BP = met_BP * p_BP * (1.0 - p_BP)
        hessian_BKK = np.einsum("bp,pk,pl->bkl", weight_BP, design_PK, design_PK, optimize=True) + level_KK
        step_BK = np.linalg.solve(hessian_BKK, gradient_BK[..., None])[..., 0]
        strength_BK += np.clip(step_BK, -MAX_STEP, MAX_STEP)
        if np.abs(step_BK).max() < _FLAT:
            break
    strength_BK -= strength_BK[:, linked].mean(1, keepdims=True)
    return strength_BK


def _logistic(x_N2: Floats, y_N: Floats, weights_BN: Floats) -> Floats:
    """σ(θ) of each weighted ridge fit, shape [B]."""
    beta_B2 = np.zeros((len(weights_BN), 2))
    for _ in range(N_STEPS):
        p_BN = _sigmoid(beta_B2 @ x_N2.T)
        gradient_B2 = (weights_BN * (y_N - p_BN)) @ x_N2 - RIDGE * beta_B2
        weight_BN = weights_BN * p_BN * (1.0 - p_BN)
        hessian_B22 = np.einsum("bn,nk,nl->bkl", weight_BN, x_N2, x_N2, optimize=True) + RIDGE * np.eye(2)
        step_B2 = np.linalg.solve(hessian_B22, gradient_B2[..., None])[..., 0]
        beta_B2 += np.clip(step_B2, -MAX_STEP, MAX_STEP)
        if np.abs(step_B2).max() < _FLAT:
            break
    return _sigmoid(beta_B2[:, 0])


def _sigmoid(x: Floats) -> Floats:
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return found
