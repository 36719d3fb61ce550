"""Decoding on the trie gives what one-by-one decoding gives."""

from __future__ import annotations

import random

import pytest
import torch

from iimedgpt.config import ModelConfig
from iimedgpt.engine import generate
from iimedgpt.engine.generate import TrieLanguageModel, draw
from iimedgpt.engine.models import LoadedModel, load_model, stock_logps
from iimedgpt.types import Message

SYSTEM = Message(role="system", content="s")
PROMPTS = [
    [SYSTEM, Message(role="user", content=f"记录{record}：腹痛{record}天\n\n问题{task}")]
    for record in range(3)
    for task in range(3)
]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelConfig(name="tiny", compute="float32"))


def _greedy(loaded: LoadedModel, prompt: list[Message], n: int) -> list[int]:
    ids = loaded.chat.prompt_ids(prompt)
    start = len(ids)
    with torch.no_grad():
        for _ in range(n):
            ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == loaded.chat.end_id:
                break
    return ids[start:]


def test_greedy_answers_equal_one_by_one_decoding(loaded: LoadedModel) -> None:
    answers = TrieLanguageModel(loaded, "tiny").generate(PROMPTS, max_new_tokens=12, temperature=0.0, seed=0)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = _greedy(loaded, prompt, 12)
        is_finished = ids[-1] == loaded.chat.end_id
        assert answer.is_finished == is_finished
        assert answer.text == loaded.chat.tokenizer.decode(ids[:-1] if is_finished else ids).strip()


def test_a_sampled_answer_depends_on_its_place_and_the_seed_only(loaded: LoadedModel) -> None:
    model = TrieLanguageModel(loaded, "tiny")
    options = {"max_new_tokens": 10, "temperature": 1.0}
    whole = model.generate(PROMPTS, seed=3, **options)
    assert model.generate(PROMPTS[:4], seed=3, **options) == whole[:4]
    assert model.generate(PROMPTS, seed=4, **options) != whole
    assert len({answer.text for answer in whole}) > 1


def test_with_a_seed_of_its_own_an_answer_depends_on_prompt_and_seed_only(loaded: LoadedModel) -> None:
    model = TrieLanguageModel(loaded, "tiny")
    options = {"max_new_tokens": 10, "temperature": 1.0}
    seeds = list(range(len(PROMPTS)))
    whole = model.generate(PROMPTS, seed=seeds, **options)
    assert model.generate(PROMPTS[5:7], seed=seeds[5:7], **options) == whole[5:7]
    assert model.generate(PROMPTS[::-1], seed=seeds[::-1], **options) == whole[::-1]


def test_several_answers_of_one_prompt_read_it_once(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    before = generate.trie_layout

    def counted(position: torch.Tensor, end: torch.Tensor) -> object:
        read.append(len(position))
        return before(position, end)

    monkeypatch.setattr(generate, "trie_layout", counted)
    model = TrieLanguageModel(loaded, "tiny")
    options = {"max_new_tokens": 10, "temperature": 1.0}
    alone = [model.generate(PROMPTS[:1], seed=[seed], **options)[0] for seed in range(4)]
    n_prompt = read[0]
    read.clear()
    assert model.generate(PROMPTS[:1] * 4, seed=range(4), **options) == alone
    assert read == [n_prompt]
    assert len({answer.text for answer in alone}) > 1


def test_an_answer_is_never_longer_than_asked(loaded: LoadedModel) -> None:
    for n in (1, 2):
        for answer in TrieLanguageModel(loaded, "tiny").generate(
            PROMPTS[:2], max_new_tokens=n, temperature=0.0, seed=0
        ):
            assert len(answer.text.encode()) <= 3 * n  # an invalid byte decodes to three


def test_scores_equal_the_stock_forward_whatever_the_budget(loaded: LoadedModel) -> None:
    items = [(prompt, f"答案{i}") for i, prompt in enumerate(PROMPTS)]
    for budget in (150, 4096):
        scores = TrieLanguageModel(loaded, "tiny", score_budget=budget).score(items)
        for (prompt, answer), score in zip(items, scores, strict=True):
            sequence = loaded.chat.sequence(prompt, answer)
            with torch.no_grad():
                expected = float(stock_logps(loaded.model, sequence).sum())
            assert score.logp == pytest.approx(expected, abs=1e-4)
            assert score.n_tokens == len(answer.encode()) + 1


def test_nothing_asked_gives_nothing(loaded: LoadedModel) -> None:
    model = TrieLanguageModel(loaded, "tiny")
    assert model.score([]) == []
    assert model.generate([], max_new_tokens=3, temperature=0.0, seed=0) == []


def test_draw_takes_the_token_where_the_cumulative_probability_passes() -> None:
    p = torch.tensor([[0.1, 0.2, 0.0, 0.7]])
    for uniform, token in ((0.05, 0), (0.15, 1), (0.29, 1), (0.31, 3), (0.999, 3)):
        assert draw(p, torch.tensor([uniform], dtype=torch.float64)).item() == token


def test_draw_over_a_large_vocabulary_equals_the_plain_cumulative_sum() -> None:
    torch.manual_seed(0)
    p = torch.softmax(torch.randn(4, 5_000), -1)
    rng = random.Random(1)
    for _ in range(50):
        uniform = torch.tensor([rng.random() for _ in range(4)], dtype=torch.float64)
        cumulative = p.double().cumsum(-1)
        expected = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:]).squeeze(1)
        assert (draw(p, uniform) - expected).abs().max() <= 0


def test_bfloat16_arithmetic_stays_near_float32() -> None:
    items = [(prompt, f"答案{i}") for i, prompt in enumerate(PROMPTS)]
    exact, rounded = (
        TrieLanguageModel(load_model(ModelConfig(name="tiny", compute=compute)), compute).score(items)
        for compute in ("float32", "bfloat16")
    )
    differences = [abs(a.logp_per_token - b.logp_per_token) for a, b in zip(exact, rounded, strict=True)]
    assert 0 < max(differences) < 0.02
