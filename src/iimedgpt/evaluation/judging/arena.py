"""Judging, put together: read the questions, gather the answers, ask the judges, count.

With an empty configuration nothing is asked, and the reference judge's verdicts on the held-out records are
counted alone.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError
from iimedgpt.evaluation.judging import participants, questions, summary
from iimedgpt.evaluation.judging.duels import Duel, Question, plan_duels
from iimedgpt.evaluation.judging.endpoint_judge import EndpointJudge
from iimedgpt.evaluation.judging.local_judges import (
    REFERENCE_MODEL,
    LikelihoodJudge,
    ReferenceDuelJudge,
    read_clinicians,
)
from iimedgpt.evaluation.judging.participants import Answering
from iimedgpt.evaluation.judging.replies import Usage
from iimedgpt.judging_config import JudgeConfig, JudgingConfig
from iimedgpt.manifest import read_manifest
from iimedgpt.run import StageContext
from iimedgpt.text import content_id
from iimedgpt.types import Candidate, Conversation, Judgement, LanguageModel, Message

log = logging.getLogger(__name__)

FOLDER = "judged"
OURS = ("base", "sft", "sft+dpo")
Judge = EndpointJudge | LikelihoodJudge | ReferenceDuelJudge


@dataclass(frozen=True)
class HeldOut:
    """What the evaluation of the held-out records has made already."""

    questions: Sequence[Question]
    answers: Mapping[str, Mapping[str, str]]
    judgements: Sequence[Judgement]


def inputs(config: RunConfig) -> dict[str, Path]:
    """Files from outside the run that judging reads, by a name of their own.

    Raises:
        ConfigError: two of one name, or one without its path.
    """
    return {**questions.files(config), **participants.files(config)}


def run(ctx: StageContext, load_model: Callable[[str], LanguageModel], held_out: HeldOut) -> list[Judgement]:
    """Verdicts beside those on the held-out records; adds ``verdicts``, ``ratings`` and more to the facts.

    Raises:
        ConfigError: a name stands for two participants, or an endpoint may not be asked.
        DataError: a file of questions, answers or verdicts is missing or broken.
        GenerationError: a judge or a model does not answer at all.
    """
    config = ctx.config.judging
    asked, answering = _gather(ctx, load_model, held_out)
    duels = list(plan_duels(asked, answering.answers, config.models, round_robin=config.round_robin))
    found: list[Judgement] = []
    usage, left_out = {}, []
    for judge_config in config.judges:
        if judge_config.kind == "clinicians":
            sets = {question.question_id: question.question_set for question in asked}
            found += read_clinicians(ctx.config.data_path(str(judge_config.path)), sets)
        elif _is_left_out(judge_config):
            log.warning("judge '%s' is left out: %s is not set", judge_config.name, judge_config.endpoint.url_env)
            left_out.append(judge_config.name)
        else:
            judge = _build(judge_config, ctx, load_model, answering.identities)
            found += judge.judge(_duels_for(judge_config, duels, held_out.judgements, judge.usage))
            usage[judge_config.name] = dict(judge.usage.facts(judge_config.price_in, judge_config.price_out))
    _write(ctx, asked, answering.answers)
    _count(ctx, [*held_out.judgements, *found], held_out, answering)
    ctx.facts["judging"] = {
        "n_duels": len(duels),
        "usage": usage,
        "judges_left_out": left_out,
        "unanswered": dict(answering.failures),
        "n_skipped_rows": dict(answering.skipped),
    }
    return found


def _is_left_out(config: JudgeConfig) -> bool:
    return config.kind == "endpoint" and config.only_if_set and not os.environ.get(config.endpoint.url_env)


def _gather(
    ctx: StageContext, load_model: Callable[[str], LanguageModel], held_out: HeldOut
) -> tuple[list[Question], Answering]:
    """All questions, and everybody's answers to them."""
    config = ctx.config.judging
    answering = Answering(ctx.config, ctx.cache("judging"), _identities(ctx))
    outside: list[Question] = []
    asked: list[Question] = []
    for source in config.questions:
        if source.format == "held_out":
            asked += held_out.questions
            answering.add_saved({name: held_out.answers[name] for name in config.models if name in held_out.answers})
            if source.use_reference:
                references = {question.question_id: question.reference for question in held_out.questions}
                answering.add_saved({REFERENCE_MODEL: references})
            continue
        found = questions.read_set(source, ctx.config)
        if mixed := set(found.answers) & set(OURS):
            raise ConfigError(f"question set '{source.name}' holds answers of '{min(mixed)}', a name of our own models")
        outside += found.questions
        answering.skipped.update({source.name: found.n_skipped} if found.n_skipped else {})
        answering.add_saved(found.answers)
    asked += outside
    _refuse_one_name(config, asked, answering.answers)
    for name in config.models if outside else ():
        answering.ask_local(name, name, outside, load_model)
    for rival in config.rivals if asked else ():
        if rival.kind == "file":
            saved = participants.read_saved(ctx.config.data_path(str(rival.path)), asked)
            answering.add_saved({rival.name: saved})
        elif rival.kind == "endpoint":
            answering.ask_endpoint(rival, asked)
        else:
            answering.ask_local(rival.name, str(rival.path), asked, load_model)
    if config.use_controls:
        answering.add_controls(asked)
    return asked, answering


