"""The pairs stage: preferences of clinicians and judges, imports, references over samples, rule-made errors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iimedgpt import progress
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError
from iimedgpt.io import write_jsonl
from iimedgpt.preferences import contraindications, imports, leakage, votes
from iimedgpt.preferences.contexts import ContextBuilder
from iimedgpt.preferences.errors import CAVEAT, TABLES, ErrorChooser
from iimedgpt.preferences.filters import filter_pairs, keep_apart
from iimedgpt.run import StageContext
from iimedgpt.text import content_id, unique
from iimedgpt.types import Candidate, Conversation, PairSource, PreferencePair, Split

Candidates = Mapping[str, Sequence[Candidate]]  # conversation id → the model's answers to it
Found = Iterable[PreferencePair | tuple[str, str]]  # a pair, or an id and the reason why there is none


def inputs(config: RunConfig) -> dict[str, Path]:
    """Files from outside the run; the tables of the rule-made errors are meant to be edited and signed."""
    tables = {TABLES.name: TABLES, contraindications.TABLE.name: contraindications.TABLE}
    return (tables if config.pairs.use_rules else {}) | votes.files(config) | imports.files(config)


def run(ctx: StageContext) -> None:
    """Write train.jsonl and test.jsonl, all pairs of a record side by side.

    Training pairs come from the sampled records. Held-out rule-made pairs, one an answer, come from
    all records of the chosen share of held-out patients; held-out reference pairs from the sampled
    ones. Imports come last, their prompts split by a hash. No prompt stands on both sides.

    Raises:
        DataError: no training pair came out, or an import is broken.
    """
    candidates: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in ctx.read("sample", "candidates.jsonl", Candidate):
        candidates[candidate.prompt_id].append(candidate)
    items: dict[Split, list[Conversation]] = {
        side: [item for item in ctx.read("mixture", f"{side}.jsonl", Conversation) if item.record_id]
        for side in ("train", "test")
    }
    voted = _voted(ctx, [*items["train"], *items["test"]], candidates)
    imported = _sorted_out(
        ctx, (row for file in ctx.config.pairs.imports for row in imports.read_import(file, ctx.config))
    )
    test = _filtered(ctx, [*_made(ctx, items, candidates, voted, "test"), *_of(imported, "test")])
    train = _filtered(ctx, [*_made(ctx, items, candidates, voted, "train"), *_of(imported, "train")])
    train, both_sides = keep_apart(train, test)
    for pair_id, reason in both_sides:
        ctx.drop(pair_id, reason)
    for name, pairs in (("train", train), ("test", test)):
        ctx.keep(write_jsonl(ctx.output(f"{name}.jsonl"), pairs))
        ctx.facts[name] = _facts(pairs, candidates, ctx.config.seed) | {"errors": ctx.facts.pop(f"errors:{name}", {})}
    ctx.facts["caveat"] = CAVEAT if any(pair.caveat for pair in (*train, *test)) else ""
    if not train:
        raise DataError(
            "no training pair came out",
            expected="at least one pair",
            hint="set pairs.use_rules = true, or raise sample.n_records and pairs.max_length_ratio",
        )
    ctx.check_drops(1.0)


def _voted(ctx: StageContext, items: Sequence[Conversation], candidates: Candidates) -> dict[str, list[PreferencePair]]:
    """Pairs of clinicians and judges, by the record they belong to."""
    by_id = {item.conversation_id: item for item in items}
    answers = (candidate for found in candidates.values() for candidate in found)
    found = _sorted_out(ctx, votes.read_ranked(ctx.config, by_id, answers))
    found += _sorted_out(ctx, votes.read_judged(ctx.config, by_id))
    by_record: dict[str, list[PreferencePair]] = defaultdict(list)
    for pair in found:
        by_record[str(pair.record_id)].append(pair)
    return by_record


def _sorted_out(ctx: StageContext, found: Found) -> list[PreferencePair]:
    """The pairs; what is none is counted."""
    pairs = []
    for row in found:
        if isinstance(row, PreferencePair):
            pairs.append(row)
        else:
            ctx.drop(*row)
    return pairs


def _of(pairs: Iterable[PreferencePair], side: Split) -> list[PreferencePair]:
    return [pair for pair in pairs if pair.split == side]


def _filtered(ctx: StageContext, pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    kept, dropped = filter_pairs(pairs, ctx.config.pairs)
    for pair_id, reason in dropped:
        ctx.drop(pair_id, reason)
    return kept


def _made(
    ctx: StageContext,
    items: Mapping[Split, Sequence[Conversation]],
    candidates: Candidates,
    voted: Mapping[str, Sequence[PreferencePair]],
    side: Split,
) -> Iterator[PreferencePair]:
    """Pairs of one side's records, in the records' order."""
    config = ctx.config.pairs
    conversations = items[side]
    with_rules = _with_rules(conversations, candidates, side, config.test_frac) if config.use_rules else set()
    n_rules = config.max_rules_per_answer if side == "train" else 1
    chooser = ErrorChooser(f"{ctx.config.seed}:{side}")
    maker = PairMaker(ctx, conversations, chooser, n_rules)
    seen: set[str] = set()
    for item in progress.track(conversations, f"{side} pairs"):
        if item.record_id not in seen:
            seen.add(str(item.record_id))
            yield from voted.get(str(item.record_id), ())
        if config.use_reference:
            yield from maker.reference_pairs(item, candidates.get(item.conversation_id, ()))
        if item.conversation_id in with_rules:
            yield from maker.rule_pairs(item)
    ctx.facts[f"errors:{side}"] = {name: dict(sorted(counts.items())) for name, counts in chooser.counts.items()}


def _with_rules(
    conversations: Sequence[Conversation], candidates: Candidates, side: Split, test_frac: float
) -> set[str]:
    """Conversations that get rule-made pairs: of sampled records in training, of chosen patients in the test."""
    if side == "test":
        patients = spread_patients(conversations, test_frac)
        return {item.conversation_id for item in conversations if item.group_id in patients}
    sampled = {item.record_id for item in conversations if item.conversation_id in candidates}
    return {item.conversation_id for item in conversations if item.record_id in sampled}


def spread_patients(conversations: Sequence[Conversation], frac: float) -> set[str]:
    """A share of the patients, at even distances in order of appearance."""
    patients = unique(item.group_id for item in conversations)
    n = int(frac * len(patients) + 0.5)
    return {patients[index * len(patients) // n] for index in range(n)}


class PairMaker:
    """Makes the pairs of one side of the split that need no vote."""

    def __init__(
        self, ctx: StageContext, conversations: Sequence[Conversation], chooser: ErrorChooser, n_rules: int
    ) -> None:
        self._ctx = ctx
        self._contexts = ContextBuilder(conversations)
        self._chooser = chooser
        self._n_rules = n_rules

    def reference_pairs(self, item: Conversation, candidates: Sequence[Candidate]) -> Iterator[PreferencePair]:
        """The reference answer over each of the model's own."""
        for candidate in candidates:
            yield _pair(item, candidate.text, "reference", (item.conversation_id, candidate.candidate_id))

    def rule_pairs(self, item: Conversation) -> Iterator[PreferencePair]:
        """The reference answer over itself with one named error."""
        context = self._contexts.build(item)
        made = self._chooser.make(item.response, item.task, context, self._n_rules)
        if not made:
            self._ctx.drop(item.conversation_id, "no_applicable_error")
        for error in made:
            rows = (f"contraindication:{error.row}",) if error.row else ()
            yield _pair(item, error.text, "rule", (item.conversation_id, *rows), error.name, error.caveat)


