"""Token sequences laid out as a depth-first trie: every shared prefix stands once.

The one inequality that everything rests on: token ``q`` may attend to token ``k`` iff

    k <= q < end[k]

where ``end[k]`` is one past the last token of ``k``'s own subtree. Depth-first order makes a
subtree a run of neighbours, so this is at once causality, prefix sharing, and packing of
unrelated sequences without leakage. Pure numpy, no torch.

Shapes: T trie tokens, N sequences, S scored (trained) tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TokenSequence:
    """One sequence of token ids of which everything from ``start`` on is trained (scored).

    ``start`` lies in [1, len(ids)]: the first token has no predecessor that could predict it.
    ``weight`` multiplies each trained token's log-probability in a weighted loss.
    """

    ids: tuple[int, ...]
    start: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.start <= len(self.ids):
            raise ValueError(f"start {self.start} outside 1..{len(self.ids)}")

    @property
    def n_scored(self) -> int:
        return len(self.ids) - self.start


@dataclass(frozen=True)
class Trie:
    """The layout. ``owner`` and ``leaf`` speak of sequences in the order they were given."""

    ids_T: Ints
    position_T: Ints  # depth of the token in its own sequence
    end_T: Ints  # one past the last token of the subtree
    rows_S: Ints  # the trie row whose output predicts the scored token
    targets_S: Ints  # the scored token's id
    owner_S: Ints  # the sequence it belongs to
    weight_S: Floats
    leaf_N: Ints  # trie row of each sequence's last token
    n_sequences: int
    n_original: int = field(default=0)  # tokens of all sequences, each counted in full

    @property
    def n_tokens(self) -> int:
        return len(self.ids_T)

    @property
    def token_ratio(self) -> float:
        """Tokens the naive path would read for each one read here, >= 1."""
        return self.n_original / max(self.n_tokens, 1)


def shared_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix of two tuples; by halving, since slices compare fast."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def build_trie(sequences: Sequence[TokenSequence]) -> Trie:
    """Lay sequences out depth-first.

    Sharing is on the actual token ids, so it is exact whatever the tokenizer does. Sequences may be
    prefixes of one another, or identical.
    """
    arrays = [np.asarray(sequence.ids, dtype=np.int64) for sequence in sequences]
    order = sorted(range(len(arrays)), key=lambda i: sequences[i].ids)
    shared = [shared_prefix(sequences[a].ids, sequences[b].ids) for a, b in pairwise(order)]

    pieces: list[Ints] = []
    depths: list[Ints] = []
    paths: dict[int, Ints] = {}
    previous = np.empty(0, dtype=np.int64)
    offset = 0
    for index, lcp in zip(order, [0, *shared], strict=False):
        ids = arrays[index]
        new = np.arange(offset, offset + len(ids) - lcp)
        previous = np.concatenate([previous[:lcp], new])
        paths[index] = previous
        pieces.append(ids[lcp:])
        depths.append(np.arange(lcp, len(ids)))
        offset += len(new)

    position = _joined(depths)
    rows, targets, owner, weight = _scored(sequences, arrays, paths)
    return Trie(
        ids_T=_joined(pieces),
        position_T=position,
        end_T=_subtree_ends(position),
        rows_S=rows,
        targets_S=targets,
        owner_S=owner,
        weight_S=weight,
        leaf_N=np.array([paths[i][-1] for i in range(len(arrays))], dtype=np.int64),
        n_sequences=len(arrays),
        n_original=sum(map(len, arrays)),
    )


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _subtree_ends(position: Ints) -> Ints:
    """One past each token's subtree: the next token that is not deeper."""
    ends = np.full(len(position), len(position), dtype=np.int64)
    open_tokens: list[int] = []
    for token, depth in enumerate(position.tolist()):
        while open_tokens and position[open_tokens[-1]] >= depth:
            ends[open_tokens.pop()] = token
        open_tokens.append(token)
    return ends


def _scored(
    sequences: Sequence[TokenSequence], arrays: list[Ints], paths: dict[int, Ints]
) -> tuple[Ints, Ints, Ints, Floats]:
    rows = [paths[i][sequence.start - 1 : -1] for i, sequence in enumerate(sequences)]
    targets = [arrays[i][sequence.start :] for i, sequence in enumerate(sequences)]
    counts = [sequence.n_scored for sequence in sequences]
    owner = np.repeat(np.arange(len(sequences), dtype=np.int64), counts)
    weight = np.repeat(np.array([sequence.weight for sequence in sequences], dtype=np.float64), counts)
    return _joined(rows), _joined(targets), owner, weight


def count_tokens(sequences: Sequence[TokenSequence]) -> int:
    """Trie tokens that the sequences would take, without building the trie."""
    ordered = sorted(sequence.ids for sequence in sequences)
    total = len(ordered[0]) if ordered else 0
    for before, after in pairwise(ordered):
        total += len(after) - shared_prefix(before, after)
    return total
