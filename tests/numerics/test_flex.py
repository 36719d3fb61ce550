"""``flex`` attention takes the same rule as a block mask: equal to the other attentions on CPU.

Run without compiling, which would take half a minute. The library then computes densely from the
mask's rule, so which blocks of 128 the compiled kernel would visit is compared apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.nn.attention import flex_attention
from torch.nn.attention.flex_attention import BlockMask

from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.trie import build_trie
from tests.numerics.architectures import WINDOW, build, long_records

BLOCK = 128
NAMES = ["llama", "gemma3"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning"),  # transformers'
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),  # torch's own
]


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


@pytest.fixture
def trained_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library refuses gradients on CPU, where its compiled kernel has none; the uncompiled form has them."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda query, key, value: None)


def _logps(model) -> torch.Tensor:
    return token_logps(model, trie_tensors(build_trie(long_records())))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_log_probabilities_equal_those_of_the_other_attentions(name: str) -> None:
    flex_S = _logps(build(name, "flex"))
    for kind in ("visible", "sdpa"):
        torch.testing.assert_close(flex_S, _logps(build(name, kind)), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("trained_on_cpu")
@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_those_of_sdpa(name: str) -> None:
    models = [build(name, kind) for kind in ("flex", "sdpa")]
    for model in models:
        _logps(model).sum().backward()
    expected = dict(models[1].named_parameters())
    rounding = 1e-6 * max(p.grad.abs().max().item() for p in expected.values())
    for key, parameter in models[0].named_parameters():
        gradient = expected[key].grad
        worst = (parameter.grad - gradient).abs().max().item()
        assert worst < 1e-5 * gradient.abs().max().item() + rounding, key


@torch.no_grad()
def test_the_blocks_visited_are_those_that_hold_a_visible_pair() -> None:
    """Layer 0 of Gemma 3 slides over a window of positions, layer 1 sees the whole path."""
    model = build("gemma3", "flex")
    masks: list[BlockMask] = []
    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(
            lambda _, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
        )
    _logps(model)
    trie = build_trie(long_records())
    q, k = torch.arange(trie.n_tokens)[:, None], torch.arange(trie.n_tokens)[None, :]
    position, end = torch.as_tensor(trie.position_T), torch.as_tensor(trie.end_T)
    seen_QK = (k <= q) & (q < end[k])
    near_QK = position[q] - position[k] < WINDOW

    for mask, visible_QK in zip(masks, (seen_QK & near_QK, seen_QK), strict=True):
        assert mask.BLOCK_SIZE == (BLOCK, BLOCK)
        n_blocks = -(-trie.n_tokens // BLOCK)
        padded = torch.zeros(n_blocks * BLOCK, n_blocks * BLOCK, dtype=torch.bool)
        padded[: trie.n_tokens, : trie.n_tokens] = visible_QK
        blocks = padded.view(n_blocks, BLOCK, n_blocks, BLOCK)
        is_visited = mask.to_dense()[0, 0].bool()
        assert torch.equal(is_visited, blocks.any(3).any(1))
        is_empty_below = ~is_visited & torch.ones_like(is_visited).tril()
        assert is_empty_below.any()  # a branch or a neighbour that is never read

    n_full = masks[1].full_kv_num_blocks[0, 0].sum().item()
    assert n_full == blocks.all(3).all(1).sum().item() > 0
