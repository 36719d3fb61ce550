"""How much memory a training step takes: counted, not guessed.

No table of coefficients: the engine itself, adapters and attention and head, runs forward and
backward on a model *without numbers* (fake tensors have shapes and types, and no memory), and every
tensor is counted while it lives. Memory is linear in layers and in tokens, so two and three
layers, 256 and 512 tokens, give the whole model at any length in about a second, on any machine.

    bytes = weights + trained parameters x (weight, gradient, two Adam moments) + fixed + per token x tokens

``fixed`` holds the head's block of logits: flat in the vocabulary, and in the tasks of a record.
"""

from __future__ import annotations

import copy
import json
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from iimedgpt.config import ModelConfig, TrainConfig
from iimedgpt.engine import attention
from iimedgpt.engine.adapters import add_adapter
from iimedgpt.engine.chat import ByteTokenizer, Chat
from iimedgpt.engine.logps import VOCABULARY_BLOCK, make_scorable, token_logps, trie_tensors
from iimedgpt.engine.lora import FusedLoraLinear
from iimedgpt.engine.models import DPO, SFT, LoadedModel, attention_kinds
from iimedgpt.engine.norms import fuse_norms
from iimedgpt.engine.precision import store_in_bfloat16
from iimedgpt.engine.trie import TokenSequence, build_trie

