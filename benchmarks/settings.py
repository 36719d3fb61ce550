"""What both sides of a comparison are given alike."""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from torch import nn

RANK, ALPHA, LEARNING_RATE, MAX_GRAD_NORM = 8, 16, 2e-4, 1.0


@torch.no_grad()
def seed_adapter(model: nn.Module) -> None:
    """The same initial LoRA whatever it is called: A by the layer's name, B zero."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or ".lora_" not in name:
            continue
        layer, _, factor = name.rpartition(".lora_")
        if factor.startswith("B"):
            parameter.zero_()
            continue
        layer = layer[layer.index("layers.") :]
        generator = torch.Generator().manual_seed(zlib.crc32(layer.encode()))
        bound = parameter.shape[1] ** -0.5
        parameter.copy_(torch.rand(parameter.shape, generator=generator).mul_(2 * bound).sub_(bound))


def model_path(name: str) -> str:
    """Folder or name that transformers loads."""
    from iimedgpt.engine.embedded import embedded_model

    return str(embedded_model()) if name == "embedded" else str(Path(name))
