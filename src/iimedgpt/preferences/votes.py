"""Pairs from votes: clinicians' rankings and a judge's verdicts. One pair a vote; equal ones are merged later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.preferences.from_rankings import Against, preferences
from iimedgpt.text import content_id
from iimedgpt.types import Candidate, Conversation, Judgement, PairSource, PreferencePair, Ranking, Verdict


def files(config: RunConfig) -> dict[str, Path]:
    """The files of clinicians and judges, by a name of their own."""
    found = {}
    if config.pairs.rankings is not None:
        found["rankings"] = config.data_path(config.pairs.rankings)
    if config.pairs.judgements is not None:
        folder = config.data_path(config.pairs.judgements)
        found |= {f"judged:{name}": folder / name for name in ("judgements.jsonl", "answers.jsonl")}
    return found


def read_ranked(
    config: RunConfig, conversations: Mapping[str, Conversation], candidates: Iterable[Candidate]
) -> Iterator[PreferencePair | tuple[str, str]]:
    """Pairs of all rankings, and ``(ranking_id, reason)`` of those that give none."""
    found = files(config)
    if "rankings" not in found:
        return iter(())
    texts = {candidate.candidate_id: candidate.text for candidate in candidates}
    rankings = io.read_jsonl(found["rankings"], Ranking)
    return pairs_of_rankings(rankings, texts, conversations, config.pairs.rankings_against)


def pairs_of_rankings(
    rankings: Iterable[Ranking],
    texts: Mapping[str, str],
    conversations: Mapping[str, Conversation],
    against: Against = "all",
) -> Iterator[PreferencePair | tuple[str, str]]:
    """Better over worse answers of each ranking; the reference goes by its conversation_id.

    Args:
        texts: by candidate_id.
        conversations: by conversation_id.
    """
    for ranking in rankings:
        item = conversations.get(ranking.prompt_id)
        if item is None:
            yield ranking.ranking_id, "ranked_prompt_unknown"
            continue
        own = {item.conversation_id: item.response}
        edited = ranking.edited
        own |= {edited.candidate_id: edited.text} if edited else {}
        is_empty = True
        for better, worse in preferences(ranking, against):
            is_empty = False
            chosen, rejected = (own.get(name) or texts.get(name) for name in (better, worse))
            if not chosen or not rejected:
                yield ranking.ranking_id, "ranked_answer_unknown"
            else:
                yield _pair(item, chosen, rejected, "clinician", (better, worse))
        if is_empty:
            yield ranking.ranking_id, "ranked_no_preference"


def read_judged(
    config: RunConfig, conversations: Mapping[str, Conversation]
) -> Iterator[PreferencePair | tuple[str, str]]:
    """Pairs of all verdicts, and ``(prompt_id, reason)`` of those that give none."""
    found = files(config)
    if not found:
        return iter(())
    answers = {
        (answer.prompt_id, answer.model_id): answer
        for answer in io.read_jsonl(found["judged:answers.jsonl"], Candidate)
    }
    return pairs_of(io.read_jsonl(found["judged:judgements.jsonl"], Judgement), answers, conversations)


def pairs_of(
    judgements: Iterable[Judgement],
    answers: Mapping[tuple[str, str], Candidate],
    conversations: Mapping[str, Conversation],
) -> Iterator[PreferencePair | tuple[str, str]]:
    """Ties and invalid verdicts give no pair; the split is that of the prompt.

    Args:
        answers: by (prompt_id, model_id).
        conversations: by conversation_id.
    """
    for judgement in judgements:
        item = conversations.get(judgement.prompt_id)
        both = [answers.get((judgement.prompt_id, model)) for model in (judgement.model_a, judgement.model_b)]
        if judgement.verdict is Verdict.LOSS:
            both.reverse()
        better, worse = both
        if judgement.verdict in (Verdict.TIE, Verdict.INVALID):
            yield judgement.prompt_id, f"judged_{judgement.verdict.value}"
        elif item is None:
            yield judgement.prompt_id, "judged_prompt_unknown"
        elif better is None or worse is None or not better.text or not worse.text:
            yield judgement.prompt_id, "judged_answer_unknown"
        else:
            ids = (better.candidate_id, worse.candidate_id)
            yield _pair(item, better.text, worse.text, "judge", ids)


def _pair(
    item: Conversation, chosen: str, rejected: str, source: PairSource, from_ids: tuple[str, ...]
) -> PreferencePair:
    return PreferencePair(
        pair_id=content_id("pair", item.conversation_id, source, chosen, rejected),
        prompt=item.prompt,
        chosen=chosen,
        rejected=rejected,
        source=source,
        group_id=item.group_id,
        split=item.split,
        task=item.task,
        record_id=item.record_id,
        from_ids=(item.conversation_id, *from_ids),
        is_synthetic=item.is_synthetic,
        n_annotators=1,
    )
