"""The trie gives the naive path's loss and gradients, for every architecture and attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from peft import get_peft_model

from iimedgpt.config import ModelConfig, TrainConfig
from iimedgpt.engine import logps, models
from iimedgpt.engine.adapters import add_adapter
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.losses import sum_by_owner
from iimedgpt.engine.models import DPO, SFT, load_model, stock_logps
from iimedgpt.engine.trie import TokenSequence, Trie, build_trie
from iimedgpt.errors import DataError
from tests.numerics.architectures import (
    ARCHITECTURES,
    CASES,
    KINDS,
    VOCABULARY,
    WINDOW,
    build,
    load,
    long_records,
    naive_loss,
    random_ids,
    six_tasks_of_two_records,
    stock,
)

RECORDS = {"short": six_tasks_of_two_records, "long": long_records}


def _weights(records: str) -> list[float]:
    return [0.1 * (i + 1) for i in range(len(RECORDS[records]()))]


@cache
def _naive(name: str, records: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the library's own model, one sequence a row."""
    model = stock(name)
    loss = naive_loss(model, RECORDS[records](), _weights(records))
    loss.backward()
    return loss.item(), {key: p.grad for key, p in model.named_parameters()}


def _trie_loss(model, sequences, weights):
    trie = build_trie(sequences)
    logps_S = token_logps(model, trie_tensors(trie))
    sums_N = sum_by_owner(logps_S, torch.as_tensor(trie.owner_S), trie.n_sequences)
    return -(sums_N * torch.tensor(weights)).sum()


