"""A frozen base in four bits, for QLoRA on CUDA. Written to the libraries' interfaces, not yet run on a GPU.

Only the linear layers inside the decoder are quantised. Embedding, norms and head stay in
``model.dtype``, so that the fused head and the residuals are what they are without quantisation; the
usual preparation for training in four bits, which casts all of those to float32, is not used.

Source: Dettmers et al. 2023, "QLoRA" (arXiv 2305.14314), sections 3 and 4.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from iimedgpt.config import ModelConfig
from iimedgpt.errors import ConfigError, MissingExtraError


def quantised_loading(config: ModelConfig, device: torch.device, compute: torch.dtype) -> dict[str, Any]:
    """What ``from_pretrained`` takes for the quantisation that the configuration asks for; empty for none.

    NF4 with double quantisation: 4.127 bits a weight. Stored in ``model.dtype``, because FSDP shards
    floating point only; multiplied in ``compute``.

    Raises:
        ConfigError: the device is no CUDA device, or the model is not loaded from weights.
        MissingExtraError: bitsandbytes is not installed.
    """
    if config.quantization == "none":
        return {}
    wanted = f"model.quantization = '{config.quantization}'"
    if device.type != "cuda":
        raise ConfigError(
            f"{wanted} needs a CUDA device, and the model is on '{device.type}'",
            hint="set model.quantization = 'none', or run where there is an NVIDIA GPU",
        )
    if config.name == "tiny":
        raise ConfigError(f"{wanted} needs a model with weights, and 'tiny' has none", hint="name another model")
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError("quantized", wanted)
    from transformers import BitsAndBytesConfig

    four_bits = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type=config.quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_quant_storage=getattr(torch, config.dtype),
    )
    return {"quantization_config": four_bits, "device_map": {"": torch.cuda.current_device()}}


def is_quantised(module: nn.Module) -> bool:
    """True for a layer in four bits: its values are codes, which must not be cast."""
    return hasattr(getattr(module, "weight", None), "quant_state")


def arithmetic(model: Any) -> torch.dtype:
    """The type that decides the rounding of a freshly loaded model."""
    quantisation = getattr(model.config, "quantization_config", None)
    kind: torch.dtype = getattr(quantisation, "bnb_4bit_compute_dtype", None) or model.dtype
    return kind
