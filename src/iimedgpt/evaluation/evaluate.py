"""Stage ``evaluate``: the base model, SFT and SFT+DPO on held-out patients, each beside its controls.

Every model is loaded once and asked once: one ``score`` call with a record's questions side by
side (shared beginnings are read once) and one ``generate`` call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from iimedgpt import io
from iimedgpt.evaluation import answers, controls, heldout, likelihood, significance, tables
from iimedgpt.evaluation.answers import Answers
from iimedgpt.evaluation.inquiry import Inquiry, Reply, consult
from iimedgpt.evaluation.judge import Judge, ReferenceJudge
from iimedgpt.evaluation.judging import arena
from iimedgpt.evaluation.judging.duels import Question
from iimedgpt.evaluation.material import Material, prepare
from iimedgpt.evaluation.metrics import rouge_l
from iimedgpt.evaluation.probing import Probing
from iimedgpt.evaluation.scoreboard import Scoreboard
from iimedgpt.evaluation.tables import DIFFERENCES, MODELS
from iimedgpt.progress import track
from iimedgpt.run import StageContext
from iimedgpt.text import content_id
from iimedgpt.types import Candidate, Conversation, Generation, Judgement, LanguageModel

BASE, SFT, DPO = MODELS


def run(ctx: StageContext, load_model: Callable[[str], LanguageModel]) -> None:
    """Evaluate on held-out patients; writes scores, judgements and answers.

    Args:
        load_model: gives the model called "base", "sft" or "sft+dpo". Called once a model, one after
            another, and not at all for a model whose reply an interrupted run has kept.

    Raises:
        DataError: nothing is held out, or a held-out patient stands in the training data.
        GenerationError: a model's reply is of the wrong length or not finite.
    """
    config = ctx.config.evaluate
    material = prepare(ctx)
    probing = Probing.prepare(ctx, material)
    replies = _consult_all(ctx, material, probing, load_model)
    board = Scoreboard(config.n_bootstrap, ctx.config.seed)
    _score_likelihood(board, material, replies)
    given = _given(material, replies)
    judgements = _score_answers(board, material, given, ReferenceJudge(config.tie_margin))
    judged = arena.run(ctx, load_model, _held_out(material, given, judgements))
    tables.add_subsets(board, material.items, material.training.conversations)
    tables.add_pair_subsets(board, material.pairs)
    tables.compare(board, material.control_names)
    io.write_jsonl(ctx.output("scores.jsonl"), board.scores)
    io.write_jsonl(ctx.output("judgements.jsonl"), [*judgements, *judged])
    io.write_jsonl(ctx.output("answers.jsonl"), _candidates(ctx, given))
    ctx.facts.update(_facts(ctx, material, board, replies, judgements))
    probing.score(ctx, replies)
    ctx.check_drops(1.0)
    _remove_partial(ctx)


def _consult_all(
    ctx: StageContext,
    material: Material,
    probing: Probing,
    load_model: Callable[[str], LanguageModel],
) -> dict[str, Reply]:
    replies = {}
    for name in track(MODELS, "evaluate"):
        inquiry = Inquiry()
        likelihood.ask_blocks(inquiry, material.blocks, material.plain, material.pairs)
        for free in material.free:
            inquiry.ask_answer(free.item.prompt)
        if name == BASE and material.shot_blocks:
            likelihood.ask_blocks(inquiry, material.shot_blocks, material.with_shots)
            for free in material.free:
                inquiry.ask_answer(material.with_shots(free.item))
        probing.ask(inquiry)
        replies[name] = consult(
            ctx.output("partial") / f"{name}.json",
            name,
            inquiry,
            load_model,
            max_new_tokens=ctx.config.evaluate.max_new_tokens,
            seed=ctx.config.seed,
        )
    return replies


def _score_likelihood(board: Scoreboard, material: Material, replies: Mapping[str, Reply]) -> None:
    for name, reply in replies.items():
        board.add_all(likelihood.measure_model(material.blocks, name, reply.likelihood, material.plain))
        board.add_all(likelihood.measure_preference(material.pairs, name, reply.likelihood))
    board.add(likelihood.measure_implicit_reward(material.pairs, DPO, replies[DPO].likelihood, replies[SFT].likelihood))
    _score_choice_controls(board, material)
    board.add_all(likelihood.measure_length_preference(material.pairs))
    if material.shot_blocks:
        base = replies[BASE].likelihood
        board.add_all(likelihood.measure_model(material.shot_blocks, material.shots_name, base, material.with_shots))


def _score_choice_controls(board: Scoreboard, material: Material) -> None:
    def frequency(item: Conversation, text: str) -> float:
        return float(material.training.frequency(str(item.task), text))

    def likeness(item: Conversation, text: str) -> float:
        return rouge_l(text, material.nearest.get(item.conversation_id, ""))

    board.add(likelihood.measure_chance(material.blocks, controls.CHANCE))
    for name, strength, how in (
        (controls.MAJORITY, frequency, "by frequency in the training data"),
        (controls.NEAREST, likeness, "by likeness to the nearest training record's answer"),
    ):
        board.add(likelihood.measure_choice(material.blocks, name, strength, how))


def _score_answers(
    board: Scoreboard, material: Material, given: Mapping[str, Mapping[str, Generation]], judge: Judge
) -> list[Judgement]:
    items = material.free
    if not items:
        return []
    texts: dict[str, Answers] = {
        name: {key: answer.text for key, answer in found.items()} for name, found in given.items()
    }
    for name, generations in given.items():
        board.add_all(answers.measure_wrong_record(items, name, texts[name]))
        board.add_all(answers.measure_form(items, name, generations))
    for name, found in material.constant_answers().items():
        texts[name] = found
        board.add(answers.measure_length(items, name, found))
    for name, found in texts.items():
        board.add_all(answers.measure_worth(items, name, found))
        board.add(answers.measure_support(items, name, found))
    reference = {free.item.conversation_id: free.item.response for free in items}
    board.add(answers.measure_support(items, answers.REFERENCE, reference))
    board.add(answers.measure_length(items, answers.REFERENCE, reference))
    rivals = [name for name in texts if name not in MODELS]
    judgements = []
    for a, b in [*DIFFERENCES, *((model, rival) for model in MODELS for rival in rivals)]:
        compared = answers.judge_answers(judge, items, a, texts[a], b, texts[b])
        board.add_all(answers.measure_judgements(compared))
        board.add_score(answers.score_sign_test(compared))
        judgements.extend(compared)
    return judgements


def _given(material: Material, replies: Mapping[str, Reply]) -> dict[str, dict[str, Generation]]:
    """Generated answers, model → conversation_id → answer; the control with examples among them."""
    askings = [(name, name, material.plain) for name in replies]
    if material.shot_blocks:
        askings.append((material.shots_name, BASE, material.with_shots))
    return {
        label: {
            free.item.conversation_id: answer
            for free in material.free
            if (answer := replies[name].answer(prompting(free.item))) is not None
        }
        for label, name, prompting in askings
    }


def _held_out(
    material: Material, given: Mapping[str, Mapping[str, Generation]], judgements: Sequence[Judgement]
) -> arena.HeldOut:
    """What judging takes over: the held-out questions and all answers to them."""
    texts: dict[str, Answers] = {
        name: {key: answer.text for key, answer in found.items()} for name, found in given.items()
    }
    questions = [
        Question(item.conversation_id, "held_out", item.group_id, item.prompt, item.response, item.task)
        for item in (free.item for free in material.free)
    ]
    return arena.HeldOut(questions, {**texts, **material.constant_answers()}, judgements)


def _candidates(ctx: StageContext, given: Mapping[str, Mapping[str, Generation]]) -> list[Candidate]:
    return [
        Candidate(
            candidate_id=content_id(item_id, name, answer.text),
            prompt_id=item_id,
            model_id=name,
            text=answer.text,
            temperature=0.0,
            max_new_tokens=ctx.config.evaluate.max_new_tokens,
            seed=ctx.config.seed,
            is_finished=answer.is_finished,
        )
        for name, found in given.items()
        for item_id, answer in found.items()
    ]


def _facts(
    ctx: StageContext,
    material: Material,
    board: Scoreboard,
    replies: Mapping[str, Reply],
    judgements: Sequence[Judgement],
) -> dict[str, object]:
    items, config = material.items, ctx.config.evaluate
    return {
        "n_patients": len({item.group_id for item in items}),
        "n_records": sum(map(len, material.blocks)),
        "n_items": len(items),
        "n_pairs": len(material.pairs),
        "n_answered_items": len(material.free),
        "n_questions": {name: len(reply.inquiry.questions) for name, reply in replies.items()},
        "model_ids": {name: reply.model_id for name, reply in replies.items()},
        "block_sizes": [len(block) for block in material.blocks],
        "n_records_sharing_a_disease_in_a_block": heldout.n_repeated_diseases(material.blocks),
        "task_metrics": tables.metrics_of(items),
        "main_table": tables.main_table(board, judgements, material.control_names),
        "errors": tables.error_table(board, material.pairs),
        "judge": tables.judge_table(board, judgements),
        "tables": significance.task_table(board),
        "undefined": board.undefined,
        "caveats": tables.caveats(judgements),
        "limits": tables.limits(
            items,
            finished={name: board.value("finished_share", name) for name in MODELS},
            max_new_tokens=config.max_new_tokens,
            n_shots=config.n_shots,
            has_shots=bool(material.shot_blocks),
        ),
    }


def _remove_partial(ctx: StageContext) -> None:
    folder = ctx.output("partial")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
