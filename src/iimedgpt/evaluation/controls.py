"""Controls that stand beside every score: what needs no trained model, or no reading, to reach.

A score means something only above these: a constant answer, the commonest answer of the training
data, the answer of the most similar training record, and the base model with solved examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from iimedgpt.text import fold, is_chinese, ngrams
from iimedgpt.types import Conversation, Message

MAJORITY = "control:majority"
NEAREST = "control:nearest"
NULL = "control:null"
CHANCE = "control:chance"
LONGER = "control:longer"
SHORTER = "control:shorter"

NGRAM = 3
MAX_SHOT_CHARS = 8_000  # solved examples longer than this would not fit beside a record

# Fluent, polite and worth nothing (arXiv 2410.07137: such an answer can win against good ones).
_NULL_ZH = "感谢您的咨询。您的情况需要结合实际综合考虑，建议保持良好心态，规律作息，如有不适请及时就诊。"
_NULL_EN = (
    "Thank you for your question. Your situation should be considered as a whole; please keep a positive "
    "attitude, rest regularly, and see a doctor if you feel unwell."
)

Prompt = tuple[Message, ...]


def shots_name(n_shots: int) -> str:
    """Name of the control that gives the base model solved examples."""
    return f"control:base+{n_shots}shots"


def null_answer(reference: str) -> str:
    """One constant, fluent, useless answer in the language of the reference."""
    return _NULL_ZH if is_chinese(reference) else _NULL_EN


class TrainingAnswers:
    """What the training data alone would answer, task by task."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self.conversations = [item for item in conversations if item.task is not None]
        self._n_of: dict[str, Counter[str]] = {}
        self._text_of: dict[tuple[str, str], str] = {}
        for item in self.conversations:
            task, key = str(item.task), fold(item.response)
            self._n_of.setdefault(task, Counter())[key] += 1
            self._text_of.setdefault((task, key), item.response)

    def frequency(self, task: str, answer: str) -> int:
        """How often the answer stands in the training data of the task."""
        return self._n_of.get(task, Counter())[fold(answer)]

    def majority(self, task: str) -> str | None:
        """The commonest answer of a task (the earliest of equals), None for an unknown task."""
        if task not in self._n_of:
            return None
        key, _ = self._n_of[task].most_common(1)[0]
        return self._text_of[task, key]

    def nearest(self, items: Sequence[Conversation]) -> dict[str, str]:
        """conversation_id → answer of the training prompt of the same task that is most like it.

        Likeness: Jaccard of the character 3-grams of the last user message; the earliest of equals.
        The training data is passed once, so its n-grams are never all in memory.
        """
        wanted: dict[str, list[tuple[str, set[str]]]] = {}
        for item in items:
            grams = ngrams(_last_user(item.prompt), NGRAM)
            wanted.setdefault(str(item.task), []).append((item.conversation_id, grams))
        best: dict[str, tuple[float, str]] = {}
        for row in self.conversations:
            if row.task not in wanted:
                continue
            row_grams = ngrams(_last_user(row.prompt), NGRAM)
            for item_id, grams in wanted[row.task]:
                likeness = jaccard(grams, row_grams)
                if item_id not in best or likeness > best[item_id][0]:
                    best[item_id] = (likeness, row.response)
        return {item_id: answer for item_id, (_, answer) in best.items()}

    def shots(self, system: str | None, n_shots: int) -> Prompt:
        """Solved examples as earlier turns of one conversation: n records with all their tasks.

        Records that share the system prompt, have the most tasks and are of at most median length;
        new diseases before repeated ones, else in order of appearance. Empty where fewer than n fit.
        """
        if n_shots == 0:
            return ()
        records = self._complete_records(system)
        longest = min(median(map(_n_chars, records)), MAX_SHOT_CHARS / n_shots) if records else 0
        short = [items for items in records if _n_chars(items) <= longest]
        first_of_disease = {items[0].disease: place for place, items in reversed(list(enumerate(short)))}
        places = list(dict.fromkeys([*sorted(first_of_disease.values()), *range(len(short))]))[:n_shots]
        if len(places) < n_shots:
            return ()
        return tuple(
            message
            for place in places
            for item in short[place]
            for message in item.messages
            if message.role != "system"
        )

    def _complete_records(self, system: str | None) -> list[list[Conversation]]:
        """Training records under this system prompt that have as many tasks as any of them."""
        records: dict[str, list[Conversation]] = {}
        for item in self.conversations:
            if item.record_id is not None and system_of(item.prompt) == system:
                records.setdefault(item.record_id, []).append(item)
        n_most = max(map(len, records.values()), default=0)
        return [items for items in records.values() if len(items) == n_most]


def jaccard(a: set[str], b: set[str]) -> float:
    """|a ∩ b| / |a ∪ b|, 0 for two empty sets."""
    n_both = len(a & b)
    n_either = len(a) + len(b) - n_both
    return n_both / n_either if n_either else 0.0


def system_of(prompt: Sequence[Message]) -> str | None:
    """Text of the system message, None where there is none."""
    return next((message.content for message in prompt if message.role == "system"), None)


def with_shots(prompt: Prompt, shots: Prompt) -> Prompt:
    """The prompt with solved examples between its system message and its question."""
    system = tuple(message for message in prompt if message.role == "system")
    return (*system, *shots, *(message for message in prompt if message.role != "system"))


def _last_user(prompt: Sequence[Message]) -> str:
    return next((message.content for message in reversed(prompt) if message.role == "user"), "")


def _n_chars(items: Sequence[Conversation]) -> int:
    return sum(len(message.content) for item in items for message in item.messages)
