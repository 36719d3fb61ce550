"""Agreement between clinicians, by hand-made votes; kappa by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from iimedgpt.agreement import cohen_kappa
from iimedgpt.preferences.store import Vote
from iimedgpt.types import Mark, Ranking
from iimedgpt.web.agreement import agreement, disputes


def vote(annotator: str, item: str, *tiers: tuple[str, ...], marks: dict[str, tuple[Mark, ...]] | None = None) -> Vote:
    ranking = Ranking(
        ranking_id="r",
        prompt_id=item,
        annotator_id=annotator,
        tiers=tiers,
        shown_order=("x", "y"),
        marks=marks or {},
        seconds=1.0,
    )
    return Vote(vote_id="0" * 32, annotator_id=annotator, item_id=item, kind="rank", seconds=1.0, ranking=ranking)


def test_kappa_is_cohens_own_formula() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    estimate = cohen_kappa(first, second, range(50))
    assert estimate.value == pytest.approx(0.4)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0.1 < estimate.low < 0.3  # about 0.4 +- 1.96 * 0.13 (Fleiss' standard error)
    assert 0.5 < estimate.high < 0.7


def test_kappa_is_not_defined_where_all_say_the_same() -> None:
    assert cohen_kappa(["no"] * 4, ["no"] * 4, range(4)).value is None
    assert cohen_kappa([], [], []).value is None


def test_kappa_of_one_item_has_no_interval() -> None:
    estimate = cohen_kappa(["a", "b"], ["a", "b"], ["same", "same"])
    assert (estimate.value, estimate.low) == (1.0, None)


def test_agreement_counts_what_both_finished() -> None:
    votes = [
        vote("1", "i", ("x",), ("y",)),
        vote("2", "i", ("x",), ("y",)),
        vote("1", "j", ("x",), ("y",)),
        vote("2", "j", ("y",), ("x",)),
        vote("1", "k", ("x", "y")),
    ]
    rows = {row.what: row for row in agreement(votes, {"1": "甲", "2": "乙"})}
    preference = rows["preference"]
    assert (preference.names, preference.n_items, preference.raw.value) == (("甲", "乙"), 2, 0.5)
    assert rows["unsafe"].raw.value == 1.0


def test_what_to_discuss_is_opposite_preference_or_doubt_about_safety() -> None:
    votes = [
        vote("1", "opposite", ("x",), ("y",)),
        vote("2", "opposite", ("y",), ("x",)),
        vote("1", "alike", ("x",), ("y",)),
        vote("2", "alike", ("x",), ("y",)),
        vote("1", "tied", ("x", "y")),
        vote("2", "tied", ("x",), ("y",)),
        vote("1", "unsafe", ("x",), ("y",), marks={"x": ("unsafe",)}),
        vote("2", "unsafe", ("x",), ("y",)),
    ]
    found = [(dispute.item_id, dispute.n_opposite, dispute.is_safety_disputed) for dispute in disputes(votes)]
    assert found == [("unsafe", 0, True), ("opposite", 1, False)]
