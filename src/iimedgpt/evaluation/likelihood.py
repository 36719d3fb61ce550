"""Metrics of likelihood: loss, choice among the answers of other records, preference accuracy.

Within a block every record's prompt is asked for every record's answer. One table of likelihoods
then holds the loss, the choice among k answers, and the wrong-record control at no further cost:
under another patient's record the right answer must lose, or the model does not read the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from iimedgpt.evaluation.controls import LONGER, SHORTER
from iimedgpt.evaluation.heldout import Block
from iimedgpt.evaluation.inquiry import Inquiry, Likelihood, Prompt
from iimedgpt.evaluation.scoreboard import Series
from iimedgpt.text import fold, unique
from iimedgpt.types import Conversation, PreferencePair

Strength = Callable[[Conversation, str], float]
Prompting = Callable[[Conversation], Prompt]


@dataclass(frozen=True)
class Question:
    """One item with its options: folded answer → text, its own answer in its own words."""

    item: Conversation
    options: Mapping[str, str]
    rivals: tuple[Conversation, ...]  # items of other records whose answer differs

    @property
    def gold(self) -> str:
        return fold(self.item.response)

    @property
    def is_choice(self) -> bool:
        return len(self.options) > 1


def questions_of(blocks: Sequence[Block]) -> Iterator[Question]:
    """Every item of every block with the distinct answers of its block as options."""
    for block in blocks:
        for record in block:
            for task, item in record.items.items():
                peers = record.peers(task, block)
                options = {fold(peer.response): peer.response for peer in reversed(peers)}
                options[fold(item.response)] = item.response
                rivals = tuple(peer for peer in peers if fold(peer.response) != fold(item.response))
                yield Question(item, options, rivals)


def ask_blocks(
    inquiry: Inquiry, blocks: Sequence[Block], prompting: Prompting, pairs: Sequence[PreferencePair] = ()
) -> None:
    """Ask for every answer of a block under every record of it, and for the pairs of each record."""
    pairs_of: dict[str | None, list[PreferencePair]] = {}
    for pair in pairs:
        pairs_of.setdefault(pair.record_id, []).append(pair)
    for block in blocks:
        for record in block:
            for task, item in record.items.items():
                texts = unique(peer.response for peer in record.peers(task, block))
                for text in texts:
                    inquiry.ask_likelihood(prompting(item), text)
            for pair in pairs_of.get(record.record_id, ()):
                inquiry.ask_likelihood(pair.prompt, pair.chosen)
                inquiry.ask_likelihood(pair.prompt, pair.rejected)
    for pair in pairs_of.get(None, ()):  # imports, which have no record
        inquiry.ask_likelihood(pair.prompt, pair.chosen)
        inquiry.ask_likelihood(pair.prompt, pair.rejected)


def credit(strengths: Mapping[str, float], gold: str) -> float:
    """1 where the gold option is strongest, shared among equals (½ of two), else 0."""
    best = max(strengths.values())
    tied = [option for option, strength in strengths.items() if strength == best]
    return 1 / len(tied) if gold in tied else 0.0


def measure_choice(
    blocks: Sequence[Block], model: str, strength: Strength, how: str, name: str = "choice_accuracy"
) -> Series:
    """Share of items whose own answer is the strongest of its block's distinct answers.

    Items whose block holds fewer than two distinct answers are invalid.
    """
    series = Series(name, model, "share", f"choice among the block's distinct answers, {how}")
    for question in questions_of(blocks):
        item = question.item
        value = None
        if question.is_choice:
            strengths = {key: strength(item, text) for key, text in question.options.items()}
            value = credit(strengths, question.gold)
        series.add(item.conversation_id, item.task, item.group_id, value)
    return series


def measure_chance(blocks: Sequence[Block], model: str) -> Series:
    """What guessing reaches: one over the number of options, item by item."""
    series = Series("choice_accuracy", model, "share", "one over the number of options")
    for question in questions_of(blocks):
        value = 1 / len(question.options) if question.is_choice else None
        series.add(question.item.conversation_id, question.item.task, question.item.group_id, value)
    return series


def measure_model(blocks: Sequence[Block], model: str, likelihood: Likelihood, prompting: Prompting) -> list[Series]:
    """Loss and choice accuracy under the right record and under the block's other records."""

    def per_token(item: Conversation, text: str) -> float:
        return likelihood(prompting(item), text).logp_per_token

    def by_sum(item: Conversation, text: str) -> float:
        return likelihood(prompting(item), text).logp

    return [
        *_measure_loss(blocks, model, likelihood, prompting),
        measure_choice(blocks, model, per_token, "by log-likelihood per token"),
        measure_choice(blocks, model, by_sum, "by summed log-likelihood", "choice_accuracy_sum"),
        _measure_wrong_choice(blocks, model, per_token),
    ]


