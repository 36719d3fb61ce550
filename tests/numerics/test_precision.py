"""The policy is its own reference before step 1 in every precision; four bits are asked for in the right words."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from iimedgpt.config import ModelConfig
from iimedgpt.engine import quantised
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.models import load_model
from iimedgpt.engine.precision import store_in_bfloat16
from iimedgpt.engine.quantised import quantised_loading
from iimedgpt.engine.trie import TokenSequence, build_trie
from iimedgpt.errors import ConfigError, MissingExtraError
from tests.numerics.launched import prepare, train


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained SFT adapter: with a fresh one the reference would be the base, and nothing were shown."""
    root = tmp_path_factory.mktemp("sft")
    prepare(root)
    train("sft", root, root / "results", learning_rate=2e-2)
    return root / "results" / "adapter"


@pytest.mark.parametrize(
    ("dtype", "compute"),
    [
        ("float32", "float32"),
        ("float32", "bfloat16"),
        ("bfloat16", "bfloat16"),
        ("bfloat16", "float32"),
        ("float16", "float32"),
    ],
)
def test_every_margin_before_step_one_is_exactly_zero(dtype: str, compute: str, adapter: Path, tmp_path: Path) -> None:
    """A fresh adapter adds zero, and the reference was computed on the very packs, in the very arithmetic."""
    prepare(tmp_path, adapter)
    context = train("dpo", tmp_path, tmp_path / "results", dtype=dtype, compute=compute, nll_weight=0.0)
    assert context.facts["step0_max_margin"] == 0.0
    first, *_, last = map(json.loads, (tmp_path / "results" / "log.jsonl").read_text().splitlines())
    assert first["margin"] == 0.0  # as the training loop itself computes it
    assert first["loss"] == pytest.approx(0.6931472, abs=1e-6)  # −log σ(0)
    assert last["margin"] > 0.01


NF4 = ModelConfig(name="some/model", quantization="nf4", dtype="bfloat16")


def test_without_quantisation_nothing_is_asked_of_the_loader() -> None:
    assert quantised_loading(ModelConfig(), torch.device("cpu"), torch.float32) == {}


def test_four_bits_on_a_cpu_are_refused_with_what_is_needed() -> None:
    with pytest.raises(ConfigError, match="needs a CUDA device, and the model is on 'cpu'") as caught:
        load_model(NF4.model_copy(update={"device": "cpu"}))
    assert "model.quantization = 'none'" in str(caught.value.hint)


def test_four_bits_without_the_library_name_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        quantised_loading(NF4, torch.device("cuda"), torch.bfloat16)
    assert caught.value.hint == "pip install 'iimedgpt[quantized]'"


def test_four_bits_are_nf4_twice_quantised_stored_as_the_weights_and_multiplied_in_compute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: importlib.util.find_spec("torch"))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    asked = quantised_loading(NF4, torch.device("cuda"), torch.float32)
    config = asked["quantization_config"]
    assert config.quantization_method() == "nf4"
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_quant_storage == torch.bfloat16
    assert config.bnb_4bit_compute_dtype == torch.float32
    assert asked["device_map"] == {"": 3}  # each process on its own card


def test_codes_are_never_cast() -> None:
    """A layer in four bits keeps its storage, the unquantised ones around it become bfloat16."""
    model = load_model(ModelConfig(name="tiny", compute="float32")).model
    codes = model.model.layers[0].mlp.up_proj
    codes.weight.quant_state = "as bitsandbytes marks them"
    before = codes.weight.detach().clone()
    store_in_bfloat16(model)
    assert torch.equal(codes.weight, before)
    kept = (codes, model.get_output_embeddings())  # the head is tied, and random numbers are no bfloat16 ones
    others = [m for m in model.modules() if isinstance(m, nn.Linear) and m not in kept]
    assert {m.weight.dtype for m in others} == {torch.bfloat16}


@pytest.mark.parametrize("is_representable", [True, False])
def test_a_tied_head_is_never_copied_and_the_numbers_stay(is_representable: bool) -> None:
    model = load_model(ModelConfig(name="tiny", compute="float32")).model
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if is_representable:
        embedding.weight.copy_(embedding.weight.bfloat16())
    batch = trie_tensors(build_trie([TokenSequence(tuple(range(40, 70)), 20)]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        looked_up, expected = embedding(batch["input_ids"]), token_logps(model, batch)
        store_in_bfloat16(model)
        found = token_logps(model, batch)
        assert torch.equal(embedding(batch["input_ids"]), looked_up)
    assert head.weight is embedding.weight
    assert head.weight.dtype == (torch.bfloat16 if is_representable else torch.float32)
    assert torch.equal(found, expected)
