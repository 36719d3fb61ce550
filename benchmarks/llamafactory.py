"""LLaMA-Factory beside TRL, in an environment of its own (it wants other versions of everything).

``python -m benchmarks.training --llamafactory /path/to/venv/bin/python`` calls this module with that
interpreter. The token ids are the same: it reads a data set that is tokenised already. It keeps
weights and activations in the type of the model's folder, here bfloat16, whatever it is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.workloads import Workload

TIMEOUT_S = 900


def compare(
    python: Path, workloads: list[Workload], result: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """One measurement of each SFT workload; ``speedup`` is over the median of ours."""
    from benchmarks.settings import model_path

    found: dict[str, Any] = {"precision": "bfloat16 weights and activations", "workloads": {}}
    for workload in workloads:
        if workload.kind != "sft":
            continue
        with tempfile.TemporaryDirectory() as folder:
            spec = Path(folder) / "spec.json"
            steps = [[[list(s.ids), s.start] for s in step] for step in workload.all_steps]
            arguments = {"model": model_path("embedded"), "n_timed": len(workload.steps)}
            spec.write_text(json.dumps(arguments | {"steps": steps, "folder": folder}))
            row = found["workloads"][workload.name] = _call(python, spec)
        ours = result["workloads"][workload.name].get("seconds")
        if "seconds" in row and ours:
            row["speedup"] = row["seconds"] / ours["ours"]["median"]
        say(f"llamafactory {workload.name}: {row.get('seconds') or row.get('failed')}")
    speedups = [row["speedup"] for row in found["workloads"].values() if "speedup" in row]
    return found | {"median_speedup": median(speedups) if speedups else None}


def _call(python: Path, spec: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [str(python), "-m", "benchmarks.llamafactory", str(spec)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"failed": type(error).__name__}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    answer: dict[str, Any] = json.loads((spec.parent / "result.json").read_text())
    return answer


def main(spec_path: Path) -> None:
    """Runs in LLaMA-Factory's environment: nothing of the project may be imported but the clock."""
    from datasets import Dataset  # type: ignore[import-untyped]
    from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer  # type: ignore[import-not-found]
    from llamafactory.train.tuner import run_exp  # type: ignore[import-not-found]

    from benchmarks.measure import StepClock, peak_gib, versions

    spec = json.loads(spec_path.read_text())
    rows = [_row(ids, start) for step in spec["steps"] for ids, start in step]
    tokenised = Path(spec["folder"]) / "tokenised"
    Dataset.from_list(rows).save_to_disk(str(tokenised))
    losses: list[float] = []
    compute_loss = CustomSeq2SeqTrainer.compute_loss

    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute_loss(self, *args, **kwargs)
        losses.append(float(loss.detach()))
        return loss

    CustomSeq2SeqTrainer.compute_loss = recorded
    clock = StepClock(after_first=lambda: None)
    n_micro = len(spec["steps"][0])
    run_exp(_arguments(spec, tokenised, n_micro))
    clock.stop()
    by_step = [sum(losses[i : i + n_micro]) for i in range(0, len(losses), n_micro)]
    facts = {"seconds": clock.seconds(spec["n_timed"]), "warm_loss": by_step[0], "peak_gib": peak_gib()}
    (spec_path.parent / "result.json").write_text(json.dumps(facts | {"versions": versions()}))


def _row(ids: list[int], start: int) -> dict[str, list[int]]:
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * start + ids[start:]}


def _arguments(spec: dict[str, Any], tokenised: Path, n_micro: int) -> dict[str, Any]:
    """The same adapter, optimiser, order and precision as everybody's."""
    return {
        "model_name_or_path": spec["model"],
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "lora_target": "all",
        "template": "empty",
        "dataset": "tokenised",
        "tokenized_path": str(tokenised),
        "cutoff_len": 1 << 16,
        "disable_shuffling": True,
        "output_dir": str(Path(spec["folder"]) / "out"),
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": n_micro,
        "num_train_epochs": 1,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
        "bf16": True,
        "use_cpu": True,
        "flash_attn": "sdpa",
        "disable_gradient_checkpointing": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "dataloader_pin_memory": False,
        "seed": 0,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
