"""Mistakes that raise nothing and give wrong numbers: each has a test that fails if the engine makes it.

Where a library makes the mistake for us as soon as we ask it wrongly, the test also asks wrongly, to
show that the mistake would be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AttentionInterface, TrainingArguments

from iimedgpt import dpo, io
from iimedgpt.config import ModelConfig, TrainConfig
from iimedgpt.engine import attention
from iimedgpt.engine.adapters import add_adapter, load_adapters, save_adapter
from iimedgpt.engine.generate import TrieLanguageModel
from iimedgpt.engine.logps import ScorableHead, token_logps, trie_tensors
from iimedgpt.engine.losses import sum_by_owner
from iimedgpt.engine.models import DPO, SFT, LoadedModel, load_model, stock_logps
from iimedgpt.engine.trainer import Batch, train
from iimedgpt.engine.trie import TokenSequence, build_trie
from iimedgpt.errors import DataError
from iimedgpt.types import Message
from tests.numerics.architectures import build, long_records, random_ids, six_tasks_of_two_records, stock
from tests.numerics.tiny_training import context, write_inputs

LIVE = TrainConfig(rank=4, dropout=0.5)
ITEMS = [([Message(role="user", content=f"record {i}")], f"answer {i}") for i in range(3)]


def _logps(model: Any, sequences: Sequence[TokenSequence]) -> Tensor:
    return token_logps(model, trie_tensors(build_trie(sequences)))


def _tiny() -> LoadedModel:
    return load_model(ModelConfig(name="tiny", compute="float32"))


def _move(loaded: LoadedModel, name: str) -> None:
    """An adapter that does something: a fresh one adds zero."""
    torch.manual_seed(len(name))
    for key, parameter in loaded.model.named_parameters():
        if "lora_B" in key and f".{name}." in key:
            parameter.data.normal_(0, 1.0)


def _scores(loaded: LoadedModel, *adapters: str) -> list[float]:
    return [score.logp for score in TrieLanguageModel(loaded, "any", adapters).score(ITEMS)]


@pytest.fixture
def sft_adapter(tmp_path: Path) -> Path:
    """A trained-looking SFT adapter, saved with a dropout."""
    loaded = _tiny()
    add_adapter(loaded, SFT, LIVE, seed=0)
    _move(loaded, SFT)
    save_adapter(loaded, SFT, tmp_path / "adapter")
    return tmp_path / "adapter"


# --- the mask ---------------------------------------------------------------------------------


def _no_mask(end_T: Tensor) -> None:
    """The library takes jumping positions for packed sequences when it gets no mask."""
    return None  # noqa: RET501


def _mask_by_hand(end_T: Tensor) -> Tensor:
    """Our inequality as a finished mask: right for full layers, and the library slides no window over it."""
    rows = torch.arange(len(end_T))
    seen_QK = (rows[None, :] <= rows[:, None]) & (rows[:, None] < end_T[None, :])
    return seen_QK[None, None]


@pytest.mark.parametrize(("name", "wrong_mask"), [("llama", _no_mask), ("gemma3", _mask_by_hand)])
@torch.no_grad()
def test_branches_keep_their_trunk_and_layers_their_window(
    name: str, wrong_mask: Callable[[Tensor], Tensor | None]
) -> None:
    sequences = six_tasks_of_two_records()
    naive_S = torch.cat([stock_logps(stock(name), sequence) for sequence in sequences])
    model = build(name, "sdpa")
    torch.testing.assert_close(_logps(model, sequences), naive_S, rtol=0, atol=1e-5)

    end_T = torch.as_tensor(build_trie(sequences).end_T)
    model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "attention_mask": wrong_mask(end_T)}), with_kwargs=True
    )
    assert (_logps(model, sequences) - naive_S).abs().max() > 0.1


def test_an_attention_that_does_not_know_the_trie_is_refused() -> None:
    model = build("llama")
    model.set_attn_implementation("sdpa")
    with pytest.raises(RuntimeError, match="does not know the trie"):
        _logps(model, six_tasks_of_two_records())


@pytest.mark.parametrize("name", ["s_aux", "position_bias", "softcap"])
@pytest.mark.parametrize("kind", ["visible", "sdpa", "eager"])
def test_what_an_architecture_adds_to_attention_is_computed_or_refused(name: str, kind: str) -> None:
    attend = AttentionInterface()[attention.register()[kind]]
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 3, 4)
    added = {"s_aux": torch.ones(2), "position_bias": torch.randn(1, 2, 3, 3), "softcap": 0.5}[name]
    module = nn.Identity()
    module.is_causal, module.num_key_value_groups = False, 1  # type: ignore[assignment]
    plain, _ = attend(module, query, key, value, None)
    try:
        found, _ = attend(module, query, key, value, None, **{name: added})
    except (NotImplementedError, ValueError):
        return
    assert (found - plain).abs().max() > 0.01


# --- the way through the outer model ------------------------------------------------------------


@torch.no_grad()
def test_autocast_reaches_every_layer_and_the_head() -> None:
    sequences = six_tasks_of_two_records()
    model = build("llama")
    exact_S = _logps(model, sequences)
    seen: dict[str, torch.dtype] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.dtype))
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)  # what accelerate does to a model
    rounded_S = _logps(model, sequences)

    assert "lm_head" in seen  # called as a module, which FSDP needs
    assert {dtype for name, dtype in seen.items() if name != "lm_head"} == {torch.bfloat16}
    assert 1e-4 < (rounded_S - exact_S).abs().max() < 0.3
    head: Any = model.get_output_embeddings()
    h_SH, targets_S = torch.randn(5, 32), torch.arange(5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded_S = head(h_SH, targets_S)
    assert (rounded_S - head(h_SH, targets_S)).abs().max() > 1e-4


def _negative_mean(logps_S: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    return -logps_S.mean(), {}


def _packs(n: int) -> list[Batch]:
    return [trie_tensors(build_trie([TokenSequence(random_ids(20, seed=i), 8)])) for i in range(n)]


def _train(loaded: LoadedModel, n_steps: int, folder: Path, loss_of: Any = _negative_mean, **changes: Any) -> Any:
    return train(
        loaded,
        _packs(n_steps),
        packs_per_step=1,
        loss_of=loss_of,
        config=TrainConfig(rank=4, **changes),
        seed=0,
        checkpoints=folder / "checkpoints",
        label="test",
    )


def test_training_in_bfloat16_does_not_compute_in_float32(tmp_path: Path) -> None:
    losses = []
    for compute in (torch.float32, torch.bfloat16):
        loaded = _tiny()
        add_adapter(loaded, SFT, TrainConfig(rank=4), seed=0)
        loaded.compute = compute
        losses.append(_train(loaded, 1, tmp_path / str(compute))[0]["loss"])
    assert 1e-6 < abs(losses[1] - losses[0]) < 0.05


# --- adapters -----------------------------------------------------------------------------------


def test_the_reference_is_the_sft_model_and_neither_the_base_nor_the_policy(sft_adapter: Path) -> None:
    loaded = _tiny()
    base = _scores(loaded)
    load_adapters(loaded, [(SFT, sft_adapter)])
    tuned = _scores(loaded, SFT)
    add_adapter(loaded, DPO, LIVE, seed=1)
    _move(loaded, DPO)
    assert _scores(loaded, SFT) == tuned  # ``disable_adapter()`` would give the base here
    assert _scores(loaded) == pytest.approx(base, abs=1e-5)
    policy = _scores(loaded, SFT, DPO)
    for one, other in ((base, tuned), (tuned, policy), (policy, base)):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 0.01


def test_the_stage_refers_to_the_sft_model_and_to_the_very_packs_it_trains_on(
    sft_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, with several packs a step and a dropout configured; the base is far off."""
    write_inputs(tmp_path, n_records=3)
    sft_adapter.rename(io.make_private_dir(tmp_path / "tiny" / "sft") / "adapter")
    steps = []

    def looked_at(loaded: LoadedModel, packs: Sequence[Batch], **kwargs: Any) -> Any:
        assert kwargs["packs_per_step"] > 1
        loaded.model.eval()
        for adapters, is_reference in (((SFT,), True), ((), False)):
            with loaded.using(adapters), torch.no_grad():
                for batch in packs:
                    sums = sum_by_owner(token_logps(loaded.model, batch), batch["owner"][0], batch["n_scored"].shape[1])
                    assert torch.equal(sums, batch["reference"][0]) == is_reference
        steps.extend(train(loaded, packs, **kwargs))
        return steps

    monkeypatch.setattr(dpo, "train", looked_at)
    stage = context(tmp_path, "dpo", epochs=1.0, groups_per_step=1)
    dpo.run(stage)
    assert stage.config.dpo.dropout > 0
    assert stage.facts["step0_max_margin"] == 0.0
    assert steps[0]["margin"] == 0.0  # in training mode too: what could drop out is still zero
    assert steps[1]["margin"] != 0.0


