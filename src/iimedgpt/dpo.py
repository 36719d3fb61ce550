"""Stage ``dpo``: direct preference optimisation from the SFT result, which is also the reference.

pairs/train.jsonl, sft/adapter → adapter/ (stacked LoRA), log.jsonl

The SFT adapter stays frozen under a fresh one. Reference log-probabilities are computed once, on the
very packs that are trained on, so that every margin at step 0 is zero; if one is not, the stage stops.
They are kept by a hash of weights and packs: a run that goes on, or comes again, reads them from disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from iimedgpt import io, progress
from iimedgpt.config import DPOConfig
from iimedgpt.engine.adapters import add_adapter, load_adapters, save_adapter
from iimedgpt.engine.batches import Budget, Plan, group_by, plan_training
from iimedgpt.engine.chat import Chat
from iimedgpt.engine.checkpoints import packs_digest, remembered, weights_digest
from iimedgpt.engine.distributed import join, spread
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.losses import PREFERENCE_LOSSES, Pairs, nll_per_token, sum_by_owner
from iimedgpt.engine.models import DPO, SFT, LoadedModel, load_model
from iimedgpt.engine.room import pack_budget
from iimedgpt.engine.trainer import Batch, train
from iimedgpt.engine.trie import TokenSequence, build_trie
from iimedgpt.errors import TrainingError
from iimedgpt.run import StageContext
from iimedgpt.text import content_id
from iimedgpt.types import PreferencePair

LOG = "log.jsonl"
STEP0_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 1e-2}


def run(ctx: StageContext) -> None:
    """Train the DPO adapter on top of the SFT one."""
    config = ctx.config.dpo
    loaded = load_model(ctx.config.model)
    ctx.device = str(loaded.device)
    if not loaded.is_shared:  # a pair's two answers share a trie: with a model that cannot, nothing would be right
        raise TrainingError(
            f"model '{loaded.name}' failed the trie probe, and DPO reads both answers of a pair in one trie",
            hint="use another base model; SFT and evaluation work with this one, a sequence at a time",
        )
    load_adapters(loaded, [(SFT, ctx.input("sft", "adapter"))])
    pairs, sequences = tokenise(ctx, loaded.chat, list(ctx.read("pairs", "train.jsonl", PreferencePair)))
    ctx.check_drops(1.0)

    budget = pack_budget(loaded, ctx.config.model, config, ctx.directory / "partial", is_stacked=True)
    plan = plan_steps(ctx, pairs, sequences, budget)
    packs = _packs(sequences, plan)
    if PREFERENCE_LOSSES[config.loss].needs_reference:
        _add_reference(loaded, packs, ctx.cache("reference.json"))
    add_adapter(loaded, DPO, config, ctx.config.seed)
    step0 = _step0_margin(loaded, packs) if PREFERENCE_LOSSES[config.loss].needs_reference else None
    log = train(
        loaded,
        packs,
        packs_per_step=plan.packs_per_step,
        loss_of=lambda logps_S, batch: _loss_of(logps_S, batch, config),
        config=config,
        seed=ctx.config.seed,
        checkpoints=ctx.directory / "checkpoints",
        label="dpo",
    )
    save_adapter(loaded, DPO, ctx.output("adapter"))
    io.write_jsonl(ctx.output(LOG), log)
    n_trie = sum(batch["input_ids"].shape[1] for batch in packs)
    n_original = sum(len(sequences[i].ids) for step in plan.steps for pack in step for i in pack)
    ctx.facts.update(
        model=loaded.name,
        is_shared=loaded.is_shared,
        tokens_per_pack=budget.tokens,
        longest_pack=budget.group_tokens,
        n_processes=join().count,
        compute=str(loaded.compute).removeprefix("torch."),
        loss=config.loss,
        beta=config.beta,
        n_steps=len(log),
        step0_max_margin=step0,
        first_loss=log[0]["loss"],
        last_loss=log[-1]["loss"],
        last_margin=log[-1]["margin"],
        last_accuracy=log[-1]["accuracy"],
        n_trie_tokens=n_trie,
        n_original_tokens=n_original,
        token_ratio=round(n_original / max(n_trie, 1), 3),
    )


def tokenise(
    ctx: StageContext, chat: Chat, rows: Sequence[PreferencePair]
) -> tuple[list[PreferencePair], list[TokenSequence]]:
    """Sequences 2i and 2i + 1 are the chosen and the rejected answer of pair i."""
    pairs: list[PreferencePair] = []
    sequences: list[TokenSequence] = []
    for row in progress.track(rows, "tokenising"):
        both = [chat.sequence(row.prompt, answer) for answer in (row.chosen, row.rejected)]
        if any(len(sequence.ids) > ctx.config.dpo.max_tokens for sequence in both):
            ctx.drop(row.pair_id, "over_max_tokens")
        elif both[0].ids == both[1].ids:
            ctx.drop(row.pair_id, "same_tokens")
        else:
            pairs.append(row)
            sequences += both
            ctx.keep()
    return pairs, sequences


def plan_steps(
    ctx: StageContext, pairs: Sequence[PreferencePair], sequences: Sequence[TokenSequence], budget: Budget
) -> Plan:
    """Groups are the pairs of one record, or lone pairs; a pack over the budget is cut between pairs, never inside."""
    config = ctx.config.dpo
    joined = [_union(sequences[2 * i], sequences[2 * i + 1]) for i in range(len(pairs))]
    plan = plan_training(
        joined,
        _groups(pairs, config.grouping),
        epochs=config.epochs,
        groups_per_step=config.groups_per_step,
        budget=budget,
        seed=ctx.config.seed,
        n_processes=join().count,
        names=[pair.pair_id for pair in pairs],
    )
    return Plan(
        tuple(tuple(tuple(s for i in pack for s in (2 * i, 2 * i + 1)) for pack in step) for step in plan.steps)
    )


def _groups(pairs: Sequence[PreferencePair], grouping: str) -> list[list[int]]:
    """The pairs of a record together, or each pair alone."""
    if grouping == "shuffled":
        return group_by([pair.pair_id for pair in pairs])
    return group_by([pair.record_id or pair.group_id for pair in pairs])


def _union(chosen: TokenSequence, rejected: TokenSequence) -> TokenSequence:
    """One sequence that costs what a pair costs: the chosen one and what the rejected one adds."""
    return TokenSequence((*chosen.ids, *rejected.ids[chosen.start :]), chosen.start)


def _packs(sequences: Sequence[TokenSequence], plan: Plan) -> list[Batch]:
    """Packs as tensors; chosen answers have even places. Pair weights sum to one over a step."""
    packs: list[Batch] = []
    for step in progress.track(plan.steps, "laying out"):
        n_pairs = sum(len(pack) for pack in step) // 2
        for pack in step:
            chosen = [sequences[i] for i in pack] or [TokenSequence(sequences[0].ids[:2], 1)] * 2
            trie = build_trie(chosen)
            packs.append(
                {
                    **trie_tensors(trie),
                    "owner": torch.as_tensor(trie.owner_S)[None],
                    "n_scored": torch.tensor([[s.n_scored for s in chosen]], dtype=torch.float32),
                    "weight": torch.full((1, len(chosen) // 2), (1.0 if pack else 0.0) / n_pairs),
                    "reference": torch.zeros(1, len(chosen)),  # until ``_add_reference``
                }
            )
    return packs


def _sums(logps_S: Tensor, batch: Batch) -> Tensor:
    """Summed log-probability of each sequence, shape [2P]: chosen and rejected by turns."""
    return sum_by_owner(logps_S, batch["owner"][0], batch["n_scored"].shape[1])


def _add_reference(loaded: LoadedModel, packs: Sequence[Batch], cache: Path) -> None:
    """Log-probabilities under the SFT adapter alone, on the packs of the training itself."""
    key = content_id(weights_digest(loaded), packs_digest(packs))
    sums = remembered(cache, key, lambda: spread(lambda own: _reference_sums(loaded, own), packs))
    for batch, sums_N in zip(packs, sums, strict=True):
        batch["reference"] = torch.tensor([sums_N])


@torch.no_grad()
def _reference_sums(loaded: LoadedModel, packs: Sequence[Batch]) -> list[list[float]]:
    """Summed log-probability of each sequence of each pack; as Python numbers, which hold a float32 exactly."""
    loaded.model.eval()
    sums: list[list[float]] = []
    for batch in progress.track(packs, "reference"):
        moved = {key: value.to(loaded.device) for key, value in batch.items()}
        with loaded.autocast():
            sums.append(_sums(token_logps(loaded.model, moved), moved).tolist())
    return sums


@torch.no_grad()
def _step0_margin(loaded: LoadedModel, packs: Sequence[Batch]) -> float:
    """Largest |margin| of the first pack before any step.

    Raises:
        TrainingError: it is not zero within the arithmetic's tolerance.
    """
    loaded.model.eval()
    batch = {key: value.to(loaded.device) for key, value in packs[0].items()}
    with loaded.autocast():
        difference = _sums(token_logps(loaded.model, batch), batch) - batch["reference"][0]
    worst = float((difference[0::2] - difference[1::2]).abs().max())
    tolerance = STEP0_TOLERANCE[loaded.compute]
    if worst > tolerance:
        raise TrainingError(
            f"before step 1 a margin is {worst:.3g}, over {tolerance:.0e}: the policy is not its own reference",
            hint="the base model or the SFT adapter changed between the reference pass and training",
        )
    return worst


def _loss_of(logps_S: Tensor, batch: Batch, config: DPOConfig) -> tuple[Tensor, dict[str, float]]:
    """Weighted loss of a pack and what it adds to the step's metrics."""
    pairs = Pairs.by_turns(
        _sums(logps_S, batch),
        batch["reference"][0],
        batch["n_scored"][0],
        beta=config.beta,
        gamma=config.gamma,
        label_smoothing=config.label_smoothing,
    )
    weight_P = batch["weight"][0]
    losses_P, margin_P = PREFERENCE_LOSSES[config.loss].of(pairs)
    nll_P = nll_per_token(pairs)
    loss = ((losses_P + config.nll_weight * nll_P) * weight_P).sum()
    with torch.no_grad():
        correct_P = (margin_P > 0).float() + 0.5 * (margin_P == 0).float()
        metrics = {
            "margin": (margin_P * weight_P).sum(),
            "accuracy": (correct_P * weight_P).sum(),
            "chosen_logp": (pairs.chosen_P / pairs.n_chosen_P * weight_P).sum(),
            "rejected_logp": (pairs.rejected_P / pairs.n_rejected_P * weight_P).sum(),
            "nll": (nll_P * weight_P).sum(),
        }
    return loss, {name: float(value) for name, value in metrics.items()}
