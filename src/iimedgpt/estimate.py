"""What training will take: hours and memory of these records on this model and machine, before it starts.

An app beside the chain: it tokenises what the stages would read, plans their packs, measures a few of
them forward and backward for seconds, and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from iimedgpt import dpo, sft
from iimedgpt.chain import stage_named
from iimedgpt.config import ModelConfig, RunConfig, TrainConfig
from iimedgpt.engine import embedded
from iimedgpt.engine.adapters import add_adapter
from iimedgpt.engine.batches import Budget, Plan, group_by
from iimedgpt.engine.chat import ByteTokenizer, Chat
from iimedgpt.engine.folders import local_model
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.memory import RUNTIME_BYTES, UNBOUNDED, UNFORESEEN, StepMemory, step_memory
from iimedgpt.engine.models import SFT, LoadedModel, load_model, resolve_compute, resolve_device, tiny_model
from iimedgpt.engine.room import HEADROOM, available_bytes, budget_of
from iimedgpt.engine.trie import TokenSequence, build_trie, count_tokens
from iimedgpt.errors import DataError, IIMedGPTError
from iimedgpt.run import StageContext, is_complete
from iimedgpt.types import Conversation, PreferencePair

MEASURE_S = 20.0  # measuring stops at the first pack after so long
N_PACKS = 5  # measured, the first of them to warm up
N_ROWS = 3_000  # tokenised at most; the rest is taken to be like them
SPREAD = 0.1  # least width of a range to each side: other work on the machine, optimiser, logging
REFERENCE_PASS = 1 / 2  # of a step: forward only; the base is frozen, so forward and backward cost alike
GIB = 2**30
COLUMNS = ("stage", "sequences", "tokens", "ratio", "steps", "pack", "time", "GiB", "free")


@dataclass(frozen=True)
class Material:
    """What a training stage would read."""

    n_sequences: int
    n_steps: int
    n_trie: int  # trie tokens over all steps
    n_original: int
    largest_pack: int
    packs: tuple[tuple[TokenSequence, ...], ...]  # some of them, to measure


@dataclass
class StageEstimate:
    """A training stage: what is known of it. ``hours`` is (low, high)."""

    name: str
    memory: StepMemory
    budget: Budget
    runtime_bytes: int
    material: Material | None = None
    hours: tuple[float, float] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def peak_bytes(self) -> int:
        """What the stage needs of the free memory: the program itself is there already."""
        return self.memory.total(self.material.largest_pack if self.material else self.budget.tokens)


def estimate(config: RunConfig, *, is_measured: bool = True) -> RenderableType:
    """A table for the terminal and what it rests on; says so where the model is not there."""
    architecture = _architecture(config.model)
    if architecture is None:
        return Text(f"no estimate: model '{config.model.name}' is not on this machine yet")
    device = resolve_device(config.model.device)
    is_here = device.type == "cpu" or torch.cuda.is_available()
    compute = resolve_compute(config.model.compute, device) if is_here else torch.bfloat16
    available = available_bytes(device) if is_here else None
    try:
        stages = [_stage(name, config, architecture, compute, available, device) for name in ("sft", "dpo")]
    except UNFORESEEN as error:
        problem = type(error).__name__
        return Text(f"no estimate: the memory of model '{config.model.name}' cannot be foreseen ({problem})")
    notes = [_model_line(config, stages[0].memory, device, compute)]
    if not is_here:
        notes.append("this machine has no CUDA device: memory is arithmetic, and free memory is not known")
        is_measured = False
    elif is_measured and available is not None and stages[0].peak_bytes > available:
        notes.append("speed is not measured: the model does not fit the free memory")
        is_measured = False
    loaded = load_model(config.model) if is_measured else None
    chat = loaded.chat if loaded else _chat(config.model)
    for stage in stages:
        _read_material(stage, config, chat, loaded)
    if loaded is None:
        notes.append("hours are not estimated without a measurement")
    else:
        notes.append(_measure(loaded, config, stages))
    return Group(_table(stages, available), *(Text(f"  {note}", style="dim") for note in _all(notes, stages)))


def _stage(
    name: str, config: RunConfig, architecture: Any, compute: torch.dtype, available: int | None, device: torch.device
) -> StageEstimate:
    train: TrainConfig = getattr(config, name)
    memory = step_memory(architecture, config.model, train, compute, is_stacked=name == "dpo")
    fits = UNBOUNDED if available is None else memory.most_tokens(HEADROOM * available)
    return StageEstimate(name, memory, budget_of(train, device, fits), RUNTIME_BYTES[device.type])


def _architecture(model: ModelConfig) -> Any:
    """The base's configuration from this machine; None where it is not here. Nothing is fetched."""
    from transformers import AutoConfig

    if model.name == "tiny":
        with torch.device("meta"):
            return tiny_model()[0].config
    path = _path(model)
    try:
        return None if path is None else AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError):
        return None


