"""Agreement beyond chance: Cohen's and Fleiss' kappa, Krippendorff's alpha, each with an interval by cluster.

Intervals resample clusters (items, prompts or patients) with all that was said of them. Nothing is ever
NaN: where chance alone explains full agreement the value is ``None`` and ``Estimate.method`` says so.

Shapes: B resamples, C clusters, L labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from iimedgpt.stats import N_RESAMPLES, Estimate, Floats, expanded_tail, resampled_counts

_NO_CHANCE = "one label throughout: not defined"


def cohen_kappa(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Cohen's kappa of two raters' labels, interval by resampling clusters (items).

    (p_o - p_e) / (1 - p_e), Cohen 1960. None where both gave one and the same label throughout: then
    chance alone explains full agreement. Resamples of that kind are left out.

    Raises:
        ValueError: lengths differ.
    """
    if not len(first) == len(second) == len(clusters):
        raise ValueError("labels and clusters differ in length")
    if not first:
        return Estimate(None, None, None, 0, 0, "no items")
    labels = {label: place for place, label in enumerate(dict.fromkeys((*first, *second)))}
    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    n_labels = len(labels)
    counts_CLL = np.zeros((len(places), n_labels, n_labels))
    for a, b, cluster in zip(first, second, clusters, strict=True):
        counts_CLL[places[cluster], labels[a], labels[b]] += 1

    def kappa(flat_BX: Floats) -> Floats:
        counts_BLL = flat_BX.reshape(-1, n_labels, n_labels)
        shares_BLL = counts_BLL / counts_BLL.sum((1, 2), keepdims=True)
        observed_B = np.trace(shares_BLL, axis1=1, axis2=2)
        expected_B = (shares_BLL.sum(2) * shares_BLL.sum(1)).sum(1)
        return _beyond(observed_B, expected_B)

    return _estimate(counts_CLL.reshape(len(places), -1), kappa, len(first), n_resamples, seed)


def fleiss_kappa(
    ratings: Sequence[Sequence[Hashable]],
    clusters: Sequence[Hashable] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Fleiss' kappa of items that equally many raters labelled, not always the same raters.

    Fleiss 1971, equations 1-7: P̄ the mean share of agreeing pairs of an item, P̄_e = Σ_j p_j² over all labels.

    Args:
        ratings: the labels of each item; every item has the same number, at least two.
        clusters: the cluster of each item; None takes each item for itself.

    Raises:
        ValueError: numbers of labels differ or are below two, or lengths differ.
    """
    sizes = {len(labels) for labels in ratings}
    if len(sizes) > 1 or (sizes and min(sizes) < 2):
        raise ValueError("every item needs the same number of labels, at least two")
    return _of_many(ratings, clusters, lambda n_B, n_BL: ((n_BL / n_B[:, None]) ** 2).sum(1), n_resamples, seed)


def krippendorff_alpha(
    ratings: Sequence[Sequence[Hashable | None]],
    clusters: Sequence[Hashable] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Krippendorff's alpha for nominal labels, any number of raters, missing labels allowed.

    α = 1 − D_o / D_e over the coincidences of pairable labels: an item with m ≥ 2 labels gives each of its
    pairs with weight 1 / (m − 1); D_e = 1 − Σ_c n_c (n_c − 1) / (n (n − 1)). Krippendorff 2011, *Computing
    Krippendorff's Alpha-Reliability*, section C. ``Estimate.n`` counts the items with two labels or more.

    Args:
        ratings: the labels of each item, None where a rater said nothing (or nothing valid).
        clusters: the cluster of each item; None takes each item for itself.

    Raises:
        ValueError: lengths differ.
    """

    def by_chance(n_B: Floats, n_BL: Floats) -> Floats:
        expected_B: Floats = (n_BL * (n_BL - 1.0)).sum(1) / (n_B * (n_B - 1.0))
        return expected_B

    return _of_many(ratings, clusters, by_chance, n_resamples, seed)


def _of_many(
    ratings: Sequence[Sequence[Hashable | None]],
    clusters: Sequence[Hashable] | None,
    by_chance: Callable[[Floats, Floats], Floats],
    n_resamples: int,
    seed: int,
) -> Estimate:
    """Agreement of any number of raters. Per cluster: labels that agree, then how often each label was given."""
    owners = range(len(ratings)) if clusters is None else clusters
    if len(owners) != len(ratings):
        raise ValueError("ratings and clusters differ in length")
    counted = [Counter(label for label in labels if label is not None) for labels in ratings]
    pairable = [(count, owner) for count, owner in zip(counted, owners, strict=True) if count.total() > 1]
    places = {owner: place for place, owner in enumerate(dict.fromkeys(owner for _, owner in pairable))}
    names = {
        label: place for place, label in enumerate(dict.fromkeys(label for count, _ in pairable for label in count))
    }
    sums_CX = np.zeros((len(places), 1 + len(names)))
    for count, owner in pairable:
        row_X = sums_CX[places[owner]]
        row_X[0] += sum(k * (k - 1) for k in count.values()) / (count.total() - 1)
        for label, k in count.items():
            row_X[1 + names[label]] += k

    def value(sums_BX: Floats) -> Floats:
        n_B = sums_BX[:, 1:].sum(1)
        return _beyond(sums_BX[:, 0] / n_B, by_chance(n_B, sums_BX[:, 1:]))

    return _estimate(sums_CX, value, len(pairable), n_resamples, seed)


def _beyond(observed_B: Floats, expected_B: Floats) -> Floats:
    """Agreement beyond chance, of those that are defined."""
    is_defined_B = expected_B < 1.0 - 1e-12
    found_B: Floats = (observed_B[is_defined_B] - expected_B[is_defined_B]) / (1.0 - expected_B[is_defined_B])
    return found_B


def _estimate(
    sums_CX: Floats, value_of: Callable[[Floats], Floats], n_items: int, n_resamples: int, seed: int
) -> Estimate:
    """A value of sums over clusters, percentile interval at the level widened for few clusters."""
    n_clusters = len(sums_CX)
    if not n_items:
        return Estimate(None, None, None, 0, 0, "no items")
    value = value_of(sums_CX.sum(0)[None])
    if not len(value):
        return Estimate(None, None, None, n_items, n_clusters, _NO_CHANCE)
    if n_clusters == 1:
        return Estimate(float(value[0]), None, None, n_items, 1, "one item: no interval")
    value_B = value_of(resampled_counts(n_clusters, n_resamples, seed) @ sums_CX)
    if not len(value_B) or np.ptp(value_B) <= 1e-12:
        return Estimate(float(value[0]), None, None, n_items, n_clusters, "all items alike: no spread to resample")
    tail = expanded_tail(n_clusters)
    low, high = (float(bound) for bound in np.quantile(value_B, [tail, 1.0 - tail]))
    return Estimate(float(value[0]), low, high, n_items, n_clusters, f"bootstrap over {n_clusters} items")
