"""Our preference losses equal TRL's on the same pairs, policy and reference."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from iimedgpt.engine import attention
from iimedgpt.engine.logps import make_scorable, token_logps, trie_tensors
from iimedgpt.engine.losses import preference_loss, sum_by_owner
from iimedgpt.engine.trie import TokenSequence, build_trie

PAIRS = [
    {"prompt": "abcdefgh", "chosen": "ijk", "rejected": "lmnop"},
    {"prompt": "abcdefgh", "chosen": "kk", "rejected": "a"},
    {"prompt": "hgf", "chosen": "abcabc", "rejected": "abcabd"},
]
LETTERS = "abcdefghijklmnop"
END = len(LETTERS)


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


def _trl_loss(tmp_path: Any, loss_type: str, beta: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        args = DPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=len(PAIRS),
            beta=beta,
            loss_type=[loss_type],
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
        )
        trainer = DPOTrainer(
            model=_model(1),
            ref_model=_model(2),
            args=args,
            train_dataset=Dataset.from_list(PAIRS),
            processing_class=_tokenizer(),
        )
        trainer.model.eval()
        inputs = next(iter(trainer.get_train_dataloader()))
        with torch.no_grad():
            return float(trainer.compute_loss(trainer.model, inputs))


def _our_loss(kind: str, beta: float) -> float:
    ids = {letter: i for i, letter in enumerate(LETTERS)}
    sequences = []
    for pair in PAIRS:
        prompt = [ids[c] for c in pair["prompt"]]
        for answer in (pair["chosen"], pair["rejected"]):
            sequences.append(TokenSequence((*prompt, *(ids[c] for c in answer), END), len(prompt)))
    trie = build_trie(sequences)
    sums = []
    for seed in (1, 2):
        with torch.no_grad():
            model = _model(seed).eval()
            model.set_attn_implementation(attention.register()["visible"])
            logps_S = token_logps(make_scorable(model), trie_tensors(trie))
        sums.append(sum_by_owner(logps_S, torch.as_tensor(trie.owner_S), len(sequences)))
    n_N = torch.tensor([float(s.n_scored) for s in sequences])
    (policy, reference) = sums
    losses, _ = preference_loss(
        kind,
        policy[0::2],
        policy[1::2],
        reference[0::2],
        reference[1::2],
        n_N[0::2],
        n_N[1::2],
        beta=beta,
    )
    return float(losses.mean())


@pytest.mark.parametrize(("kind", "trl_name"), [("sigmoid", "sigmoid"), ("ipo", "ipo"), ("norm", "sigmoid_norm")])
def test_loss_equals_trl(kind: str, trl_name: str, tmp_path: Any) -> None:
    expected = _trl_loss(tmp_path, trl_name, 0.3)
    assert _our_loss(kind, 0.3) == pytest.approx(expected, rel=1e-5)
