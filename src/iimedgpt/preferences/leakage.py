"""Can chosen and rejected be told apart without reading the record? Three controls, each cross-validated.

A logistic regression on the difference of two answers' features (Bradley-Terry without intercept), fitted on
four fifths of the prompts and asked about the rest. 50 % is what pairs should give on length and style. What
it finds in single characters ("words") can be learnt without any record: those pairs teach wording too.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from iimedgpt import stats
from iimedgpt.text import content_id
from iimedgpt.types import PreferencePair

Floats = npt.NDArray[np.float64]

N_FOLDS = 5
N_STEPS = 200
RIDGE = 1.0  # keeps a few pairs from being learnt by heart
N_BUCKETS = 512  # of single characters
MIN_PAIRS = 20
_MARKS = "，。、；：（）()" + string.punctuation


def length(text: str) -> list[float]:
    """Log of the characters."""
    return [math.log(max(len(text), 1))]


def style(text: str) -> list[float]:
    """Shares of marks, digits, Latin letters and line ends, and whether it ends with a mark."""
    n = max(len(text), 1)
    return [
        sum(char in _MARKS for char in text) / n,
        sum(char.isdigit() for char in text) / n,
        sum(char.isascii() and char.isalpha() for char in text) / n,
        text.count("\n") / n,
        float(text.rstrip()[-1:] in _MARKS),
    ]


def words(text: str) -> list[float]:
    """Which characters stand there, in buckets."""
    found = [0.0] * N_BUCKETS
    for char in set(text):
        found[ord(char) % N_BUCKETS] = 1.0
    return found


FEATURES: Mapping[str, Callable[[str], list[float]]] = {"length": length, "style": style, "words": words}


def measure(pairs: Sequence[PreferencePair], seed: int = 0) -> dict[str, Any]:
    """Accuracy of each control with its interval by prompt; empty where pairs are too few to learn from."""
    if len(pairs) < MIN_PAIRS:
        return {}
    folds = np.array([int(content_id("fold", str(seed), pair.group_id)[:8], 16) % N_FOLDS for pair in pairs])
    found: dict[str, Any] = {}
    for name, features in FEATURES.items():
        difference = np.array([np.subtract(features(p.chosen), features(p.rejected)) for p in pairs])
        right = _cross_validated(difference, folds)
        estimate = stats.bootstrap_mean(right, [pair.group_id for pair in pairs], seed=seed, is_share=True)
        found[name] = {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
    return found


def _cross_validated(difference: Floats, folds: npt.NDArray[np.int64]) -> list[float]:
    """1 where the held-out pair is told right, 0 where wrong, one half where nothing is said."""
    scale = difference.std(axis=0)
    scaled = difference / np.where(scale > 0, scale, 1.0)
    right = np.full(len(difference), 0.5)
    for fold in range(N_FOLDS):
        asked = folds == fold
        if asked.any() and not asked.all():
            margin = scaled[asked] @ _fit(scaled[~asked])
            right[asked] = np.where(margin == 0, 0.5, margin > 0)
    return [float(value) for value in right]


def _fit(x: Floats) -> Floats:
    """Weights that make chosen minus rejected positive: gradient steps on the ridge-penalised logistic loss."""
    weights = np.zeros(x.shape[1])
    rate = 1.0 / (0.25 * float(np.square(x).sum(axis=1).max(initial=1.0)) + RIDGE / len(x))
    for _ in range(N_STEPS):
        wrong = 1.0 / (1.0 + np.exp(np.clip(x @ weights, -30, 30)))
        weights += rate * (x.T @ wrong / len(x) - RIDGE / len(x) * weights)
    return weights
