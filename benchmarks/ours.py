"""Our side: the project's own engine and trainer, shared or not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import flops
from benchmarks.measure import StepClock, base_linears, matmul_rates, peak_gib, reset_peak, resident_gib
from benchmarks.settings import seed_adapter
from benchmarks.workloads import Step, Workload
from iimedgpt.config import DPOConfig, ModelConfig, SFTConfig, TrainConfig
from iimedgpt.engine.adapters import add_adapter
from iimedgpt.engine.batches import Budget, plan_training
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.losses import PREFERENCE_LOSSES, Pairs, sft_loss, sum_by_owner
from iimedgpt.engine.models import LoadedModel, load_model
from iimedgpt.engine.trainer import Batch, train
from iimedgpt.engine.trie import TokenSequence, Trie, build_trie

BETA = 0.1
UNBOUNDED = 1 << 20
TOKENS_PER_PACK = 1_536  # what `auto` takes on CPU
# shared: tries; alone: one sequence a pack; beside: sequences side by side in a pack, prefixes not merged
LAYOUTS = ("shared", "alone", "beside")


def side_by_side(sequences: Sequence[TokenSequence]) -> Trie:
    """The layout with every sequence written out in full, as if no two began alike."""
    tries = [build_trie([sequence]) for sequence in sequences]
    starts = np.cumsum([0, *(trie.n_tokens for trie in tries[:-1])])
    return Trie(
        ids_T=np.concatenate([trie.ids_T for trie in tries]),
        position_T=np.concatenate([trie.position_T for trie in tries]),
        end_T=np.concatenate([trie.end_T + n for trie, n in zip(tries, starts, strict=True)]),
        rows_S=np.concatenate([trie.rows_S + n for trie, n in zip(tries, starts, strict=True)]),
        targets_S=np.concatenate([trie.targets_S for trie in tries]),
        owner_S=np.concatenate([trie.owner_S + i for i, trie in enumerate(tries)]),
        weight_S=np.concatenate([trie.weight_S for trie in tries]),
        leaf_N=np.array([trie.leaf_N[0] + n for trie, n in zip(tries, starts, strict=True)]),
        n_sequences=len(tries),
        n_original=sum(trie.n_original for trie in tries),
    )


def members_of_packs(step: Step, kind: str, layout: str, budget: int) -> list[Step]:
    """The packs of a step; a pair is never cut."""
    size = 2 if kind == "dpo" else 1
    units = [step[i : i + size] for i in range(0, len(step), size)]
    if layout != "shared":
        return _filled(units, budget if layout == "beside" else 0)
    whole = Budget(budget, group_tokens=UNBOUNDED, sequence_tokens=UNBOUNDED)  # as `auto` does with free memory
    joined = [units[i][0] if size == 1 else _union(*units[i]) for i in range(len(units))]
    plan = plan_training(joined, [range(len(joined))], epochs=1, groups_per_step=1, budget=whole, seed=0)
    return [tuple(sequence for i in pack for sequence in units[i]) for pack in plan.steps[0] if pack]


def _union(chosen: TokenSequence, rejected: TokenSequence) -> TokenSequence:
    """One sequence that costs what a pair costs."""
    return TokenSequence((*chosen.ids, *rejected.ids[chosen.start :]), chosen.start)


def _filled(units: Sequence[Step], budget: int) -> list[Step]:
    """Units side by side, up to so many tokens a pack."""
    packs: list[Step] = []
    for unit in units:
        if packs and sum(len(s.ids) for s in (*packs[-1], *unit)) <= budget:
            packs[-1] = (*packs[-1], *unit)
        else:
            packs.append(unit)
    return packs


def run(workload: Workload, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One epoch in this process; what it took."""
    config = _config(workload.kind)
    loaded = load_model(ModelConfig(name=settings["model"], compute=settings["precision"]))
    budget = settings.get("tokens_per_pack") or TOKENS_PER_PACK
    packs, n_packs = lay_out(workload, settings["layout"], budget)
    timed = packs[n_packs : n_packs * (1 + len(workload.steps))]
    facts = _rates(loaded, timed[0]) if settings["layout"] == "shared" else {}
    facts |= {"is_peak_reset": reset_peak(), "loaded_gib": resident_gib()}
    reference_s = sum(_add_reference(loaded, packs)[n_packs : n_packs + len(timed)]) if workload.kind == "dpo" else 0.0
    add_adapter(loaded, workload.kind, config, seed=0)
    seed_adapter(loaded.model)

    clock, losses = _train(loaded, packs, n_packs, config, folder)
    by_step = [sum(losses[i : i + n_packs]) for i in range(0, len(losses), n_packs)]
    return facts | {
        "seconds": clock.seconds(len(workload.steps)) + reference_s,
        "reference_s": reference_s,
        "warm_loss": by_step[0],
        "losses": by_step[1:],
        "peak_gib": peak_gib(),
        "n_read_tokens": sum(map(_n_tokens, timed)),
        "n_packs_per_step": n_packs,
        "flops": _needed(loaded, workload, timed),
        "is_shared": loaded.is_shared,
    }


