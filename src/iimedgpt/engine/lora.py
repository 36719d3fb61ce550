"""LoRA without the passes that a chain of modules costs: y = x·Wᵀ + (x·Aᵀ)·Bᵀ, one function.

The library's layer writes the low-rank product, scales it and adds it in three passes over an
output that is as large as the layer's own, and autograd does as much on the way back. Here both
products accumulate in place. All active adapters of a layer are one pair (A, B): ranks side by side,
scales inside B. With live dropout, merged weights or variants the library's own forward runs.

Shapes: T tokens, I inputs, O outputs, R ranks of all active adapters.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from iimedgpt.engine.attention import in_compute_type, without_autocast


class FusedLora(torch.autograd.Function):
    """A frozen linear layer and its adapters; gradients for the input and for A and B."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor) -> Tensor:
        a, b, weight = (w.to(x_TI.dtype) for w in (a_RI, b_OR, weight_OI))
        h_TR = x_TI @ a.T
        y_TO = nn.functional.linear(x_TI, weight, None if bias_O is None else bias_O.to(x_TI.dtype))
        y_TO.addmm_(h_TR, b.T)
        ctx.save_for_backward(x_TI, weight, a, b, h_TR)
        ctx.kinds = a_RI.dtype, b_OR.dtype
        return y_TO

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, Tensor | None, Tensor | None]:
        x_TI, weight_OI, a_RI, b_OR, h_TR = ctx.saved_tensors
        dy_TO = grads[0].to(x_TI.dtype)
        dh_TR = dy_TO @ b_OR
        dx = (dy_TO @ weight_OI).addmm_(dh_TR, a_RI) if ctx.needs_input_grad[0] else None
        da = (dh_TR.T @ x_TI).to(ctx.kinds[0]) if ctx.needs_input_grad[3] else None
        db = (dy_TO.T @ h_TR).to(ctx.kinds[1]) if ctx.needs_input_grad[4] else None
        return dx, None, None, da, db


class FusedLoraLinear(LoraLinear):  # type: ignore[misc]
    """The library's layer with the fused forward where it says the same."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        names = [name for name in self.active_adapters if name in self.lora_A]
        if args or kwargs or not names or not self._is_plain(names):
            out: Tensor = super().forward(x, *args, **kwargs)
            return out
        a_RI = [self.lora_A[name].weight for name in names]
        b_OR = [self.lora_B[name].weight * self.scaling[name] for name in names]
        base: Any = self.base_layer
        flat = in_compute_type(x).reshape(-1, x.shape[-1])
        apply: Any = FusedLora.apply
        y = apply(flat, base.weight, base.bias, torch.cat(a_RI), torch.cat(b_OR, dim=1))
        fused: Tensor = y.view(*x.shape[:-1], -1)
        return fused

    def _is_plain(self, names: list[str]) -> bool:
        if self.disable_adapters or self.merged or self.base_layer.weight.requires_grad:
            return False
        return not any(
            name in self.lora_variant or (self.training and getattr(self.lora_dropout[name], "p", 0.0))
            for name in names
        )


def fuse(model: nn.Module) -> None:
    """Give every plain LoRA layer on a plain linear one the fused forward, in place."""
    for module in model.modules():
        if type(module) is LoraLinear and type(module.base_layer) is nn.Linear:
            module.__class__ = FusedLoraLinear
