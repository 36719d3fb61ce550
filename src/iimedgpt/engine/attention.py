"""One mask rule for every architecture, and attention over visible keys only.

transformers lets a model look up its mask maker and its attention by name. We register pairs that
call the library's own with one change: the model's *own* rule (causal, sliding window, chunks) is
evaluated at trie positions and and-ed with ``k <= q < end[k]``. Outside ``layout(...)`` they do
exactly what the library does, so ``generate`` and everything else stay untouched.

Shapes: Q query rows, K key rows, H heads, G key-value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, flex_attention_mask, sdpa_mask

Rule = Callable[[Any, Any, Tensor, Tensor], Tensor]
Rows = slice | Tensor  # rows of a tensor: a slice where they are neighbours, which costs no copy

QUERY_BLOCK = 128  # small enough that little is computed beyond what is visible, large enough for matrix products
PREFIX = "iimedgpt_"  # names under which transformers knows our attentions


@dataclass(frozen=True)
class Layout:
    """What the mask makers need to know of the tokens in this forward.

    Queries are the last ``len(query_blocks)``-many rows of the keys. ``is_visible(q, k)`` broadcasts
    over index tensors. ``query_blocks`` are the query rows to work on together, each with the
    candidate key rows: everything a query of the block can see lies among them.
    """

    position_K: Tensor
    is_visible: Callable[[Tensor, Tensor], Tensor]
    blocks: tuple[tuple[Tensor, Tensor], ...]
    n_past: int = 0


_layout: ContextVar[Layout | None] = ContextVar("trie_layout", default=None)


@contextmanager
def layout(value: Layout) -> Iterator[None]:
    """Every forward inside sees this layout."""
    token = _layout.set(value)
    try:
        yield
    finally:
        _layout.reset(token)


def trie_layout(position_T: Tensor, end_T: Tensor) -> Layout:
    """The layout of a whole trie read at once.

    Args:
        position_T, end_T: as ``Trie`` has them, shape [T].
    """
    n_tokens = len(end_T)
    rows = torch.arange(n_tokens, device=end_T.device)
    roots = torch.nonzero(position_T == 0).squeeze(1).tolist()
    blocks = []
    for start, stop in _query_blocks([*roots, n_tokens]):
        queries = rows[start:stop]
        ancestors = torch.nonzero(end_T[:start] > start).squeeze(1)
        blocks.append((queries, torch.cat([ancestors, queries])))

    def is_visible(q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < end_T[k])

    return Layout(position_T, is_visible, tuple(blocks))


def _query_blocks(bounds: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of at most ``QUERY_BLOCK`` rows; tries (between bounds) share one only where they are small."""
    blocks: list[tuple[int, int]] = []
    start = bounds[0] if bounds else 0
    for root, stop in pairwise(bounds):
        if stop - start <= QUERY_BLOCK:
            continue
        if root > start:
            blocks.append((start, root))
        blocks += [(first, min(first + QUERY_BLOCK, stop)) for first in range(root, stop, QUERY_BLOCK)]
        start = stop
    return [*blocks, (start, bounds[-1])] if bounds and start < bounds[-1] else blocks


def _rule(value: Layout, own: Rule) -> Rule:
    """Visibility in the layout and the model's own rule at trie positions."""
    position = value.position_K

    def rule(b: Any, h: Any, q: Tensor, k: Tensor) -> Tensor:
        return value.is_visible(q, k) & own(b, h, position[q], position[k])

    return rule


def _library_mask(base: Callable[..., Any]) -> Callable[..., Any]:
    """A library mask maker that obeys the layout."""

    def mask(*args: Any, mask_function: Rule, attention_mask: Tensor | None = None, **kwargs: Any) -> Any:
        value = _layout.get()
        if value is None:
            return base(*args, mask_function=mask_function, attention_mask=attention_mask, **kwargs)
        kwargs.update(allow_is_causal_skip=False, use_vmap=False)
        return base(*args, mask_function=_rule(value, mask_function), attention_mask=None, **kwargs)

    return mask


@dataclass(frozen=True)
class VisibleBlock:
    """Some query rows, the key rows any of them can see, and which of the pairs do not count.

    ``hidden_QM`` speaks of the last M keys only: what comes before them every query of the block sees.
    """

    queries: Rows
    keys: Rows
    hidden_QM: Tensor | None  # bool; None where all pairs count


Plan = tuple[VisibleBlock, ...]


def _visible_mask(*args: Any, mask_function: Rule, attention_mask: Tensor | None = None, **kwargs: Any) -> Any:
    value = _layout.get()
    if value is None:
        library: Any = sdpa_mask
        return library(*args, mask_function=mask_function, attention_mask=attention_mask, **kwargs)
    rule = _rule(value, mask_function)
    zero = torch.zeros((), dtype=torch.long, device=value.position_K.device)
    plan = []
    for queries, keys in value.blocks:
        seen_QK = rule(zero, zero, queries[:, None], keys[None, :])
        used = seen_QK.any(0)
        if not bool(used.all()):
            keys, seen_QK = keys[used], seen_QK[:, used]
        partly = torch.nonzero(~seen_QK.all(0))
        hidden = ~seen_QK[:, int(partly[0]) :] if len(partly) else None
        plan.append(VisibleBlock(_as_slice(queries - value.n_past), _as_slice(keys), hidden))
    return tuple(plan)


