"""How often the intervals of an evaluation hold a simulated truth: 95 % is what they say.

    python -m benchmarks.evaluation_coverage [--quick] [--out FILE]

Every data set has clusters (patients) of one to six items, whose items hang together, and a truth that is known
in closed form. The methods are called as the report calls them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iimedgpt import io, stats
from iimedgpt.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
from iimedgpt.evaluation.scoreboard import Scoreboard, Series

SIZES = (30, 40, 100)  # clusters
N_RUNS = {False: 500, True: 60}
N_RESAMPLES = {False: 2_000, True: 400}
MAX_ITEMS = 6  # of one cluster
LOG_SD = 0.6  # of losses and token counts between patients
CLASSES = np.array([0.5, 0.2, 0.3])  # wins, ties, losses
SAME_TRUTH = 0.5  # chance that an item takes its cluster's class

Ints = npt.NDArray[np.int64]
Bounds = tuple[float | None, float | None]


def measure(quick: bool) -> dict[str, Any]:
    """Coverage of every method at every size, with Wilson's interval of the coverage itself."""
    rows = [coverage(name, n_clusters, N_RUNS[quick], N_RESAMPLES[quick]) for name in METHODS for n_clusters in SIZES]
    return {"level": stats.LEVEL, "n_runs": N_RUNS[quick], "n_resamples": N_RESAMPLES[quick], "rows": rows}


def coverage(name: str, n_clusters: int, n_runs: int, n_resamples: int, seed: int = 7) -> dict[str, Any]:
    """One row: the share of the runs whose interval holds the truth, and their mean width.

    A run without an interval (no spread at all) counts as not covered.
    """
    says, simulate = METHODS[name]
    rng = np.random.default_rng(seed)
    hits, widths = 0, []
    for run in range(n_runs):
        truth, (low, high) = simulate(rng, n_clusters, n_resamples, run % 8)
        if low is None or high is None:
            continue
        hits += low <= truth <= high
        widths.append(high - low)
    bounds = stats.wilson(hits, n_runs) or (None, None)
    return {
        "method": name,
        "says": says,
        "n_clusters": n_clusters,
        "covered": round(hits / n_runs, 4),
        "ci_low": bounds[0],
        "ci_high": bounds[1],
        "mean_width": round(float(np.mean(widths)), 4) if widths else None,
        "n_without_interval": n_runs - len(widths),
        "n_runs": n_runs,
    }


def _owners(rng: np.random.Generator, n_clusters: int) -> Ints:
    """The cluster of each item, clusters of uneven size."""
    return np.repeat(np.arange(n_clusters), rng.integers(1, MAX_ITEMS + 1, n_clusters))


def _bounds(estimate: stats.Estimate | None) -> Bounds:
    return (None, None) if estimate is None else (estimate.low, estimate.high)


def _beta_share(rng: np.random.Generator, owner_N: Ints, share: float) -> npt.NDArray[np.float64]:
    """Right or wrong, with a share that differs between patients (beta-binomial, a + b = 4)."""
    share_C = rng.beta(4 * share, 4 * (1 - share), owner_N.max() + 1)
    return (rng.random(len(owner_N)) < share_C[owner_N]).astype(np.float64)


