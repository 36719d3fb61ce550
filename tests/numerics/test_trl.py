"""Our losses, and the gradient of a weight, equal TRL's on the same data, policy and reference.

TRL is read at one pair a batch. Its ``sft`` term averages over the tokens of a batch and its ``aot``
sorts margins over a batch; on single pairs the former is our NLL term and the latter cDPO, which its
``sigmoid`` lacks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from iimedgpt import dpo, sft
from iimedgpt.config import DPOConfig
from iimedgpt.engine import attention
from iimedgpt.engine.batches import Plan
from iimedgpt.engine.logps import make_scorable, token_logps
from iimedgpt.engine.trie import TokenSequence

PAIRS = [
    {"prompt": "abcdefgh", "chosen": "ijk", "rejected": "lmnop"},
    {"prompt": "abcdefgh", "chosen": "kk", "rejected": "a"},
    {"prompt": "hgf", "chosen": "abcabc", "rejected": "abcabd"},
]
LETTERS = "abcdefghijklmnop"
END = len(LETTERS)
WEIGHT = "model.layers.0.self_attn.q_proj.weight"  # shared by all tokens, below everything else

Step = tuple[float, Tensor]  # loss, gradient of WEIGHT


def _tokenizer() -> Any:
    """One token a letter."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: i for i, letter in enumerate(LETTERS)} | {"$": END}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="$"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="$", pad_token="$", unk_token="$")


def _model(seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=END + 1,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=END,
        eos_token_id=END,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        parameter.data.mul_(4)  # far from uniform, so that mistakes show
    return model


# ------------------------------------------------------------------------------------------------------ TRL


def _settings(tmp_path: Path, batch_size: int) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": batch_size,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
    }


def _mean_step(trainer: Any) -> Step:
    """Mean loss of all batches and its gradient."""
    trainer.model.eval()
    batches = list(trainer.get_train_dataloader())
    losses = [trainer.compute_loss(trainer.model, batch) / len(batches) for batch in batches]
    total = torch.stack([loss.reshape(()) for loss in losses]).sum()
    total.backward()
    return total.item(), trainer.model.get_parameter(WEIGHT).grad


def _trl_dpo(tmp_path: Path, **options: Any) -> Step:
    from datasets import Dataset
    from trl import DPOConfig as Options
    from trl import DPOTrainer

    trainer = DPOTrainer(
        model=_model(1),
        ref_model=_model(2),
        args=Options(**_settings(tmp_path, 1), **options),
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=_tokenizer(),
    )
    return _mean_step(trainer)


def _trl_cpo(tmp_path: Path, **options: Any) -> Step:
    """TRL keeps SimPO in its trainer of losses without a reference."""
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    trainer = CPOTrainer(
        model=_model(1),
        args=CPOConfig(**_settings(tmp_path, 1), max_length=64, **options),
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=_tokenizer(),
    )
    return _mean_step(trainer)


def _trl_sft(tmp_path: Path, batch_size: int) -> Step:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in PAIRS]
    trainer = SFTTrainer(
        model=_model(1),
        args=SFTConfig(**_settings(tmp_path, batch_size), completion_only_loss=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=_tokenizer(),
    )
    return _mean_step(trainer)


@pytest.fixture(autouse=True)
def _peers_warnings_are_theirs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ----------------------------------------------------------------------------------------------------- ours


def _sequence(prompt: str, answer: str) -> TokenSequence:
    ids = {letter: i for i, letter in enumerate(LETTERS)}
    return TokenSequence((*(ids[letter] for letter in prompt + answer), END), len(prompt))


def _scorable(seed: int) -> Any:
    model = _model(seed).eval()
    model.set_attn_implementation(attention.register()["visible"])
    return make_scorable(model)


def _our_dpo(**options: Any) -> Step:
    """The stage's own packs (all pairs in one trie) and loss."""
    sequences = [_sequence(pair["prompt"], pair[side]) for pair in PAIRS for side in ("chosen", "rejected")]
    (batch,) = dpo._packs(sequences, Plan(((tuple(range(6)),),)))
    with torch.no_grad():
        batch["reference"] = dpo._sums(token_logps(_scorable(2), batch), batch)[None]
    config = DPOConfig(**{"nll_weight": 0.0} | options)
    return _our_step(lambda model: dpo._loss_of(token_logps(model, batch), batch, config)[0])


def _our_sft(weighting: str) -> Step:
    sequences = [_sequence(pair["prompt"], pair["chosen"]) for pair in PAIRS]
    (batch,), _ = sft._packs(sequences, [None] * 3, Plan((((0, 1, 2),),)), weighting)
    return _our_step(lambda model: sft._loss_of(token_logps(model, batch), batch)[0])


def _our_step(loss_of: Callable[[Any], Tensor]) -> Step:
    model = _scorable(1)
    loss = loss_of(model)
    loss.backward()
    return loss.item(), model.get_parameter(WEIGHT).grad


def _assert_equal(ours: Step, peers: Step) -> None:
    assert ours[0] == pytest.approx(peers[0], rel=1e-5)
    size = float(peers[1].abs().max())
    assert size > 1e-3
    assert float((ours[1] - peers[1]).abs().max()) < 1e-5 * size


# ---------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize(
    ("ours", "trl"),
    [
        ({"loss": "sigmoid"}, {"loss_type": ["sigmoid"]}),
        ({"loss": "sigmoid", "label_smoothing": 0.1}, {"loss_type": ["aot"], "label_smoothing": 0.1}),
        ({"loss": "ipo"}, {"loss_type": ["ipo"]}),
        ({"loss": "norm"}, {"loss_type": ["sigmoid_norm"]}),
        ({"loss": "sigmoid", "nll_weight": 0.7}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}),
    ],
    ids=["sigmoid", "label smoothing", "ipo", "norm", "nll term"],
)
def test_dpo_equals_trl(ours: dict[str, Any], trl: dict[str, Any], tmp_path: Path) -> None:
    _assert_equal(_our_dpo(beta=0.3, **ours), _trl_dpo(tmp_path, beta=0.3, **trl))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_simpo_equals_trl(smoothing: float, tmp_path: Path) -> None:
    ours = _our_dpo(loss="simpo", beta=2.0, gamma=1.4, label_smoothing=smoothing)
    options = {"beta": 2.0, "simpo_gamma": 1.4, "label_smoothing": smoothing}
    _assert_equal(ours, _trl_cpo(tmp_path, loss_type="simpo", cpo_alpha=0.0, **options))


@pytest.mark.parametrize(("weighting", "batch_size"), [("token", 3), ("answer", 1)])
def test_sft_equals_trl_on_completions(weighting: str, batch_size: int, tmp_path: Path) -> None:
    """TRL weighs the tokens of a batch alike: with one answer a batch, that is our weighting per answer."""
    _assert_equal(_our_sft(weighting), _trl_sft(tmp_path, batch_size))
