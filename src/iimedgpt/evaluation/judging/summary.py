"""Verdicts as plain numbers: one row a judge, criterion, question set and pair of models; strengths; agreement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import mean
from typing import Any

from iimedgpt import stats
from iimedgpt.agreement import cohen_kappa
from iimedgpt.evaluation import ratings
from iimedgpt.evaluation.judge import points, sign_test_by_patient, tally
from iimedgpt.evaluation.judging.duels import Answers
from iimedgpt.evaluation.judging.flags import Seen, flags_of
from iimedgpt.evaluation.ratings import Meeting
from iimedgpt.types import Judgement, Verdict

Row = dict[str, Any]
Key = tuple[str, str, str, str, str]  # judge, criterion, question set, model a, model b


def verdict_rows(
    judgements: Sequence[Judgement],
    answers: Answers,
    ours: Sequence[str],
    *,
    max_garbage_frac: float,
    n_resamples: int,
    seed: int,
) -> list[Row]:
    """Wins, ties, losses, INVALID and rates of model a; flags are those of the judge on the criterion.

    ``win_rate`` is (W + T/2) / valid with its interval over prompts' groups; ``lc_win_rate`` the same at equal
    length, None where lengths do not overlap; ``sign_p`` counts a group once; ``position_consistency`` leaves equal
    answers out, on which nobody was asked. Numbers that cannot be
    had are None.
    """
    seen = [_see(row, answers) for row in judgements]
    flags = flags_of(seen, ours, max_garbage_frac)
    groups: defaultdict[Key, list[Seen]] = defaultdict(list)
    for item in seen:
        row = item.row
        groups[row.judge_id, row.criterion, row.question_set, row.model_a, row.model_b].append(item)
    return [
        _verdict_row(key, items, flags[key[0], key[1]], n_resamples=n_resamples, seed=seed)
        for key, items in groups.items()
    ]


def _verdict_row(key: Key, items: Sequence[Seen], flags: Sequence[str], *, n_resamples: int, seed: int) -> Row:
    judge, criterion, question_set, a, b = key
    rows = [item.row for item in items]
    count = tally(rows)
    asked = tally(item.row for item in items if item.was_asked)
    valid = [row for row in rows if row.verdict is not Verdict.INVALID]
    rate = stats.bootstrap_mean(
        [points(row.verdict) or 0.0 for row in valid],
        [row.group_id for row in valid],
        n_resamples=n_resamples,
        seed=seed,
        is_share=True,
    )
    controlled = ratings.length_controlled_win_rate(
        [meeting for item in items if (meeting := _meeting(item)) is not None and item.chars_a is not None],
        n_resamples=n_resamples,
        seed=seed,
    )
    return {
        "judge": judge,
        "criterion": criterion,
        "question_set": question_set,
        "model_a": a,
        "model_b": b,
        "wins": count.wins,
        "ties": count.ties,
        "losses": count.losses,
        "invalid": count.invalid,
        "n_prompts": len({row.prompt_id for row in rows}),
        "n_groups": len({row.group_id for row in rows}),
        "win_rate": rate.value,
        "ci_low": rate.low,
        "ci_high": rate.high,
        "lc_win_rate": controlled.value,
        "lc_ci_low": controlled.low,
        "lc_ci_high": controlled.high,
        "position_consistency": None if judge.startswith("clinician:") else asked.position_consistency,
        "sign_p": sign_test_by_patient(rows)[0],
        "mean_chars_a": _mean(item.chars_a for item in items),
        "mean_chars_b": _mean(item.chars_b for item in items),
        "flags": list(flags),
    }


def rating_rows(judgements: Sequence[Judgement], *, n_resamples: int, seed: int) -> list[Row]:
    """Bradley-Terry strength of every model, by judge, criterion and question set; two models or more."""
    groups: defaultdict[tuple[str, str, str], list[Meeting]] = defaultdict(list)
    for row in judgements:
        meeting = _meeting(Seen(row, None, None))
        if meeting is not None:
            groups[row.judge_id, row.criterion, row.question_set].append(meeting)
    found = []
    for (judge, criterion, question_set), meetings in groups.items():
        strengths = ratings.bradley_terry(meetings, n_resamples=n_resamples, seed=seed)
        order = sorted(strengths, key=lambda name: -(strengths[name].value or 0.0))
        found += [
            {
                "judge": judge,
                "criterion": criterion,
                "question_set": question_set,
                "model": name,
                "strength": strengths[name].value,
                "ci_low": strengths[name].low,
                "ci_high": strengths[name].high,
                "n": strengths[name].n,
            }
            for name in order
        ]
    return found


def agreement_rows(judgements: Sequence[Judgement], answers: Answers, *, n_resamples: int, seed: int) -> list[Row]:
    """Every two judges on what both judged, on one criterion: raw agreement and Cohen's kappa (win, tie, loss).

    The reference judge, which has a criterion of its own, stands beside "overall". Equal answers, on which nobody
    was asked, are left out.
    """
    by_judge: defaultdict[tuple[str, str], dict[tuple[str, ...], Judgement]] = defaultdict(dict)
    for row in judgements:
        if row.verdict is not Verdict.INVALID and _see(row, answers).was_asked:
            criterion = "overall" if row.criterion == "reference-closeness" else row.criterion
            place = (row.question_set, row.prompt_id, row.model_a, row.model_b)
            by_judge[criterion, row.judge_id][place] = row
    found = []
    for (criterion, one), (other_criterion, other) in combinations(by_judge, 2):
        if criterion != other_criterion:
            continue
        first, second = by_judge[criterion, one], by_judge[criterion, other]
        shared = [place for place in first if place in second]
        if not shared:
            continue
        groups = [first[place].group_id for place in shared]
        labels = [[found_by[place].verdict for place in shared] for found_by in (first, second)]
        kappa = cohen_kappa(labels[0], labels[1], groups, n_resamples=n_resamples, seed=seed)
        same = stats.bootstrap_mean(
            [float(a is b) for a, b in zip(*labels, strict=True)],
            groups,
            n_resamples=n_resamples,
            seed=seed,
            is_share=True,
        )
        found.append(
            {
                "criterion": criterion,
                "judge_a": one,
                "judge_b": other,
                "n": len(shared),
                "agreement": same.value,
                "agreement_low": same.low,
                "agreement_high": same.high,
                "kappa": kappa.value,
                "kappa_low": kappa.low,
                "kappa_high": kappa.high,
            }
        )
    return found


def _see(row: Judgement, answers: Answers) -> Seen:
    a, b = (answers.get(model, {}).get(row.prompt_id) for model in (row.model_a, row.model_b))
    was_asked = a is None or b is None or (bool(a.strip()) and bool(b.strip()) and a.strip() != b.strip())
    return Seen(row, None if a is None else len(a.strip()), None if b is None else len(b.strip()), was_asked)


def _meeting(item: Seen) -> Meeting | None:
    value = points(item.row.verdict)
    if value is None:
        return None
    gap = 0.0 if item.chars_a is None or item.chars_b is None else float(item.chars_a - item.chars_b)
    return Meeting(item.row.group_id, item.row.model_a, item.row.model_b, value, gap)


def _mean(values: Iterable[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(mean(known), 1) if known else None
