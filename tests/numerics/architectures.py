"""Tiny random models of nine architectures, what they are asked, and the naive path beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from iimedgpt.config import ModelConfig
from iimedgpt.engine import attention, models
from iimedgpt.engine.chat import ByteTokenizer
from iimedgpt.engine.logps import make_scorable
from iimedgpt.engine.models import LoadedModel, load_model, stock_logps
from iimedgpt.engine.trie import TokenSequence

VOCABULARY = ByteTokenizer.vocab_size
WINDOW = 11  # shorter than the sequences, so that the sliding mask matters
MIXED = ["sliding_attention", "full_attention"]

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "attention_dropout": 0.0,
    "pad_token_id": None,
    "eos_token_id": None,
}
_HEADS = {"head_dim": 8}


def _llama() -> Any:
    return LlamaForCausalLM(LlamaConfig(**_SHAPE, **_HEADS))


def _qwen2() -> Any:
    """Biases on queries, keys and values."""
    return Qwen2ForCausalLM(Qwen2Config(**_SHAPE))


def _qwen3() -> Any:
    """Norms on queries and keys, a tied head."""
    return Qwen3ForCausalLM(Qwen3Config(**_SHAPE, **_HEADS, tie_word_embeddings=True))


def _mistral() -> Any:
    """Sliding windows in every layer."""
    return MistralForCausalLM(MistralConfig(**_SHAPE, **_HEADS, sliding_window=WINDOW))


def _gemma2() -> Any:
    """A soft cap inside attention and one on the logits, a tied head."""
    own = {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
    return Gemma2ForCausalLM(Gemma2Config(**_SHAPE, **_HEADS, **own, sliding_window=WINDOW, layer_types=MIXED))


def _gemma3() -> Any:
    """Sliding and full layers with rotations of their own, a soft cap on the logits, a tied head."""
    own = {"query_pre_attn_scalar": 8, "final_logit_softcapping": 5.0}
    return Gemma3ForCausalLM(Gemma3TextConfig(**_SHAPE, **_HEADS, **own, sliding_window=WINDOW, layer_types=MIXED))


def _phi3() -> Any:
    """Fused projections (qkv, gate and up) and a sliding window."""
    return Phi3ForCausalLM(Phi3Config(**_SHAPE, sliding_window=WINDOW))


def _olmo3() -> Any:
    """Norms after each block, on queries and keys, sliding and full layers."""
    return Olmo3ForCausalLM(Olmo3Config(**_SHAPE, sliding_window=WINDOW, layer_types=MIXED))


def _granite() -> Any:
    """Multipliers on embeddings, residuals, attention and logits, a tied head."""
    own = {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.3, "logits_scaling": 2.0}
    return GraniteForCausalLM(GraniteConfig(**_SHAPE, **own, tie_word_embeddings=True))


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "mistral": _mistral,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "olmo3": _olmo3,
    "granite": _granite,
}
KINDS = dict.fromkeys(ARCHITECTURES, ("visible", "sdpa", "eager"))
KINDS["gemma2"] = ("eager",)  # the only one that can cap inside attention
CASES = [(name, kind) for name, kinds in KINDS.items() for kind in kinds]


def stock(name: str, *, seed: int = 0) -> Any:
    """A random model as the library makes it, with the library's own attention written out."""
    torch.manual_seed(seed)
    model = ARCHITECTURES[name]()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # zero-initialised norms and biases would hide mistakes
            parameter.data.normal_(0.5, 0.2)
        else:  # at the library's 0.02 attention is all but uniform, and so are the answers
            parameter.data.mul_(8)
    model.set_attn_implementation("eager")
    return model.eval()


def build(name: str, kind: str | None = None, *, seed: int = 0) -> Any:
    """The same model, scorable, every parameter trained; the first attention that suits it if none is named."""
    model = stock(name, seed=seed)
    model.set_attn_implementation(attention.register()[kind or KINDS[name][0]])
    return make_scorable(model)


def load(name: str, kind: str = "auto") -> LoadedModel:
    """The same model as the stages get it: probed, frozen, with all that makes it fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "tiny_model", lambda: (stock(name), ByteTokenizer()))
        loaded = load_model(ModelConfig(name="tiny", compute="float32", attention=kind))
    assert loaded.is_shared
    return loaded


def random_ids(n: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, VOCABULARY, (n,), generator=generator).tolist())


def six_tasks_of_two_records() -> list[TokenSequence]:
    """Two trunks with branches of one to seven tokens, a prefix of another, two identical ones, a
    lone short one, and one that is trained from its second token."""
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
    sequences.append(TokenSequence(random_ids(2, seed=7), 1))  # the shortest that can be trained
    return sequences


def long_records() -> list[TokenSequence]:
    """Two trunks of 300 and 170 tokens with two branches each, and a lone sequence: 872 trie tokens,
    which no block of queries or keys holds whole."""
    sequences = []
    for record, (n_trunk, n_answer) in enumerate(((300, 90), (170, 60))):
        trunk = random_ids(n_trunk, seed=50 + record)
        for task in range(2):
            answer = random_ids(n_answer + task, seed=60 + 2 * record + task)
            sequences.append(TokenSequence((*trunk, *answer), n_trunk + 40 * task))
    sequences.append(TokenSequence(random_ids(100, seed=70), 90))
    return sequences


def naive_loss(model: Any, sequences: Sequence[TokenSequence], weights: Sequence[float]) -> Tensor:
    """One sequence a row through the stock forward: −Σ weight · Σ log p."""
    return -sum(w * stock_logps(model, s).sum() for w, s in zip(weights, sequences, strict=True))
