"""What an evaluation asks about: held-out records in blocks, their pairs, what the training data offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iimedgpt.errors import DataError
from iimedgpt.evaluation import answers, controls, heldout
from iimedgpt.evaluation.answers import Answers, FreeItem
from iimedgpt.evaluation.heldout import Block
from iimedgpt.evaluation.inquiry import Prompt
from iimedgpt.run import StageContext
from iimedgpt.types import Conversation, PreferencePair

MAX_SHOT_RECORDS = 12  # the control with solved examples is scored on so many records at most


@dataclass(frozen=True)
class Material:
    """Everything the evaluation asks about."""

    blocks: list[Block]
    shot_blocks: list[Block]  # empty where the control with solved examples is left out
    shots: dict[str | None, Prompt]  # by system prompt
    shots_name: str
    pairs: list[PreferencePair]
    free: list[FreeItem]
    training: controls.TrainingAnswers
    nearest: dict[str, str]

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the controls that have a score of their own, in order."""
        return (controls.CHANCE, controls.MAJORITY, controls.NEAREST, controls.NULL, self.shots_name)

    @property
    def items(self) -> list[Conversation]:
        return [item for block in self.blocks for record in block for item in record.items.values()]

    def plain(self, item: Conversation) -> Prompt:
        return item.prompt

    def with_shots(self, item: Conversation) -> Prompt:
        return controls.with_shots(item.prompt, self.shots[controls.system_of(item.prompt)])

    def constant_answers(self) -> dict[str, Answers]:
        """Answers of the controls that need no model: commonest, nearest record's, and null."""
        items = [free.item for free in self.free]
        commonest = {item.conversation_id: self.training.majority(str(item.task)) for item in items}
        return {
            controls.MAJORITY: {key: text for key, text in commonest.items() if text is not None},
            controls.NEAREST: {
                item.conversation_id: self.nearest[item.conversation_id]
                for item in items
                if item.conversation_id in self.nearest
            },
            controls.NULL: {item.conversation_id: controls.null_answer(item.response) for item in items},
        }


def prepare(ctx: StageContext) -> Material:
    """Read, select and group what is asked; counts what is left out.

    Raises:
        DataError: nothing is held out, or a held-out patient stands in the training data.
    """
    config = ctx.config.evaluate
    training = list(ctx.read("mixture", "train.jsonl", Conversation))
    records = heldout.read_records(ctx, ctx.read("mixture", "test.jsonl", Conversation), config.choice_tasks)
    chosen = heldout.select_records(records, config.n_records)
    if not chosen:
        raise DataError(
            "no held-out clinical item",
            path=ctx.input("mixture", "test.jsonl"),
            hint="raise mixture.test_frac",
        )
    _refuse_leak(ctx, training, chosen)
    kept = {record.record_id for record in chosen}
    for record in records:
        for item in record.items.values():
            ctx.keep() if record.record_id in kept else ctx.drop(item.conversation_id, "beyond_n_records")
    pairs = _read_pairs(ctx, kept)
    blocks = heldout.build_blocks(chosen, config.n_options, ctx.config.seed)
    answered = controls.TrainingAnswers(training)
    items = [item for record in chosen for item in record.items.values()]
    systems = dict.fromkeys(controls.system_of(item.prompt) for item in items)
    shots = {system: answered.shots(system, config.n_shots) for system in systems}
    return Material(
        blocks=blocks,
        shot_blocks=_first_blocks(blocks) if all(shots.values()) else [],
        shots=shots,
        shots_name=controls.shots_name(config.n_shots),
        pairs=pairs,
        free=answers.free_items(blocks, config.n_generate),
        training=answered,
        nearest=answered.nearest(items),
    )


def _refuse_leak(ctx: StageContext, training: Sequence[Conversation], chosen: Sequence[heldout.HeldOutRecord]) -> None:
    trained = {item.group_id for item in training}
    n_leaked = sum(record.group_id in trained for record in chosen)
    if n_leaked:
        raise DataError(
            f"{n_leaked} held-out records are of patients in the training data",
            path=ctx.input("mixture", "test.jsonl"),
            field="group_id",
            expected="patients on one side of the split only",
        )


def _read_pairs(ctx: StageContext, kept: set[str]) -> list[PreferencePair]:
    pairs = []
    for pair in ctx.read("pairs", "test.jsonl", PreferencePair):
        if pair.record_id is None or pair.record_id in kept:  # an import has no record
            pairs.append(pair)
            ctx.keep()
        else:
            ctx.drop(pair.pair_id, "pair_of_a_record_not_scored")
    return pairs


def _first_blocks(blocks: Sequence[Block]) -> list[Block]:
    chosen: list[Block] = []
    for block in blocks:
        if sum(map(len, chosen)) + len(block) > MAX_SHOT_RECORDS:
            break
        chosen.append(block)
    return chosen or list(blocks[:1])