def _as_slice(rows: Tensor) -> Rows:
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def _visible_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Plan | Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as plain matrix products over visible keys; query [1, H, Q, D], key [1, G, K, D]."""
    _refuse_extras(kwargs)
    if not isinstance(attention_mask, tuple):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    if query.shape[0] != 1 or dropout or kwargs.get("softcap") is not None:
        raise NotImplementedError("visible attention takes one row, no attention dropout and no soft cap")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = (in_compute_type(x) for x in (query, key, value))
    apply: Any = VisibleAttention.apply
    out_HQD = apply(query[0], key[0], value[0], attention_mask, scale)
    return out_HQD.transpose(0, 1).unsqueeze(0), None


def _refuse_extras(kwargs: dict[str, Any]) -> None:
    """What an architecture adds to its attention must not vanish in silence."""
    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise NotImplementedError(f"attention with '{name}' (sinks or biases)")


def in_compute_type(x: Tensor) -> Tensor:
    """Autocast does not reach inside our own functions: cast what goes in, as it would."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _grouped(x_HQD: Tensor, queries: Rows, n_groups: int) -> Tensor:
    """Query rows of all heads that share a key-value head side by side: [G, H/G·Q, D]."""
    x = x_HQD[:, queries]
    return x.reshape(n_groups, -1, x.shape[-1])


def _probabilities(q: Tensor, k: Tensor, hidden_QM: Tensor | None) -> Tensor:
    scores = torch.bmm(q, k.transpose(1, 2))
    if hidden_QM is not None:
        n_queries, n_partly = hidden_QM.shape
        by_query = scores.view(len(scores), -1, n_queries, scores.shape[-1])
        by_query[..., -n_partly:].masked_fill_(hidden_QM, float("-inf"))
    return torch.softmax(scores, dim=-1)


def without_autocast(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Run a function's forward in the types of its inputs, so that backward can do the same."""

    @wraps(forward)
    def run(ctx: Any, first: Tensor, *rest: Any) -> Tensor:
        with torch.autocast(first.device.type, enabled=False):
            return forward(ctx, first, *rest)

    return run


class VisibleAttention(torch.autograd.Function):
    """Softmax attention block by block; probabilities are recomputed in backward.

    The scale goes into the queries, which are few, and not into the scores, which are many. The
    gradient of the softmax needs Σ_k p·∂p = ∂o·o per query (Dao et al. 2022, arXiv 2205.14135, eq. 4).
    """

    @staticmethod
    @without_autocast
    def forward(ctx: Any, q_HQD: Tensor, k_GKD: Tensor, v_GKD: Tensor, plan: Plan, scale: float) -> Tensor:
        out = torch.empty_like(q_HQD)
        n_heads, _, size = q_HQD.shape
        for block in plan:
            q = _grouped(q_HQD, block.queries, len(k_GKD)) * scale
            p = _probabilities(q, k_GKD[:, block.keys], block.hidden_QM)
            out[:, block.queries] = torch.bmm(p, v_GKD[:, block.keys]).view(n_heads, -1, size)
        ctx.save_for_backward(q_HQD, k_GKD, v_GKD, out)
        ctx.plan, ctx.scale = plan, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q_HQD, k_GKD, v_GKD, out = ctx.saved_tensors
        dq = torch.empty_like(q_HQD)
        dk, dv = (torch.zeros_like(x, dtype=torch.float32) for x in (k_GKD, v_GKD))  # summed over query blocks
        grad = grads[0]
        inner_HQ = (grad * out).sum(-1, keepdim=True)
        n_heads, _, size = q_HQD.shape
        n_groups = len(k_GKD)
        for block in ctx.plan:
            q = _grouped(q_HQD, block.queries, n_groups) * ctx.scale
            k, v = k_GKD[:, block.keys], v_GKD[:, block.keys]
            do = _grouped(grad, block.queries, n_groups)
            p = _probabilities(q, k, block.hidden_QM)
            _add(dv, block.keys, torch.bmm(p.transpose(1, 2), do))
            ds = torch.bmm(do, v.transpose(1, 2)).sub_(_grouped(inner_HQ, block.queries, n_groups)).mul_(p)
            dq[:, block.queries] = torch.bmm(ds, k).mul_(ctx.scale).view(n_heads, -1, size)
            _add(dk, block.keys, torch.bmm(ds.transpose(1, 2), q))
        return dq, dk.to(k_GKD.dtype), dv.to(v_GKD.dtype), None, None


def _add(total_GKD: Tensor, keys: Rows, part: Tensor) -> None:
    if isinstance(keys, slice):
        total_GKD[:, keys] += part
    else:
        total_GKD.index_add_(1, keys, part.to(total_GKD.dtype))


def _sdpa_attention(module: torch.nn.Module, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    if kwargs.get("s_aux") is not None:
        _refuse_extras(kwargs)
    return sdpa_attention_forward(module, *args, **kwargs)


def _eager_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention written out, with the soft cap that sdpa refuses (Gemma 2)."""
    _refuse_extras(kwargs)
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = torch.nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None


@lru_cache(maxsize=1)
def register() -> dict[str, str]:
    """Make our attentions known to transformers once; returns config name → registered name."""
    pairs: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "visible": (_visible_attention, _visible_mask),
        "sdpa": (_sdpa_attention, _library_mask(sdpa_mask)),
        "eager": (_eager_attention, _library_mask(eager_mask)),
        # For CUDA, where it is not yet run; on CPU its forward is tested, backward the library refuses.
        "flex": (flex_attention_forward, _library_mask(flex_attention_mask)),
    }
    names = {}
    for name, (attention, mask) in pairs.items():
        names[name] = PREFIX + name
        AttentionInterface.register(names[name], attention)
        AttentionMaskInterface.register(names[name], mask)
    return names