def _assert_same_gradients(parameters: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Each to 1e-5 of its largest entry, beside rounding: 1e-6 of the largest entry of all."""
    assert parameters.keys() == expected.keys()
    rounding = 1e-6 * max(gradient.abs().max().item() for gradient in expected.values())
    for key, gradient in expected.items():
        largest = gradient.abs().max().item()
        assert largest > 0, key
        assert (parameters[key].grad - gradient).abs().max().item() < 1e-5 * largest + rounding, key


def _assert_equals_the_naive_path(name: str, kind: str, records: str) -> None:
    expected, gradients = _naive(name, records)
    model = build(name, kind)
    loss = _trie_loss(model, RECORDS[records](), _weights(records))
    loss.backward()

    assert loss.item() == pytest.approx(expected, rel=1e-6)
    _assert_same_gradients(dict(model.named_parameters()), gradients)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_loss_and_gradients_equal_the_naive_path(name: str, kind: str) -> None:
    _assert_equals_the_naive_path(name, kind, "short")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loss_and_gradients_equal_the_naive_path_over_several_blocks(name: str) -> None:
    _assert_equals_the_naive_path(name, KINDS[name][0], "long")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")  # the head has no adapter
@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [(*case, "short") for case in CASES] + [(name, "auto", "long") for name in ARCHITECTURES],
)
def test_stacked_adapters_have_the_gradients_of_the_librarys_own_layers(name: str, kind: str, records: str) -> None:
    """Ours: loaded and adapted by the engine, tries. The library's: its model, its LoRA layers, one sequence a row."""
    sequences, weights = RECORDS[records](), _weights(records)
    loaded = load(name, kind)
    for adapter in (SFT, DPO):
        add_adapter(loaded, adapter, TrainConfig(rank=3), seed=1)
    library = get_peft_model(stock(name), loaded.model.peft_config[SFT], adapter_name=SFT)
    library.add_adapter(DPO, loaded.model.peft_config[DPO])
    library.base_model.set_adapter([SFT, DPO])
    theirs = {key: p for key, p in library.named_parameters() if "lora_" in key}
    ours = {key: p for key, p in loaded.model.named_parameters() if "lora_" in key}
    assert ours.keys() == theirs.keys()
    torch.manual_seed(2)
    for key, parameter in ours.items():  # a fresh adapter adds zero; SFT's gradients are compared as well
        parameter.requires_grad_(True).data.normal_(0, 0.1)
        theirs[key].data.copy_(parameter.data)

    expected = naive_loss(library, sequences, weights)
    expected.backward()
    loss = _trie_loss(loaded.model, sequences, weights)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    _assert_same_gradients(ours, {key: p.grad for key, p in theirs.items()})


def test_the_sequences_compared_hold_every_case() -> None:
    sequences = six_tasks_of_two_records()
    trie = build_trie(sequences)
    ids = [sequence.ids for sequence in sequences]
    depths = trie.position_T.tolist()
    assert depths.count(0) == 3  # tries side by side
    assert any(a != b and b[: len(a)] == a for a in ids for b in ids)  # a prefix of another
    assert len(set(ids)) < len(ids)  # identical ones
    assert {1, 7} <= {sequence.n_scored for sequence in sequences}
    shared = [k for k in range(trie.n_tokens) if sum(k <= leaf < trie.end_T[k] for leaf in set(trie.leaf_N)) > 1]
    assert set(trie.rows_S) & set(shared[1:-1])  # trained tokens inside a trunk
    assert max(depths) > 2 * WINDOW
    assert build_trie(long_records()).n_tokens == 872  # more than three blocks of queries


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


def test_recomputing_activations_changes_neither_loss_nor_gradients() -> None:
    sequences, weights = six_tasks_of_two_records(), _weights("short")
    results = []
    for is_recomputed in (False, True):
        model = build("gemma3").train()
        if is_recomputed:
            model.activation_checkpointing_enable()
        loss = _trie_loss(model, sequences, weights)
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_head_with_a_bias_and_more_words_than_one_block_equals_log_softmax() -> None:
    torch.manual_seed(0)
    n_words, n_rows = logps.VOCABULARY_BLOCK + 70, logps.ROW_BLOCK + 9
    h, weight, bias = torch.randn(n_rows, 8), torch.randn(n_words, 8), torch.randn(n_words)
    targets, upstream = torch.randint(0, n_words, (n_rows,)), torch.randn(n_rows)
    scale = logps.LogitScale(factor=0.5, cap=3.0)
    results = []
    for is_fused in (False, True):
        leaves = [x.clone().requires_grad_() for x in (h, weight, bias)]
        if is_fused:
            found = logps.FusedLogp.apply(*leaves, targets, scale)
        else:
            logits = 3.0 * torch.tanh(0.5 * torch.nn.functional.linear(*leaves) / 3.0)
            found = torch.log_softmax(logits, -1).gather(1, targets[:, None]).squeeze(1)
        (found * upstream).sum().backward()
        results.append([found.detach(), *(leaf.grad for leaf in leaves)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _lay_out_with(monkeypatch: pytest.MonkeyPatch, wrong_end: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """The probe's tries reach the model with other ends than their own."""

    def wrong(trie: Trie, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
        batch = trie_tensors(trie, device)
        return {**batch, "end": wrong_end(batch["end"])}

    monkeypatch.setattr(models, "trie_tensors", wrong)


def test_a_model_that_ignores_the_trie_is_not_shared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_model(ModelConfig(name="tiny")).is_shared
    _lay_out_with(monkeypatch, lambda end: torch.full_like(end, end.shape[1]))  # every token sees every earlier one
    assert not load_model(ModelConfig(name="tiny")).is_shared
    assert "one sequence a row" in caplog.text


def test_a_model_that_even_one_sequence_a_row_gets_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _lay_out_with(monkeypatch, lambda end: torch.arange(1, end.shape[1] + 1)[None])  # a token sees itself alone
    with pytest.raises(DataError, match="other likelihoods"):
        load_model(ModelConfig(name="tiny"))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_stock_forward_stays_untouched_outside_the_trie(name: str, kind: str) -> None:
    ids = torch.tensor([random_ids(30, seed=4), random_ids(30, seed=5)])
    with torch.no_grad():
        torch.testing.assert_close(
            build(name, kind)(input_ids=ids).logits, stock(name)(input_ids=ids).logits, rtol=1e-5, atol=2e-5
        )


def test_one_scored_token_of_the_naive_path_is_its_log_softmax() -> None:
    model = stock("llama")
    sequence = TokenSequence(random_ids(9, seed=5), 8)
    logits = model(input_ids=torch.tensor([sequence.ids])).logits[0, 7]
    assert logits.shape == (VOCABULARY,)
    expected = torch.log_softmax(logits, -1)[sequence.ids[8]]
    torch.testing.assert_close(stock_logps(model, sequence), expected[None])


def test_in_bfloat16_a_log_probability_is_never_above_zero() -> None:
    torch.manual_seed(0)
    h = (4 * torch.randn(64, 32)).bfloat16()
    weight = torch.randn(300, 32).bfloat16()
    targets = (h @ weight.T).float().argmax(-1)
    found = logps.FusedLogp.apply(h, weight, None, targets, logps.LogitScale())
    expected = torch.log_softmax((h @ weight.T).float(), -1).gather(1, targets[:, None]).squeeze(1)
    assert found.max() <= 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