def _path(model: ModelConfig) -> str | None:
    if model.name != "embedded":
        return str(local_model(model.name) or model.name)
    folder = embedded.cache_dir() / embedded.FOLDER
    return str(folder) if (folder / embedded.DONE).exists() else None


def _chat(model: ModelConfig) -> Chat:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    return Chat(ByteTokenizer() if model.name == "tiny" else auto.from_pretrained(_path(model), local_files_only=True))


def _read_material(stage: StageEstimate, config: RunConfig, chat: Chat, loaded: LoadedModel | None) -> None:
    """Fill in what the stage would read, where the stage before it is complete."""
    source = {"sft": "mixture", "dpo": "pairs"}[stage.name]
    if not is_complete(stage_named(source), config):
        stage.notes.append(
            f"{stage.name}: its records are not built yet; after `iimedgpt {source}`, validate says how long they take"
        )
        return
    ctx = StageContext(stage_named(stage.name), config, config.run_dir / stage.name)
    try:
        stage.material = (_sft_material if stage.name == "sft" else _dpo_material)(ctx, chat, stage, loaded)
    except DataError as error:
        stage.notes.append(f"{stage.name}: {error}; {error.hint}")


def _sft_material(ctx: StageContext, chat: Chat, stage: StageEstimate, loaded: LoadedModel | None) -> Material:
    rows = list(ctx.read("mixture", "train.jsonl", Conversation))
    some = _sample(rows, [row.record_id or row.conversation_id for row in rows])
    kept, sequences = sft.tokenise(ctx, chat, some)
    plan = sft.plan_steps(ctx, kept, sequences, stage.budget, is_shared=loaded.is_shared if loaded else True)
    return _material(stage, plan, sequences, len(rows) / len(some), ctx.config.sft.max_steps)


def _dpo_material(ctx: StageContext, chat: Chat, stage: StageEstimate, loaded: LoadedModel | None) -> Material:
    rows = list(ctx.read("pairs", "train.jsonl", PreferencePair))
    some = _sample(rows, [row.record_id or row.group_id for row in rows])
    kept, sequences = dpo.tokenise(ctx, chat, some)
    plan = dpo.plan_steps(ctx, kept, sequences, stage.budget)
    return _material(stage, plan, sequences, len(rows) / len(some), ctx.config.dpo.max_steps)


