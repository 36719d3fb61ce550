"""Tiny random models of four architectures, and the naive path they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from iimedgpt.engine import attention
from iimedgpt.engine.logps import make_scorable
from iimedgpt.engine.models import stock_logps
from iimedgpt.engine.trie import TokenSequence

VOCABULARY = 97
WINDOW = 11  # shorter than the sequences, so that the sliding mask matters

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}


def _llama() -> Any:
    return LlamaForCausalLM(LlamaConfig(**_SHAPE))


def _qwen3() -> Any:
    return Qwen3ForCausalLM(Qwen3Config(**_SHAPE, tie_word_embeddings=True))


def _mistral() -> Any:
    return MistralForCausalLM(MistralConfig(**_SHAPE, sliding_window=WINDOW))


def _gemma3() -> Any:
    layers = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            **_SHAPE,
            sliding_window=WINDOW,
            layer_types=layers,
            query_pre_attn_scalar=8,
            final_logit_softcapping=5.0,
        )
    )


ARCHITECTURES = {"llama": _llama, "qwen3": _qwen3, "mistral": _mistral, "gemma3": _gemma3}


def build(name: str, kind: str = "visible", *, seed: int = 0) -> Any:
    """A scorable random model in float32, every parameter trained."""
    torch.manual_seed(seed)
    model = ARCHITECTURES[name]()
    for parameter in model.parameters():  # zero-initialised norms would hide mistakes
        if parameter.ndim == 1:
            parameter.data.normal_(0.5, 0.2)
    model.set_attn_implementation(attention.register()[kind])
    return make_scorable(model.eval())


def random_ids(n: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, VOCABULARY, (n,), generator=generator).tolist())


def six_tasks_of_two_records() -> list[TokenSequence]:
    """Two trunks with branches of one to seven tokens, a prefix of another, and two identical ones."""
    sequences = []
    for record in (1, 2):
        trunk = random_ids(20 + record, seed=record)
        for task, n_answer in enumerate((1, 7, 4)):
            question = random_ids(3, seed=10 * record + task)
            answer = random_ids(n_answer, seed=100 * record + task)
            sequences.append(TokenSequence((*trunk, *question, *answer), len(trunk) + 3))
    whole = sequences[1]
    sequences.append(TokenSequence(whole.ids[:-2], whole.start))  # a prefix of another
    sequences.append(TokenSequence(whole.ids, whole.start))  # identical
    sequences.append(TokenSequence(whole.ids, 5))  # trained tokens inside the trunk
    return sequences


def naive_loss(model: Any, sequences: Sequence[TokenSequence], weights: Sequence[float]) -> Tensor:
    """One sequence a row through the stock forward: −Σ weight · Σ log p."""
    return -sum(w * stock_logps(model, s).sum() for w, s in zip(weights, sequences, strict=True))
