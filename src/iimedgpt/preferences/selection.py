"""Active selection: which prompts clinicians should rank next. No torch; the model is handed in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from iimedgpt.preferences.filters import answer_key
from iimedgpt.types import Candidate, Conversation, LanguageModel


def choose_next(
    conversations: Sequence[Conversation], candidates: Sequence[Candidate], model: LanguageModel, n: int
) -> list[dict[str, Any]]:
    """The ``n`` prompts between two of whose answers the model decides least, the least decided first.

    The margin of two answers is the difference of their log-likelihoods per token (nats). A small one
    says that the policy has no preference yet: there a vote tells most (uncertainty sampling; for DPO see
    Muldrew et al. 2024, arXiv 2402.08114). One row a prompt: prompt_id, the two candidate_ids, margin.
    """
    answers: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if all(answer_key(candidate.text) != answer_key(other.text) for other in answers[candidate.prompt_id]):
            answers[candidate.prompt_id].append(candidate)
    asked = [(item, answer) for item in conversations for answer in answers[item.conversation_id]]
    asked = [(item, answer) for item, answer in asked if len(answers[item.conversation_id]) > 1]
    scores = model.score([(item.prompt, answer.text) for item, answer in asked])
    logp = {answer.candidate_id: score.logp_per_token for (_, answer), score in zip(asked, scores, strict=True)}
    rows = []
    for prompt_id in dict.fromkeys(item.conversation_id for item, _ in asked):
        pairs = [
            (abs(logp[a.candidate_id] - logp[b.candidate_id]), a.candidate_id, b.candidate_id)
            for a, b in combinations(answers[prompt_id], 2)
        ]
        margin, first, second = min(pairs)
        rows.append({"prompt_id": prompt_id, "candidate_ids": [first, second], "margin": round(margin, 6)})
    return sorted(rows, key=lambda row: (row["margin"], row["prompt_id"]))[:n]
