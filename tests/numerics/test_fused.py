"""What is fused for speed says what the library says: LoRA layers and norms, values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn

from iimedgpt.config import ModelConfig, SFTConfig
from iimedgpt.engine.adapters import activate, add_adapter
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.lora import FusedLoraLinear
from iimedgpt.engine.models import LoadedModel, load_model
from iimedgpt.engine.norms import fuse_norms
from iimedgpt.engine.trie import TokenSequence, build_trie
from tests.numerics.architectures import ARCHITECTURES

BATCH = trie_tensors(build_trie([TokenSequence(tuple(range(40, 90)), 20), TokenSequence(tuple(range(40, 80)), 30)]))


def _stacked(dropout: float = 0.0) -> LoadedModel:
    """The tiny model with two adapters that both say something, the second one trained."""
    loaded = load_model(ModelConfig(name="tiny", compute="float32"))
    for seed, name in enumerate(("sft", "dpo")):
        add_adapter(loaded, name, SFTConfig(rank=4, dropout=dropout), seed)
    torch.manual_seed(0)
    for key, parameter in loaded.model.named_parameters():
        if "lora_B" in key:
            parameter.data.normal_(0, 0.1)
    return loaded


def _loss_and_gradients(loaded: LoadedModel, kind: type) -> tuple[float, dict[str, torch.Tensor]]:
    for module in loaded.model.modules():
        if isinstance(module, LoraLinear):
            module.__class__ = kind
    loaded.model.zero_grad()
    loss = -token_logps(loaded.model, BATCH).mean()
    loss.backward()
    return loss.item(), {k: p.grad.clone() for k, p in loaded.model.named_parameters() if p.requires_grad}


def test_every_adapted_layer_is_fused() -> None:
    kinds = [type(m) for m in _stacked().model.modules() if isinstance(m, LoraLinear)]
    assert set(kinds) == {FusedLoraLinear}
    assert len(kinds) == 2 * 7


@pytest.mark.parametrize("trained", ["sft", "dpo"])
def test_fused_lora_equals_the_library_on_stacked_adapters(trained: str) -> None:
    loaded = _stacked()
    activate(loaded, ["sft", "dpo"], trained)
    expected, gradients = _loss_and_gradients(loaded, LoraLinear)
    found, ours = _loss_and_gradients(loaded, FusedLoraLinear)
    assert found == pytest.approx(expected, rel=1e-6)
    assert ours.keys() == gradients.keys()
    assert all(f".{trained}." in key for key in ours)
    scale = max(g.abs().max().item() for g in gradients.values())
    for key, gradient in gradients.items():
        assert (ours[key] - gradient).abs().max().item() < 1e-5 * scale, key


def test_with_live_dropout_the_library_itself_runs() -> None:
    loaded = _stacked(dropout=0.5)
    loaded.model.train()
    results = []
    for kind in (LoraLinear, FusedLoraLinear):
        torch.manual_seed(1)
        results.append(_loss_and_gradients(loaded, kind))
    assert results[0][0] == results[1][0]
    loaded.model.eval()
    assert _loss_and_gradients(loaded, FusedLoraLinear)[0] != results[0][0]


def test_without_adapters_the_fused_layer_is_the_base() -> None:
    loaded = _stacked()
    base = load_model(ModelConfig(name="tiny", compute="float32"))
    with torch.no_grad():
        expected = token_logps(base.model, BATCH)
        tuned = token_logps(loaded.model, BATCH)
        with loaded.using([]):
            found = token_logps(loaded.model, BATCH)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(tuned, expected, atol=1e-3)


def _norms(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if type(m).__name__.endswith("RMSNorm")]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fused_norms_equal_the_models_own(name: str) -> None:
    torch.manual_seed(0)
    model = ARCHITECTURES[name]()
    norms = _norms(model)
    for norm in norms:
        norm.weight.data.normal_(0.5, 0.2)
        norm.weight.requires_grad_(False)
    x = torch.randn(3, 5, len(norms[0].weight), requires_grad=True)
    own = norms[0](x)
    (expected,) = torch.autograd.grad((own**3).sum(), x)
    assert fuse_norms(model) == len(norms) > 0
    fused = norms[0](x)
    (found,) = torch.autograd.grad((fused**3).sum(), x)
    torch.testing.assert_close(fused, own, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_norm_with_another_formula_keeps_its_own_forward() -> None:
    class ShiftedRMSNorm(nn.RMSNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 0.01

    norm = ShiftedRMSNorm(8, eps=1e-6)
    assert fuse_norms(nn.Sequential(norm)) == 0
    assert type(norm) is ShiftedRMSNorm


def test_a_trained_norm_gets_its_gradient() -> None:
    norm = nn.RMSNorm(8, eps=1e-6)
    assert fuse_norms(nn.Sequential(norm)) == 1
    norm(torch.randn(3, 8)).sum().backward()
    assert norm.weight.grad is not None
