"""Arms of an ablation on the same held-out patients and pairs: one score a model, differences paired by item.

Each model is asked once, in the same words; a reply is kept as it comes, so that a killed run goes
on with the models that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from iimedgpt import io, stats
from iimedgpt.evaluation import answers, controls, likelihood
from iimedgpt.evaluation.inquiry import Inquiry, Reply, consult
from iimedgpt.evaluation.judge import ReferenceJudge, tally
from iimedgpt.evaluation.material import Material, prepare
from iimedgpt.evaluation.scoreboard import Scoreboard
from iimedgpt.evaluation.significance import sign_test
from iimedgpt.progress import track
from iimedgpt.run import StageContext
from iimedgpt.text import content_id
from iimedgpt.types import Judgement, LanguageModel

METRICS = ("loss", "choice_accuracy", "preference_accuracy", "task_score", "rouge_l", "unsupported_rate")


def run(
    ctx: StageContext,
    models: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    load_model: Callable[[str], LanguageModel],
) -> dict[str, Any]:
    """Score every model and compare the named pairs; writes ``scores.jsonl`` and ``judgements.jsonl``.

    Args:
        models: names that ``load_model`` knows.
        pairs: (model, the one it is compared with).

    Returns:
        ``metrics``: model → metric → estimate; ``differences``: one row a pair and metric, with the exact p of a
        sign test over patients and the same p corrected for the number of rows (Holm); ``verdicts``: one row a
        pair, of the reference judge on free answers; ``majority``: the controls that need no model.

    Raises:
        DataError: nothing is held out, or a held-out patient stands in the training data.
        GenerationError: a model's reply is of the wrong length or not finite.
    """
    config = ctx.config.evaluate
    material = prepare(ctx)
    board = Scoreboard(config.n_bootstrap, ctx.config.seed)
    texts: dict[str, dict[str, str]] = {}
    for name in track(models, "ablate"):
        texts[name] = _score(board, material, name, _ask(ctx, material, name, load_model))
    board.add(likelihood.measure_chance(material.blocks, controls.CHANCE))
    for name, found in material.constant_answers().items():
        board.add_all(answers.measure_worth(material.free, name, found))
    differences = [row for model, other in pairs for row in _compare(board, model, other)]
    for row, p in zip(differences, stats.holm([row["p"] for row in differences]), strict=True):
        row["p_holm"] = p
    judge = ReferenceJudge(config.tie_margin)
    judged = [answers.judge_answers(judge, material.free, a, texts[a], b, texts[b]) for a, b in pairs if material.free]
    io.write_jsonl(ctx.output("scores.jsonl"), board.scores)
    io.write_jsonl(ctx.output("judgements.jsonl"), chain.from_iterable(judged))
    return {
        "metrics": {name: _metrics(board, name) for name in (*models, *material.control_names)},
        "differences": differences,
        "verdicts": [_verdicts(board, judgements) for judgements in judged],
        "n_patients": len({item.group_id for item in material.items}),
    }


def _ask(ctx: StageContext, material: Material, name: str, load_model: Callable[[str], LanguageModel]) -> Reply:
    inquiry = Inquiry()
    likelihood.ask_blocks(inquiry, material.blocks, material.plain, material.pairs)
    for free in material.free:
        inquiry.ask_answer(free.item.prompt)
    return consult(
        ctx.output("partial") / f"{content_id(name)}.json",
        name,
        inquiry,
        load_model,
        max_new_tokens=ctx.config.evaluate.max_new_tokens,
        seed=ctx.config.seed,
    )


def _score(board: Scoreboard, material: Material, name: str, reply: Reply) -> dict[str, str]:
    """All metrics of one model; its free answers, by conversation_id."""
    board.add_all(likelihood.measure_model(material.blocks, name, reply.likelihood, material.plain))
    board.add_all(likelihood.measure_preference(material.pairs, name, reply.likelihood))
    given = {
        free.item.conversation_id: found
        for free in material.free
        if (found := reply.answer(free.item.prompt)) is not None
    }
    texts = {key: found.text for key, found in given.items()}
    if material.free:
        board.add_all(answers.measure_worth(material.free, name, texts))
        board.add(answers.measure_support(material.free, name, texts))
        board.add_all(answers.measure_form(material.free, name, given))
    return texts


def _compare(board: Scoreboard, model: str, other: str) -> list[dict[str, Any]]:
    """One row a metric that both have, model − other."""
    rows = []
    for name in METRICS:
        ours, theirs = board.series.get((name, model)), board.series.get((name, other))
        if ours is None or theirs is None:
            continue
        board.compare(name, model, (name, other), f"minus_{other}")
        found = board.value(f"{name}_minus_{other}", model)
        if found is None or found.value is None:
            continue
        p, n_up, n_down = sign_test(ours, theirs)
        rows.append(
            {
                "arm": model,
                "against": other,
                "metric": name,
                "value": found.value,
                "ci_low": found.low,
                "ci_high": found.high,
                "n": found.n,
                "p": p,
                "n_patients_up": n_up,
                "n_patients_down": n_down,
            }
        )
    return rows


def _metrics(board: Scoreboard, model: str) -> Mapping[str, Mapping[str, Any]]:
    found = {name: board.value(name, model) for name in METRICS}
    return {
        name: {"value": one.value, "ci_low": one.low, "ci_high": one.high, "n": one.n}
        for name, one in found.items()
        if one is not None and one.value is not None
    }


def _verdicts(board: Scoreboard, judgements: Sequence[Judgement]) -> dict[str, Any]:
    first, counts = judgements[0], tally(judgements)
    board.add_all(answers.measure_judgements(judgements))
    rate = board.value(f"win_rate_vs_{first.model_b}", first.model_a)
    return {
        "arm_a": first.model_a,
        "arm_b": first.model_b,
        "judge": first.judge_id,
        "criterion": first.criterion,
        "wins": counts.wins,
        "ties": counts.ties,
        "losses": counts.losses,
        "invalid": counts.invalid,
        "win_rate": None if rate is None else rate.value,
        "ci_low": None if rate is None else rate.low,
        "ci_high": None if rate is None else rate.high,
        "sign_p": answers.score_sign_test(judgements).value,
    }