def _measure_loss(
    blocks: Sequence[Block], model: str, likelihood: Likelihood, prompting: Prompting
) -> tuple[Series, Series]:
    right = Series("loss", model, "nats/token", "token-weighted", is_share=False, higher_is_better=False)
    wrong = Series(
        "loss_wrong_record",
        model,
        "nats/token",
        "the same answers under other patients' records of the block, token-weighted",
        is_share=False,
        higher_is_better=False,
    )
    for question in questions_of(blocks):
        item = question.item
        key, task, group = item.conversation_id, item.task, item.group_id
        own = likelihood(prompting(item), item.response)
        right.add(key, task, group, -own.logp_per_token, own.n_tokens)
        under = [likelihood(prompting(rival), item.response).logp_per_token for rival in question.rivals]
        wrong.add(key, task, group, -_mean(under) if under else None, own.n_tokens)
    return right, wrong


def _measure_wrong_choice(blocks: Sequence[Block], model: str, strength: Strength) -> Series:
    """How often an item's answer is picked under a record it does not belong to."""
    series = Series(
        "choice_accuracy_wrong_record",
        model,
        "share",
        "the same answers asked under other patients' records of the block",
    )
    for question in questions_of(blocks):
        item = question.item
        credits = [
            credit({key: strength(rival, text) for key, text in question.options.items()}, question.gold)
            for rival in question.rivals
        ]
        series.add(item.conversation_id, item.task, item.group_id, _mean(credits) if credits else None)
    return series


def measure_preference(pairs: Sequence[PreferencePair], model: str, likelihood: Likelihood) -> list[Series]:
    """Share of pairs with logp(chosen) > logp(rejected), by sum and per token, ties one half."""
    by_sum = _preference_series("preference_accuracy", model, "logp(chosen) > logp(rejected), by sum")
    per_token = _preference_series("preference_accuracy_per_token", model, "logp(chosen) > logp(rejected), per token")
    for pair in pairs:
        chosen, rejected = likelihood(pair.prompt, pair.chosen), likelihood(pair.prompt, pair.rejected)
        by_sum.add(pair.pair_id, pair.task, pair.group_id, _above(chosen.logp, rejected.logp))
        per_token.add(pair.pair_id, pair.task, pair.group_id, _above(chosen.logp_per_token, rejected.logp_per_token))
    return [by_sum, per_token]


def measure_implicit_reward(
    pairs: Sequence[PreferencePair], model: str, policy: Likelihood, reference: Likelihood
) -> Series:
    """Share of pairs whose implicit reward log(policy/reference) is higher for the chosen answer.

    Rafailov et al. 2023 (arXiv 2305.18290), equation 5; β only scales it. Guessing gives one half.
    """
    series = _preference_series(
        "implicit_reward_accuracy", model, "log(policy/reference) of chosen > rejected; guessing gives 0.5"
    )
    for pair in pairs:
        rewards = [
            policy(pair.prompt, answer).logp - reference(pair.prompt, answer).logp
            for answer in (pair.chosen, pair.rejected)
        ]
        series.add(pair.pair_id, pair.task, pair.group_id, _above(rewards[0], rewards[1]))
    return series


def measure_length_preference(pairs: Sequence[PreferencePair]) -> list[Series]:
    """Controls of preference accuracy that read nothing: the longer, or the shorter, answer is better."""
    longer = _preference_series("preference_accuracy", LONGER, "the longer answer, in characters")
    shorter = _preference_series("preference_accuracy", SHORTER, "the shorter answer, in characters")
    for pair in pairs:
        value = _above(len(pair.chosen), len(pair.rejected))
        longer.add(pair.pair_id, pair.task, pair.group_id, value)
        shorter.add(pair.pair_id, pair.task, pair.group_id, 1.0 - value)
    return [longer, shorter]


def _preference_series(name: str, model: str, how: str) -> Series:
    return Series(name, model, "share", f"{how}, ties one half", is_pooled=True)


def _above(a: float, b: float) -> float:
    return 0.5 if a == b else float(a > b)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
