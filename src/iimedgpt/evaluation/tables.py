"""Differences, subsets, the main table and the sentences that say what it does not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from iimedgpt import stats
from iimedgpt.evaluation import metrics
from iimedgpt.evaluation.answers import REFERENCE
from iimedgpt.evaluation.controls import LONGER, SHORTER
from iimedgpt.evaluation.judge import sign_test_by_patient, tally
from iimedgpt.evaluation.scoreboard import Scoreboard
from iimedgpt.text import unique
from iimedgpt.types import Conversation, Judgement, PreferencePair

MODELS = ("base", "sft", "sft+dpo")
DIFFERENCES = (("sft", "base"), ("sft+dpo", "base"), ("sft+dpo", "sft"))

_COMPARED = (
    "loss",
    "choice_accuracy",
    "preference_accuracy",
    "preference_accuracy_per_token",
    "task_score",
    "rouge_l",
    "unsupported_rate",
    "repetition_rate",
    "finished_share",
    "answer_chars",
)
_WITH_WRONG_RECORD = ("loss", "choice_accuracy", "task_score", "rouge_l")
_WITH_CONTROLS = ("loss", "choice_accuracy", "task_score", "rouge_l")
_BY_SUBSET = ("loss", "choice_accuracy", "task_score")
_PREFERENCE = ("preference_accuracy", "preference_accuracy_per_token", "implicit_reward_accuracy")
_SHOWN = (
    "loss",
    "choice_accuracy",
    "choice_accuracy_wrong_record",
    "choice_accuracy_minus_wrong_record",
    "choice_accuracy_minus_best_control",
    "preference_accuracy",
    "preference_accuracy_per_token",
    "implicit_reward_accuracy",
    "task_score",
    "task_score_wrong_record",
    "task_score_minus_best_control",
    "rouge_l",
    "unsupported_rate",
    "repetition_rate",
    "finished_share",
    "answer_chars",
)
_FEW_PATIENTS = 30

Cell = dict[str, Any]


def add_subsets(board: Scoreboard, items: Sequence[Conversation], training: Sequence[Conversation]) -> None:
    """Score apart: answers that stand in the visible record or not, diseases seen in training or not.

    A subset that is everything or nothing is left out.
    """
    trained = {item.disease for item in training if item.disease is not None}
    stated = {item.conversation_id for item in items if item.is_stated}
    known = {item.conversation_id for item in items if item.disease is not None}
    seen = {item.conversation_id for item in items if item.disease in trained}
    everything = {item.conversation_id for item in items}
    subsets = {
        "stated": (stated, everything),
        "unstated": (everything - stated, everything),
        "seen_disease": (seen, known),
        "unseen_disease": (known - seen, known),
    }
    for name in _BY_SUBSET:
        for model in MODELS:
            series = board.series.get((name, model))
            for suffix, (keys, of) in subsets.items():
                if series is not None and keys and keys != of:
                    board.add(series.subset(suffix, keys.__contains__))


def add_pair_subsets(board: Scoreboard, pairs: Sequence[PreferencePair]) -> None:
    """Score preference accuracy per source of the pairs and per named clinical error."""
    subsets: dict[str, set[str]] = {}
    for pair in pairs:
        subsets.setdefault(f"source={pair.source}", set()).add(pair.pair_id)
        if pair.origin:
            subsets.setdefault(f"origin={pair.origin}", set()).add(pair.pair_id)
        if pair.is_out_of_distribution:
            subsets.setdefault("out_of_distribution", set()).add(pair.pair_id)
        if pair.error is not None:
            subsets.setdefault(f"error={pair.error}", set()).add(pair.pair_id)
    for name, model in [key for key in board.series if key[0] in _PREFERENCE]:
        for suffix, keys in subsets.items():
            board.add(board.series[name, model].subset(suffix, keys.__contains__))


def compare(board: Scoreboard, known_controls: Sequence[str]) -> None:
    """Score model − model, right − wrong record, and model − best control, each paired by item."""
    for name in _COMPARED:
        for model, other in DIFFERENCES:
            board.compare(name, model, (name, other), f"{model}_minus_{other}")
    for name in _WITH_WRONG_RECORD:
        for model in MODELS:
            board.compare(name, model, (f"{name}_wrong_record", model), "minus_wrong_record")
    for name in _WITH_CONTROLS:
        for model in MODELS:
            series = board.series.get((name, model))
            tasks = [None, *series.tasks] if series else []
            best = {task: board.best_control(name, known_controls, task) for task in tasks}
            rivals = {task: (name, control) for task, control in best.items() if control is not None}
            board.compare(name, model, rivals, "minus_best_control")
    best_length = board.best_control("preference_accuracy", (LONGER, SHORTER))
    for name in ("preference_accuracy", "preference_accuracy_per_token"):
        for model in MODELS:
            if best_length is not None:
                board.compare(name, model, ("preference_accuracy", best_length), "minus_best_control")
    for model in MODELS:
        board.compare("unsupported_rate", model, ("unsupported_rate", REFERENCE), "minus_reference")


def main_table(board: Scoreboard, judgements: Sequence[Judgement], known_controls: Sequence[str]) -> list[Cell]:
    """One row a model: each cell {value, low, high, n}, or None where nothing was measured."""
    rows = []
    for model in MODELS:
        row: Cell = {"model": model}
        for name in _SHOWN:
            row[name] = cell(board.value(name, model))
        for name, candidates in (
            ("choice_accuracy", known_controls),
            ("task_score", known_controls),
            ("preference_accuracy", (LONGER, SHORTER)),
        ):
            control = board.best_control(name, candidates)
            found = cell(board.value(name, control)) if control else None
            row[f"{name}_best_control"] = {"name": control, **found} if found else None
        row["vs_base"] = None if model == "base" else _outcome(board, judgements, model, "base")
        rows.append(row)
    return rows


def judge_table(board: Scoreboard, judgements: Sequence[Judgement]) -> list[Cell]:
    """One row a pair of models: wins, ties, losses, invalid, win rate, sign test, mean lengths."""
    pairs = dict.fromkeys((judgement.model_a, judgement.model_b) for judgement in judgements)
    return [
        {
            "model": a,
            "against": b,
            **(_outcome(board, judgements, a, b) or {}),
            "answer_chars": cell(board.value("answer_chars", a)),
            "answer_chars_against": cell(board.value("answer_chars", b)),
        }
        for a, b in pairs
    ]


def cell(estimate: stats.Estimate | None) -> Cell | None:
    """An estimate as plain numbers."""
    if estimate is None or estimate.value is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def error_table(board: Scoreboard, pairs: Sequence[PreferencePair]) -> list[Cell]:
    """One row a named error: preference accuracy of each model, by sum and per token, held-out pairs alone."""
    rows = []
    for error in sorted({pair.error for pair in pairs if pair.error}):
        row: Cell = {"error": error}
        for model in MODELS:
            row[model] = cell(board.value(f"preference_accuracy:error={error}", model))
            row[f"{model}_per_token"] = cell(board.value(f"preference_accuracy_per_token:error={error}", model))
        rows.append(row)
    return rows


def metrics_of(items: Iterable[Conversation]) -> dict[str, str]:
    """Task → name of the clinician's metric."""
    return {task: metrics.task_metric(task).name for task in unique(str(item.task) for item in items)}


