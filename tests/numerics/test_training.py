"""Training on the tiny model: it learns, and DPO starts at margin zero."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from iimedgpt import dpo, io, sft
from iimedgpt.chain import stage_named
from iimedgpt.config import RunConfig
from iimedgpt.engine.adapters import add_adapter, load_adapters
from iimedgpt.engine.chat import ByteTokenizer, Chat
from iimedgpt.engine.generate import TrieLanguageModel
from iimedgpt.engine.models import DPO, SFT, load_model, stock_logps
from iimedgpt.errors import TrainingError
from iimedgpt.run import StageContext
from iimedgpt.types import Conversation, Message, PreferencePair

SYSTEM = Message(role="system", content="s")


def _conversations(n_records: int) -> list[Conversation]:
    return [
        Conversation(
            conversation_id=f"r{record}t{task}",
            messages=(
                SYSTEM,
                Message(role="user", content=f"record {record} with findings {record * 7}\n\ntask {task}"),
                Message(role="assistant", content=f"answer {task}"),
            ),
            group_id=f"p{record}",
            source="test",
            license="none",
            split="train",
            task=f"task{task}",
            record_id=f"r{record}",
        )
        for record in range(n_records)
        for task in range(3)
    ]


def _config(root: Path, **sections: dict) -> RunConfig:
    train = {"rank": 4, "learning_rate": 2e-2, "groups_per_step": 2, "tokens_per_pack": 256, "epochs": 6.0}
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "runs_dir": str(root),
            "model": {"name": "tiny", "compute": "float32"},
            "sft": train | sections.get("sft", {}),
            "dpo": train | sections.get("dpo", {}),
        }
    )


def _context(root: Path, stage: str, **sections: dict) -> StageContext:
    config = _config(root, **sections)
    folder = io.make_private_dir(config.run_dir / stage)
    return StageContext(stage_named(stage), config, folder)


def _write_mixture(root: Path) -> None:
    rows = _conversations(6)
    io.write_jsonl(root / "tiny" / "mixture" / "train.jsonl", rows[:15])
    io.write_jsonl(root / "tiny" / "mixture" / "validation.jsonl", rows[15:])


def _pair(index: int) -> PreferencePair:
    return PreferencePair(
        pair_id=str(index),
        prompt=(SYSTEM, Message(role="user", content=f"record {index // 2}\n\nquestion {index}")),
        chosen=f"good answer {index}",
        rejected=f"bad {index}",
        source="rule",
        group_id=f"p{index // 2}",
        split="train",
        record_id=f"r{index // 2}",
    )


@pytest.fixture
def trained_sft(tmp_path: Path) -> Path:
    _write_mixture(tmp_path)
    sft.run(_context(tmp_path, "sft"))
    return tmp_path


def test_sft_lowers_the_validation_loss_and_writes_a_private_adapter(tmp_path: Path) -> None:
    _write_mixture(tmp_path)
    context = _context(tmp_path, "sft")
    sft.run(context)
    assert context.facts["validation_loss_after"] < context.facts["validation_loss_before"] - 0.3
    assert context.facts["token_ratio"] > 1.3
    weights = tmp_path / "tiny" / "sft" / "adapter" / "adapter_model.safetensors"
    assert weights.stat().st_mode & 0o077 == 0
    assert all("lora" in key for key in load_file(weights))


def test_dpo_starts_at_margin_zero_and_prefers_the_chosen_in_the_end(trained_sft: Path) -> None:
    io.write_jsonl(trained_sft / "tiny" / "pairs" / "train.jsonl", map(_pair, range(8)))
    context = _context(trained_sft, "dpo")
    dpo.run(context)
    assert context.facts["step0_max_margin"] == 0.0
    assert context.facts["last_accuracy"] == 1.0
    assert context.facts["last_margin"] > 0.05


def test_the_guard_stops_a_policy_that_is_not_its_own_reference(
    trained_sft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    io.write_jsonl(trained_sft / "tiny" / "pairs" / "train.jsonl", map(_pair, range(4)))
    fresh = add_adapter

    def moved(loaded, name, config, seed):
        fresh(loaded, name, config, seed)
        for key, parameter in loaded.model.named_parameters():
            if "lora_B" in key and f".{DPO}." in key:
                parameter.data.fill_(0.05)

    monkeypatch.setattr(dpo, "add_adapter", moved)
    with pytest.raises(TrainingError, match="before step 1 a margin is"):
        dpo.run(_context(trained_sft, "dpo"))


def test_training_dpo_leaves_the_sft_adapter_untouched(trained_sft: Path) -> None:
    folder = trained_sft / "tiny" / "sft" / "adapter"
    loaded = load_model(_config(trained_sft).model)
    load_adapters(loaded, [(SFT, folder)])
    add_adapter(loaded, DPO, _config(trained_sft).dpo, seed=0)
    trained = {key for key, p in loaded.model.named_parameters() if p.requires_grad}
    assert trained
    assert all(f".{DPO}." in key for key in trained)


def test_each_name_is_the_base_with_its_adapters(trained_sft: Path) -> None:
    """base + sft scored through the stack equals the same model loaded alone."""
    folder = trained_sft / "tiny" / "sft" / "adapter"
    loaded = load_model(_config(trained_sft).model)
    item = ([SYSTEM, Message(role="user", content="record 1\n\ntask 2")], "answer 2")
    base = TrieLanguageModel(loaded, "base").score([item])[0].logp
    load_adapters(loaded, [(SFT, folder)])
    assert TrieLanguageModel(loaded, "base").score([item])[0].logp == pytest.approx(base, abs=1e-5)
    tuned = TrieLanguageModel(loaded, "sft", (SFT,)).score([item])[0].logp
    assert tuned > base + 1
    sequence = loaded.chat.sequence(*item)
    with torch.no_grad():
        assert float(stock_logps(loaded.model, sequence).sum()) == pytest.approx(tuned, abs=1e-4)


def test_trained_tokens_decode_to_exactly_the_answer_and_its_end() -> None:
    chat = Chat(ByteTokenizer())
    answer = "1.上消化道出血 2.中度贫血"
    sequence = chat.sequence([SYSTEM, Message(role="user", content="问题")], answer)
    trained = sequence.ids[sequence.start :]
    assert trained[-1] == ByteTokenizer.eos_token_id
    assert ByteTokenizer().decode(trained[:-1]) == answer


def test_generation_continues_exactly_what_was_trained() -> None:
    """The prompt's tokens in training are the prompt's tokens in serving, turn by turn."""
    chat = Chat(ByteTokenizer())
    turns = [
        SYSTEM,
        Message(role="user", content="一"),
        Message(role="assistant", content="甲"),
        Message(role="user", content="二"),
    ]
    sequence = chat.sequence(turns, "乙")
    assert list(sequence.ids[: sequence.start]) == chat.prompt_ids(turns)
    first = chat.sequence(turns[:2], "甲")
    assert sequence.ids[: len(first.ids)] == first.ids
