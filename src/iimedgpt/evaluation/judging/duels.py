"""What is judged: questions, the answers of models to them, and which two are put side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from iimedgpt.evaluation.judge import Case, fold
from iimedgpt.text import content_id, is_chinese
from iimedgpt.types import Judgement, Language, Message, Verdict


@dataclass(frozen=True)
class Question:
    """One prompt of a question set; turns of a conversation are questions of one group."""

    question_id: str
    question_set: str
    group_id: str
    prompt: tuple[Message, ...]
    reference: str = ""
    task: str | None = None

    @property
    def language(self) -> Language:
        return "zh" if is_chinese(self.prompt[-1].content) else "en"

    @property
    def case(self) -> Case:
        return Case(self.question_id, self.task, self.group_id, self.prompt, self.reference)


Answers = Mapping[str, Mapping[str, str]]  # model → question_id → answer


@dataclass(frozen=True)
class Duel:
    """Two models' answers to one question."""

    question: Question
    model_a: str
    answer_a: str
    model_b: str
    answer_b: str

    @property
    def is_comparable(self) -> bool:
        """False where an answer is empty: there is nothing to compare, and nobody is asked."""
        return bool(self.answer_a.strip()) and bool(self.answer_b.strip())

    @property
    def n_chars(self) -> int:
        return sum(len(message.content) for message in self.question.prompt) + len(self.answer_a) + len(self.answer_b)

    @property
    def is_same(self) -> bool:
        """Two equal answers are a tie; no judge is needed to see it."""
        return self.answer_a.strip() == self.answer_b.strip()

    def key(self, *judged_by: str) -> str:
        """Identifies the question, both answers in this order, and by whom and how they are judged."""
        parts = [part for message in self.question.prompt for part in (message.role, message.content)]
        return content_id(*judged_by, "|", *parts, "|", self.answer_a, self.answer_b)

    def turned(self) -> Duel:
        """The same duel, the answers the other way round."""
        return Duel(self.question, self.model_b, self.answer_b, self.model_a, self.answer_a)

    def judgement(self, judge_id: str, criterion: str, verdict_ab: Verdict, verdict_ba: Verdict) -> Judgement:
        """Verdicts of both orders (both for model a) as one row."""
        return Judgement(
            prompt_id=self.question.question_id,
            task=self.question.task,
            model_a=self.model_a,
            model_b=self.model_b,
            criterion=criterion,
            judge_id=judge_id,
            verdict_ab=verdict_ab,
            verdict_ba=verdict_ba,
            verdict=fold(verdict_ab, verdict_ba),
            group_id=self.question.group_id,
            question_set=self.question.question_set,
        )

    def unasked(self, judge_id: str, criterion: str) -> Judgement | None:
        """The row of a duel about which nobody is asked, None where a judge is needed."""
        if not self.is_comparable:
            return self.judgement(judge_id, criterion, Verdict.INVALID, Verdict.INVALID)
        if self.is_same:
            return self.judgement(judge_id, criterion, Verdict.TIE, Verdict.TIE)
        return None


class PairwiseJudge(Protocol):
    """Whoever gives verdicts on duels."""

    @property
    def judge_id(self) -> str: ...

    def judge(self, duels: Sequence[Duel]) -> list[Judgement]:
        """One row a duel and criterion; INVALID where no verdict was to be had."""
        ...


def plan_duels(
    questions: Iterable[Question], answers: Answers, ours: Sequence[str], *, round_robin: bool
) -> Iterator[Duel]:
    """Each of our models against every other participant, and with ``round_robin`` the others too.

    Two participants meet on the questions that both answered. Our later models stand first; the controls
    always meet each other: how a judge takes them shows what it is worth.
    """
    names = [*reversed(ours), *(name for name in answers if name not in ours)]
    pairs = [
        (a, b)
        for place, a in enumerate(names)
        for b in names[place + 1 :]
        if a in ours or round_robin or (a.startswith("control:") and b.startswith("control:"))
    ]
    for question in questions:
        key = question.question_id
        for a, b in pairs:
            if key in answers.get(a, {}) and key in answers.get(b, {}):
                yield Duel(question, a, answers[a][key], b, answers[b][key])
