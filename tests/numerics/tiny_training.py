"""Twenty optimiser steps of the tiny model through the real stages, in this process or in one that is to die.

As a program: ``python -m tests.numerics.tiny_training STAGE FOLDER SIGNAL STEP`` sends itself SIGNAL in the
middle of optimiser step STEP, when some of its packs are read and others are not.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from iimedgpt import dpo, io, sft
from iimedgpt.chain import stage_named
from iimedgpt.config import RunConfig
from iimedgpt.engine import trainer
from iimedgpt.errors import Interrupted
from iimedgpt.run import StageContext
from iimedgpt.types import Conversation, Message, PreferencePair

N_STEPS = 20
SYSTEM = Message(role="system", content="s")
# Three records a step in packs of about one: several packs a step, so gradients accumulate.
TRAIN = {"rank": 4, "learning_rate": 2e-2, "dropout": 0.1, "groups_per_step": 3, "tokens_per_pack": 64} | {
    "epochs": 16.0,
    "max_steps": N_STEPS,
    "save_every": 5,
}
RUN = {"sft": sft.run, "dpo": dpo.run}


def context(root: Path, stage: str, seed: int = 0, **changes: Any) -> StageContext:
    """A stage that is about to run; ``changes`` override its section of the configuration."""
    config = RunConfig.model_validate(
        {
            "name": "tiny",
            "seed": seed,
            "runs_dir": str(root),
            "model": {"name": "tiny", "compute": "float32"},
            stage: TRAIN | changes,
        }
    )
    return StageContext(stage_named(stage), config, io.make_private_dir(config.run_dir / stage))


def write_inputs(root: Path, n_records: int = 5) -> None:
    """Records with two tasks each, the last one for validation; two pairs of each of the others."""
    rows = [_conversation(record, task) for record in range(n_records) for task in range(2)]
    io.write_jsonl(root / "tiny" / "mixture" / "train.jsonl", rows[:-2])
    io.write_jsonl(root / "tiny" / "mixture" / "validation.jsonl", rows[-2:])
    io.write_jsonl(root / "tiny" / "pairs" / "train.jsonl", map(_pair, range(2 * n_records - 2)))


def _conversation(record: int, task: int) -> Conversation:
    question = Message(role="user", content=f"record {record} {record * 7}\ntask {task}")
    return Conversation(
        conversation_id=f"r{record}t{task}",
        messages=(SYSTEM, question, Message(role="assistant", content=f"answer {task}")),
        group_id=f"p{record}",
        source="test",
        license="none",
        split="train",
        task=f"task{task}",
        record_id=f"r{record}",
    )


def _pair(index: int) -> PreferencePair:
    return PreferencePair(
        pair_id=str(index),
        prompt=(SYSTEM, Message(role="user", content=f"record {index // 2}\nquestion {index}")),
        chosen=f"good {index}",
        rejected=f"bad {index}",
        source="rule",
        group_id=f"p{index // 2}",
        split="train",
        record_id=f"r{index // 2}",
    )


def strike(step: int, blow: Callable[[], None]) -> None:
    """Call ``blow`` once, after the first pack of optimiser step ``step`` and before its others.

    A step of one pack is never struck: who waits for the blow knows that gradients accumulate.
    """
    compute_loss = trainer.TrieTrainer.compute_loss

    def struck(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute_loss(self, *args, **kwargs)
        if self.state.global_step == step - 1 and not self.accelerator.sync_gradients:
            trainer.TrieTrainer.compute_loss = compute_loss  # type: ignore[method-assign]
            blow()
        return loss

    trainer.TrieTrainer.compute_loss = struck  # type: ignore[method-assign]


if __name__ == "__main__":
    stage_name, folder, name, at = sys.argv[1:]
    torch.set_num_threads(1)
    strike(int(at), lambda: os.kill(os.getpid(), signal.Signals[name]))
    try:
        RUN[stage_name](context(Path(folder), stage_name))
    except Interrupted as stop:
        sys.exit(f"Interrupted {stop}")
