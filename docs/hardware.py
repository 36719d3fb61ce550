"""Prints the table of docs/hardware.md: the memory model of ``iimedgpt validate`` for the GPU recipes.

python docs/hardware.py

Nothing is downloaded and no GPU is needed: shapes of the models stand below, as their authors publish them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import Qwen3Config

from iimedgpt.config import ModelConfig, TrainConfig
from iimedgpt.engine.memory import RUNTIME_BYTES, StepMemory, step_memory
from iimedgpt.engine.room import HEADROOM

GIB = 2**30
SHAPES = {  # hidden, intermediate, layers, heads
    "Qwen3-8B": (4_096, 12_288, 36, 32),
    "Qwen3-14B": (5_120, 17_408, 40, 40),
}


@dataclass(frozen=True)
class Case:
    """One row: a model, how it is stored and trained, and on what."""

    model: str
    quantization: str
    checkpointing: bool
    n_gpus: int
    gib: int  # of one card

    @property
    def memory(self) -> StepMemory:
        hidden, intermediate, n_layers, n_heads = SHAPES[self.model]
        model = ModelConfig.model_validate(
            {"name": self.model, "dtype": "bfloat16", "quantization": self.quantization, "device": "cuda"}
        )
        train = TrainConfig(rank=16, checkpointing=self.checkpointing)
        architecture = Qwen3Config(
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=n_layers,
            num_attention_heads=n_heads,
            num_key_value_heads=8,
            head_dim=128,
            vocab_size=151_936,
            tie_word_embeddings=False,
        )
        return step_memory(architecture, model, train, torch.bfloat16).sharded(self.n_gpus)

    def row(self) -> str:
        """The row of the table."""
        memory = self.memory
        room = (self.gib * GIB - RUNTIME_BYTES["cuda"]) * HEADROOM
        cells = (
            f"{self.n_gpus} x {self.gib} GB",
            f"{self.model}, {'4 bits' if self.quantization == 'nf4' else 'bfloat16'}",
            "on" if self.checkpointing else "off",
            f"{memory.weights / GIB:.1f}",
            f"{memory.trained / GIB:.2f}",
            f"{memory.fixed / GIB:.2f}",
            f"{memory.per_token / 2**20:.2f}",
            f"{memory.total(4_096) / GIB:.1f}",
            f"{memory.most_tokens(room) // 256 * 256:,}",
        )
        return "| " + " | ".join(cells) + " |"


HEADER = (
    "| GPUs | base | checkpointing | weights, GiB | trained, GiB | fixed, GiB | a token, MiB "
    "| step at 4,096 tokens, GiB | tokens that fit |\n|---|---|---|---|---|---|---|---|---|"
)
CASES = (
    Case("Qwen3-8B", "nf4", False, 1, 24),
    Case("Qwen3-8B", "nf4", True, 1, 24),
    Case("Qwen3-8B", "none", False, 1, 24),
    Case("Qwen3-8B", "none", True, 1, 24),
    Case("Qwen3-8B", "none", False, 1, 80),
    Case("Qwen3-8B", "none", True, 1, 80),
    Case("Qwen3-14B", "none", False, 8, 80),
    Case("Qwen3-14B", "none", True, 8, 80),
    Case("Qwen3-14B", "none", True, 8, 48),
)


def table() -> Iterator[str]:
    """The lines of the table."""
    yield HEADER
    for case in CASES:
        yield case.row()


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
