"""A loaded model as the ``LanguageModel`` that stages are handed: scoring and generation on tries.

Generation reads the prompts' trie once, then decodes all answers as leaves of it: each step adds
one token a sequence, which sees its own path and what it has written. Nothing is padded and no
shared prefix is copied.

Shapes: T trie tokens, N sequences, A active sequences, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from iimedgpt import progress
from iimedgpt.engine.attention import Layout, layout, trie_layout
from iimedgpt.engine.batches import fill_packs
from iimedgpt.engine.logps import LogitScale, token_logps, trie_tensors
from iimedgpt.engine.losses import sum_by_owner
from iimedgpt.engine.models import LoadedModel
from iimedgpt.engine.trie import TokenSequence, Trie, build_trie, shared_prefix
from iimedgpt.types import AnswerScore, Generation, Message

SCORE_BUDGET = 1_280  # trie tokens in one scoring forward, beside the longest sequence: what caches like
DRAW_BLOCK = 512
PREFILL_BUDGET = 2_560  # trie tokens of prompts decoded together
MIN_SHARED = 8  # tokens beyond what everything shares that make neighbours a group


@dataclass
class TrieLanguageModel:
    """One model as a stage sees it: a base and the adapters that are active for it."""

    loaded: LoadedModel
    model_id: str
    adapters: tuple[str, ...] = ()
    score_budget: int = SCORE_BUDGET

    @contextmanager
    def _active(self) -> Iterator[None]:
        with self.loaded.using(self.adapters), self.loaded.autocast(), torch.no_grad():
            yield

    def score(self, items: Sequence[tuple[Sequence[Message], str]]) -> list[AnswerScore]:
        """See ``types.LanguageModel.score``."""
        chat = self.loaded.chat
        sequences = [chat.sequence(messages, answer) for messages, answer in items]
        # A long beginning that all share must not fill the packs by itself.
        budget = self.score_budget + max((len(s.ids) for s in sequences), default=0)
        packs = fill_packs(sequences, neighbours(sequences), budget, is_shared=self.loaded.is_shared)
        scores: dict[int, AnswerScore] = {}
        with self._active(), progress.bar("scoring", len(packs)) as bar:
            for pack in packs:
                members = [sequences[i] for i in pack]
                sums_N = sequence_logps(self.loaded.model, build_trie(members), self.loaded.device)
                for index, member, logp in zip(pack, members, sums_N.tolist(), strict=True):
                    scores[index] = AnswerScore(logp=logp, n_tokens=member.n_scored)
                bar.advance()
        return [scores[i] for i in range(len(items))]

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int | Sequence[int],
    ) -> list[Generation]:
        """See ``types.Generator.generate``. An answer depends on its prompt and its seed (with one seed
        for all: on its place in the list too), not on what else is decoded beside it. Several answers of
        one prompt read it once."""
        chat = self.loaded.chat
        sequences = [TokenSequence(tuple(ids), len(ids)) for ids in map(chat.prompt_ids, prompts)]
        budget = PREFILL_BUDGET + max((len(s.ids) for s in sequences), default=0)
        packs = fill_packs(sequences, neighbours(sequences), budget, is_shared=self.loaded.is_shared)
        done: dict[int, Generation] = {}
        with self._active(), progress.bar("generating", len(sequences)) as bar:
            for pack in packs:
                rngs = [random.Random(f"{seed}:{index}" if isinstance(seed, int) else seed[index]) for index in pack]
                decoder = _Decoder(self.loaded, [sequences[i] for i in pack], max_new_tokens, temperature, rngs)
                for index, ids in zip(pack, decoder.run(), strict=True):
                    is_finished = bool(ids) and ids[-1] in chat.stop_ids
                    text = chat.tokenizer.decode(ids[:-1] if is_finished else ids, skip_special_tokens=True)
                    done[index] = Generation(text=text.strip(), is_finished=is_finished)
                bar.advance(len(pack))
        return [done[i] for i in range(len(prompts))]


def sequence_logps(model: Any, trie: Trie, device: torch.device) -> Tensor:
    """Log-probability of each sequence's scored tokens, summed, shape [N]."""
    logps_S = token_logps(model, trie_tensors(trie, device))
    owner_S = torch.as_tensor(trie.owner_S, device=device)
    return sum_by_owner(logps_S.double(), owner_S, trie.n_sequences)


def draw(p_AV: Tensor, uniform_A: Tensor) -> Tensor:
    """The token at which the cumulative probability passes a uniform number, per row, shape [A].

    In two levels (which block, where in it), so that the vocabulary is summed but not accumulated.
    """
    n_rows, n_vocabulary = p_AV.shape
    blocks = torch.nn.functional.pad(p_AV, (0, -n_vocabulary % DRAW_BLOCK)).view(n_rows, -1, DRAW_BLOCK)
    upto = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    aim = uniform_A[:, None] * upto[:, -1:]
    block = torch.searchsorted(upto, aim).clamp(max=upto.shape[1] - 1)
    before = torch.where(block > 0, upto.gather(1, (block - 1).clamp(min=0)), torch.zeros_like(aim))
    inside = blocks[torch.arange(n_rows, device=block.device), block.squeeze(1)].double().cumsum(-1)
    place = torch.searchsorted(inside, (aim - before).clamp(min=0.0)).clamp(max=DRAW_BLOCK - 1)
    return (block * DRAW_BLOCK + place).squeeze(1).clamp(max=n_vocabulary - 1)


