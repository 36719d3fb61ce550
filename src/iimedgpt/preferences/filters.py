"""What a pair must pass before it may teach: the answers, the votes, the lengths, the sides of the split.

Pure functions: pairs in, kept pairs and ``(pair_id, reason)`` out.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean

from rapidfuzz.distance import LCSseq

from iimedgpt import clinical
from iimedgpt.config import PairsConfig
from iimedgpt.text import content_id, fold
from iimedgpt.types import Message, PairSource, PreferencePair

Dropped = list[tuple[str, str]]
AUTHORITY: tuple[PairSource, ...] = ("clinician", "judge", "import", "reference", "rule")  # who is believed first


def filter_pairs(pairs: Iterable[PreferencePair], config: PairsConfig) -> tuple[list[PreferencePair], Dropped]:
    """All filters in order; what is kept stands in the order given."""
    kept: list[PreferencePair] = []
    dropped: Dropped = []
    seen: set[str] = set()
    for pair in pairs:
        reason = drop_reason(pair, config)
        if reason is None and pair.pair_id in seen and not pair.n_annotators:
            reason = "duplicate"
        if reason is None:
            seen.add(pair.pair_id)
            kept.append(pair)
        else:
            dropped.append((pair.pair_id, reason))
    kept, tied = merge_votes(kept)
    kept, circular = without_cycles(kept)
    kept, uneven = balance_lengths(kept, config.max_mean_length_difference)
    return kept, dropped + tied + circular + uneven


def drop_reason(pair: PreferencePair, config: PairsConfig) -> str | None:
    """Why a pair teaches nothing, or the wrong thing; None where it is good.

    Rule-made answers are meant to be nearly alike and are exempt from the similarity bound.
    """
    chosen, rejected = fold(pair.chosen), fold(pair.rejected)
    if not chosen or not rejected:
        return "empty_answer"
    if answer_key(pair.chosen) == answer_key(pair.rejected):
        return "self_pair"
    if pair.source != "rule":
        if LCSseq.normalized_similarity(pair.chosen, pair.rejected) > config.max_similarity:
            return "too_similar"
        if is_same_answer(pair.task, pair.chosen, pair.rejected):
            return "same_answer"
    if max(len(chosen), len(rejected)) > config.max_length_ratio * min(len(chosen), len(rejected)):
        return "length_ratio"
    return None


_POINT = re.compile(r"(?<=\d)\.(?=\d)")


def answer_key(text: str) -> str:
    """Equal for answers that say the same: spaces and marks aside, but 2.5 mg is not 25 mg, and a doubt is one."""
    return fold(_POINT.sub("点", text).replace("？", "问").replace("?", "问"))


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


def prompt_key(prompt: Sequence[Message]) -> str:
    """Equal for equal prompts, whatever their spaces and marks; the system prompt does not count."""
    return content_id(*(f"{message.role}:{fold(message.content)}" for message in prompt if message.role != "system"))


def merge_votes(pairs: Sequence[PreferencePair]) -> tuple[list[PreferencePair], Dropped]:
    """One pair for all votes on the same two answers; its strength is the majority's lead times the mean strength.

    Two of three for a over b give a over b with strength ⅓; one against one gives nothing.
    """
    ballots: dict[tuple[str, ...], list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        answers = sorted((answer_key(pair.chosen), answer_key(pair.rejected)))
        ballots[prompt_key(pair.prompt), pair.source, *answers].append(pair)
    kept: list[PreferencePair] = []
    dropped: Dropped = []
    for votes in ballots.values():
        if len(votes) == 1:
            kept += votes
            continue
        first = answer_key(votes[0].chosen)
        ahead = [vote for vote in votes if answer_key(vote.chosen) == first]
        behind = [vote for vote in votes if answer_key(vote.chosen) != first]
        lead = len(ahead) - len(behind)
        if lead == 0:
            dropped += [(vote.pair_id, "votes_tied") for vote in votes]
            continue
        winners, losers = (ahead, behind) if lead > 0 else (behind, ahead)
        strength = abs(lead) / len(votes) * mean(vote.strength for vote in winners)
        merged = {
            "strength": round(strength, 6),
            "n_annotators": sum(vote.n_annotators for vote in votes),
            "from_ids": tuple(dict.fromkeys(name for vote in votes for name in vote.from_ids)),
        }
        kept.append(winners[0].model_copy(update=merged))
        dropped += [(vote.pair_id, "merged") for vote in winners[1:]]
        dropped += [(vote.pair_id, "outvoted") for vote in losers]
    return _in_order(kept, pairs), dropped


def without_cycles(pairs: Sequence[PreferencePair]) -> tuple[list[PreferencePair], Dropped]:
    """No answer of a prompt is better than itself: pairs that form a cycle go, the least believed source first."""
    by_prompt: dict[str, list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        by_prompt[prompt_key(pair.prompt)].append(pair)
    gone: dict[str, str] = {}
    for group in by_prompt.values():
        left = list(group)
        while circles := _circles(left):
            for circle in circles:
                last = max(AUTHORITY.index(pair.source) for pair in circle)
                gone |= {pair.pair_id: "cycle" for pair in circle if AUTHORITY.index(pair.source) == last}
            left = [pair for pair in left if pair.pair_id not in gone]
    return [pair for pair in pairs if pair.pair_id not in gone], list(gone.items())


def _circles(pairs: Sequence[PreferencePair]) -> list[list[PreferencePair]]:
    """Pairs whose answers reach each other along "better than", by component."""
    worse: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        worse[answer_key(pair.chosen)].add(answer_key(pair.rejected))
    reached = {answer: _reached(answer, worse) for answer in list(worse)}
    circles: dict[frozenset[str], list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        chosen = answer_key(pair.chosen)
        if chosen in reached.get(answer_key(pair.rejected), ()):
            component = frozenset(answer for answer in reached[chosen] if chosen in reached.get(answer, ()))
            circles[component].append(pair)
    return list(circles.values())


def _reached(start: str, worse: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(worse.get(start, ()))
    while waiting:
        answer = waiting.pop()
        if answer not in found:
            found.add(answer)
            waiting += worse.get(answer, ())
    return found


def balance_lengths(pairs: Sequence[PreferencePair], bound: float | None) -> tuple[list[PreferencePair], Dropped]:
    """Per source, pairs are dropped from the longer side until the mean log ratio of lengths is within the bound."""
    gone: set[str] = set()
    for source in AUTHORITY if bound is not None else ():
        left = sorted((_log_ratio(pair), pair.pair_id) for pair in pairs if pair.source == source)
        total = sum(ratio for ratio, _ in left)
        while left and abs(total) > (bound or 0.0) * len(left):
            ratio, pair_id = left.pop(-1 if total > 0 else 0)
            total -= ratio
            gone.add(pair_id)
    kept = [pair for pair in pairs if pair.pair_id not in gone]
    return kept, [(pair.pair_id, "length_imbalance") for pair in pairs if pair.pair_id in gone]


def _log_ratio(pair: PreferencePair) -> float:
    return math.log(len(pair.rejected) / len(pair.chosen))


def is_held_out(key: str, frac: float, seed: int) -> bool:
    """Whether a prompt is for evaluation: by a hash of the prompt, so that it is on one side in every source."""
    return int(content_id("import", str(seed), key)[:8], 16) < frac * 2**32


def keep_apart(train: Sequence[PreferencePair], test: Sequence[PreferencePair]) -> tuple[list[PreferencePair], Dropped]:
    """Training pairs without those whose prompt, or whose patient, is evaluated."""
    prompts = {prompt_key(pair.prompt) for pair in test}
    groups = {pair.group_id for pair in test}
    kept: list[PreferencePair] = []
    dropped: Dropped = []
    for pair in train:
        if prompt_key(pair.prompt) in prompts or pair.group_id in groups:
            dropped.append((pair.pair_id, "prompt_in_test"))
        else:
            kept.append(pair)
    return kept, dropped


def _in_order(kept: Iterable[PreferencePair], original: Sequence[PreferencePair]) -> list[PreferencePair]:
    place = {pair.pair_id: index for index, pair in reversed(list(enumerate(original)))}
    return sorted(kept, key=lambda pair: place[pair.pair_id])


def sides(pairs: Iterable[PreferencePair]) -> Iterator[tuple[str, str]]:
    """(prompt, split) of each pair: what the property "no prompt on both sides" is stated of."""
    return ((prompt_key(pair.prompt), pair.split) for pair in pairs)