def _pair(
    item: Conversation,
    rejected: str,
    source: PairSource,
    from_ids: tuple[str, ...],
    error: str | None = None,
    caveat: str = "",
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
        caveat=caveat,
    )


def _facts(pairs: Sequence[PreferencePair], candidates: Candidates, seed: int) -> dict[str, Any]:
    unfinished = {
        candidate.candidate_id for answers in candidates.values() for candidate in answers if not candidate.is_finished
    }
    by_source = {
        source: [pair for pair in pairs if pair.source == source] for source in unique(p.source for p in pairs)
    }
    return {
        "n": len(pairs),
        "n_records": len({pair.record_id for pair in pairs if pair.record_id}),
        "n_prompts": len({pair.prompt for pair in pairs}),
        "n_out_of_distribution": sum(pair.is_out_of_distribution for pair in pairs),
        "per_source": {source: len(found) for source, found in by_source.items()},
        "per_origin": dict(sorted(Counter(pair.origin for pair in pairs if pair.origin).items())),
        "per_error": dict(sorted(Counter(pair.error for pair in pairs if pair.error).items())),
        "per_task": dict(Counter(pair.task or "other" for pair in pairs)),
        "per_n_annotators": dict(sorted(Counter(str(p.n_annotators) for p in pairs if p.n_annotators).items())),
        "n_rejected_unfinished": sum(not unfinished.isdisjoint(pair.from_ids) for pair in pairs),
        "lengths": {source: _lengths(found) for source, found in by_source.items()},
        "told_apart_without_the_record": {source: leakage.measure(found, seed) for source, found in by_source.items()},
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
