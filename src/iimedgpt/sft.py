"""Stage ``sft``: supervised fine-tuning of the base on the mixture, answers only.

mixture/train.jsonl, validation.jsonl → adapter/ (LoRA), log.jsonl
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from iimedgpt import io, progress
from iimedgpt.engine.adapters import add_adapter, save_adapter
from iimedgpt.engine.batches import Budget, Plan, group_by, plan_training
from iimedgpt.engine.chat import Chat
from iimedgpt.engine.checkpoints import remembered, weights_digest
from iimedgpt.engine.distributed import join
from iimedgpt.engine.generate import TrieLanguageModel
from iimedgpt.engine.logps import trie_tensors
from iimedgpt.engine.losses import sft_loss, token_weights
from iimedgpt.engine.models import SFT, load_model
from iimedgpt.engine.room import pack_budget
from iimedgpt.engine.trainer import Batch, train
from iimedgpt.engine.trie import TokenSequence, build_trie
from iimedgpt.run import StageContext
from iimedgpt.text import content_id
from iimedgpt.types import Conversation

LOG = "log.jsonl"


def run(ctx: StageContext) -> None:
    """Train the SFT adapter."""
    config = ctx.config.sft
    loaded = load_model(ctx.config.model)
    ctx.device = str(loaded.device)
    rows, sequences = tokenise(ctx, loaded.chat, list(ctx.read("mixture", "train.jsonl", Conversation)))
    validation = list(ctx.read("mixture", "validation.jsonl", Conversation))
    ctx.check_drops(1.0)

    budget = pack_budget(loaded, ctx.config.model, config, ctx.directory / "partial")
    plan = plan_steps(ctx, rows, sequences, budget, is_shared=loaded.is_shared)
    packs, counts = _packs(sequences, [row.task for row in rows], plan, config.weighting)
    add_adapter(loaded, SFT, config, ctx.config.seed)
    scorer = TrieLanguageModel(loaded, SFT, (SFT,))
    before = remembered(
        ctx.cache("validation.json"),
        content_id(weights_digest(loaded), *(row.model_dump_json() for row in validation)),
        lambda: validation_loss(scorer, validation),
    )
    log = train(
        loaded,
        packs,
        packs_per_step=plan.packs_per_step,
        loss_of=_loss_of,
        config=config,
        seed=ctx.config.seed,
        checkpoints=ctx.directory / "checkpoints",
        label="sft",
    )
    loaded.model.eval()
    after = validation_loss(scorer, validation)
    save_adapter(loaded, SFT, ctx.output("adapter"))
    points = [{"step": 0, "validation_loss": before}, {"step": len(log), "validation_loss": after}]
    io.write_jsonl(ctx.output(LOG), [*points[:1], *log, *points[1:]] if validation else log)
    ctx.facts.update(counts)
    ctx.facts.update(
        model=loaded.name,
        is_shared=loaded.is_shared,
        tokens_per_pack=budget.tokens,
        longest_pack=budget.group_tokens,
        n_processes=join().count,
        compute=str(loaded.compute).removeprefix("torch."),
        n_steps=len(log),
        first_loss=log[0]["loss"],
        last_loss=log[-1]["loss"],
        validation_loss_before=before,
        validation_loss_after=after,
        n_validation=len(validation),
        n_trained_parameters=sum(p.numel() for k, p in loaded.model.named_parameters() if f".{SFT}." in k),
    )


def tokenise(
    ctx: StageContext, chat: Chat, rows: Sequence[Conversation]
) -> tuple[list[Conversation], list[TokenSequence]]:
    """One sequence per assistant turn, rendered as serving renders it; too long ones are counted."""
    kept: list[Conversation] = []
    sequences: list[TokenSequence] = []
    for row in progress.track(rows, "tokenising"):
        turns = [
            chat.sequence(row.messages[:i], message.content)
            for i, message in enumerate(row.messages)
            if message.role == "assistant"
        ]
        if any(len(turn.ids) > ctx.config.sft.max_tokens for turn in turns):
            ctx.drop(row.conversation_id, "over_max_tokens")
            continue
        kept += [row] * len(turns)
        sequences += turns
        ctx.keep()
    return kept, sequences


def plan_steps(
    ctx: StageContext,
    rows: Sequence[Conversation],
    sequences: Sequence[TokenSequence],
    budget: Budget,
    *,
    is_shared: bool = True,
) -> Plan:
    """Which conversations each step and each of its packs read."""
    config = ctx.config.sft
    return plan_training(
        sequences,
        _groups(rows, config.grouping),
        epochs=config.epochs,
        groups_per_step=config.groups_per_step,
        budget=budget,
        seed=ctx.config.seed,
        is_shared=is_shared,
        n_processes=join().count,
        names=[row.conversation_id for row in rows],
    )


def _groups(rows: Sequence[Conversation], grouping: str) -> list[list[int]]:
    """The conversations of a record together, or each conversation alone."""
    if grouping == "shuffled":
        return group_by([row.conversation_id for row in rows])
    return group_by([row.record_id or row.conversation_id for row in rows])


def _packs(
    sequences: Sequence[TokenSequence], tasks: Sequence[str | None], plan: Plan, weighting: str
) -> tuple[list[Batch], dict[str, float]]:
    """Every pack of every step as tensors; weights sum to one over a step."""
    packs: list[Batch] = []
    n_trie = n_original = n_scored = 0
    for step in progress.track(plan.steps, "laying out"):
        members = [i for pack in step for i in pack]
        shares = token_weights(weighting, [sequences[i].n_scored for i in members], [tasks[i] for i in members])
        weight_of = dict(zip(members, shares, strict=True))
        for pack in step:
            chosen = [sequences[i] for i in pack] or [_empty(sequences)]
            trie = build_trie(chosen)
            weight_N = torch.tensor([weight_of[i] for i in pack] or [0.0])
            packs.append({**trie_tensors(trie), "weight": weight_N[torch.as_tensor(trie.owner_S)][None]})
            n_trie, n_original = n_trie + trie.n_tokens, n_original + trie.n_original
            n_scored += len(trie.targets_S)
    return packs, {
        "n_trie_tokens": n_trie,
        "n_original_tokens": n_original,
        "n_scored_tokens": n_scored,
        "token_ratio": round(n_original / max(n_trie, 1), 3),
    }


def _empty(sequences: Sequence[TokenSequence]) -> TokenSequence:
    """Filler that keeps processes in step; its weight is zero."""
    return TokenSequence(sequences[0].ids[:2], 1)


def _loss_of(logps_S: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    return sft_loss(logps_S, batch["weight"][0]), {}


def validation_loss(model: TrieLanguageModel, rows: Sequence[Conversation]) -> float | None:
    """Nats per answer token over the last answers, None where there are no rows."""
    if not rows:
        return None
    scores = model.score([(row.prompt, row.response) for row in rows])
    return -sum(s.logp for s in scores) / sum(s.n_tokens for s in scores)
