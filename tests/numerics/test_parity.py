"""The trie gives the naive path's loss and gradients, for every architecture and attention."""

from __future__ import annotations

import pytest
import torch

from iimedgpt.config import ModelConfig
from iimedgpt.engine import attention, logps
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.losses import sum_by_owner
from iimedgpt.engine.models import load_model, stock_logps
from iimedgpt.engine.trie import TokenSequence, build_trie
from iimedgpt.errors import DataError
from tests.numerics.architectures import ARCHITECTURES, build, naive_loss, random_ids, six_tasks_of_two_records

TOLERANCE = 1e-5  # float32, relative to the largest gradient


def _trie_loss(model, sequences, weights):
    trie = build_trie(sequences)
    logps_S = token_logps(model, trie_tensors(trie))
    sums_N = sum_by_owner(logps_S, torch.as_tensor(trie.owner_S), trie.n_sequences)
    return -(sums_N * torch.tensor(weights)).sum()


@pytest.mark.parametrize("kind", ["visible", "sdpa", "eager"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loss_and_gradients_equal_the_naive_path(name: str, kind: str) -> None:
    sequences = six_tasks_of_two_records()
    weights = [0.1 * (i + 1) for i in range(len(sequences))]
    model = build(name, kind)

    expected = naive_loss(model, sequences, weights)
    expected.backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters()}
    model.zero_grad()
    loss = _trie_loss(model, sequences, weights)
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    scale = max(g.abs().max().item() for g in gradients.values())
    for key, parameter in model.named_parameters():
        assert (parameter.grad - gradients[key]).abs().max().item() < TOLERANCE * scale, key


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_frozen_head_gives_the_same_gradients_as_a_trained_one(name: str) -> None:
    sequences = six_tasks_of_two_records()
    weights = [1.0] * len(sequences)
    gradients = []
    for is_head_trained in (True, False):
        model = build(name)
        model.get_output_embeddings().weight.requires_grad_(is_head_trained)
        model.get_input_embeddings().weight.requires_grad_(is_head_trained)
        _trie_loss(model, sequences, weights).backward()
        gradients.append({k: p.grad for k, p in model.named_parameters() if "layers" in k})
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_changing_one_trie_changes_nothing_in_its_neighbour(name: str) -> None:
    model = build(name)
    kept = TokenSequence(random_ids(18, seed=1), 6)
    results = []
    for other_seed in (2, 3):
        trie = build_trie([kept, TokenSequence(random_ids(25, seed=other_seed), 4)])
        logps_S = token_logps(model, trie_tensors(trie))
        results.append(logps_S[torch.as_tensor(trie.owner_S) == 0])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=2e-6)


def test_a_model_that_ignores_the_trie_is_not_shared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_model(ModelConfig(name="tiny")).is_shared
    real = attention.trie_layout

    def causal(position_T: torch.Tensor, end_T: torch.Tensor) -> attention.Layout:
        return real(position_T, torch.full_like(end_T, len(end_T)))  # every token sees every earlier one

    monkeypatch.setattr(logps, "trie_layout", causal)
    assert not load_model(ModelConfig(name="tiny")).is_shared
    assert "one sequence a row" in caplog.text


def test_a_model_that_even_one_sequence_a_row_gets_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(position_T: torch.Tensor, end_T: torch.Tensor) -> attention.Layout:
        return attention.trie_layout(position_T, torch.arange(1, len(end_T) + 1))  # a token sees itself alone

    monkeypatch.setattr(logps, "trie_layout", shifted)
    with pytest.raises(DataError, match="other likelihoods"):
        load_model(ModelConfig(name="tiny"))


def test_the_stock_forward_stays_untouched_outside_the_trie() -> None:
    ids = torch.tensor([random_ids(30, seed=4)])
    ours = build("gemma3")
    stock = ARCHITECTURES["gemma3"]()
    stock.load_state_dict(ours.state_dict())
    stock.eval()
    torch.testing.assert_close(ours(input_ids=ids).logits, stock(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


def test_one_scored_token_of_the_naive_path_is_its_log_softmax() -> None:
    model = build("llama")
    sequence = TokenSequence(random_ids(9, seed=5), 8)
    logits = model(input_ids=torch.tensor([sequence.ids])).logits[0, 7]
    expected = torch.log_softmax(logits, -1)[sequence.ids[8]]
    torch.testing.assert_close(stock_logps(model, sequence), expected[None])


def test_an_attention_that_does_not_know_the_trie_is_refused() -> None:
    model = build("llama")
    model.set_attn_implementation("sdpa")
    with pytest.raises(RuntimeError, match="does not know the trie"):
        token_logps(model, trie_tensors(build_trie(six_tasks_of_two_records())))


@pytest.mark.parametrize("name", ["s_aux", "position_bias"])
@pytest.mark.parametrize("kind", ["visible", "eager"])
def test_what_an_architecture_adds_to_attention_is_not_dropped_in_silence(name: str, kind: str) -> None:
    from transformers import AttentionInterface

    attend = AttentionInterface()[attention.register()[kind]]
    x = torch.zeros(1, 2, 3, 4)
    with pytest.raises(NotImplementedError, match=name):
        attend(torch.nn.Identity(), x, x, x, None, **{name: torch.zeros(2)})


def test_in_bfloat16_a_log_probability_is_never_above_zero() -> None:
    torch.manual_seed(0)
    h = (4 * torch.randn(64, 32)).bfloat16()
    weight = torch.randn(300, 32).bfloat16()
    targets = (h @ weight.T).float().argmax(-1)
    found = logps.FusedLogp.apply(h, weight, None, targets, logps.LogitScale())
    expected = torch.log_softmax((h @ weight.T).float(), -1).gather(1, targets[:, None]).squeeze(1)
    assert found.max() <= 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
