"""Votes, cycles, lengths and the two sides of the split."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iimedgpt.config import PairsConfig
from iimedgpt.preferences import leakage
from iimedgpt.preferences.filters import (
    balance_lengths,
    filter_pairs,
    is_held_out,
    keep_apart,
    merge_votes,
    prompt_key,
    without_cycles,
)
from iimedgpt.preferences.selection import choose_next
from iimedgpt.types import AnswerScore, Candidate, Conversation, Message, PreferencePair


def pair(chosen: str, rejected: str, prompt: str = "问", **fields: Any) -> PreferencePair:
    values = {
        "pair_id": f"{prompt}:{chosen}>{rejected}:{fields.get('source', 'clinician')}",
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": chosen,
        "rejected": rejected,
        "source": "clinician",
        "group_id": prompt,
        "split": "train",
        "n_annotators": 1,
    }
    return PreferencePair.model_validate(values | fields)


def names(pairs: list[PreferencePair]) -> list[str]:
    return [f"{item.chosen}>{item.rejected}" for item in pairs]


def test_the_majority_of_votes_wins_with_the_strength_of_its_lead() -> None:
    kept, dropped = merge_votes([pair("甲", "乙"), pair("乙", "甲"), pair("甲", "乙")])
    assert names(kept) == ["甲>乙"]
    assert (kept[0].n_annotators, kept[0].strength) == (3, pytest.approx(1 / 3))
    assert sorted(reason for _, reason in dropped) == ["merged", "outvoted"]


def test_one_vote_against_one_gives_nothing() -> None:
    kept, dropped = merge_votes([pair("甲", "乙"), pair("乙", "甲")])
    assert (kept, [reason for _, reason in dropped]) == ([], ["votes_tied", "votes_tied"])


def test_votes_on_other_prompts_or_other_doses_are_not_the_same_question() -> None:
    kept, _ = merge_votes([pair("甲", "乙"), pair("甲", "乙", "另一问"), pair("2.5mg", "5mg"), pair("25mg", "5mg")])
    assert len(kept) == 4


def test_a_cycle_goes_as_a_whole_and_what_hangs_on_it_stays() -> None:
    kept, dropped = without_cycles([pair("甲", "乙"), pair("乙", "丙"), pair("丙", "甲"), pair("甲", "丁")])
    assert names(kept) == ["甲>丁"]
    assert {reason for _, reason in dropped} == {"cycle"}


def test_a_clinician_is_believed_before_the_reference() -> None:
    kept, _ = without_cycles([pair("甲", "乙"), pair("乙", "甲", source="reference")])
    assert [item.source for item in kept] == ["clinician"]


@given(st.lists(st.tuples(st.sampled_from("甲乙丙丁"), st.sampled_from("甲乙丙丁")), max_size=12))
def test_what_is_kept_can_be_put_in_order(votes: list[tuple[str, str]]) -> None:
    kept, _ = filter_pairs([pair(a, b) for a, b in votes], PairsConfig())
    left = {(item.chosen, item.rejected) for item in kept}
    while left:  # an order without cycles always has answers that nothing beats
        beaten = {worse for _, worse in left}
        rest = {(better, worse) for better, worse in left if better in beaten}
        assert rest < left
        left = rest


def test_uneven_lengths_are_dropped_until_the_mean_is_within_the_bound() -> None:
    pairs = [pair("四个字啊", "二字", f"{n}") for n in range(4)] + [pair("二字", "四个字啊", "长")]
    kept, dropped = balance_lengths(pairs, 0.01)  # log ratios: four of -0.69, one of +0.69
    assert len(kept) == 2
    assert {reason for _, reason in dropped} == {"length_imbalance"}
    assert balance_lengths(pairs, None) == (pairs, [])


prompts = st.text(alphabet="问答病。 ，", min_size=1, max_size=4)


@given(st.lists(st.tuples(prompts, st.booleans()), max_size=20), st.floats(0, 1), st.integers(0, 3))
def test_no_prompt_is_on_both_sides(rows: list[tuple[str, bool]], frac: float, seed: int) -> None:
    """Whatever sources say: out of distribution is tested only, the rest is split by a hash of the prompt."""
    made = []
    for number, (prompt, is_ood) in enumerate(rows):
        key = prompt_key([Message(role="user", content=prompt)])
        side = "test" if is_ood or is_held_out(key, frac, seed) else "train"
        made.append(pair(f"好{number}", "坏", prompt, split=side, is_out_of_distribution=is_ood, group_id=f"p:{key}"))
    test = [item for item in made if item.split == "test"]
    train, dropped = keep_apart([item for item in made if item.split == "train"], test)
    assert {prompt_key(item.prompt) for item in train}.isdisjoint(prompt_key(item.prompt) for item in test)
    assert len(train) + len(dropped) + len(test) == len(made)
    assert not any(item.is_out_of_distribution for item in train)


def test_what_tells_by_length_is_found_out() -> None:
    longer = [pair("好" * 10, "好" * (4 + n % 3), f"{n}") for n in range(60)]
    assert leakage.measure(longer)["length"]["value"] == 1.0
    even = [pair("好" * (4 + 2 * (n % 2)), "坏" * (6 - 2 * (n % 2)), f"{n}") for n in range(400)]
    found = leakage.measure(even)
    assert abs(found["length"]["value"] - 0.5) < 0.1
    assert found["words"]["value"] == 1.0  # one word gives it away
    assert leakage.measure(longer[:5]) == {}


class Opinions:
    """Scores an answer by the number in it."""

    model_id = "opinions"

    def score(self, items: Any) -> list[AnswerScore]:
        return [AnswerScore(logp=float(text.removeprefix("答")), n_tokens=1) for _, text in items]

    def generate(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def test_the_least_decided_prompts_come_first() -> None:
    def conversation(name: str) -> Conversation:
        messages = (Message(role="user", content=name), Message(role="assistant", content="答"))
        return Conversation(
            conversation_id=name, messages=messages, group_id=name, source="s", license="l", split="train"
        )

    def candidate(prompt: str, text: str) -> Candidate:
        return Candidate(
            candidate_id=f"{prompt}:{text}",
            prompt_id=prompt,
            model_id="m",
            text=text,
            temperature=1.0,
            max_new_tokens=9,
            seed=0,
            is_finished=True,
        )

    texts = {
        "sure": ("答-1", "答-9"),
        "torn": ("答-1", "答-8", "答-1.5"),
        "same": ("答-1", "答-1"),
        "close": ("答-3", "答-4"),
    }
    candidates = [candidate(name, text) for name, found in texts.items() for text in found]
    rows = choose_next([conversation(name) for name in texts], candidates, Opinions(), 2)
    assert [(row["prompt_id"], row["margin"]) for row in rows] == [("torn", 0.5), ("close", 1.0)]
    assert rows[0]["candidate_ids"] == ["torn:答-1", "torn:答-1.5"]