def _refuse_one_name(
    config: JudgingConfig, asked: Sequence[Question], answers: Mapping[str, Mapping[str, str]]
) -> None:
    """Two participants of one name, or two questions of one id, would be mixed."""
    for name in (rival.name for rival in config.rivals):
        if name in answers or name in OURS or name == REFERENCE_MODEL:
            raise ConfigError(f"judging.rivals: '{name}' is the name of another participant")
    twice = [key for key, n in Counter(question.question_id for question in asked).items() if n > 1]
    if twice:
        raise ConfigError(
            f"judging.questions: {len(twice)} questions have the id of another one",
            hint="'id' in a file of questions is unique over all sets; without one it is made from the text",
        )


def _identities(ctx: StageContext) -> dict[str, str]:
    """What each of our models' weights follow from: an answer of other weights is never taken from disk."""
    model = io.json_line(ctx.config.model)
    keys = {}
    for stage in ("sft", "dpo"):
        manifest = read_manifest(ctx.directory.parent / stage)
        keys[stage] = manifest.key if manifest else ""
    return {
        "base": content_id(model),
        "sft": content_id(model, keys["sft"]),
        "sft+dpo": content_id(model, keys["sft"], keys["dpo"]),
    }


def _build(
    config: JudgeConfig,
    ctx: StageContext,
    load_model: Callable[[str], LanguageModel],
    identities: Mapping[str, str],
) -> Judge:
    folder = ctx.cache("judging")
    if config.kind == "endpoint":
        return EndpointJudge(config, folder)
    if config.kind == "reference":
        return ReferenceDuelJudge(config)
    identity = identities.get(config.model) or participants.identity_of(config.model)
    return LikelihoodJudge(config, lambda: load_model(config.model), identity, folder)


def _duels_for(config: JudgeConfig, duels: Sequence[Duel], known: Sequence[Judgement], usage: Usage) -> list[Duel]:
    """Those of its question sets that are not too long, which is counted; held-out ones the reference judge has
    judged already.

    Raises:
        ConfigError: it is to judge a set that is not there.
    """
    sets = {duel.question.question_set for duel in duels}
    if unknown := set(config.question_sets) - sets:
        raise ConfigError(
            f"judge '{config.name}': nothing to judge in {', '.join(sorted(unknown))}",
            hint=f"question sets with answers of two models: {', '.join(sorted(sets)) or 'none'}",
        )
    pairs = {pair for row in known for pair in ((row.model_a, row.model_b), (row.model_b, row.model_a))}
    is_done = config.kind == "reference"
    kept = [
        duel
        for duel in duels
        if not config.question_sets or duel.question.question_set in config.question_sets
        if not (is_done and duel.question.question_set == "held_out" and (duel.model_a, duel.model_b) in pairs)
    ]
    short = [duel for duel in kept if duel.n_chars <= config.max_chars]
    usage.n_too_long += len(kept) - len(short)
    return short


def _write(ctx: StageContext, asked: Sequence[Question], answers: Mapping[str, Mapping[str, str]]) -> None:
    """Questions, and one file of answers a participant, as the ranking page's comparison reads them."""
    if not asked:
        return
    folder = ctx.output(FOLDER)
    known = {question.question_id: question for question in asked}
    io.write_jsonl(folder / "questions.jsonl", map(_conversation, known.values()))
    for number, (name, found) in enumerate(answers.items()):
        rows = (_candidate(key, name, text) for key, text in found.items() if key in known and text.strip())
        io.write_jsonl(folder / f"answers-{number:02d}.jsonl", rows)
    io.write_json(folder / "participants.json", {f"answers-{n:02d}.jsonl": name for n, name in enumerate(answers)})


def _conversation(question: Question) -> Conversation:
    reference = question.reference or "-"
    return Conversation(
        conversation_id=question.question_id,
        messages=(*question.prompt, Message(role="assistant", content=reference)),
        group_id=question.group_id,
        source=question.question_set,
        license="as the question set's",
        split="test",
        task=question.task,
    )


def _candidate(key: str, name: str, text: str) -> Candidate:
    """Settings of a saved answer are not known; every answer asked for here was greedy."""
    return Candidate(
        candidate_id=content_id(key, name, text),
        prompt_id=key,
        model_id=name,
        text=text,
        temperature=0.0,
        max_new_tokens=max(1, len(text)),
        seed=0,
        is_finished=True,
    )


def _count(ctx: StageContext, rows: Sequence[Judgement], held_out: HeldOut, answering: Answering) -> None:
    config = ctx.config.judging
    answers: dict[str, dict[str, str]] = {}
    for source in (held_out.answers, answering.answers):
        for name, found in source.items():
            answers.setdefault(name, {}).update(found)
    settings: dict[str, Any] = {"n_resamples": ctx.config.evaluate.n_bootstrap, "seed": ctx.config.seed}
    ctx.facts["verdicts"] = summary.verdict_rows(
        rows, answers, config.models, max_garbage_frac=config.max_garbage_frac, **settings
    )
    ctx.facts["ratings"] = summary.rating_rows(rows, **settings)
    ctx.facts["judge_agreement"] = summary.agreement_rows(rows, answers, **settings)
