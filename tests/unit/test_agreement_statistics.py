"""Kappas and alpha against tables worked out by hand, other authors' published examples, and an independent formula."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from iimedgpt.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

# Fleiss 1971, table 1 as reprinted in Fleiss' kappa's worked example: 10 subjects, 14 raters, 5 categories.
FLEISS = (
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
)
# Krippendorff 2011, section C: four observers, twelve units, nominal labels, some missing; alpha 0.743.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def test_fleiss_published_example() -> None:
    ratings = [[label for label, k in enumerate(row) for _ in range(k)] for row in FLEISS]
    assert fleiss_kappa(ratings).value == pytest.approx(0.210, abs=5e-4)


def test_krippendorff_published_example() -> None:
    estimate = krippendorff_alpha(list(zip(*OBSERVERS, strict=True)))
    assert estimate.value == pytest.approx(0.743, abs=5e-4)
    assert estimate.n == 11  # the last unit has one label


def test_alpha_equals_its_coincidence_matrix() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        said = [[None if rng.random() < 0.3 else int(rng.integers(3)) for _ in range(4)] for _ in range(15)]
        assert krippendorff_alpha(said).value == pytest.approx(float(_alpha_by_pairs(said)))


def _alpha_by_pairs(said: list[list[int | None]]) -> Fraction:
    """1 − D_o / D_e by going through all pairs, in exact fractions."""
    units = [[label for label in unit if label is not None] for unit in said]
    units = [unit for unit in units if len(unit) > 1]
    everything = [label for unit in units for label in unit]
    n = len(everything)
    observed = sum(
        (Fraction(sum(a != b for a, b in permutations(unit, 2)), len(unit) - 1) for unit in units), Fraction(0)
    )
    expected = Fraction(sum(a != b for a, b in permutations(everything, 2)), n - 1)
    return 1 - observed / expected


def test_cohen_is_scikit_learns_formula() -> None:
    """scikit-learn 1.x, ``cohen_kappa_score``: 1 − Σ w·O / Σ w·E with w = 1 off the diagonal, E = outer / n."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        first, second = rng.integers(0, 3, (2, 40))
        table = np.zeros((3, 3))
        np.add.at(table, (first, second), 1)
        expected = np.outer(table.sum(0), table.sum(1)) / table.sum()
        off = 1 - np.eye(3)
        wanted = 1 - (off * table).sum() / (off * expected).sum()
        assert cohen_kappa(first.tolist(), second.tolist(), range(40)).value == pytest.approx(wanted)


def test_two_raters_without_gaps_agree_in_all_three_up_to_their_chance_terms() -> None:
    first, second = [0, 1] * 20 + [0] * 10, [0, 1] * 20 + [1] * 10
    both = list(zip(first, second, strict=True))
    n = 2 * len(both)
    pooled = 1 - (1 - 0.8) / 0.5  # p_o = 0.8, both labels 50 of 100
    assert fleiss_kappa(both).value == pytest.approx(pooled)
    assert krippendorff_alpha(both).value == pytest.approx(1 - (n - 1) / n * (1 - pooled))  # Krippendorff's n − 1


def test_nothing_said_and_nothing_valid_give_no_value() -> None:
    assert krippendorff_alpha([]).value is None
    assert krippendorff_alpha([[None, None], [None, "win"]]).method == "no items"
    assert fleiss_kappa([]).value is None
    assert cohen_kappa([], [], []).value is None


def test_one_label_throughout_is_no_agreement_beyond_chance() -> None:
    for estimate in (
        krippendorff_alpha([["win", "win"]] * 5),
        fleiss_kappa([["win", "win"]] * 5),
        cohen_kappa(["win"] * 5, ["win"] * 5, range(5)),
    ):
        assert estimate.value is None
        assert "not defined" in estimate.method


def test_one_item_has_a_value_and_no_interval() -> None:
    estimate = krippendorff_alpha([["win", "loss", "win"]])
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)
    assert fleiss_kappa([["win", "loss"]] * 3, ["one patient"] * 3).low is None


def test_full_agreement_claims_no_interval() -> None:
    estimate = krippendorff_alpha([["win", "win"], ["loss", "loss"], ["win", "win"]])
    assert (estimate.value, estimate.low, estimate.high) == (1.0, None, None)


def test_items_of_one_cluster_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    said = [rng.integers(0, 2, 3).tolist() for _ in range(20)]
    once = fleiss_kappa(said, range(20))
    copied = fleiss_kappa(said * 4, list(range(20)) * 4)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_unequal_numbers_of_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of labels"):
        fleiss_kappa([["a", "b"], ["a", "b", "b"]])
    with pytest.raises(ValueError, match="differ in length"):
        krippendorff_alpha([["a", "b"]], ["x", "y"])
    with pytest.raises(ValueError, match="differ in length"):
        cohen_kappa(["a"], ["a", "b"], ["x"])