def caveats(judgements: Sequence[Judgement]) -> list[str]:
    """What makes a number here weaker than it looks."""
    found = [
        "Preference accuracy and implicit reward are measured on pairs made the same way as DPO's training "
        "pairs: they show that the preference was learned, not that it is clinically right."
    ]
    if judgements:
        found.append(
            f"The judge of wins and losses is '{judgements[0].judge_id}'. It prefers what is like the "
            "reference, and DPO's pairs put the reference over a sample: for sft+dpo this judge is circular."
        )
    return found


def limits(
    items: Sequence[Conversation],
    *,
    finished: Mapping[str, stats.Estimate | None],
    max_new_tokens: int,
    n_shots: int,
    has_shots: bool,
) -> list[str]:
    """Plain sentences about what the evaluation does not show."""
    n_patients = len({item.group_id for item in items})
    found = [
        "Intervals resample patients; they hold neither the chance of another training run nor of another "
        "hospital, and they are not corrected for the number of comparisons.",
        "The best control is picked on the same items, which favours the control.",
        "To choose among answers of other patients is easier than to answer a patient.",
    ]
    if n_patients < _FEW_PATIENTS:
        found.insert(0, f"Only {n_patients} held-out patients: small differences cannot be seen.")
    for model, estimate in finished.items():
        if estimate is not None and estimate.value is not None and estimate.value < 1.0:
            found.append(
                f"{1 - estimate.value:.0%} of the free answers of {model} were cut at {max_new_tokens} "
                "tokens; metrics of long answers suffer."
            )
    if n_shots and not has_shots:
        found.append(
            f"No {n_shots} training records were short enough to serve as solved examples: that control is missing."
        )
    if any(item.is_synthetic for item in items):
        found.append("The held-out records are synthetic. This shows the machinery, not medicine.")
    return found


def _outcome(board: Scoreboard, judgements: Sequence[Judgement], a: str, b: str) -> Cell | None:
    of_pair = [row for row in judgements if (row.model_a, row.model_b) == (a, b)]
    if not of_pair:
        return None
    count = tally(of_pair)
    p, n_won, n_lost = sign_test_by_patient(of_pair)
    return {
        "win": count.wins,
        "tie": count.ties,
        "loss": count.losses,
        "invalid": count.invalid,
        "win_rate": cell(board.value(f"win_rate_vs_{b}", a)),
        "sign_test_p": p,
        "patients_won": n_won,
        "patients_lost": n_lost,
        "position_consistency": count.position_consistency,
        "judge_id": of_pair[0].judge_id,
    }
