"""Answers that teach nothing: pure functions from an answer to the reason why it is left out, or None."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

from iimedgpt.text import fold
from iimedgpt.types import Language

N_CHARS = 4  # of the pieces that repetition is told by
MIN_REPETITIVE_CHARS = 60  # shorter answers, lists of findings above all, repeat pieces rightly
MIN_DISTINCT_FRAC = 0.3
MIN_LETTERS = 8  # fewer say nothing of a language: "pH", "B超"
MIN_CHINESE_FRAC, MAX_CHINESE_FRAC = 0.3, 0.3  # of the letters of a Chinese, of an English answer


def poor_answer(answer: str, language: Language) -> str | None:
    """The first reason against an answer, None where there is none."""
    return next((reason for reason, is_so in _CHECKS.items() if is_so(answer, language)), None)


def is_boilerplate(answer: str, language: Language) -> bool:
    """True where all of it is a phrase that stands for an answer (详见病历, 同前, as above)."""
    folded = fold(answer)
    return not folded or folded in _phrases()


def is_repetitive(answer: str, language: Language) -> bool:
    """True where a long answer consists of few pieces over and over."""
    n = len(answer) - N_CHARS + 1
    if n < MIN_REPETITIVE_CHARS:
        return False
    return len({answer[start : start + N_CHARS] for start in range(n)}) < MIN_DISTINCT_FRAC * n


def is_other_language(answer: str, language: Language) -> bool:
    """True where the letters are mostly not of the record's language."""
    n_chinese = sum("\u4e00" <= char <= "\u9fff" for char in answer)
    n_letters = n_chinese + sum(char.isascii() and char.islower() for char in answer)  # capitals are abbreviations
    if n_letters < MIN_LETTERS:
        return False
    chinese_frac = n_chinese / n_letters
    return chinese_frac < MIN_CHINESE_FRAC if language == "zh" else chinese_frac > MAX_CHINESE_FRAC


_CHECKS: dict[str, Callable[[str, Language], bool]] = {
    "boilerplate_answer": is_boilerplate,
    "repetitive_answer": is_repetitive,
    "wrong_language": is_other_language,
}


@cache
def _phrases() -> frozenset[str]:
    text = files("iimedgpt.instructions").joinpath("boilerplate.txt").read_text(encoding="utf-8")
    return frozenset(fold(line) for line in text.splitlines() if line and not line.startswith("#"))
