"""The peers' side: TRL's trainers on the same token ids, adapter, order and optimiser."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import SequentialSampler

from benchmarks.measure import StepClock, peak_gib, reset_peak, resident_gib
from benchmarks.settings import ALPHA, LEARNING_RATE, MAX_GRAD_NORM, RANK, model_path, seed_adapter
from benchmarks.workloads import Workload

BETA = 0.1


class Recorder:
    """Mixed into a TRL trainer: data in the order given, and the loss of every micro-batch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.losses: list[float] = []
        self.reference_s: list[float] = []
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)  # type: ignore[attr-defined]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        self.losses.append(float(loss.detach()))
        return loss

    def compute_ref_log_probs(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        found = super().compute_ref_log_probs(*args, **kwargs)  # type: ignore[misc]
        self.reference_s.append(time.perf_counter() - start)
        return found


def run(workload: Workload, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One epoch of TRL in this process; what it took."""
    warnings.simplefilter("ignore")
    loaded_gib, is_reset, trainer = _build(workload, settings, folder)
    seed_adapter(trainer.model)
    clock = StepClock(after_first=lambda: seed_adapter(trainer.model))
    trainer.train()
    clock.stop()
    n_micro, n_steps = _units(workload) // settings["batch"], len(workload.steps)
    scale = 1 / n_micro if workload.kind == "dpo" else 1.0  # in SFT the loss is over the step's tokens already
    by_step = [scale * sum(trainer.losses[i : i + n_micro]) for i in range(0, len(trainer.losses), n_micro)]
    is_apart = workload.kind == "dpo" and settings["precompute_reference"]
    reference_s = sum(trainer.reference_s[n_micro : n_micro * (1 + n_steps)]) if is_apart else 0.0
    return {
        "seconds": clock.seconds(n_steps) + reference_s,
        "reference_s": reference_s,
        "warm_loss": by_step[0],
        "losses": by_step[1:],
        "peak_gib": peak_gib(),
        "loaded_gib": loaded_gib,
        "is_peak_reset": is_reset,
    }


def _units(workload: Workload) -> int:
    """Sequences (or pairs) in each step; TRL wants equally many.

    Raises:
        ValueError: they differ.
    """
    counts = {len(step) // (2 if workload.kind == "dpo" else 1) for step in workload.all_steps}
    if len(counts) != 1:
        raise ValueError(f"steps of unequal size: {sorted(counts)}")
    return counts.pop()


def _build(workload: Workload, settings: dict[str, Any], folder: Path) -> tuple[float, bool, Any]:
    import trl
    from datasets import Dataset, disable_progress_bars  # type: ignore[import-untyped]
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    library: Any = trl
    disable_progress_bars()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = model_path(settings["model"])
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=getattr(torch, settings["weights"]), attn_implementation=settings["attention"]
    )
    is_reset = reset_peak()
    loaded_gib = resident_gib()
    common = {
        "model": model,
        "processing_class": AutoTokenizer.from_pretrained(path),
        "peft_config": LoraConfig(
            r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    }
    arguments = _arguments(workload, settings, folder)
    if workload.kind == "dpo":
        kind = type(
            "RecordedDPO", (Recorder, library.DPOTrainer), {"_prepare_dataset": lambda _, dataset, *__: dataset}
        )
        args = library.DPOConfig(
            **arguments, beta=BETA, loss_type=["sigmoid"], precompute_ref_log_probs=settings["precompute_reference"]
        )
        return loaded_gib, is_reset, kind(args=args, train_dataset=Dataset.from_list(_pairs(workload)), **common)
    kind = type("RecordedSFT", (Recorder, library.SFTTrainer), {})
    args = library.SFTConfig(
        **arguments,
        packing=False,
        padding_free=settings["padding_free"],
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    return loaded_gib, is_reset, kind(args=args, train_dataset=Dataset.from_list(_rows(workload)), **common)


def _arguments(workload: Workload, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": settings["batch"],
        "gradient_accumulation_steps": _units(workload) // settings["batch"],
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": MAX_GRAD_NORM,
        "optim": "adamw_torch",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": settings["precision"] == "bfloat16",
        "gradient_checkpointing": False,
        "max_length": None,
        "dataloader_pin_memory": False,
        "seed": 0,
    }


def _rows(workload: Workload) -> list[dict[str, Sequence[int]]]:
    """Tokenised rows with labels on the answer and its end, as we train them."""
    return [
        {"input_ids": list(s.ids), "labels": [-100] * s.start + list(s.ids[s.start :])}
        for step in workload.all_steps
        for s in step
    ]


def _pairs(workload: Workload) -> list[dict[str, Sequence[int]]]:
    return [
        {
            "prompt_ids": list(chosen.ids[: chosen.start]),
            "chosen_ids": list(chosen.ids[chosen.start :]),
            "rejected_ids": list(rejected.ids[rejected.start :]),
        }
        for step in workload.all_steps
        for chosen, rejected in zip(step[0::2], step[1::2], strict=True)
    ]
