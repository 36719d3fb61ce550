"""Stage ``dpo``: direct preference optimisation from the SFT result, which is also the reference.

pairs/train.jsonl, sft/adapter → adapter/ (stacked LoRA), log.jsonl

The SFT adapter stays frozen under a fresh one. Reference log-probabilities are computed once, on the
very packs that are trained on, so that every margin at step 0 is zero; if one is not, the stage stops.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from iimedgpt import io, progress
from iimedgpt.config import DPOConfig
from iimedgpt.engine.adapters import add_adapter, load_adapters, save_adapter
from iimedgpt.engine.batches import Plan, group_by, plan_training
from iimedgpt.engine.chat import Chat
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.losses import HAS_REFERENCE, nll_per_token, preference_loss, sum_by_owner
from iimedgpt.engine.models import DPO, SFT, LoadedModel, load_model
from iimedgpt.engine.trainer import Batch, train
from iimedgpt.engine.trie import TokenSequence, build_trie
from iimedgpt.errors import TrainingError
from iimedgpt.run import StageContext
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
    pairs, sequences = _tokenise(ctx, loaded.chat, list(ctx.read("pairs", "train.jsonl", PreferencePair)))
    ctx.check_drops(1.0)

    plan = _plan(ctx, pairs, sequences)
    packs = _packs(sequences, plan)
    _add_reference(loaded, packs)
    add_adapter(loaded, DPO, config, ctx.config.seed)
    step0 = _step0_margin(loaded, packs) if HAS_REFERENCE[config.loss] else None
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


def _tokenise(
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


def _plan(ctx: StageContext, pairs: Sequence[PreferencePair], sequences: Sequence[TokenSequence]) -> Plan:
    """Groups are the pairs of one record; a pack over the budget is cut between pairs, never inside."""
    config = ctx.config.dpo
    joined = [_union(sequences[2 * i], sequences[2 * i + 1]) for i in range(len(pairs))]
    plan = plan_training(
        joined,
        group_by([pair.record_id or pair.group_id for pair in pairs]),
        epochs=config.epochs,
        groups_per_step=config.groups_per_step,
        budget=config.tokens_per_pack,
        seed=ctx.config.seed,
    )
    return Plan(
        tuple(tuple(tuple(s for i in pack for s in (2 * i, 2 * i + 1)) for pack in step) for step in plan.steps)
    )


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
                }
            )
    return packs


def _sums(logps_S: Tensor, batch: Batch) -> Tensor:
    """Summed log-probability of each sequence, shape [2P]: chosen and rejected by turns."""
    return sum_by_owner(logps_S, batch["owner"][0], batch["n_scored"].shape[1])


@torch.no_grad()
def _add_reference(loaded: LoadedModel, packs: Sequence[Batch]) -> None:
    """Log-probabilities under the SFT adapter alone, on the packs of the training itself."""
    loaded.model.eval()
    for batch in progress.track(packs, "reference"):
        moved = {key: value.to(loaded.device) for key, value in batch.items()}
        with loaded.autocast():
            batch["reference"] = _sums(token_logps(loaded.model, moved), moved).cpu()[None]


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
    sums_N, reference_N, n_N = _sums(logps_S, batch), batch["reference"][0], batch["n_scored"][0]
    weight_P = batch["weight"][0]
    losses_P, margin_P = preference_loss(
        config.loss,
        sums_N[0::2],
        sums_N[1::2],
        reference_N[0::2],
        reference_N[1::2],
        n_N[0::2],
        n_N[1::2],
        beta=config.beta,
        label_smoothing=config.label_smoothing,
    )
    nll_P = nll_per_token(sums_N[0::2], n_N[0::2])
    loss = ((losses_P + config.nll_weight * nll_P) * weight_P).sum()
    with torch.no_grad():
        correct_P = (margin_P > 0).float() + 0.5 * (margin_P == 0).float()
        metrics = {
            "margin": (margin_P * weight_P).sum(),
            "accuracy": (correct_P * weight_P).sum(),
            "chosen_logp": (sums_N[0::2] / n_N[0::2] * weight_P).sum(),
            "rejected_logp": (sums_N[1::2] / n_N[1::2] * weight_P).sum(),
            "nll": (nll_P * weight_P).sum(),
        }
    return loss, {name: float(value) for name, value in metrics.items()}
