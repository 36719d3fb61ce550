"""How many floating-point operations training must do. Pure numpy; the test derives it by hand.

Counted, per optimiser step with a frozen base and LoRA on every linear layer:

- linear layers: forward (2·in·out a token) and the gradient of the activations (as much again). The
  weights are frozen, so nothing more; and below the first attention nothing needs a gradient.
- adapters: both factors forward, their own gradients, and the gradient that passes through.
- attention: over visible pairs only; forward 2 products (QKᵀ, PV), backward 4 (dV, dP, dQ, dK).
- head: forward and the gradient of the hidden state, on the rows that predict a trained token.

Not counted, though somebody may do it: recomputation, padding, masked pairs, norms, optimiser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iimedgpt.engine.trie import TokenSequence, build_trie


@dataclass(frozen=True)
class Shape:
    """What of a model decides its arithmetic."""

    n_layers: int
    linears: tuple[tuple[int, int], ...]  # (in, out) of a layer: q, k, v first, then o, gate, up, down
    n_heads: int
    head_dim: int
    windows: tuple[int | None, ...]  # sliding window of each layer, None for full attention
    hidden: int
    vocabulary: int
    rank: int

    @classmethod
    def of(cls, config: Any, rank: int) -> Shape:
        """From a transformers configuration of the Llama family (Gemma 3, Qwen, Mistral, …)."""
        h, heads, groups = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        size = getattr(config, "head_dim", None) or h // heads
        q, kv, mlp = heads * size, groups * size, config.intermediate_size
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
        window = getattr(config, "sliding_window", None)
        return cls(
            n_layers=config.num_hidden_layers,
            linears=((h, q), (h, kv), (h, kv), (q, h), (h, mlp), (h, mlp), (mlp, h)),
            n_heads=heads,
            head_dim=size,
            windows=tuple(window if kind == "sliding_attention" else None for kind in kinds),
            hidden=h,
            vocabulary=config.vocab_size,
            rank=rank,
        )

    @property
    def n_base(self) -> int:
        """Weights of the decoder's linear layers."""
        return self.n_layers * sum(n_in * n_out for n_in, n_out in self.linears)


@dataclass(frozen=True)
class Flops:
    """Operations by part."""

    linear: float = 0.0
    adapter: float = 0.0
    attention: float = 0.0
    head: float = 0.0

    @property
    def total(self) -> float:
        return self.linear + self.adapter + self.attention + self.head

    def __add__(self, other: Flops) -> Flops:
        return Flops(
            self.linear + other.linear,
            self.adapter + other.adapter,
            self.attention + other.attention,
            self.head + other.head,
        )


def visible_pairs(position_T: NDArray[np.int64], window: int | None) -> int:
    """(query, key) pairs that count: a token sees its own path back to the start, or to its window."""
    seen = position_T + 1
    return int((seen if window is None else np.minimum(seen, window)).sum())


def training(shape: Shape, position_T: NDArray[np.int64], n_rows: int) -> Flops:
    """Forward and backward of one pack.

    Args:
        position_T: depth of each token that is read, shape [T]; for sequences apart, 0..n-1 of each.
        n_rows: rows that the head is applied to.
    """
    n = len(position_T)
    below = sum(n_in * n_out for n_in, n_out in shape.linears[:3])  # q, k, v of the first layer
    below_adapter = sum(n_in for n_in, _ in shape.linears[:3]) * shape.rank
    sides = shape.n_layers * sum(n_in + n_out for n_in, n_out in shape.linears)
    return Flops(
        linear=2.0 * n * (2 * shape.n_base - below),
        adapter=2.0 * n * (3 * shape.rank * sides - below_adapter),
        attention=12.0 * shape.n_heads * shape.head_dim * _pairs(shape, position_T),
        head=4.0 * n_rows * shape.hidden * shape.vocabulary,
    )


def forward(shape: Shape, position_T: NDArray[np.int64], n_rows: int) -> Flops:
    """Forward alone, without adapters: a reference pass."""
    return Flops(
        linear=2.0 * len(position_T) * shape.n_base,
        attention=4.0 * shape.n_heads * shape.head_dim * _pairs(shape, position_T),
        head=2.0 * n_rows * shape.hidden * shape.vocabulary,
    )


def _pairs(shape: Shape, position_T: NDArray[np.int64]) -> int:
    return sum(visible_pairs(position_T, window) for window in shape.windows)


def step_layout(step: Sequence[TokenSequence], how: str) -> tuple[NDArray[np.int64], int]:
    """(position of each token that is read, rows that the head is applied to) of one optimiser step.

    ``shared``: as a trie, the head once on each row that predicts a trained token. ``trained_rows``:
    every sequence in full, the head on its trained rows. ``every_row``: the head on all but its last.
    """
    if how == "shared":
        trie = build_trie(step)
        return trie.position_T, len(np.unique(trie.rows_S))
    position = np.concatenate([np.arange(len(sequence.ids), dtype=np.int64) for sequence in step])
    if how == "trained_rows":
        return position, sum(sequence.n_scored for sequence in step)
    return position, len(position) - len(step)
