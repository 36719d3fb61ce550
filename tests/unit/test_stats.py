"""Statistics: intervals resample patients, nothing is ever NaN, exact tests match hand counts."""

from __future__ import annotations

import numpy as np
import pytest

from iimedgpt import stats


def test_the_mean_weighs_items_and_its_interval_holds_it() -> None:
    estimate = stats.bootstrap_mean([0.0, 1.0, 1.0, 0.0, 1.0], ["a", "b", "c", "d", "e"])
    assert estimate.value == pytest.approx(0.6)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0.0 <= estimate.low < 0.6 < estimate.high <= 1.0
    assert (estimate.n, estimate.n_clusters) == (5, 5)


def test_a_ratio_is_sum_over_sum_not_the_mean_of_ratios() -> None:
    # 10 nats over 10 tokens and 6 nats over 2 tokens: 16/12, while the mean of ratios would be 2.
    estimate = stats.bootstrap_ratio([10.0, 6.0], [10.0, 2.0], ["a", "b"])
    assert estimate.value == pytest.approx(16 / 12)
    # Two patients: a resample holds both, or one of them twice (1.0 or 3.0).
    assert estimate.low == pytest.approx(1.0)
    assert estimate.high == pytest.approx(3.0)


def test_items_of_one_patient_do_not_narrow_the_interval() -> None:
    patients = [f"p{i}" for i in range(10)]
    values = [float(i % 3 == 0) for i in range(10)]
    once = stats.bootstrap_mean(values, patients, seed=1)
    copied = stats.bootstrap_mean(values * 6, patients * 6, seed=1)
    assert copied.n == 60
    assert (copied.value, copied.low, copied.high) == pytest.approx((once.value, once.low, once.high))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # 12 patients with a shared effect and 3 answers each; 300 repetitions, so ±3 % of noise.
    rng = np.random.default_rng(7)
    patients = [p for p in range(12) for _ in range(3)]
    n_covered = 0
    for _ in range(300):
        effects = np.repeat(rng.normal(0.0, 1.0, 12), 3) + rng.normal(0.0, 0.5, 36)
        estimate = stats.bootstrap_mean(list(effects + 2.0), patients, n_resamples=400, seed=3)
        assert estimate.low is not None
        assert estimate.high is not None
        n_covered += estimate.low <= 2.0 <= estimate.high
    assert 0.90 <= n_covered / 300 <= 0.985


def test_same_seed_same_interval_and_the_names_of_patients_do_not_matter() -> None:
    values = [0.1, 0.9, 0.4, 0.7, 0.3]
    first = stats.bootstrap_mean(values, ["z", "y", "x", "w", "v"], seed=5)
    again = stats.bootstrap_mean(values, ["a", "b", "c", "d", "e"], seed=5)
    assert first == again


def test_no_items_give_no_value_and_say_so() -> None:
    assert stats.bootstrap_mean([], []) == stats.Estimate(None, None, None, 0, 0, "no items")


def test_one_patient_gives_a_value_without_an_interval() -> None:
    estimate = stats.bootstrap_mean([1.0, 0.0], ["a", "a"])
    assert (estimate.value, estimate.low, estimate.high) == (0.5, None, None)
    assert estimate.method == "one patient: no interval"


def test_a_perfect_share_is_not_claimed_to_be_certain() -> None:
    estimate = stats.bootstrap_mean([1.0] * 8, list(range(8)), is_share=True)
    # Wilson at k = n = 8: n / (n + z²) = 8 / (8 + 3.8415) = 0.6756
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.6756, abs=1e-4)
    zero = stats.bootstrap_mean([0.0] * 8, list(range(8)), is_share=True)
    assert zero.low == 0.0
    assert zero.high == pytest.approx(1 - 0.6756, abs=1e-4)


def test_differences_that_are_all_alike_have_no_interval() -> None:
    estimate = stats.paired_difference([3.0, 4.0], [1.0, 2.0], ["a", "b"])
    assert (estimate.value, estimate.low, estimate.high) == (2.0, None, None)
    assert "no spread" in estimate.method


def test_pairing_removes_what_both_sides_share() -> None:
    base = [float(i) for i in range(12)]
    better = [value + 1.0 + 0.1 * (i % 2) for i, value in enumerate(base)]
    estimate = stats.paired_difference(better, base, list(range(12)))
    assert estimate.value == pytest.approx(1.05)
    assert estimate.low is not None
    assert estimate.low > 1.0


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([1.0], ["a", "b"], "lengths differ"),
        ([float("nan")], ["a"], "not finite"),
        ([float("inf")], ["a"], "not finite"),
    ],
)
def test_what_cannot_be_averaged_is_refused(values: list[float], clusters: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stats.bootstrap_mean(values, clusters)


def test_a_weight_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="not positive"):
        stats.bootstrap_ratio([1.0], [0.0], ["a"])


def test_wilson_matches_the_textbook() -> None:
    # k = 8, n = 10, z = 1.96: Wilson 1927 gives 0.490 to 0.943.
    assert stats.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert stats.wilson(0, 0) is None
    with pytest.raises(ValueError, match="is not in"):
        stats.wilson(3, 2)


def test_the_sign_test_counts_coin_flips() -> None:
    # 5 wins, no loss: 2 · (1/2)^5
    assert stats.sign_test(5, 0) == pytest.approx(2 / 32)
    # 3 against 1: P(≥ 3 of 4) twice = 2 · 5/16
    assert stats.sign_test(3, 1) == pytest.approx(10 / 16)
    assert stats.sign_test(0, 0) == 1.0
    with pytest.raises(ValueError, match="negative"):
        stats.sign_test(-1, 2)


def test_a_tie_is_half_a_win() -> None:
    assert stats.win_rate(2, 1, 1) == pytest.approx(2.5 / 4)
    assert stats.win_rate(0, 0, 0) is None


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling: 0.02, 0.03, 0.06, 0.06 (Holm 1979)
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([]) == []
    assert stats.holm([0.7, 0.9]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.holm([1.2])


def test_a_share_of_one_answer_a_patient_is_wilsons_own_interval_but_for_t() -> None:
    # 100 patients, one answer each: p(1 - p) / se² = C - 1 = 99, and t(99) = 1.98422 for 1.96, t² = 3.93713.
    # centre (0.2 + t²/198) / (1 + t²/99) = 0.21147; half t sqrt(0.16/99 + t²/(4 * 99²)) / (1 + t²/99) = 0.07907.
    estimate = stats.bootstrap_mean([1.0] * 20 + [0.0] * 80, range(100), is_share=True)
    assert (estimate.low, estimate.high) == pytest.approx((0.13241, 0.29054), abs=2e-5)


def test_answers_of_one_patient_that_agree_widen_a_share() -> None:
    values = [float(i % 4 == 0) for i in range(40)]
    alone = stats.bootstrap_mean(values, range(40), is_share=True)
    together = stats.bootstrap_mean(sorted(values), [i // 4 for i in range(40)], is_share=True)
    assert together.value == alone.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)  # type: ignore[operator]
