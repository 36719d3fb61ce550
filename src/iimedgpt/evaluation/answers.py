"""Metrics of free answers: the clinician's metric per task, likeness, support, repetition, length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from iimedgpt.evaluation import judge as judging
from iimedgpt.evaluation import metrics
from iimedgpt.evaluation.heldout import Block, HeldOutRecord
from iimedgpt.evaluation.judge import Case, Judge
from iimedgpt.evaluation.scoreboard import Series
from iimedgpt.text import fold
from iimedgpt.types import Conversation, Generation, Judgement, Score, Verdict

Answers = Mapping[str, str]  # conversation_id → answer

REFERENCE = "reference"
_RATES = {Verdict.WIN: "win", Verdict.TIE: "tie", Verdict.LOSS: "loss"}


@dataclass(frozen=True)
class FreeItem:
    """One item answered freely, and the items of its block that stand in for the wrong record."""

    item: Conversation
    rivals: tuple[Conversation, ...]

    @property
    def visible(self) -> str:
        return "\n".join(message.content for message in self.item.prompt if message.role != "system")

    @property
    def case(self) -> Case:
        item = self.item
        return Case(item.conversation_id, item.task, item.group_id, item.prompt, item.response)


def free_items(blocks: Sequence[Block], n_records: int) -> list[FreeItem]:
    """Items of the first n records, block by block, so that a wrong record is at hand for each."""
    chosen: list[list[HeldOutRecord]] = []
    n_left = n_records
    for block in blocks:
        chosen.append(list(block[:n_left]))
        n_left -= len(chosen[-1])
    return [
        FreeItem(
            item,
            tuple(
                other.items[task]
                for other in block
                if task in other.items and fold(other.items[task].response) != fold(item.response)
            ),
        )
        for block in chosen
        for record in block
        for task, item in record.items.items()
    ]


def measure_worth(items: Sequence[FreeItem], model: str, answers: Answers) -> list[Series]:
    """Clinician's metric, ROUGE-L and section coverage of answers against their references."""
    return [
        _score_series("task_score", items, model, answers),
        _series("rouge_l", model, "ROUGE-L F1 on characters", items, answers, metrics.rouge_l),
        _section_series(items, model, answers),
    ]


def measure_wrong_record(items: Sequence[FreeItem], model: str, answers: Answers) -> list[Series]:
    """The same metrics for answers generated for the block's other records."""
    found = []
    for name in ("task_score", "rouge_l"):
        series = Series(f"{name}_wrong_record", model, "share", "answers to the block's other records")
        for free in items:
            item = free.item
            score = metrics.task_metric(item.task).score if name == "task_score" else metrics.rouge_l
            values = [
                value
                for rival in free.rivals
                if rival.conversation_id in answers
                and (value := score(answers[rival.conversation_id], item.response)) is not None
            ]
            mean = sum(values) / len(values) if values else None
            series.add(item.conversation_id, item.task, item.group_id, mean)
        found.append(series)
    return found


def measure_support(items: Sequence[FreeItem], model: str, answers: Answers) -> Series:
    """Unsupported rate: facts of the answers that the visible record lacks, over all facts checked.

    Answers without a checkable fact are invalid: they are neither supported nor unsupported.
    """
    series = Series(
        "unsupported_rate",
        model,
        "share",
        "numbers, drugs and negations of the answers that the visible record does not hold",
        higher_is_better=False,
    )
    for free in items:
        item = free.item
        answer = answers.get(item.conversation_id, "")
        n_missing, n_facts = metrics.n_unsupported(answer, free.visible)
        rate = n_missing / n_facts if n_facts else None
        series.add(item.conversation_id, item.task, item.group_id, rate, max(n_facts, 1))
    return series


def measure_form(items: Sequence[FreeItem], model: str, given: Mapping[str, Generation]) -> list[Series]:
    """Repetition, share that ended by itself, and length in characters."""
    texts = {key: answer.text for key, answer in given.items()}
    finished = Series("finished_share", model, "share", "ended before the token limit")
    for free in items:
        answer = given.get(free.item.conversation_id)
        value = None if answer is None else float(answer.is_finished)
        finished.add(free.item.conversation_id, free.item.task, free.item.group_id, value)
    repetition = _series(
        "repetition_rate",
        model,
        "character 4-grams that stood in the answer before",
        items,
        texts,
        lambda answer, _: metrics.repetition_rate(answer),
    )
    repetition.higher_is_better = False
    return [finished, repetition, measure_length(items, model, texts)]


