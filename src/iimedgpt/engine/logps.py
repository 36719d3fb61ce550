"""The only way anything asks a model for likelihoods.

``make_scorable`` turns a causal language model's class into one whose ``forward`` also takes a
trie: it runs the decoder under the trie's layout and calls the head *as a module* with targets.
Everything goes through the outer ``model(...)``; calling the decoder or the head's weight directly
would bypass DDP, FSDP and autocast in silence.

The head is applied to the rows that predict a trained token only, in chunks, with a fused
log-softmax: the [tokens, vocabulary] matrix never exists.

Shapes: T trie tokens, S scored tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from iimedgpt.engine.attention import PREFIX, in_compute_type, layout, trie_layout, without_autocast
from iimedgpt.engine.trie import Trie

ROW_BLOCK, VOCABULARY_BLOCK = 512, 4_096  # logits in memory at once: 8 MB, which caches hold
TRIE_KEYS = ("input_ids", "position", "end", "rows", "targets")


@dataclass
class TrieOutput(ModelOutput):
    """Log-probability of each scored token, shape [S]."""

    logps: Tensor | None = None


def trie_tensors(trie: Trie, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """A trie as the arguments of a scorable model's forward; a leading batch axis of one."""
    arrays = (trie.ids_T, trie.position_T, trie.end_T, trie.rows_S, trie.targets_S)
    return {key: torch.as_tensor(array, device=device)[None] for key, array in zip(TRIE_KEYS, arrays, strict=True)}


