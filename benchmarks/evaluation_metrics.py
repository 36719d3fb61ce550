"""Text metrics: equal to rouge-chinese on the same characters, and how long a pair of 6,000 characters takes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from iimedgpt.evaluation import metrics

N_CHARS, MAX_SECONDS = 6_000, 0.1
N_PAIRS = {False: 200, True: 20}
N_REPEATS = 5
_PIECES = "患者血压心率发热咳嗽三天无明显诱因出现头痛给予阿司匹林复查血常规未见异常12.5mg，。：\n"

METRICS: dict[str, Callable[[str, str], Any]] = {
    "rouge_l": metrics.rouge_l,
    "section_overlap": metrics.section_overlap,
    "n_unsupported": metrics.n_unsupported,
    "repetition_rate": lambda answer, _: metrics.repetition_rate(answer),
    **{f"task: {task}": metric.score for task, metric in metrics.TASK_METRICS.items()},
}


def measure(quick: bool) -> dict[str, Any]:
    """Largest difference to rouge-chinese; seconds of each metric on one long pair.

    The first call reads word lists and stands apart; median and worst of five after it.
    """
    rng = random.Random(7)
    seconds = {name: _time(score, _text(rng, N_CHARS), _text(rng, N_CHARS)) for name, score in METRICS.items()}
    return {
        "rouge_l_against_rouge_chinese": _parity(rng, N_PAIRS[quick]),
        "n_chars": N_CHARS,
        "max_seconds": MAX_SECONDS,
        "seconds": seconds,
        "is_fast": all(found["worst"] < MAX_SECONDS for found in seconds.values()),
    }


def _parity(rng: random.Random, n_pairs: int) -> dict[str, Any]:
    """On texts of up to 300 characters: theirs takes a minute on long ones."""
    from rouge_chinese import Rouge

    worst = 0.0
    for _ in range(n_pairs):
        answer, reference = (_text(rng, rng.randint(1, 300)).replace("\n", "") for _ in range(2))
        if answer and reference:
            theirs = Rouge(metrics=["rouge-l"]).get_scores(" ".join(answer), " ".join(reference))[0]["rouge-l"]["f"]
            worst = max(worst, abs(theirs - metrics.rouge_l(answer, reference)))
    return {"n_pairs": n_pairs, "max_difference": worst}


def _text(rng: random.Random, n: int) -> str:
    return "".join(rng.choice(_PIECES) for _ in range(n))


def _time(score: Callable[[str, str], Any], answer: str, reference: str) -> dict[str, float]:
    taken = []
    for _ in range(1 + N_REPEATS):
        start = time.perf_counter()
        score(answer, reference)
        taken.append(time.perf_counter() - start)
    first, *later = taken
    return {"first": round(first, 5), "median": round(median(later), 5), "worst": round(max(later), 5)}