@torch.no_grad()
def test_a_reference_from_other_packs_is_near_and_not_the_same() -> None:
    """Sums are added up in another order: rounding, which only the same packs avoid."""
    model = build("gemma3")
    sequences = long_records()
    together_S = _logps(model, sequences)
    assert torch.equal(_logps(model, sequences), together_S)
    apart_S = torch.cat([_logps(model, [sequence]) for sequence in sequences])
    assert 0 < (apart_S - together_S).abs().max() < 1e-4


def test_looking_at_the_reference_does_not_set_the_frozen_adapter_training(sft_adapter: Path, tmp_path: Path) -> None:
    loaded = _tiny()
    load_adapters(loaded, [(SFT, sft_adapter)])
    add_adapter(loaded, DPO, TrainConfig(rank=4), seed=1)
    for adapters in ((SFT,), (SFT, DPO), ()):
        with loaded.using(adapters):
            pass
        trained = {key for key, parameter in loaded.model.named_parameters() if parameter.requires_grad}
        assert trained == {key for key, _ in loaded.model.named_parameters() if f".{DPO}." in key}
    before = {key: parameter.clone() for key, parameter in loaded.model.named_parameters()}
    _train(loaded, 2, tmp_path, learning_rate=1e-2)
    for key, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, before[key]) == (f".{DPO}." not in key), key