def _train(
    loaded: LoadedModel, packs: Sequence[Batch], n_packs: int, config: TrainConfig, folder: Path
) -> tuple[StepClock, list[float]]:
    """(the clock, the loss of each pack): the project's own trainer, as its stages call it."""
    losses: list[float] = []
    of = _dpo_loss if isinstance(config, DPOConfig) else _sft_loss

    def loss_of(logps_S: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss = of(logps_S, batch)
        losses.append(float(loss.detach()))
        return loss, {}

    clock = StepClock(after_first=lambda: seed_adapter(loaded.model))
    train(
        loaded,
        packs,
        packs_per_step=n_packs,
        loss_of=loss_of,
        config=config,
        seed=0,
        checkpoints=folder / "checkpoints",
        label="benchmark",
    )
    clock.stop()
    return clock, losses


def _config(kind: str) -> TrainConfig:
    """The benchmark's settings: rank 8, all linear layers, AdamW at a constant 2e-4, no warm-up."""
    options: dict[str, Any] = {
        "rank": 8,
        "dropout": 0.0,
        "learning_rate": 2e-4,
        "schedule": "constant_with_warmup",
        "warmup_frac": 0.0,
        "save_every": 10_000,
    }
    return DPOConfig(**options, beta=BETA, nll_weight=0.0) if kind == "dpo" else SFTConfig(**options)


def lay_out(workload: Workload, layout: str, budget: int) -> tuple[list[Batch], int]:
    """Every pack as tensors, the warm-up step's first; steps are padded to equally many packs."""
    steps = [members_of_packs(step, workload.kind, layout, budget) for step in workload.all_steps]
    n_packs = max(map(len, steps))
    batches: list[Batch] = []
    for step in steps:
        members = [sequence for pack in step for sequence in pack]
        for pack in step:
            trie = build_trie(pack) if layout == "shared" else side_by_side(pack)
            batches.append(_batch(trie, pack, members, workload.kind))
        filler = [TokenSequence(members[0].ids[:2], 1)] * 2
        for _ in range(n_packs - len(step)):
            batches.append(_batch(build_trie(filler), filler, members, workload.kind, is_empty=True))
    return batches, n_packs


def _batch(
    trie: Trie, pack: Sequence[TokenSequence], members: Sequence[TokenSequence], kind: str, *, is_empty: bool = False
) -> Batch:
    """A pack's tensors; weights sum to one over the step (its ``members``): per token, or per pair."""
    batch = trie_tensors(trie)
    scale = 0.0 if is_empty else 1.0
    if kind == "sft":
        total = sum(sequence.n_scored for sequence in members)
        return {**batch, "weight": torch.full((1, len(trie.targets_S)), scale / total)}
    return {
        **batch,
        "owner": torch.as_tensor(trie.owner_S)[None],
        "n_scored": torch.tensor([[s.n_scored for s in pack]], dtype=torch.float32),
        "weight": torch.full((1, len(pack) // 2), scale / (len(members) // 2)),
    }


def _sums(logps_S: Tensor, batch: Batch) -> Tensor:
    return sum_by_owner(logps_S, batch["owner"][0], batch["n_scored"].shape[1])


def _sft_loss(logps_S: Tensor, batch: Batch) -> Tensor:
    return sft_loss(logps_S, batch["weight"][0])


def _dpo_loss(logps_S: Tensor, batch: Batch) -> Tensor:
    pairs = Pairs.by_turns(
        _sums(logps_S, batch), batch["reference"][0], batch["n_scored"][0], beta=BETA, gamma=0.0, label_smoothing=0.0
    )
    losses_P, _ = PREFERENCE_LOSSES["sigmoid"].of(pairs)
    return (losses_P * batch["weight"][0]).sum()


@torch.no_grad()
def _add_reference(loaded: LoadedModel, packs: Sequence[Batch]) -> list[float]:
    """The base model's log-probabilities on every pack; seconds of each."""
    seconds = []
    for batch in packs:
        start = time.perf_counter()
        with loaded.autocast():
            batch["reference"] = _sums(token_logps(loaded.model, batch), batch)[None]
        seconds.append(time.perf_counter() - start)
    return seconds


def _n_tokens(batch: Batch) -> int:
    return 0 if not float(batch["weight"].sum()) else batch["input_ids"].shape[1]


def _rates(loaded: LoadedModel, batch: Batch) -> dict[str, Any]:
    """Matrix-product rates at this pack's row count, measured just before training."""
    shapes = [(layer.in_features, layer.out_features) for layer in base_linears(loaded.model)]
    n_rows = batch["input_ids"].shape[1]
    return {"matmul_gflops": matmul_rates(shapes, n_rows, loaded.compute), "matmul_rows": n_rows}


def _needed(loaded: LoadedModel, workload: Workload, packs: Sequence[Batch]) -> dict[str, float]:
    """Operations that the epoch needs on these packs, by part."""
    shape = flops.Shape.of(loaded.model.config.get_text_config(), rank=8)
    total = flops.Flops()
    for batch in packs:
        if not _n_tokens(batch):
            continue
        n_rows = len(np.unique(batch["rows"][0].numpy()))
        position = batch["position"][0].numpy()
        total += flops.training(shape, position, n_rows)
        if workload.kind == "dpo":
            total += flops.forward(shape, position, n_rows)
    return {**vars(total), "total": total.total}
