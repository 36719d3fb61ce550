"""Statistics of an evaluation: intervals that resample patients, exact tests, shares. numpy and scipy only.

Answers about one patient are not independent, so every interval here resamples *clusters*
(patients), never single answers. Nothing here ever returns NaN: what cannot be computed is
``None``, and ``Estimate.method`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats as distributions

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
N_RESAMPLES = 2_000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    ``value`` is None where nothing was measured; ``low`` and ``high`` are None where the data
    hold no interval (one patient, or no spread at all). ``n`` counts items, ``n_clusters`` patients.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    method: str


def bootstrap_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    is_share: bool = False,
) -> Estimate:
    """Mean of the values, interval by resampling clusters.

    Args:
        values: one per item, finite.
        clusters: the cluster (patient) of each item; same length.
        is_share: values lie in [0, 1]: Wilson's interval instead, see ``bootstrap_ratio``.

    Raises:
        ValueError: lengths differ, or a value is not finite.
    """
    return bootstrap_ratio(values, [1.0] * len(values), clusters, n_resamples=n_resamples, seed=seed, is_share=is_share)


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    is_share: bool = False,
) -> Estimate:
    """Σ numerators / Σ denominators, e.g. nats per token, interval by resampling clusters.

    Percentile interval at the level widened for few clusters ("expanded percentile", Hesterberg
    2015, *What Teachers Should Know About the Bootstrap*, section 4.3): the plain percentile
    interval of 10 patients covers about 90 % where it says 95 %.

    Shares get Wilson's interval at the effective number of patients, p (1 - p) / se², with the t quantile and se
    the linearised standard error between patients (Korn and Graubard 1998, *Survey Methodology* 24, 193-201, on
    Wilson's interval): a bootstrap of rare events is too narrow, 90 % at 30 patients and p = 0.1. Where all are 0,
    or all are 1, there is no such error, and each patient counts as one trial.

    Args:
        numerators, denominators: one per item, finite; denominators positive.
        clusters: the cluster (patient) of each item.
        is_share: every ratio lies in [0, 1].

    Raises:
        ValueError: lengths differ, a value is not finite, a denominator is not positive.
    """
    _check(numerators, denominators, clusters)
    if not numerators:
        return Estimate(None, None, None, 0, 0, "no items")
    top_C, bottom_C = _per_cluster(numerators, denominators, clusters)
    n, n_clusters = len(numerators), len(top_C)
    value = float(top_C.sum() / bottom_C.sum())
    if n_clusters == 1:
        return Estimate(value, None, None, n, 1, "one patient: no interval")
    ratios = {a / b for a, b in zip(numerators, denominators, strict=True)}
    if is_share and ratios in ({0.0}, {1.0}):
        low, high = wilson(n_clusters if value > 0.5 else 0, n_clusters) or (None, None)
        return Estimate(value, low, high, n, n_clusters, f"Wilson over {n_clusters} patients (all alike)")
    if np.ptp(top_C / bottom_C) <= 1e-12 * max(1.0, abs(value)):
        return Estimate(value, None, None, n, n_clusters, "all patients alike: no spread to resample")
    if is_share:
        low, high = _share_interval(top_C, bottom_C)
        return Estimate(value, low, high, n, n_clusters, f"Wilson at the effective number of {n_clusters} patients")
    weights_BC = resampled_counts(n_clusters, n_resamples, seed)
    means_B = (weights_BC @ top_C) / (weights_BC @ bottom_C)
    tail = expanded_tail(n_clusters)
    low, high = (float(bound) for bound in np.quantile(means_B, [tail, 1.0 - tail]))
    method = f"bootstrap over {n_clusters} patients, {n_resamples} resamples, 95 % expanded percentile"
    return Estimate(value, low, high, n, n_clusters, method)


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean of ``a − b`` over the same items, interval by resampling clusters.

    Raises:
        ValueError: lengths differ, or a value is not finite.
    """
    differences = [left - right for left, right in zip(a, b, strict=True)]
    return bootstrap_mean(differences, clusters, n_resamples=n_resamples, seed=seed)


def wilson(k: int, n: int, level: float = LEVEL) -> tuple[float, float] | None:
    """Wilson's score interval of k successes in n independent trials, None for n = 0.

    Wilson 1927. Stays in [0, 1] and has width even at k = 0 or k = n.

    Raises:
        ValueError: k outside [0, n].
    """
    if not 0 <= k <= n:
        raise ValueError(f"k = {k} is not in [0, {n}]")
    if n == 0:
        return None
    low, high = _wilson(k / n, n, float(distributions.norm.ppf(0.5 + level / 2)))
    return (0.0 if k == 0 else low), (1.0 if k == n else high)


def _wilson(share: float, n: float, z: float) -> tuple[float, float]:
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def _share_interval(top_C: Floats, bottom_C: Floats) -> tuple[float, float]:
    """Wilson's interval of a share of clusters of uneven size."""
    n_clusters, share = len(top_C), float(top_C.sum() / bottom_C.sum())
    residual_C = (top_C - share * bottom_C) / bottom_C.sum()
    variance = float((residual_C**2).sum()) * n_clusters / (n_clusters - 1)
    t = float(distributions.t.ppf(0.5 + LEVEL / 2, n_clusters - 1))
    return _wilson(share, share * (1.0 - share) / variance, t)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact p that wins and losses are equally likely; ties are left out. 1.0 where none.

    Raises:
        ValueError: a negative count.
    """
    if wins < 0 or losses < 0:
        raise ValueError("counts must not be negative")
    if wins + losses == 0:
        return 1.0
    return float(distributions.binomtest(wins, wins + losses, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, in the order given (Holm 1979, step-down Bonferroni).

    The i-th smallest of m is multiplied by m - i + 1, never below the one before it, at most 1.

    Raises:
        ValueError: a p value outside [0, 1].
    """
    if any(not 0.0 <= p <= 1.0 for p in p_values):
        raise ValueError("p values lie between 0 and 1")
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = worst
    return corrected


def win_rate(wins: int, ties: int, losses: int) -> float | None:
    """(W + T/2) / (W + T + L); None where nothing valid was compared."""
    n = wins + ties + losses
    return (wins + ties / 2) / n if n else None


def _check(numerators: Sequence[float], denominators: Sequence[float], clusters: Sequence[Hashable]) -> None:
    if not len(numerators) == len(denominators) == len(clusters):
        raise ValueError(
            f"{len(numerators)} values, {len(denominators)} weights, {len(clusters)} clusters: lengths differ"
        )
    if not all(math.isfinite(value) for value in (*numerators, *denominators)):
        raise ValueError("a value is not finite")
    if any(value <= 0 for value in denominators):
        raise ValueError("a denominator is not positive")


def _per_cluster(
    numerators: Sequence[float], denominators: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[Floats, Floats]:
    """Sums per cluster, clusters in order of appearance: ids differ by machine, their order does not."""
    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    owner = np.array([places[cluster] for cluster in clusters])
    top_C, bottom_C = np.zeros(len(places)), np.zeros(len(places))
    np.add.at(top_C, owner, numerators)
    np.add.at(bottom_C, owner, denominators)
    return top_C, bottom_C


@lru_cache(maxsize=8)
def resampled_counts(n_clusters: int, n_resamples: int, seed: int) -> Floats:
    """How often each resample draws each cluster: shape [resamples, clusters], rows sum to n_clusters."""
    draws = np.random.default_rng(seed).multinomial(n_clusters, np.full(n_clusters, 1.0 / n_clusters), size=n_resamples)
    return draws.astype(np.float64)


def expanded_tail(n_clusters: int) -> float:
    """Share of resamples below the interval, smaller than 2.5 % where clusters are few."""
    t = float(distributions.t.ppf(0.5 - LEVEL / 2, n_clusters - 1))
    return float(distributions.norm.cdf(t * math.sqrt(n_clusters / (n_clusters - 1))))
