"""Which pairs follow from a ranking."""

from __future__ import annotations

from iimedgpt.preferences.from_rankings import preferences
from iimedgpt.types import EditedAnswer, Mark, Ranking


def ranking(*tiers: tuple[str, ...], marks: dict[str, tuple[Mark, ...]] | None = None) -> Ranking:
    edited = EditedAnswer(candidate_id="ideal", from_id="a", text="改好的") if ("ideal",) in tiers else None
    return Ranking(
        ranking_id="r",
        prompt_id="p",
        annotator_id="n",
        tiers=tiers,
        shown_order=("c", "a", "b"),
        marks=marks or {},
        edited=edited,
        seconds=1.0,
    )


def test_every_better_answer_is_chosen_over_every_worse_one() -> None:
    assert list(preferences(ranking(("a",), ("b",), ("c",)))) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_best_against_each_leaves_out_the_rest() -> None:
    assert list(preferences(ranking(("a",), ("b",), ("c",)), "best")) == [("a", "b"), ("a", "c")]


def test_ties_give_no_pair() -> None:
    assert list(preferences(ranking(("a", "b"), ("c",)))) == [("a", "c"), ("b", "c")]
    assert list(preferences(ranking(("a", "b", "c")))) == []


def test_an_edited_answer_is_better_than_the_one_it_came_from() -> None:
    assert list(preferences(ranking(("ideal",), ("a",), ("b",)), "best")) == [("ideal", "a"), ("ideal", "b")]


def test_an_unsafe_answer_is_never_chosen_but_may_be_rejected() -> None:
    marked = ranking(("a",), ("b",), ("c",), marks={"b": ("unsafe",)})
    assert list(preferences(marked)) == [("a", "b"), ("a", "c")]
