"""Multiple-choice exams: by likelihood of the letter, of the option's text, and by a generated answer.

A question is read once for all its options. Chance and the commonest letter stand beside every model. The questions
are asked in the chat's own form, so figures are not those of a harness that asks bare text.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from iimedgpt.config import RunConfig
from iimedgpt.evaluation import given
from iimedgpt.evaluation.exam_sets import ExamItem, read_exam
from iimedgpt.evaluation.given import MINUS_BASE
from iimedgpt.evaluation.inquiry import Inquiry, Prompt, Reply
from iimedgpt.evaluation.scoreboard import Scoreboard, Series
from iimedgpt.text import is_chinese, unique
from iimedgpt.types import Message

BASE = "base"
CHANCE, MAJORITY = "control:chance", "control:commonest letter"
LETTER, TEXT, SAID = "exam_accuracy", "exam_accuracy_text", "exam_accuracy_generated"
UNPARSED, PARTIAL = "exam_unparsed_rate", "exam_partial_f1"
N_BINS = 10
_LIST = r"[A-H](?:[ ,，、]?[A-H])*"
_WHOLE = re.compile(rf"[(（【\[]?({_LIST})[)）】\]]?[.。]?")
_TOLD = re.compile(
    r"(?:答案|选择|应选|故选|正确选项|[Aa]nswer)[:： ]{0,2}(?:是|为|选|is)?[:： ]{0,2}"
    rf"[(（【\[]?({_LIST})(?![A-Za-z\u4e00-\u9fff])"
)


def read_all(config: RunConfig) -> list[ExamItem]:
    """Questions of all exams, exam by exam."""
    return [item for exam in config.exams.sets for item in read_exam(exam, config)]


def ask(inquiry: Inquiry, items: Sequence[ExamItem], config: RunConfig) -> None:
    """Ask for every option of every question; the first ``n_generate`` of an exam for an answer in words as well."""
    for item in items:
        for letter in item.letters:
            inquiry.ask_likelihood(prompt_of(item), letter)
        for option in unique(item.options):
            inquiry.ask_likelihood(bare_prompt(item), option)
    for item in _generated(items, config):
        inquiry.ask_answer(prompt_of(item))


def prompt_of(item: ExamItem) -> Prompt:
    """The question with its options, and the request for letters alone."""
    options = "\n".join(f"{letter}. {text}" for letter, text in zip(item.letters, item.options, strict=True))
    n = "一个或多个" if len(item.answers) > 1 else "一个"
    asked = (
        f"以下是选择题，请只用{n}选项字母作答。\n{item.question}\n{options}\n答案："
        if is_chinese(item.question)
        else f"A multiple-choice question. Answer with the letter{'s' * (len(item.answers) > 1)} alone.\n"
        f"{item.question}\n{options}\nAnswer:"
    )
    return (Message(role="user", content=asked),)


def bare_prompt(item: ExamItem) -> Prompt:
    """The question without options: how likely is each option's text as its answer?"""
    return (Message(role="user", content=item.question),)


def parse_letters(reply: str) -> str | None:
    """The letters a reply answers with, sorted; None where it names none in so many words.

    The whole reply has to be letters, or they stand behind 答案 (answer). Letters inside words (CT, B超, 维生素C)
    are no answer.
    """
    whole = _WHOLE.fullmatch(reply.strip())
    told = None if whole else list(_TOLD.finditer(reply))
    found = whole.group(1) if whole else told[-1].group(1) if told else None
    return None if found is None else "".join(sorted(set(found) & set("ABCDEFGH")))


def partial_f1(said: str, right: str) -> float:
    """F1 of two sets of letters."""
    n_both = len(set(said) & set(right))
    return 2 * n_both / (len(set(said)) + len(set(right)))


def measure(
    board: Scoreboard, items: Sequence[ExamItem], replies: Mapping[str, Reply], config: RunConfig
) -> dict[str, Any]:
    """Score all models on all exams into ``board`` (task: exam/subject); returns facts for the manifest.

    A question with several answers has no likelihood score: letters are alternatives there, not rivals.
    """
    for exam in config.exams.sets:
        own = [item for item in items if item.exam == exam.name]
        single = [item for item in own if len(item.answers) == 1]
        _controls(board, exam.name, single)
        for name, reply in replies.items():
            letters = _series(exam.name, LETTER, name, "likelihood of the option's letter")
            texts = _series(exam.name, TEXT, name, "likelihood per token of the option's text, question alone")
            for item in single:
                _add(letters, item, float(_best_letter(item, reply) == item.answers))
                _add(texts, item, float(_best_text(item, reply) == item.answers))
            board.add_all([letters, texts])
            board.add_all(_said(exam.name, name, _generated(own, config), reply))
        for name in replies:
            for metric in (LETTER, TEXT, SAID):
                board.compare(f"{exam.name}/{metric}", name, (f"{exam.name}/{metric}", BASE), MINUS_BASE)
    return {
        "n_items": {exam.name: sum(item.exam == exam.name for item in items) for exam in config.exams.sets},
        "n_several_answers": sum(len(item.answers) > 1 for item in items),
        "calibration_error": {
            exam.name: {
                name: calibration_error(
                    [pair for item in items if item.exam == exam.name for pair in _sure(item, reply)]
                )
                for name, reply in replies.items()
            }
            for exam in config.exams.sets
        },
    }


