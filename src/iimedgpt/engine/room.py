"""How much room there is, and so how many trie tokens a pack may hold."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from iimedgpt.config import ModelConfig, TrainConfig
from iimedgpt.engine.batches import Budget
from iimedgpt.engine.checkpoints import remembered
from iimedgpt.engine.distributed import largest
from iimedgpt.engine.memory import UNBOUNDED, UNFORESEEN, step_memory
from iimedgpt.engine.models import LoadedModel
from iimedgpt.text import content_id

log = logging.getLogger(__name__)

# What packs are filled up to where memory allows more. CPU: measured (caches; docs/experiments.md).
# CUDA: arithmetic only; matrix products of so many rows leave no multiplier idle, more only takes room.
PREFERRED = {"cpu": 1_536, "cuda": 16_384}
HEADROOM = 0.9  # share of the free memory that is planned with: allocators waste some
COARSE = 256  # tokens; so that a run soon repeated cuts its packs alike


def pack_budget(
    loaded: LoadedModel, model: ModelConfig, train: TrainConfig, partial: Path, *, is_stacked: bool = False
) -> Budget:
    """How many trie tokens a pack may hold, by ``tokens_per_pack`` and the memory that is free now.

    Decided once a run: a training that goes on reads it from ``partial``. Of several processes the
    one with the least room decides.
    """
    key = content_id(model.model_dump_json(), train.model_dump_json())
    fits = remembered(partial / "budget.json", key, lambda: -largest(-_fits(loaded, model, train, is_stacked)))
    return budget_of(train, loaded.device, fits)


def budget_of(train: TrainConfig, device: torch.device, fits: int) -> Budget:
    """The bounds that ``tokens_per_pack`` asks for, where ``fits`` tokens find room in memory."""
    if train.tokens_per_pack == "auto":
        return Budget(min(PREFERRED[device.type], fits), group_tokens=fits, sequence_tokens=fits)
    return Budget(train.tokens_per_pack, train.tokens_per_pack, max(train.tokens_per_pack, fits))


def _fits(loaded: LoadedModel, model: ModelConfig, train: TrainConfig, is_stacked: bool) -> int:
    available = available_bytes(loaded.device)
    if available is None:
        return UNBOUNDED
    try:
        memory = step_memory(loaded.model.config, model, train, loaded.compute, is_stacked=is_stacked)
    except UNFORESEEN as error:
        problem = type(error).__name__
        log.warning("model %s: memory cannot be foreseen (%s); packs are not bounded by it", loaded.name, problem)
        return UNBOUNDED
    n_tokens = memory.most_tokens(HEADROOM * available + memory.weights)  # the weights are there already
    return n_tokens // COARSE * COARSE or n_tokens


def available_bytes(device: torch.device) -> int | None:
    """Free memory for this process on a device; None where the system does not say.

    On CPU the least of the machine's and the container's, in equal parts for the processes of a launch.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    bounds = [n for n in (_machine_bytes(Path("/proc")), _container_bytes(Path("/"))) if n is not None]
    return min(bounds) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if bounds else None


def _machine_bytes(proc: Path) -> int | None:
    """MemAvailable of Linux."""
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container_bytes(root: Path) -> int | None:
    """What the control groups (version 2) around this process leave; None without a bound."""
    try:
        own = next(line[3:] for line in (root / "proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    top = root / "sys/fs/cgroup"
    folder = top / own.strip("/")
    groups = [_group_bytes(place) for place in (folder, *folder.parents) if place.is_relative_to(top)]
    return min((n for n in groups if n is not None), default=None)


def _group_bytes(folder: Path) -> int | None:
    """Bound minus use of one control group; cached files count as free, the system drops them."""
    try:
        bound = int((folder / "memory.max").read_text())  # "max" is no number
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return max(0, bound - used + int(stat.get("inactive_file", 0)))
