"""The pairs stage: reference answers over the model's own samples and over rule-made errors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rapidfuzz.distance import LCSseq

from iimedgpt import clinical, io, progress
from iimedgpt.config import PairsConfig, RunConfig
from iimedgpt.errors import DataError
from iimedgpt.preferences.contexts import ContextBuilder
from iimedgpt.preferences.errors import CAVEAT, TABLES, ErrorChooser
from iimedgpt.run import StageContext
from iimedgpt.text import content_id, fold, unique
from iimedgpt.types import Candidate, Conversation, PairSource, PreferencePair

Candidates = Mapping[str, Sequence[Candidate]]  # conversation id → the model's answers to it


def inputs(config: RunConfig) -> dict[str, Path]:
    """The tables of the rule-made errors decide the result and are meant to be edited."""
    return {"errors.toml": TABLES} if config.pairs.use_rules else {}


def run(ctx: StageContext) -> None:
    """Write train.jsonl and test.jsonl, all pairs of a record side by side.

    Training pairs come from the sampled records. Held-out rule-made pairs, one an answer, come from
    all records of the chosen share of held-out patients; held-out reference pairs from the sampled
    ones.

    Raises:
        DataError: no training pair came out.
    """
    config = ctx.config.pairs
    candidates: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in ctx.read("sample", "candidates.jsonl", Candidate):
        candidates[candidate.prompt_id].append(candidate)
    train = [item for item in ctx.read("mixture", "train.jsonl", Conversation) if item.record_id]
    test = [item for item in ctx.read("mixture", "test.jsonl", Conversation) if item.record_id]
    sampled = {item.record_id for item in train if item.conversation_id in candidates}
    kept_patients = spread_patients(test, config.test_frac)
    with_rules = {item.conversation_id for item in train if item.record_id in sampled}
    with_rules |= {item.conversation_id for item in test if item.group_id in kept_patients}
    for name, conversations in (("train", train), ("test", test)):
        n_rules = config.max_rules_per_answer if name == "train" else 1
        maker = PairMaker(ctx, conversations, ErrorChooser(f"{ctx.config.seed}:{name}"), n_rules)
        pairs: list[PreferencePair] = []
        for item in progress.track(conversations, f"{name} pairs"):
            if config.use_reference:
                pairs += maker.reference_pairs(item, candidates.get(item.conversation_id, ()))
            if config.use_rules and item.conversation_id in with_rules:
                pairs += maker.rule_pairs(item)
        ctx.keep(io.write_jsonl(ctx.output(f"{name}.jsonl"), pairs))
        ctx.facts[name] = _facts(pairs, candidates)
    ctx.facts["caveat"] = CAVEAT
    if ctx.facts["train"]["n"] == 0:
        raise DataError(
            "no training pair came out",
            expected="at least one pair",
            hint="set pairs.use_rules = true, or raise sample.n_records and pairs.max_length_ratio",
        )
    ctx.check_drops(1.0)


def spread_patients(conversations: Sequence[Conversation], frac: float) -> set[str]:
    """A share of the patients, at even distances in order of appearance."""
    patients = unique(item.group_id for item in conversations)
    n = int(frac * len(patients) + 0.5)
    return {patients[index * len(patients) // n] for index in range(n)}


class PairMaker:
    """Makes and filters the pairs of one side of the split; what is dropped is counted."""

    def __init__(
        self, ctx: StageContext, conversations: Sequence[Conversation], chooser: ErrorChooser, n_rules: int
    ) -> None:
        self._ctx = ctx
        self._contexts = ContextBuilder(conversations)
        self._chooser = chooser
        self._n_rules = n_rules
        self._seen: set[str] = set()

    def reference_pairs(self, item: Conversation, candidates: Sequence[Candidate]) -> Iterator[PreferencePair]:
        """The reference answer over each sample."""
        for candidate in candidates:
            from_ids = (item.conversation_id, candidate.candidate_id)
            yield from self._checked(_pair(item, candidate.text, "reference", None, from_ids))

    def rule_pairs(self, item: Conversation) -> Iterator[PreferencePair]:
        """The reference answer over itself with one named error."""
        context = self._contexts.build(item)
        made = self._chooser.make(item.response, item.task, context, self._n_rules)
        if not made:
            self._ctx.drop(item.conversation_id, "no_applicable_error")
        for error, rejected in made:
            yield from self._checked(_pair(item, rejected, "rule", error, (item.conversation_id,)))

    def _checked(self, pair: PreferencePair) -> Iterator[PreferencePair]:
        reason = drop_reason(pair, self._ctx.config.pairs)
        if reason is None and pair.pair_id in self._seen:
            reason = "duplicate"
        if reason is None:
            self._seen.add(pair.pair_id)
            yield pair
        else:
            self._ctx.drop(pair.pair_id, reason)


def _pair(
    item: Conversation, rejected: str, source: PairSource, error: str | None, from_ids: tuple[str, ...]
) -> PreferencePair:
    return PreferencePair(
        pair_id=content_id("pair", item.conversation_id, source, rejected),
        prompt=item.prompt,
        chosen=item.response,
        rejected=rejected,
        source=source,
        group_id=item.group_id,
        split=item.split,
        task=item.task,
        record_id=item.record_id,
        error=error,
        from_ids=from_ids,
        is_synthetic=item.is_synthetic,
    )


def drop_reason(pair: PreferencePair, config: PairsConfig) -> str | None:
    """Why a pair teaches nothing, or the wrong thing; None where it is good.

    Rule-made answers are meant to be nearly alike and are exempt from the similarity bound.
    """
    chosen, rejected = fold(pair.chosen), fold(pair.rejected)
    if not chosen or not rejected:
        return "empty_answer"
    if chosen == rejected:
        return "self_pair"
    if pair.source != "rule":
        if LCSseq.normalized_similarity(pair.chosen, pair.rejected) > config.max_similarity:
            return "too_similar"
        if is_same_answer(pair.task, pair.chosen, pair.rejected):
            return "same_answer"
    if max(len(chosen), len(rejected)) > config.max_length_ratio * min(len(chosen), len(rejected)):
        return "length_ratio"
    return None


def is_same_answer(task: str | None, first: str, second: str) -> bool:
    """True where both name the same set in other words: 心内科 and 心血管内科 are no preference."""
    names = {
        "triage": clinical.departments,
        "examination": clinical.examinations,
        "diagnosis": clinical.diagnoses,
    }.get(task or "")
    if names is None:
        return False
    mine, theirs = {fold(name) for name in names(first)}, {fold(name) for name in names(second)}
    return bool(mine) and mine == theirs


def _facts(pairs: Sequence[PreferencePair], candidates: Candidates) -> dict[str, Any]:
    unfinished = {
        candidate.candidate_id for answers in candidates.values() for candidate in answers if not candidate.is_finished
    }
    return {
        "n": len(pairs),
        "n_records": len({pair.record_id for pair in pairs}),
        "per_source": dict(Counter(pair.source for pair in pairs)),
        "per_error": dict(sorted(Counter(pair.error for pair in pairs if pair.error).items())),
        "per_task": dict(Counter(pair.task or "other" for pair in pairs)),
        "n_rejected_unfinished": sum(not unfinished.isdisjoint(pair.from_ids) for pair in pairs),
        "lengths": {
            source: _lengths([pair for pair in pairs if pair.source == source])
            for source in unique(pair.source for pair in pairs)
        },
    }


def _lengths(pairs: Sequence[PreferencePair]) -> dict[str, float]:
    """Mean characters, and the mean of (rejected - chosen) / chosen: far from 0, length can be learnt."""
    n = len(pairs)
    difference = sum((len(pair.rejected) - len(pair.chosen)) / len(pair.chosen) for pair in pairs)
    return {
        "mean_chars_chosen": round(sum(len(pair.chosen) for pair in pairs) / n, 1),
        "mean_chars_rejected": round(sum(len(pair.rejected) for pair in pairs) / n, 1),
        "mean_length_difference": round(difference / n, 4),
        "rejected_longer_frac": round(sum(len(pair.rejected) > len(pair.chosen) for pair in pairs) / n, 4),
    }