def calibration_error(pairs: Sequence[tuple[float, bool]]) -> float | None:
    """Expected calibration error over ten equal bins of confidence (Naeini et al. 2015): Σ n_b/n |acc_b − conf_b|.

    Args:
        pairs: (confidence in the answer chosen, whether it is right).
    """
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, is_right in pairs:
        bins.setdefault(min(int(confidence * N_BINS), N_BINS - 1), []).append((confidence, is_right))
    if not pairs:
        return None
    gaps = (abs(sum(c for c, _ in found) - sum(right for _, right in found)) for found in bins.values())
    return sum(gaps) / len(pairs)


def table(board: Scoreboard, config: RunConfig, models: Sequence[str]) -> dict[str, Any] | None:
    """Models and controls down, exams across, for the report; None without exams."""
    names = [exam.name for exam in config.exams.sets]
    if not names:
        return None
    columns = [(f"{exam}/{LETTER}", exam) for exam in names]
    columns += [(f"{exam}/{SAID}", f"{exam}, said") for exam in names]
    columns = [(name, title) for name, title in columns if any((name, model) in board.series for model in models)]
    rows = [
        {"label": model.removeprefix("control:"), "cells": [given.cell(board, name, model) for name, _ in columns]}
        for model in (*models, CHANCE, MAJORITY)
    ]
    rows += [
        {"label": f"{model} − base", "cells": [given.cell(board, f"{name}_{MINUS_BASE}", model) for name, _ in columns]}
        for model in models
        if model != BASE
    ]
    return {
        "name": "exams",
        "title_en": "Exams: accuracy by the likelihood of the letter, and as said in words",
        "title_zh": "考试：按选项字母似然的正确率，及生成作答的正确率",
        "columns": [title for _, title in columns],
        "rows": rows,
        "note_en": "Asked in the chat's own form: not comparable with a harness that asks bare text. An answer in "
        "words that names no letter counts as wrong. The commonest letter is taken from the exam itself.",
        "note_zh": "以对话格式提问，不可与裸文本评测框架直接比较。未给出字母的作答计为错误。最常见字母取自考试本身。",
    }


def _series(exam: str, metric: str, model: str, how: str) -> Series:
    series = Series(f"{exam}/{metric}", model, "share", how)
    series.is_pooled = True  # questions alike, whatever their subject
    return series


def _add(series: Series, item: ExamItem, value: float | None) -> None:
    series.add(item.item_id, item.subject, item.item_id, value)


def _generated(items: Sequence[ExamItem], config: RunConfig) -> list[ExamItem]:
    chosen = []
    for exam in config.exams.sets:
        chosen += [item for item in items if item.exam == exam.name][: exam.n_generate]
    return chosen


def _letter_logps(item: ExamItem, reply: Reply) -> dict[str, float]:
    return {letter: reply.likelihood(prompt_of(item), letter).logp for letter in item.letters}


def _best_letter(item: ExamItem, reply: Reply) -> str:
    logps = _letter_logps(item, reply)
    return max(logps, key=lambda letter: logps[letter])


def _best_text(item: ExamItem, reply: Reply) -> str:
    logps = [reply.likelihood(bare_prompt(item), option).logp_per_token for option in item.options]
    return item.letters[max(range(len(logps)), key=lambda place: logps[place])]


def _sure(item: ExamItem, reply: Reply) -> list[tuple[float, bool]]:
    """(confidence, whether right) of a question with one answer: softmax over its letters."""
    if len(item.answers) > 1:
        return []
    logps = _letter_logps(item, reply)
    best = max(logps, key=lambda letter: logps[letter])
    total = sum(math.exp(logp - logps[best]) for logp in logps.values())
    return [(1 / total, best == item.answers)]


def _said(exam: str, model: str, items: Sequence[ExamItem], reply: Reply) -> list[Series]:
    exact = _series(exam, SAID, model, "the generated answer's letters are exactly the right ones; unparsed is wrong")
    partial = _series(exam, PARTIAL, model, "F1 of the generated answer's letters; unparsed is 0")
    unparsed = _series(exam, UNPARSED, model, "generated answers that name no letter")
    unparsed.higher_is_better = False
    for item in items:
        answer = reply.answer(prompt_of(item))
        said = None if answer is None else parse_letters(answer.text)
        _add(exact, item, None if answer is None else float(said == item.answers))
        _add(partial, item, None if answer is None else partial_f1(said or "", item.answers))
        _add(unparsed, item, None if answer is None else float(said is None))
    return [exact, partial, unparsed]


def _controls(board: Scoreboard, exam: str, items: Sequence[ExamItem]) -> None:
    chance = _series(exam, LETTER, CHANCE, "one over the number of options")
    majority = _series(exam, LETTER, MAJORITY, "the letter most often right in this exam")
    commonest = Counter(item.answers for item in items).most_common(1)
    for item in items:
        _add(chance, item, 1 / len(item.options))
        _add(majority, item, float(item.answers == commonest[0][0]))
    board.add_all([chance, majority])