UNBOUNDED = 2**20  # tokens; where nobody can say how much memory there is
# Interpreter, libraries and what allocators keep: 0.9 to 1.2 GiB measured on CPU. CUDA: context and kernels, assumed.
RUNTIME_BYTES = {"cpu": 2**30, "cuda": 2**30}
FOUR_BIT = 0.516  # bytes a weight of NF4 with its scales quantised in turn (QLoRA, arXiv 2305.14314, section 3)
SCORED_FRAC = 0.5  # of the tokens; generous: answers are shorter than what they answer
SHORT, LONG = 256, 512
FEW = 2  # layers: with one alone, the head may be what peaks
# What a model raises that cannot run without its numbers: a router that picks experts by value, say.
UNFORESEEN = (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, KeyError)


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one optimiser step of one process."""

    weights: int  # base and frozen adapters, as they are stored
    trained: int  # trained parameters with gradient and two Adam moments
    fixed: int  # of a forward and backward, whatever the number of tokens
    per_token: float
    n_parameters: int  # of the base
    n_trained: int
    layer: int  # weights of one layer
    outside: int  # weights outside the layers: embedding, head, last norm

    def total(self, n_tokens: int) -> int:
        """Peak of a step whose largest pack has ``n_tokens`` trie tokens."""
        return self.weights + self.trained + self.fixed + round(self.per_token * n_tokens)

    def most_tokens(self, n_bytes: float) -> int:
        """Trie tokens of the largest pack that fits ``n_bytes`` beside weights and optimiser."""
        left = n_bytes - self.weights - self.trained - self.fixed
        return max(0, min(UNBOUNDED, int(left / self.per_token)))

    def sharded(self, n_processes: int) -> StepMemory:
        """One process of FSDP: weights and optimiser in equal parts, two layers and the rest gathered."""
        if n_processes == 1:
            return self
        gathered = 2 * self.layer + self.outside
        return StepMemory(
            weights=self.weights // n_processes + gathered,
            trained=self.trained // n_processes,
            fixed=self.fixed,
            per_token=self.per_token,
            n_parameters=self.n_parameters,
            n_trained=self.n_trained,
            layer=self.layer,
            outside=self.outside,
        )


def step_memory(
    architecture: Any, model: ModelConfig, train: TrainConfig, compute: torch.dtype, *, is_stacked: bool = False
) -> StepMemory:
    """Memory of a LoRA step, from the architecture's configuration alone; nothing is loaded.

    Args:
        architecture: the model's configuration, as transformers has it.
        compute: type of the matrix products.
        is_stacked: an adapter of DPO on a frozen one of SFT, instead of one alone.

    Raises:
        one of UNFORESEEN: the model cannot run without its numbers.
    """
    decisive = TrainConfig(**train.model_dump(include={"rank", "dropout", "targets", "checkpointing"}))
    text = architecture.to_json_string(use_diff=False)
    kind: Any = type(architecture)
    return _step_memory(kind, text, model, decisive, compute, is_stacked)


@lru_cache(maxsize=32)
def _step_memory(
    kind: Any, text: str, model: ModelConfig, train: TrainConfig, compute: torch.dtype, is_stacked: bool
) -> StepMemory:
    config = kind.from_dict({key: value for key, value in json.loads(text).items() if key != "quantization_config"})
    peaks = {
        (n_layers, n_tokens): step_peak(config, model, train, compute, n_layers, n_tokens, is_stacked=is_stacked)
        for n_layers in (FEW, FEW + 1)
        for n_tokens in (SHORT, LONG)
    }
    n_layers = config.num_hidden_layers
    slopes = [(peaks[n, LONG] - peaks[n, SHORT]) / (LONG - SHORT) for n in (FEW, FEW + 1)]
    fixed = [peaks[n, SHORT] - slope * SHORT for n, slope in zip((FEW, FEW + 1), slopes, strict=True)]
    per_token, fixed_bytes = (few + (n_layers - FEW) * (more - few) for few, more in (slopes, fixed))

    whole = outline(config, model, train, compute, is_stacked=is_stacked)
    parts = dict(whole.named_parameters())
    trained = [p for p in parts.values() if p.requires_grad]
    frozen = {name: _stored_bytes(name, p, whole, model) for name, p in parts.items() if not p.requires_grad}
    outside = sum(n for name, n in frozen.items() if ".layers." not in name)
    weights = sum(frozen.values())
    if _is_quantised(model):  # one layer's matrix in full, while it is multiplied with
        fixed_bytes += max(p.numel() for name, p in parts.items() if ".layers." in name) * compute.itemsize
    return StepMemory(
        weights=weights,
        trained=sum(p.numel() * p.element_size() for p in trained) * 4,
        fixed=max(0, round(fixed_bytes)),
        per_token=max(1.0, per_token),
        n_parameters=sum(p.numel() for name, p in parts.items() if not _is_extra(name, config)),
        n_trained=sum(p.numel() for p in trained),
        layer=(weights - outside) // n_layers,
        outside=outside,
    )


def _is_quantised(model: ModelConfig) -> bool:
    return model.quantization != "none"


def _is_extra(name: str, config: Any) -> bool:
    """True for adapters, and for the copy of an embedding that serves as a head in another type."""
    return "lora_" in name or (name.endswith("lm_head.weight") and bool(getattr(config, "tie_word_embeddings", False)))


def _stored_bytes(name: str, parameter: Tensor, whole: nn.Module, model: ModelConfig) -> int:
    is_matrix = parameter.ndim == 2 and ".layers." in name and "lora_" not in name
    size = FOUR_BIT if is_matrix and _is_quantised(model) else parameter.element_size()
    return round(parameter.numel() * size)


def outline(
    architecture: Any,
    model: ModelConfig,
    train: TrainConfig,
    compute: torch.dtype,
    *,
    n_layers: int | None = None,
    is_stacked: bool = False,
) -> Any:
    """The model as ``load_model`` and ``add_adapter`` would make it, on the meta device.

    With ``n_layers``, only the last so many, and a vocabulary of two blocks: the head's memory is flat in it.
    """
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(architecture)
    if n_layers is not None:
        config.num_hidden_layers = n_layers
        if getattr(config, "layer_types", None):
            config.layer_types = (list(config.layer_types) * n_layers)[-n_layers:]
        config.vocab_size = min(config.vocab_size, 2 * VOCABULARY_BLOCK)
        config.pad_token_id = None
    with torch.device("meta"):
        auto: Any = AutoModelForCausalLM
        bare = auto.from_config(config, dtype=getattr(torch, model.dtype))
        for parameter in bare.parameters():
            parameter.requires_grad_(False)
        _fuse_norms(bare)
        make_scorable(bare)
        names = attention.register()
        best, *_ = attention_kinds(bare, model.attention, names)
        bare.set_attn_implementation(names["visible" if best == "flex" else best])  # flex keeps as much
        if compute == torch.bfloat16:
            store_in_bfloat16(bare)
        loaded = LoadedModel(bare, Chat(ByteTokenizer()), model.name, torch.device("meta"), True, compute)
        for adapter in (SFT, DPO)[: 1 + is_stacked]:
            add_adapter(loaded, adapter, train, seed=0)
    if _is_quantised(model):  # there the library's own, unfused forward runs
        for module in loaded.model.modules():
            if type(module) is FusedLoraLinear:
                module.__class__ = FusedLoraLinear.__base__
    return loaded.model


def _fuse_norms(model: nn.Module) -> None:
    """Norms are asked for their formula: for that they need numbers, any and few."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.to_empty(device="cpu")
            for parameter in module.parameters():
                parameter.data.normal_()
    fuse_norms(model)