def neighbours(sequences: Sequence[TokenSequence]) -> list[list[int]]:
    """Runs of neighbours that share more than all sequences do: what a pack should keep together."""
    if not sequences:
        return []
    by_everyone = min(shared_prefix(sequences[0].ids, sequence.ids) for sequence in sequences)
    groups = [[0]]
    for index in range(1, len(sequences)):
        if shared_prefix(sequences[index - 1].ids, sequences[index].ids) > by_everyone + MIN_SHARED:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


@dataclass
class _Decoder:
    """Decodes the prompts of one pack together."""

    loaded: LoadedModel
    prompts: list[TokenSequence]
    max_new_tokens: int
    temperature: float
    rngs: list[random.Random]
    written: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        model = self.loaded.model
        base = model.get_base_model() if hasattr(model, "peft_config") else model
        self.decoder, self.head = base.get_decoder(), base.get_output_embeddings()
        self.scale = LogitScale.of(base.config)
        self.trie = build_trie(self.prompts)
        self.written = [[] for _ in self.prompts]
        device = self.loaded.device
        self.leaf_N = torch.as_tensor(self.trie.leaf_N, device=device)
        self.position_K = torch.as_tensor(self.trie.position_T, device=device)
        self.end_T = torch.as_tensor(self.trie.end_T, device=device)
        rows_T = torch.arange(self.trie.n_tokens, device=device)
        self.path_NT = (rows_T <= self.leaf_N[:, None]) & (self.leaf_N[:, None] < self.end_T)
        self.owner_K = torch.full_like(self.position_K, -1)
        self.groups = neighbours(self.prompts)
        self.group_keys = [torch.nonzero(self.path_NT[group].any(0)).squeeze(1) for group in self.groups]

    def run(self) -> list[list[int]]:
        """Token ids of each answer, its end token last where it came to an end."""
        cache = DynamicCache()
        ids_T = torch.as_tensor(self.trie.ids_T, device=self.loaded.device)
        hidden = self._read(ids_T, self.position_K, trie_layout(self.position_K, self.end_T), cache)
        hidden_A = hidden[self.leaf_N]
        active = list(range(len(self.prompts)))
        for _ in range(self.max_new_tokens):
            active, next_ids = self._choose(hidden_A, active)
            if not active or len(self.written[active[0]]) == self.max_new_tokens:
                break
            hidden_A = self._step(next_ids, active, cache)
        return self.written

    def _read(self, ids: Tensor, position: Tensor, value: Layout, cache: DynamicCache) -> Tensor:
        n_keys = len(value.position_K)
        with layout(value):
            out = self.decoder(
                input_ids=ids[None],
                position_ids=position[None],
                attention_mask=torch.ones(1, n_keys, dtype=torch.long, device=ids.device),
                past_key_values=cache,
                use_cache=True,
            )
        hidden: Tensor = out.last_hidden_state[0]
        return hidden

    def _choose(self, hidden_A: Tensor, active: list[int]) -> tuple[list[int], list[int]]:
        """Write one token for each active sequence; returns those that go on, with their tokens."""
        logits = self.head(hidden_A).float() * self.scale.factor
        if self.scale.cap is not None:
            logits = torch.tanh(logits / self.scale.cap) * self.scale.cap
        if self.temperature == 0.0:
            chosen = logits.argmax(-1).tolist()
        else:
            uniform_A = torch.tensor([self.rngs[n].random() for n in active], dtype=torch.float64)
            chosen = draw(torch.softmax(logits / self.temperature, -1), uniform_A.to(logits.device)).tolist()
        going: list[int] = []
        for n, token in zip(active, chosen, strict=True):
            self.written[n].append(int(token))
            if token not in self.loaded.chat.stop_ids:
                going.append(n)
        return going, [self.written[n][-1] for n in going]

    def _step(self, next_ids: list[int], active: list[int], cache: DynamicCache) -> Tensor:
        device = self.loaded.device
        n_past = len(self.position_K)
        depths = [len(self.prompts[n].ids) + len(self.written[n]) - 1 for n in active]
        position = torch.tensor(depths, device=device)
        self.position_K = torch.cat([self.position_K, position])
        self.owner_K = torch.cat([self.owner_K, torch.tensor(active, device=device)])
        return self._read(torch.tensor(next_ids, device=device), position, self._layout(active, n_past), cache)

    def _layout(self, active: list[int], n_past: int) -> Layout:
        """New tokens see their own path in the trie and what their own sequence wrote."""
        n_trie, owner_K, path_NT = self.trie.n_tokens, self.owner_K, self.path_NT

        def is_visible(q: Tensor, k: Tensor) -> Tensor:
            owner = owner_K[q]
            on_path = path_NT[owner, k.clamp(max=n_trie - 1)] & (k < n_trie)
            return on_path | ((owner_K[k] == owner) & (k <= q))

        row_of = {n: n_past + i for i, n in enumerate(active)}
        written_by = owner_K[n_trie:]
        blocks = []
        for group, keys in zip(self.groups, self.group_keys, strict=True):
            rows = [row_of[n] for n in group if n in row_of]
            if rows:
                members = torch.tensor(group, device=owner_K.device)
                own = torch.nonzero(torch.isin(written_by, members)).squeeze(1) + n_trie
                blocks.append((torch.tensor(rows, device=owner_K.device), torch.cat([keys, own])))
        return Layout(self.position_K, is_visible, tuple(blocks), n_past)