def measure_length(items: Sequence[FreeItem], model: str, answers: Answers) -> Series:
    """Length in characters."""
    series = _series("answer_chars", model, "length", items, answers, lambda answer, _: float(len(answer.strip())))
    series.unit, series.is_share = "characters", False
    return series


def judge_answers(
    judge: Judge, items: Iterable[FreeItem], model_a: str, a: Answers, model_b: str, b: Answers
) -> list[Judgement]:
    """Both models' answers to every item, compared in both orders."""
    return [
        judging.judge_pair(
            judge,
            free.case,
            model_a,
            a.get(free.item.conversation_id),
            model_b,
            b.get(free.item.conversation_id),
        )
        for free in items
    ]


def measure_judgements(judgements: Sequence[Judgement]) -> list[Series]:
    """Win rate, shares of wins, ties and losses, and position consistency of a against b, items alike."""
    first = judgements[0]
    against = f"vs_{first.model_b}"
    how = f"judge {first.judge_id}, both orders folded"
    rate = Series(f"win_rate_{against}", first.model_a, "share", f"(W + T/2) / valid; {how}", is_pooled=True)
    shares = {
        verdict: Series(f"{word}_share_{against}", first.model_a, "share", how, is_pooled=True)
        for verdict, word in _RATES.items()
    }
    consistent = Series(
        f"position_consistency_vs_{first.model_b}", first.model_a, "share", f"same verdict in both orders; {how}"
    )
    consistent.is_pooled = True
    for judgement in judgements:
        place = (judgement.prompt_id, judgement.task, judgement.group_id)
        rate.add(*place, judging.points(judgement.verdict))
        is_invalid = judgement.verdict is Verdict.INVALID
        is_same = judgement.verdict_ab == judgement.verdict_ba
        consistent.add(*place, None if is_invalid else float(is_same))
        for verdict, series in shares.items():
            series.add(*place, None if is_invalid else float(judgement.verdict is verdict))
    return [rate, *shares.values(), consistent]


def score_sign_test(judgements: Sequence[Judgement]) -> Score:
    """p that model a and model b win equally often, a patient counting once."""
    first = judgements[0]
    p, n_won, n_lost = judging.sign_test_by_patient(judgements)
    return Score(
        name=f"sign_test_p_vs_{first.model_b}",
        value=p,
        unit="p",
        n=n_won + n_lost,
        n_invalid=judging.tally(judgements).invalid,
        method=f"two-sided exact sign test over patients, {n_won} won and {n_lost} lost; {first.judge_id}",
        model=first.model_a,
    )


def _score_series(name: str, items: Sequence[FreeItem], model: str, answers: Answers) -> Series:
    says = {task: metrics.task_metric(task) for task in dict.fromkeys(free.item.task for free in items)}
    series = Series(
        name,
        model,
        "share",
        "the clinician's metric of each task",
        how_by_task={task: f"{metric.name}: {metric.says}" for task, metric in says.items()},
    )
    for free in items:
        item = free.item
        answer = answers.get(item.conversation_id)
        value = None if answer is None else says[item.task].score(answer, item.response)
        series.add(item.conversation_id, item.task, item.group_id, value)
    return series


def _section_series(items: Sequence[FreeItem], model: str, answers: Answers) -> Series:
    records = [free for free in items if free.item.task == "record"]
    how = "sections of the reference that the answer has too"
    return _series("section_coverage", model, how, records, answers, metrics.section_coverage)


def _series(
    name: str,
    model: str,
    how: str,
    items: Sequence[FreeItem],
    answers: Answers,
    measure: Callable[[str, str], float | None],
) -> Series:
    series = Series(name, model, "share", how)
    for free in items:
        item = free.item
        answer = answers.get(item.conversation_id)
        value = None if answer is None else measure(answer, item.response)
        series.add(item.conversation_id, item.task, item.group_id, value)
    return series
