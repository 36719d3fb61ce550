"""Loading models: the base, its adapters in order, and a probe that the trie is right for it."""

from __future__ import annotations

import ctypes
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from iimedgpt.config import ModelConfig
from iimedgpt.engine import attention
from iimedgpt.engine.chat import ByteTokenizer, Chat
from iimedgpt.engine.embedded import embedded_model
from iimedgpt.engine.folders import local_model
from iimedgpt.engine.logps import make_scorable, token_logps, trie_tensors
from iimedgpt.engine.norms import fuse_norms
from iimedgpt.engine.precision import store_in_bfloat16
from iimedgpt.engine.quantised import arithmetic, quantised_loading
from iimedgpt.engine.trie import TokenSequence, build_trie, shared_prefix
from iimedgpt.errors import DataError

log = logging.getLogger(__name__)

PROBE_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.15, torch.float16: 0.05}  # nats per token, on average
SFT, DPO = "sft", "dpo"  # names of the stacked adapters


@dataclass
class LoadedModel:
    """A scorable model, how it talks, and whether sharing prefixes is exact for it."""

    model: Any
    chat: Chat
    name: str
    device: torch.device
    is_shared: bool
    compute: torch.dtype = torch.float32

    def autocast(self) -> torch.autocast:
        """Matrix products in ``compute``; a no-op where that is the weights' own type."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.compute == torch.bfloat16)

    @contextmanager
    def using(self, adapters: Sequence[str]) -> Iterator[None]:
        """Only these adapters are active inside; an empty list is the base model."""
        if not hasattr(self.model, "peft_config"):
            yield
            return
        before = list(self.model.active_adapters)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        try:
            if adapters:
                self.model.base_model.set_adapter(list(adapters))
                yield
            else:
                with self.model.disable_adapter():
                    yield
        finally:
            self.model.base_model.set_adapter(before)
            _train_only(self.model, trained)


def _train_only(model: nn.Module, trained: Sequence[nn.Parameter]) -> None:
    """``set_adapter`` switches gradients on; put them back as they were."""
    kept = {id(p) for p in trained}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in kept)


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise DataError(f"device '{name}'", expected="auto, cpu or cuda", hint="CUDA_VISIBLE_DEVICES=N chooses a card")
    return torch.device(name)


def resolve_compute(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the hardware multiplies in it, by capability and not by timing."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported()
    else:
        capabilities = (torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported)
        has_bfloat16 = any(is_supported() for is_supported in capabilities)
    return torch.bfloat16 if has_bfloat16 else torch.float32


def load_model(config: ModelConfig) -> LoadedModel:
    """The base model, scorable and probed.

    Raises:
        MissingExtraError: the embedded model, or quantisation, is asked for and not installed.
        ConfigError: quantisation is asked for where there is no CUDA device.
        DataError: no model, or no weights, at the given name.
    """
    device = resolve_device(config.device)
    compute = resolve_compute(config.compute, device)
    quantised = quantised_loading(config, device, compute)
    model, tokenizer = tiny_model() if config.name == "tiny" else _pretrained(config, quantised)
    if not quantised:
        model.to(device=device, dtype=getattr(torch, config.dtype))
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    chat = Chat(tokenizer)
    is_shared = _make_shareable(model, chat, config)
    if compute == torch.bfloat16:
        store_in_bfloat16(model)
    _return_freed_memory()
    return LoadedModel(model, chat, config.name, device, is_shared, compute)


def _return_freed_memory() -> None:
    """Loading frees as much as it keeps; glibc would hold on to it (0.4 GiB for the embedded model)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def tiny_model() -> tuple[Any, Any]:
    """A random model of 40k parameters with a sliding window and a byte tokenizer, for tests."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=ByteTokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=256,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=8192,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=257,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Gemma3ForCausalLM(config)
    return model, ByteTokenizer()


def _pretrained(config: ModelConfig, quantised: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as library_logging

    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)  # peft's

    library_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = str(embedded_model()) if config.name == "embedded" else config.name
    path = str(local_model(path) or path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, config.dtype), use_safetensors=True, low_cpu_mem_usage=True, **quantised
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataError(
            f"model '{config.name}' cannot be loaded: {reason}",
            expected="'embedded', 'tiny', or a Hugging Face name or folder",
        ) from None
    return model, tokenizer


@torch.no_grad()
def _make_shareable(model: Any, chat: Chat, config: ModelConfig) -> bool:
    """Give the model the trie forward with the first attention that is right for it.

    The probe compares with the model's own attention, before ours takes its place.

    Returns:
        False where only one sequence a row is right.

    Raises:
        DataError: not even that is right.
    """
    sequences = probe_sequences(chat)
    expected = [stock_logps(model, sequence) for sequence in sequences]
    names = attention.register()
    kinds = attention_kinds(model, config.attention, names)
    make_scorable(model)
    fuse_norms(model)
    for kind in kinds:
        if _use(model, names[kind]) and _is_right(model, [sequences], expected):
            return True
    for kind in kinds:
        if _use(model, names[kind]) and _is_right(model, [[sequence] for sequence in sequences], expected):
            log.warning("model %s: sharing prefixes is not exact for it; one sequence a row is read", config.name)
            return False
    raise DataError(
        f"model '{config.name}' gives other likelihoods with our attention than with its own",
        hint="use another base model; attention sinks and biases are not supported",
    )


def attention_kinds(model: Any, wanted: str, names: dict[str, str]) -> list[str]:
    """Names of attentions to try for a model, the best first."""
    if getattr(model.config, "attn_logit_softcapping", None):  # Gemma 2: has to be written out
        return ["eager"]
    if wanted == "auto":
        first = "flex" if model.device.type == "cuda" else "visible"
        return list(dict.fromkeys((first, "visible", "sdpa", "eager")))
    if wanted not in names:
        raise DataError(f"attention '{wanted}' is not available on this machine", expected=", ".join(names))
    return [wanted]


def _use(model: Any, name: str) -> bool:
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError):
        return False
    return True


def _is_right(model: Any, packs: Sequence[Sequence[TokenSequence]], expected: Sequence[Tensor]) -> bool:
    try:
        found = [logps for pack in packs for logps in trie_logps(model, pack)]
    except (NotImplementedError, RuntimeError, TypeError, ValueError):
        return False
    worst = max(float((a - b).abs().mean()) for a, b in zip(found, expected, strict=True))
    return worst <= PROBE_TOLERANCE[arithmetic(model)]


def trie_logps(model: Any, sequences: Sequence[TokenSequence]) -> list[Tensor]:
    """Scored log-probabilities of each sequence, read as one trie."""
    trie = build_trie(sequences)
    logps_S = token_logps(model, trie_tensors(trie, model.device))
    owner_S = torch.as_tensor(trie.owner_S, device=logps_S.device)
    return [logps_S[owner_S == i] for i in range(len(sequences))]


def probe_sequences(chat: Chat) -> list[TokenSequence]:
    """Two answers on one trunk and a neighbour, in plain language: rounding is small on text a model
    expects, while a cut trunk or a glance at the neighbour costs it dearly."""
    trunk = "Codes: alpha 8271, beta 5390, gamma 6604. 编号：甲8271，乙5390，丙6604。Repeat: "
    leaves = ("alpha 8271, beta 5390.", "编号：甲8271，乙5390，丙6604。", "gamma 6604.")
    first, second, third = (chat.tokenizer.encode(trunk + leaf, add_special_tokens=False) for leaf in leaves)
    n_trunk = shared_prefix(first, second)
    return [
        TokenSequence(tuple(first), n_trunk),
        TokenSequence(tuple(second), n_trunk),
        TokenSequence(tuple(third[n_trunk // 2 :]), 2),
    ]


def stock_logps(model: Any, sequence: TokenSequence) -> Tensor:
    """The naive path: one sequence through the model's ordinary forward, its scored log-probabilities."""
    ids = torch.tensor([sequence.ids], device=model.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()
    logps = torch.log_softmax(logits[sequence.start - 1 : -1], -1)
    return logps.gather(1, ids[0, sequence.start :, None]).squeeze(1)