def step_peak(
    architecture: Any,
    model: ModelConfig,
    train: TrainConfig,
    compute: torch.dtype,
    n_layers: int | None,
    n_tokens: int,
    *,
    is_stacked: bool = False,
) -> int:
    """Peak bytes of activations in one forward and backward over a chain of tokens, half of them scored.

    Counted are tensors made on the way, gradients of parameters not.
    """
    hollow = outline(architecture, model, train, compute, n_layers=n_layers, is_stacked=is_stacked)
    _without_numbers(hollow)
    hollow.train()
    if train.checkpointing:
        hollow.activation_checkpointing_enable({"use_reentrant": False})
    return measured_peak(hollow, n_tokens, compute)


def measured_peak(model: Any, n_tokens: int, compute: torch.dtype) -> int:
    """As ``step_peak``, for a model that is there, with numbers or without."""
    ids = tuple(i % 64 for i in range(n_tokens))
    batch = trie_tensors(build_trie([TokenSequence(ids, max(1, round(n_tokens * (1 - SCORED_FRAC))))]), "cpu")
    with LiveBytes(model) as live:
        with torch.autocast("cpu", torch.bfloat16, enabled=compute == torch.bfloat16):
            loss = -token_logps(model, batch).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        grads: list[Tensor] = [p.grad for p in model.parameters() if p.grad is not None]
        gradients = sum(grad.numel() * grad.element_size() for grad in grads)
    model.zero_grad(set_to_none=True)
    peak: int = live.peak  # the mode, a context manager, is untyped
    return peak - gradients


def _without_numbers(model: nn.Module) -> None:
    """Turn a meta model into one of fake CPU tensors, in place: those run autocast and mix with real indices."""
    made: dict[int, Any] = {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None and id(tensor) not in made:
                        fake = torch.empty_like(tensor, device="cpu")
                        is_parameter = isinstance(tensor, nn.Parameter)
                        made[id(tensor)] = nn.Parameter(fake, tensor.requires_grad) if is_parameter else fake
                    if tensor is not None:
                        tensors[name] = made[id(tensor)]


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors made inside while they live; ``peak`` is the most at any moment.

    The storages of ``model`` itself do not count.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        tensors = (*model.parameters(), *model.buffers())
        self.seen = {tensor.untyped_storage()._cdata for tensor in tensors}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if key in self.seen:
            return
        self.seen.add(key)
        n_bytes = storage.nbytes()
        self.now += n_bytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, n_bytes)

    def _forget(self, key: int, n_bytes: int) -> None:
        self.seen.discard(key)
        self.now -= n_bytes


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises where memory ends, on CUDA and on CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
