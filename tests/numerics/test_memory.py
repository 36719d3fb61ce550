"""Memory foreseen without numbers is the memory that is taken; packs are bounded by it; where it ends, it is said."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iimedgpt import sft
from iimedgpt.config import ModelConfig, TrainConfig
from iimedgpt.engine import room
from iimedgpt.engine.adapters import add_adapter
from iimedgpt.engine.batches import Budget
from iimedgpt.engine.chat import ByteTokenizer, Chat
from iimedgpt.engine.logps import make_scorable, token_logps, trie_tensors
from iimedgpt.engine.memory import measured_peak, step_memory
from iimedgpt.engine.models import DPO, SFT, LoadedModel, load_model
from iimedgpt.engine.norms import fuse_norms
from iimedgpt.engine.trainer import TrieTrainer
from iimedgpt.engine.trie import TokenSequence, build_trie
from iimedgpt.errors import DataError, TrainingError
from tests.numerics import tiny_training
from tests.numerics.architectures import ARCHITECTURES, KINDS, VOCABULARY

TINY = ModelConfig(name="tiny", compute="float32")
TRAIN = TrainConfig(rank=4)
CPU = torch.device("cpu")
WITHIN = 0.2


def _with_adapters(model: Any, train: TrainConfig, n: int = 1) -> Any:
    """A model with numbers, as the stages have it in training."""
    loaded = LoadedModel(model, Chat(ByteTokenizer()), "m", CPU, True)
    for name in (SFT, DPO)[:n]:
        add_adapter(loaded, name, train, seed=0)
    loaded.model.train()
    if train.checkpointing:
        loaded.model.activation_checkpointing_enable({"use_reentrant": False})
    return loaded.model


def _foreseen(architecture: Any, train: TrainConfig, n_tokens: int, compute: Any = torch.float32, **kwargs: Any) -> int:
    """Of activations alone."""
    memory = step_memory(architecture, TINY, train, compute, **kwargs)
    return memory.total(n_tokens) - memory.weights - memory.trained


def _deep(name: str, n_layers: int) -> Any:
    """A tiny random model of so many layers, prepared as ``load_model`` prepares it."""
    config = ARCHITECTURES[name]().config
    config.num_hidden_layers = n_layers
    if getattr(config, "layer_types", None):
        config.layer_types = (config.layer_types * n_layers)[:n_layers]
    model = type(ARCHITECTURES[name]())(config)
    model.requires_grad_(False)
    fuse_norms(model)
    model.set_attn_implementation("iimedgpt_" + KINDS[name][0])
    return make_scorable(model)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("changes", [{}, {"dropout": 0.1}, {"checkpointing": True}, {"targets": "attention"}], ids=str)
def test_the_peak_foreseen_without_weights_is_the_peak_measured_with_them(compute: str, changes: dict) -> None:
    train = TRAIN.model_copy(update=changes)
    loaded = load_model(ModelConfig(name="tiny", compute=compute))
    model = _with_adapters(loaded.model, train)
    measured = measured_peak(model, 1_000, loaded.compute)
    assert _foreseen(loaded.model.config, train, 1_000, loaded.compute) == pytest.approx(measured, rel=WITHIN)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3", "phi3", "olmo3"])
def test_eight_layers_are_foreseen_from_two_and_three(name: str, checkpointing: bool) -> None:
    model, train = _deep(name, 8), TRAIN.model_copy(update={"checkpointing": checkpointing})
    measured = measured_peak(_with_adapters(model, train), 800, torch.float32)
    assert _foreseen(model.config, train, 800) == pytest.approx(measured, rel=WITHIN)


def test_a_stacked_adapter_is_foreseen() -> None:
    model = _deep("llama", 3)
    measured = measured_peak(_with_adapters(model, TRAIN, n=2), 600, torch.float32)
    assert _foreseen(model.config, TRAIN, 600, is_stacked=True) == pytest.approx(measured, rel=WITHIN)


def test_weights_and_optimiser_are_counted_by_hand() -> None:
    # Llama of _SHAPE, rank 4: q 32→32, k and v 32→16, o 32→32, gate and up 32→48, down 48→32, in two layers
    adapters = 2 * 4 * (64 + 48 + 48 + 64 + 80 + 80 + 80)
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 32 * 48 * 3 + 2 * 32
    memory = step_memory(ARCHITECTURES["llama"]().config, TINY, TRAIN, torch.float32)
    assert memory.n_trained == adapters
    assert memory.trained == 16 * adapters  # float32: weight, gradient, two moments
    assert memory.n_parameters == 2 * layer + VOCABULARY * 32 * 2 + 32  # embedding, head, last norm
    assert memory.weights == 4 * memory.n_parameters
    assert memory.sharded(2).weights == memory.weights // 2 + 2 * memory.layer + memory.outside


def test_memory_is_flat_in_the_vocabulary() -> None:
    peaks = []
    for vocabulary in (8_192, 65_536):
        config = ARCHITECTURES["llama"]().config
        config.vocab_size = vocabulary
        model = type(ARCHITECTURES["llama"]())(config).requires_grad_(False)
        model.set_attn_implementation("iimedgpt_visible")
        peaks.append(measured_peak(_with_adapters(make_scorable(model), TRAIN), 256, torch.float32))
    assert peaks[1] == pytest.approx(peaks[0], rel=0.02)  # the logits alone would be 8 and 64 times 1 MiB


def _saved_bytes(train: TrainConfig) -> int:
    """What autograd keeps of a forward over 512 tokens, each tensor once, weights apart."""
    model = _with_adapters(_deep("llama", 6), train)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = trie_tensors(build_trie([TokenSequence(tuple(i % 90 for i in range(512)), 256)]))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logps = token_logps(model, batch)
    assert logps.requires_grad
    return sum(kept.values())


def test_checkpointing_keeps_the_inputs_of_layers_only() -> None:
    kept, with_checkpointing = _saved_bytes(TRAIN), _saved_bytes(TRAIN.model_copy(update={"checkpointing": True}))
    inputs = 6 * 512 * 32 * 4  # layers x tokens x hidden size x float32
    assert inputs < with_checkpointing < inputs * 2.5  # rotations and the head's gradient on top
    assert with_checkpointing < kept / 5


def test_checkpointing_changes_no_bit_of_the_result(tmp_path: Path) -> None:
    adapters = []
    for is_on in (False, True):
        root = tmp_path / str(is_on)
        tiny_training.write_inputs(root)
        sft.run(tiny_training.context(root, "sft", checkpointing=is_on, dropout=0.1, max_steps=3))
        adapters.append(load_file(root / "tiny" / "sft" / "adapter" / "adapter_model.safetensors"))
    assert adapters[0].keys() == adapters[1].keys()
    for key, tensor in adapters[0].items():
        assert torch.equal(tensor, adapters[1][key]), key


@pytest.mark.parametrize("index", [1, 6])
def test_the_table_of_the_docs_is_what_the_memory_model_says(index: int) -> None:
    docs = Path(__file__).parents[2] / "docs"
    spec = importlib.util.spec_from_file_location("hardware", docs / "hardware.py")
    assert spec is not None
    assert spec.loader is not None
    hardware = importlib.util.module_from_spec(spec)
    sys.modules["hardware"] = hardware  # dataclasses look their module up
    spec.loader.exec_module(hardware)
    assert hardware.CASES[index].row() in (docs / "hardware.md").read_text()


# --------------------------------------------------------------------------------------------------- budget


def test_the_automatic_budget_is_what_free_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(TINY)
    memory = step_memory(loaded.model.config, TINY, TRAIN, torch.float32)
    room_for_600 = (memory.trained + memory.fixed + memory.per_token * 600) / room.HEADROOM
    for n_bytes, expected in ((2**40, 1_536), (room_for_600, 512)):  # 600, rounded down to 256s
        monkeypatch.setattr(room, "available_bytes", lambda _, n=n_bytes: int(n) + 1)
        budget = room.pack_budget(loaded, TINY, TRAIN, tmp_path / str(expected))
        assert budget.tokens == expected
        assert budget.group_tokens == budget.sequence_tokens >= budget.tokens


def test_a_training_that_goes_on_keeps_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(TINY)
    budgets = []
    for n_bytes in (2**24, 2**30):
        monkeypatch.setattr(room, "available_bytes", lambda _, n=n_bytes: n)
        budgets.append(room.pack_budget(loaded, TINY, TRAIN, tmp_path))
    assert budgets[0] == budgets[1]
    assert budgets[0] != room.pack_budget(loaded, TINY, TRAIN, tmp_path / "anew")


def test_a_number_is_taken_at_its_word() -> None:
    train = TRAIN.model_copy(update={"tokens_per_pack": 300})
    assert room.budget_of(train, CPU, 5_000) == Budget(300, group_tokens=300, sequence_tokens=5_000)
    assert room.budget_of(train, CPU, 100) == Budget.of(300)


def test_free_memory_is_the_least_of_machine_and_container(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/outer/inner\n")
    for name, bound in (("outer", "5000"), ("outer/inner", "max")):
        group = tmp_path / "sys/fs/cgroup" / name
        group.mkdir(parents=True)
        (group / "memory.max").write_text(bound + "\n")
        (group / "memory.current").write_text("2000\n")
        (group / "memory.stat").write_text("anon 1\ninactive_file 500\n")
    assert room._machine_bytes(tmp_path / "proc") == 8 * 1_024
    assert room._container_bytes(tmp_path) == 5_000 - 2_000 + 500
    assert room._container_bytes(tmp_path / "nowhere") is None


def test_a_conversation_that_cannot_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_training.write_inputs(tmp_path)
    memory = step_memory(load_model(TINY).model.config, TINY, TRAIN, torch.float32)
    n_bytes = int((memory.trained + memory.fixed + memory.per_token * 20) / room.HEADROOM)
    monkeypatch.setattr(room, "available_bytes", lambda _: n_bytes)
    context = tiny_training.context(tmp_path, "sft", tokens_per_pack="auto", dropout=0.0)
    with pytest.raises(DataError, match=r"sequence r0t0 has \d+ tokens, over the \d+ of one pack") as caught:
        sft.run(context)
    assert "checkpointing = true" in str(caught.value.hint)
    assert "record 0" not in str(caught.value)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["cuda", "cpu"])
def test_where_memory_ends_the_pack_is_said_and_what_to_set(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    tiny_training.write_inputs(tmp_path)
    monkeypatch.setattr(TrieTrainer, "compute_loss", fail)
    with pytest.raises(TrainingError, match=r"out of memory at step 1, on a pack of \d+ tokens, \d+ of them") as caught:
        sft.run(tiny_training.context(tmp_path, "sft"))
    assert "tokens_per_pack" in str(caught.value.hint)
