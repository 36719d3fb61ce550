"""Frozen weights kept in the type that they are multiplied in, each of them once.

The numbers are those that autocast gives: residuals stay in float32, and so does what the embedding
gives to them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from iimedgpt.engine.quantised import is_quantised

ROW_BLOCK = 16_384  # vocabulary rows compared at once


class _Float32Lookup:
    """Mixed into an embedding's class: rows are widened before the class does with them what it does."""

    def forward(self, input_ids: Tensor) -> Tensor:
        module: Any = self
        if module.weight.dtype == torch.float32:  # inside the call below
            out: Tensor = super().forward(input_ids)  # type: ignore[misc]
            return out
        rows, places = torch.unique(input_ids, return_inverse=True)
        widened: Tensor = functional_call(module, {"weight": module.weight[rows].float()}, (places,))
        return widened


@torch.no_grad()
def store_in_bfloat16(model: Any) -> None:
    """Store the linear layers of a float32 model in bfloat16, in place.

    A head tied to the embedding stays tied and the one matrix is stored in bfloat16 where that loses
    nothing (most published weights are bfloat16 numbers); else it stays in float32, and the head's
    product casts it block by block. There is never a second copy.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    is_tied = head.weight is embedding.weight
    for module in model.modules():
        if isinstance(module, nn.Linear) and not is_quantised(module) and not (module is head and is_tied):
            module.to(torch.bfloat16)
    if is_tied and head.weight.dtype == torch.float32 and _is_bfloat16(head.weight):
        head.weight = embedding.weight = nn.Parameter(head.weight.detach().to(torch.bfloat16), requires_grad=False)
        embedding.padding_idx = None  # of use in the gradient only, and frozen rows have none
        kind = type(embedding)
        embedding.__class__ = type(kind.__name__, (_Float32Lookup, kind), {})


def _is_bfloat16(weight_VH: Tensor) -> bool:
    if weight_VH.is_meta:
        return True
    blocks = (weight_VH[start : start + ROW_BLOCK] for start in range(0, len(weight_VH), ROW_BLOCK))
    return all(torch.equal(rows, rows.bfloat16().float()) for rows in blocks)
