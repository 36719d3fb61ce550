"""The training loop is ``transformers.Trainer``; here is only what feeds it and what it minimises.

Packs are planned beforehand and carry weights that already sum to one over an optimiser step, so
that a loss is exact across gradient accumulation and processes. A training that was killed, or
stopped by a signal, goes on from its last good checkpoint bit for bit (``engine/checkpoints.py``).
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from iimedgpt import io, progress
from iimedgpt.config import TrainConfig
from iimedgpt.engine import distributed
from iimedgpt.engine.checkpoints import last_good, mark_complete, training_fingerprint
from iimedgpt.engine.interruption import StopAfterStep
from iimedgpt.engine.logps import token_logps
from iimedgpt.engine.memory import is_out_of_memory
from iimedgpt.engine.models import LoadedModel
from iimedgpt.errors import TrainingError

TRAINED, OPTIMIZER, SCHEDULER = "trained.safetensors", "optimizer.pt", "scheduler.pt"
LOWER_THE_RATE = "lower learning_rate, or read the data of the last steps; finished stages are kept"
MAKE_ROOM = (
    "lower tokens_per_pack; where it is one long sequence, lower max_tokens, or set checkpointing = true, "
    "or model.quantization"
)

Batch = dict[str, Tensor]
LossOf = Callable[[Tensor, Batch], tuple[Tensor, dict[str, float]]]


class Packs(Dataset[Batch]):
    """Prepared packs in the order they are trained on."""

    def __init__(self, packs: Sequence[Batch]) -> None:
        self.packs = packs

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, index: int) -> Batch:
        return self.packs[index]


class TrieTrainer(Trainer):
    """Minimises ``loss_of(token log-probabilities, pack)`` over packs."""

    loss_is_scaled_for_ga = True

    def __init__(self, *, loss_of: LossOf, fingerprint: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loss_of = loss_of
        self.fingerprint = fingerprint
        self.step_metrics: dict[str, float] = {}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Σ over the step's packs and processes is the step's loss; DDP averages, hence the factor."""
        del num_items_in_batch
        with self.accelerator.autocast():  # the library enters it for DDP, but under FSDP2 not at all
            logps_S = token_logps(model, inputs)
        loss, metrics = self.loss_of(logps_S, inputs)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"loss is {loss.item()} at step {self.state.global_step + 1}",
                hint=LOWER_THE_RATE,
            )
        for name, value in metrics.items():
            self.step_metrics[name] = self.step_metrics.get(name, 0.0) + value
        loss = loss * self.accelerator.num_processes
        return (loss, {"logps": logps_S}) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: Batch, *args: Any, **kwargs: Any) -> Tensor:
        """As the library has it; where memory ends, the error says on how large a pack and what to set."""
        try:
            return super().training_step(model, inputs, *args, **kwargs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            n_tokens, n_scored = inputs["input_ids"].shape[1], inputs["targets"].shape[1]
            problem = f"out of memory at step {self.state.global_step + 1}, on a pack of {n_tokens} tokens"
        raise TrainingError(f"{problem}, {n_scored} of them trained", hint=MAKE_ROOM)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs.update(distributed.summed(self.step_metrics))
            self.step_metrics = {}
        super().log(logs, start_time)

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        distributed.keep_arithmetic(getattr(self.accelerator.state, "fsdp_plugin", None))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """The library's checkpoint, private, and sealed once every process has written its part."""
        with _private_files():
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            step = self.state.global_step
            mark_complete(Path(str(self.args.output_dir)) / f"checkpoint-{step}", step, self.fingerprint)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """The trained tensors by name, nothing else.

        The library's own way with several adapters makes the *first* one the active one on resume,
        with no more than a warning: with DPO stacked on SFT, the wrong one would train.
        """
        model: Any = self.model
        tensors = {name: distributed.whole(p) for name, p in model.named_parameters() if p.requires_grad}
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, folder / TRAINED)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Under FSDP the library would write the whole base."""
        self._save(output_dir)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """One file, as one process alone would write it, whatever is sharded."""
        state = distributed.whole_state(self.optimizer)
        schedule: Any = self.lr_scheduler
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER)
            torch.save(schedule.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            optimizer, scheduler = (
                torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True)
                for name in (OPTIMIZER, SCHEDULER)
            )
            distributed.load_whole_state(self.optimizer, optimizer)
            schedule: Any = self.lr_scheduler
            schedule.load_state_dict(scheduler)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        tensors = load_file(Path(resume_from_checkpoint) / TRAINED)
        trained_model: Any = model or self.model
        trained = {k: p for k, p in trained_model.named_parameters() if p.requires_grad}
        if tensors.keys() != trained.keys():
            raise TrainingError(
                f"checkpoint {Path(resume_from_checkpoint).name} holds other tensors than are trained now",
                hint="run the stage again with --force",
            )
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(distributed.like(tensors[name], parameter))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The plan is already shuffled."""
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(dataset)