def _sample(rows: Sequence[Any], keys: Sequence[str]) -> list[Any]:
    """Whole records, evenly spread, of about ``N_ROWS`` rows."""
    if len(rows) <= N_ROWS:
        return list(rows)
    stride = -(-len(rows) // N_ROWS)
    return [rows[i] for record in group_by(keys)[::stride] for i in record]


def _material(
    stage: StageEstimate, plan: Plan, sequences: Sequence[TokenSequence], scale: float, max_steps: int | None
) -> Material:
    if scale > 1:
        stage.notes.append(f"{stage.name}: from one row in {scale:.0f}, whole records, evenly spread")
    steps = [[tuple(sequences[i] for i in pack) for pack in step if pack] for step in plan.steps]
    packs = [pack for step in steps for pack in step]
    sizes = [count_tokens(pack) for pack in packs]
    n_steps = round(len(steps) * scale)
    n_trained = min(n_steps, max_steps or n_steps)
    share = scale * n_trained / n_steps
    return Material(
        n_sequences=round(len(sequences) * scale),
        n_steps=n_trained,
        n_trie=round(sum(sizes) * share),
        n_original=round(sum(len(s.ids) for pack in packs for s in pack) * share),
        largest_pack=max(sizes),
        packs=tuple(packs[:: max(1, len(packs) // N_PACKS)][:N_PACKS]),
    )


def _measure(loaded: LoadedModel, config: RunConfig, stages: Sequence[StageEstimate]) -> str:
    """Seconds of a trie token, and from them the hours of each stage; returns what was measured."""
    add_adapter(loaded, SFT, config.sft, config.seed)
    if config.sft.checkpointing:
        loaded.model.activation_checkpointing_enable({"use_reentrant": False})
    packs = next((stage.material.packs for stage in stages if stage.material), None)
    is_real = packs is not None
    try:
        runs = _timed(loaded, packs or [[_chain(min(512, stages[0].budget.tokens))]] * N_PACKS)
    except (IIMedGPTError, RuntimeError, MemoryError) as error:
        return f"speed could not be measured ({type(error).__name__})"
    rates = sorted(seconds / n_tokens for n_tokens, seconds in runs)
    for stage in stages:
        if stage.material is not None:
            passes = 1 + REFERENCE_PASS if stage.name == "dpo" else 1.0
            work = passes * stage.material.n_trie / 3_600
            stage.hours = (work * rates[0] * (1 - SPREAD), work * rates[-1] * (1 + SPREAD))
    what = "of these records" if is_real else "of made-up tokens"
    return (
        f"measured: {len(runs)} packs {what}, forward and backward, "
        f"{1 / rates[-1]:,.0f} to {1 / rates[0]:,.0f} trie tokens/s; one process; "
        "loading, validation and generation come on top"
    )


def _timed(loaded: LoadedModel, packs: Sequence[Sequence[TokenSequence]]) -> list[tuple[int, float]]:
    """(trie tokens, seconds) of a forward and backward for each pack; the first warms up."""
    loaded.model.train()
    runs: list[tuple[int, float]] = []
    started = time.perf_counter()
    for pack in packs:
        batch = trie_tensors(build_trie(pack), loaded.device)
        before = time.perf_counter()
        with loaded.autocast():
            loss = -token_logps(loaded.model, batch).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        if loaded.device.type == "cuda":
            torch.cuda.synchronize()
        runs.append((batch["input_ids"].shape[1], time.perf_counter() - before))
        if time.perf_counter() - started > MEASURE_S:
            break
    return runs[1:] or runs


def _chain(n_tokens: int) -> TokenSequence:
    return TokenSequence(tuple(1 + i % 200 for i in range(max(2, n_tokens))), max(1, n_tokens // 2))


def _model_line(config: RunConfig, memory: StepMemory, device: torch.device, compute: torch.dtype) -> str:
    return (
        f"model {config.model.name}: {memory.n_parameters / 1e6:,.1f} M parameters, "
        f"{memory.n_trained / 1e6:,.2f} M trained (LoRA rank {config.sft.rank}), "
        f"weights {memory.weights / GIB:.2f} GiB, "
        f"products in {str(compute).removeprefix('torch.')} on {device.type}"
    )


def _all(notes: Sequence[str], stages: Sequence[StageEstimate]) -> list[str]:
    return [*notes, *(note for stage in stages for note in stage.notes)]


def _table(stages: Sequence[StageEstimate], available: int | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    table.caption = Text(
        "tokens: trie tokens of all steps; ratio: tokens of one sequence a row to those; pack: largest"
    )
    for name in (
        "stage",
        "sequences",
        "trie tokens",
        "token ratio",
        "steps",
        "largest pack",
        "time",
        "GiB",
        "free GiB",
    ):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for stage in stages:
        made = stage.material
        known = ("—",) * 4 if made is None else _counts(made)
        largest = made.largest_pack if made else stage.budget.tokens
        free = "?" if available is None else f"{available / GIB:.1f}"
        is_over = available is not None and stage.peak_bytes > available
        needed = Text(f"{(stage.peak_bytes + stage.runtime_bytes) / GIB:.1f}", style="red" if is_over else "")
        table.add_row(stage.name, *known, f"{largest:,}", _duration(stage.hours), needed, free)
    return table


def _counts(made: Material) -> tuple[str, str, str, str]:
    ratio = made.n_original / max(made.n_trie, 1)
    return f"{made.n_sequences:,}", f"{made.n_trie:,}", f"{ratio:.2f}", f"{made.n_steps:,}"


def _duration(hours: tuple[float, float] | None) -> str:
    if hours is None:
        return "—"
    low, high = hours
    unit, size = ("h", 1.0) if high >= 2 else ("min", 60.0) if high * 60 >= 2 else ("s", 3_600.0)
    return f"{low * size:.1f} to {high * size:.1f} {unit}"