def test_a_frozen_adapter_drops_nothing_while_the_one_above_it_trains(sft_adapter: Path) -> None:
    loaded = _tiny()
    load_adapters(loaded, [(SFT, sft_adapter)])
    add_adapter(loaded, DPO, LIVE, seed=1)
    sequences = six_tasks_of_two_records()
    with torch.no_grad():
        still_S = _logps(loaded.model.eval(), sequences)
        assert torch.equal(_logps(loaded.model.train(), sequences), still_S)  # DPO's own share is still zero
        _move(loaded, DPO)
        assert not torch.equal(_logps(loaded.model, sequences), _logps(loaded.model, sequences))  # and does drop


def test_an_adapter_put_on_a_model_at_rest_is_at_rest(sft_adapter: Path) -> None:
    fresh = _tiny()
    add_adapter(fresh, SFT, LIVE, seed=0)
    _move(fresh, SFT)
    loaded = _tiny()
    load_adapters(loaded, [(SFT, sft_adapter)])
    assert _scores(fresh, SFT) == _scores(fresh, SFT) == _scores(loaded, SFT)


@pytest.mark.parametrize("name", ["llama", "gemma3", "phi3"])  # a head of its own, a tied one, fused projections
@pytest.mark.parametrize("targets", ["all-linear", "attention"])
def test_no_adapter_is_put_on_the_head_and_all_projections_get_theirs(name: str, targets: str) -> None:
    loaded = _tiny()
    loaded.model = build(name)
    add_adapter(loaded, SFT, TrainConfig(rank=4, targets=targets), seed=0)
    head = loaded.model.get_output_embeddings()
    assert type(head) is ScorableHead
    assert (head.weight is loaded.model.get_input_embeddings().weight) == (name == "gemma3")
    adapted = {
        key.split(".lora_A")[0].rpartition(".")[2] for key, _ in loaded.model.named_parameters() if "lora_A" in key
    }
    projections = {"qkv_proj", "o_proj"} if name == "phi3" else {"q_proj", "k_proj", "v_proj", "o_proj"}
    others = {"gate_up_proj", "down_proj"} if name == "phi3" else {"gate_proj", "up_proj", "down_proj"}
    assert adapted == (projections if targets == "attention" else projections | others)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")  # peft's, of this very mistake
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's
@pytest.mark.parametrize("options", [{"target_modules": ["q_proj", "lm_head"]}, {"modules_to_save": ["lm_head"]}])
def test_an_adapter_of_other_hands_that_changes_the_head_is_refused(options: dict, tmp_path: Path) -> None:
    config = LoraConfig(r=2, **{"target_modules": ["q_proj"], **options})
    get_peft_model(_tiny().model, config, adapter_name=SFT).save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(DataError, match="head"):
        load_adapters(_tiny(), [(SFT, tmp_path / SFT)])


# --- the trainer ----------------------------------------------------------------------------------


def test_several_visible_cards_do_not_split_a_pack_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up = TrainingArguments.__dict__["_setup_devices"]
    found = set_up.func

    def two_cards(arguments: TrainingArguments) -> torch.device:
        device: torch.device = found(arguments)
        arguments._n_gpu = 2
        return device

    class Refused(nn.DataParallel):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise AssertionError("a pack is one row: of two cards one would read nothing")

    monkeypatch.setattr(set_up, "func", two_cards)
    monkeypatch.setattr(nn, "DataParallel", Refused)
    loaded = _tiny()
    add_adapter(loaded, SFT, TrainConfig(rank=4), seed=0)
    assert len(_train(loaded, 1, tmp_path)) == 1


def test_the_first_of_few_steps_is_no_warm_up_at_rate_zero(tmp_path: Path) -> None:
    loaded = _tiny()
    add_adapter(loaded, SFT, TrainConfig(rank=4), seed=0)
    sizes = []

    def loss_of(logps_S: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            sizes.append(sum(float(p.abs().sum()) for k, p in loaded.model.named_parameters() if "lora_B" in k))
        return _negative_mean(logps_S, batch)

    _train(loaded, 10, tmp_path, loss_of, warmup_frac=0.1)  # a tenth of ten steps is one
    assert sizes[0] == 0.0
    assert sizes[1] > 0.0