def _mean(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
    owner_N = _owners(rng, n_clusters)
    value_N = np.exp(rng.normal(0, LOG_SD, n_clusters)[owner_N] + rng.normal(0, LOG_SD / 2, len(owner_N)))
    found = stats.bootstrap_mean(value_N.tolist(), owner_N.tolist(), n_resamples=n_resamples, seed=seed)
    return float(np.exp((LOG_SD**2 + LOG_SD**2 / 4) / 2)), _bounds(found)


def _share_of(share: float) -> Callable[[np.random.Generator, int, int, int], tuple[float, Bounds]]:
    def simulate(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
        owner_N = _owners(rng, n_clusters)
        value_N = _beta_share(rng, owner_N, share)
        found = stats.bootstrap_mean(
            value_N.tolist(), owner_N.tolist(), n_resamples=n_resamples, seed=seed, is_share=True
        )
        return share, _bounds(found)

    return simulate


def _ratio(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
    """Nats over tokens; nats per token 2 on average, whatever the length."""
    owner_N = _owners(rng, n_clusters)
    tokens_N = np.ceil(np.exp(rng.normal(3.5, LOG_SD, len(owner_N))))
    rate_N = 2.0 + rng.normal(0, 0.4, n_clusters)[owner_N] + rng.normal(0, 0.4, len(owner_N))
    found = stats.bootstrap_ratio(
        (rate_N * tokens_N).tolist(), tokens_N.tolist(), owner_N.tolist(), n_resamples=n_resamples, seed=seed
    )
    return 2.0, _bounds(found)


def _paired(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
    owner_N = _owners(rng, n_clusters)
    shared_N = rng.normal(0, 1, n_clusters)[owner_N]
    gain_N = 0.2 + rng.normal(0, 0.3, n_clusters)[owner_N]
    a_N, b_N = (shared_N + rng.normal(0, 0.3, len(owner_N)) for _ in "ab")
    found = stats.paired_difference(
        (a_N + gain_N).tolist(), b_N.tolist(), owner_N.tolist(), n_resamples=n_resamples, seed=seed
    )
    return 0.2, _bounds(found)


def _over_tasks(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
    """The report's overall score: mean over tasks of unequal size, as the scoreboard makes it."""
    shares = {"triage": 0.9, "diagnosis": 0.6, "treatment": 0.3}
    level_C = rng.normal(0, 1, n_clusters)
    series = Series("choice_accuracy", "model", "share", "simulated")
    for patient in range(n_clusters):
        for task, share in list(shares.items())[: 1 + int(rng.integers(0, 3))]:
            latent = (level_C[patient] + rng.normal(0, 1)) / np.sqrt(2)  # standard normal: the share is exact
            is_right = latent < float(stats.distributions.norm.ppf(share))
            series.add(f"{patient}:{task}", task, str(patient), float(is_right))
    board = Scoreboard(n_resamples, seed)
    board.add(series)
    present = {task for task in shares if task in series.tasks}
    return float(np.mean([shares[task] for task in present])), _bounds(board.value("choice_accuracy", "model"))


def _wilson(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
    """Position consistency and the like: independent trials, the share different in every run."""
    share = float(rng.uniform(0.05, 0.95))
    return share, stats.wilson(int(rng.binomial(n_clusters, share)), n_clusters) or (None, None)


def _win_rate(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
    owner_N = _owners(rng, n_clusters)
    points_N = np.array([1.0, 0.5, 0.0])[_classes(rng, owner_N)]
    found = stats.bootstrap_mean(points_N.tolist(), owner_N.tolist(), n_resamples=n_resamples, seed=seed, is_share=True)
    return float(CLASSES @ [1.0, 0.5, 0.0]), _bounds(found)


def _classes(rng: np.random.Generator, owner_N: Ints) -> Ints:
    """The true class of each item: the cluster's own, or one drawn for the item alone."""
    of_C = rng.choice(3, owner_N.max() + 1, p=CLASSES)
    alone_N = rng.choice(3, len(owner_N), p=CLASSES)
    return np.where(rng.random(len(owner_N)) < SAME_TRUTH, of_C[owner_N], alone_N)


def _labels(rng: np.random.Generator, truth_N: Ints, kappa: float, n_raters: int) -> Ints:
    """Labels [N, raters]. A rater gives the truth with probability √κ, else draws a label by its frequency: then
    Cohen's and Fleiss' kappa and alpha are all κ."""
    shape = (len(truth_N), n_raters)
    knows = rng.random(shape) < np.sqrt(kappa)
    return np.where(knows, truth_N[:, None], rng.choice(3, shape, p=CLASSES))


def _cohen(kappa: float) -> Callable[[np.random.Generator, int, int, int], tuple[float, Bounds]]:
    def simulate(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
        owner_N = _owners(rng, n_clusters)
        first_N, second_N = _labels(rng, _classes(rng, owner_N), kappa, 2).T.tolist()
        return kappa, _bounds(cohen_kappa(first_N, second_N, owner_N.tolist(), n_resamples=n_resamples, seed=seed))

    return simulate


def _fleiss(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
    owner_N = _owners(rng, n_clusters)
    labels = _labels(rng, _classes(rng, owner_N), 0.5, 3).tolist()
    return 0.5, _bounds(fleiss_kappa(labels, owner_N.tolist(), n_resamples=n_resamples, seed=seed))


def _alpha(rng: np.random.Generator, n_clusters: int, n_resamples: int, seed: int) -> tuple[float, Bounds]:
    """Four raters, four labels in ten missing."""
    owner_N = _owners(rng, n_clusters)
    labels_NR = _labels(rng, _classes(rng, owner_N), 0.5, 4)
    is_missing_NR = rng.random(labels_NR.shape) < 0.4
    said: Sequence[Sequence[int | None]] = np.where(is_missing_NR, None, labels_NR.astype(object)).tolist()
    return 0.5, _bounds(krippendorff_alpha(said, owner_N.tolist(), n_resamples=n_resamples, seed=seed))


METHODS: dict[str, tuple[str, Callable[[np.random.Generator, int, int, int], tuple[float, Bounds]]]] = {
    "mean by patient": ("lognormal values, half of a patient's own", _mean),
    "share by patient, 0.7": ("right answers", _share_of(0.7)),
    "share by patient, 0.1": ("unsupported facts", _share_of(0.1)),
    "ratio": ("nats per token", _ratio),
    "paired difference": ("two models on the same items", _paired),
    "mean over tasks": ("three tasks of unequal size", _over_tasks),
    "Wilson": ("independent trials, shares 0.05 to 0.95", _wilson),
    "win rate with ties": ("win, tie, loss 0.5, 0.2, 0.3", _win_rate),
    "Cohen's kappa, 0.5": ("two raters, three classes", _cohen(0.5)),
    "Cohen's kappa, 0": ("raters who know nothing", _cohen(0.0)),
    "Fleiss' kappa": ("three raters", _fleiss),
    "Krippendorff's alpha": ("four raters, 40 % missing", _alpha),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the evaluation's intervals.")
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--out", type=Path, default=None, help="write the result here")
    options = parser.parse_args()
    found = measure(options.quick)
    if options.out:
        io.write_json(options.out, found)
    for row in found["rows"]:
        print(
            f"{row['method']:<24}{row['n_clusters']:>4}  {row['covered']:.3f} "
            f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]  width {row['mean_width']}"
        )


if __name__ == "__main__":
    main()