def token_logps(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Log-probability of each scored token of a batch made by ``trie_tensors``, shape [S]."""
    logps: Tensor = model(**{key: batch[key] for key in TRIE_KEYS}).logps
    return logps


@dataclass(frozen=True)
class LogitScale:
    """What an architecture does to its logits after the head: multiply, then soft-cap."""

    factor: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: Any) -> LogitScale:
        """Cohere multiplies (logit_scale), Granite divides (logits_scaling), Gemma caps."""
        factor = float(getattr(config, "logit_scale", None) or 1.0)
        factor /= float(getattr(config, "logits_scaling", None) or 1.0)
        return cls(factor, getattr(config, "final_logit_softcapping", None))


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, start + size)


def _logits(h: Tensor, weight: Tensor, bias: Tensor | None, scale: LogitScale) -> tuple[Tensor, Tensor | None]:
    """(logits in float32, tanh of the cap where there is one) of a block of the vocabulary, in h's type."""
    logits = nn.functional.linear(h, weight, bias if bias is None else bias.to(h.dtype)).float()
    if scale.factor != 1.0:
        logits = logits * scale.factor
    if scale.cap is None:
        return logits, None
    tanh = torch.tanh(logits / scale.cap)
    return tanh * scale.cap, tanh


def _slope(tanh: Tensor | None, scale: LogitScale) -> Tensor | float:
    """∂logits/∂(h·Wᵀ): through the cap and the factor."""
    return scale.factor if tanh is None else (1 - tanh**2) * scale.factor


def _total(h: Tensor, weight: Tensor, bias: Tensor | None, scale: LogitScale, expected: Tensor | None) -> Tensor:
    """log Σ exp over the vocabulary per row, block by block with a running maximum, [rows].

    ``expected``, where given, becomes Σ softmax · slope · W: the part of the gradient that every
    row has. It is gathered unnormalised and rescaled when the maximum moves, so that each block of
    logits lives only once and in cache.
    """
    top = torch.full((len(h), 1), float("-inf"), device=h.device)
    total = torch.zeros(len(h), 1, device=h.device)
    for block in _slices(len(weight), VOCABULARY_BLOCK):
        w = weight[block].to(h.dtype)
        logits, tanh = _logits(h, w, None if bias is None else bias[block], scale)
        higher = torch.maximum(top, logits.amax(-1, keepdim=True))
        p = logits.sub_(higher).exp_()
        shrink = (top - higher).exp_()
        total = total.mul_(shrink).add_(p.sum(-1, keepdim=True))
        if expected is not None:
            slope = _slope(tanh, scale)
            p = p if isinstance(slope, float) and slope == 1.0 else p.mul_(slope)
            expected.mul_(shrink).add_(p.to(h.dtype) @ w)
        top = higher
    if expected is not None:
        expected.div_(total)
    return (top + total.log()).squeeze(-1)


def _picked(
    h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, scale: LogitScale
) -> tuple[Tensor, Tensor]:
    """(the targets' logits, their weight rows times slope), [rows] and [rows, H]."""
    rows = weight[targets]
    raw = (h.float() * rows.float()).sum(-1)
    if bias is not None:
        raw = raw + bias[targets].float()
    raw = raw.to(h.dtype).float() * scale.factor  # rounded as the normaliser's logits are; a no-op in float32
    if scale.cap is None:
        return raw, rows.float() * scale.factor
    tanh = torch.tanh(raw / scale.cap)
    return tanh * scale.cap, rows.float() * ((1 - tanh**2) * scale.factor)[:, None]


class FusedLogp(torch.autograd.Function):
    """log softmax(h·Wᵀ)[target] per row, without keeping the logits.

    With a frozen head, ∂logp/∂h = W[target] − p·W does not depend on the loss: it is computed in
    forward and multiplied in backward. With a trained head, backward recomputes.
    """

    @staticmethod
    @without_autocast
    def forward(
        ctx: Any, h_SH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, targets_S: Tensor, scale: LogitScale
    ) -> Tensor:
        logps = torch.empty(len(h_SH), dtype=torch.float32, device=h_SH.device)
        ctx.is_head_trained = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        keeps_gradient = ctx.needs_input_grad[0] and not ctx.is_head_trained
        gradient = torch.empty_like(h_SH, dtype=torch.float32) if keeps_gradient else None
        for rows in _slices(len(h_SH), ROW_BLOCK):
            h = h_SH[rows]
            picked, own = _picked(h, weight_VH, bias_V, targets_S[rows], scale)
            expected = None if gradient is None else torch.zeros_like(own)
            logps[rows] = picked - _total(h, weight_VH, bias_V, scale, expected)
            if gradient is not None and expected is not None:
                gradient[rows] = own - expected
        ctx.scale = scale
        ctx.save_for_backward(h_SH, weight_VH, bias_V, targets_S, gradient, logps)
        return logps

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        h_SH, weight_VH, bias_V, targets_S, gradient, logps = ctx.saved_tensors
        grad_S = grads[0]
        if gradient is not None:
            return (gradient * grad_S[:, None]).to(h_SH.dtype), None, None, None, None
        if not ctx.is_head_trained:
            return None, None, None, None, None
        return (*_backward_trained(h_SH, weight_VH, bias_V, targets_S, logps, grad_S, ctx.scale), None, None)


def _backward_trained(
    h_SH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    targets_S: Tensor,
    logps_S: Tensor,
    grad_S: Tensor,
    scale: LogitScale,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of hidden states, weight and bias, one block of rows and vocabulary at a time."""
    dh, dw = torch.zeros_like(h_SH, dtype=torch.float32), torch.zeros_like(weight_VH)
    db = None if bias_V is None else torch.zeros_like(bias_V)
    for rows in _slices(len(h_SH), ROW_BLOCK):
        h, targets = h_SH[rows], targets_S[rows]
        picked, _ = _picked(h, weight_VH, bias_V, targets, scale)
        total = (picked - logps_S[rows])[:, None]
        for block in _slices(len(weight_VH), VOCABULARY_BLOCK):
            w = weight_VH[block].to(h.dtype)
            logits, tanh = _logits(h, w, None if bias_V is None else bias_V[block], scale)
            d = logits.sub_(total).exp_().neg_()
            inside = torch.nonzero((targets >= block.start) & (targets < block.stop)).squeeze(1)
            d[inside, targets[inside] - block.start] += 1
            d = d.mul_(_slope(tanh, scale)).mul_(grad_S[rows, None]).to(h.dtype)
            dh[rows] += d @ w
            dw[block] += (d.T @ h).to(dw.dtype)
            if db is not None:
                db[block] += d.sum(0).to(db.dtype)
    return dh.to(h_SH.dtype), dw, db


class ScorableHead(nn.Linear):
    """A language-model head that also answers log-probabilities of targets."""

    scale: LogitScale

    def forward(self, h: Tensor, targets_S: Tensor | None = None) -> Tensor:
        if targets_S is None:
            return super().forward(h)
        logps: Tensor = FusedLogp.apply(in_compute_type(h), self.weight, self.bias, targets_S, self.scale)  # type: ignore[no-untyped-call]
        return logps


class ScorableModel:
    """Mixed into a causal language model's class; see ``make_scorable``."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        position: Tensor | None = None,
        end: Tensor | None = None,
        rows: Tensor | None = None,
        targets: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if end is None or position is None or rows is None or targets is None or input_ids is None:
            return super().forward(input_ids=input_ids, **kwargs)  # type: ignore[misc]
        implementation = str(self.config._attn_implementation)  # type: ignore[attr-defined]
        if not implementation.startswith(PREFIX):  # any other attention would ignore the trie in silence
            raise RuntimeError(f"attention '{implementation}' does not know the trie")
        with layout(trie_layout(position[0], end[0])):
            decoder = self.get_decoder()  # type: ignore[attr-defined]
            # attention_mask of ones is essential: with None, the library takes the jumps in the
            # positions for packed sequences and cuts branches off their trunk without a word.
            hidden_TH = decoder(
                input_ids=input_ids,
                position_ids=position,
                attention_mask=torch.ones_like(input_ids),
                use_cache=False,
            ).last_hidden_state[0]
        head = self.get_output_embeddings()  # type: ignore[attr-defined]
        return TrieOutput(logps=head(hidden_TH[rows[0]], targets[0]))


def make_scorable(model: nn.Module) -> nn.Module:
    """Give a loaded causal language model the trie forward, in place; returns it.

    Raises:
        TypeError: the head is no plain linear layer.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    if type(head) is not nn.Linear:
        raise TypeError(f"head is {type(head).__name__}, not Linear")
    head.__class__ = ScorableHead
    head.scale = LogitScale.of(model.config)  # type: ignore[assignment]
    base = type(model)
    model.__class__ = type(f"Scorable{base.__name__}", (ScorableModel, base), {})
    return model