class _Progress(TrainerCallback):
    def __init__(self, bar: progress.Bar) -> None:
        self.bar = bar

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step:
            self.bar.advance(state.global_step, "resumed")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and not math.isfinite(logs.get("grad_norm", 0.0)):  # before a checkpoint could keep it
            raise TrainingError(f"the gradient is not finite at step {state.global_step}", hint=LOWER_THE_RATE)
        if logs and "loss" in logs:
            margin = f"  margin {logs['margin']:.3f}" if "margin" in logs else ""
            self.bar.advance(1, f"loss {logs['loss']:.3f}{margin}")


def train(
    loaded: LoadedModel,
    packs: Sequence[Batch],
    *,
    packs_per_step: int,
    loss_of: LossOf,
    config: TrainConfig,
    seed: int,
    checkpoints: Path,
    label: str,
) -> list[dict[str, float]]:
    """Train in place, going on from the last good checkpoint; returns one row of logs a step.

    Raises:
        TrainingError: the loss is not finite, or the checkpoints come from another training.
        Interrupted: SIGTERM or Ctrl-C; the step under way is finished and saved.
    """
    _silence_library_warnings()
    n_steps = len(packs) // packs_per_step
    if config.max_steps is not None:
        n_steps = min(n_steps, config.max_steps)
    io.make_private_dir(checkpoints)
    trainer = TrieTrainer(
        model=loaded.model,
        args=_arguments(config, checkpoints, packs_per_step, n_steps, seed, loaded),
        train_dataset=Packs(packs[: n_steps * packs_per_step]),
        data_collator=_only,
        loss_of=loss_of,
        fingerprint=training_fingerprint(loaded, packs, packs_per_step, config, seed),
    )
    start = distributed.from_first(lambda: last_good(checkpoints, trainer.fingerprint))
    stop = StopAfterStep()
    with progress.bar(label, n_steps) as bar, stop:
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Progress(bar))
        trainer.add_callback(stop)
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    stop.raise_if_asked(trainer.state.global_step, n_steps)
    return [{key: row[key] for key in LOGGED if key in row} for row in trainer.state.log_history if "loss" in row]


LOGGED = (
    "step",
    "loss",
    "learning_rate",
    "grad_norm",
    "margin",
    "accuracy",
    "chosen_logp",
    "rejected_logp",
    "nll",
)


@contextmanager
def _private_files() -> Iterator[None]:
    """Files made inside are 0600 in 0700 folders, whoever writes them."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _only(rows: list[Batch]) -> Batch:
    (row,) = rows
    return row


def _silence_library_warnings() -> None:
    """Deprecations inside the libraries that a user can do nothing about."""
    for message in (".*gradient_checkpointing.*", ".*pin_memory.*", ".*lr_scheduler.step.*"):
        warnings.filterwarnings("ignore", message=message)


def _arguments(
    config: TrainConfig, checkpoints: Path, packs_per_step: int, n_steps: int, seed: int, loaded: LoadedModel
) -> TrainingArguments:
    device = loaded.device.type
    n_warm = round(config.warmup_frac * n_steps)
    n_processes = distributed.join().count
    if packs_per_step % n_processes:
        raise ValueError(f"{packs_per_step} packs a step do not divide among {n_processes} processes")
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=packs_per_step // n_processes,
        ddp_find_unused_parameters=False,  # every pack goes through every adapter
        max_steps=n_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=n_warm if n_warm > 1 else 0,  # one step of warm-up is one step at rate zero
        weight_decay=config.weight_decay,
        max_grad_norm=1.0,
        optim="adamw_torch",
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=device == "cpu",
        bf16=loaded.compute == torch.bfloat16,
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,
        dataloader_pin_memory=device != "cpu",
        label_names=[],
        activation_checkpointing=config.checkpointing,
        log_level="error",
    )
    arguments.mixed_precision = "bf16" if arguments.bf16 else "no"  # as the reference was computed, not as launched
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several visible cards would mean DataParallel: half the packs unread
    return arguments
