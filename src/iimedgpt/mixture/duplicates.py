"""Records that say nearly the same: MinHash signatures and sorted band hashes on disk, so that memory stays flat.

A text is the set of its runs of five characters. Texts whose sets overlap by ``THRESHOLD`` or more
(Jaccard, estimated from 128 permutations, standard error at most 0.045) belong together.

Source: Broder 1997, "On the resemblance and containment of documents"; bands as in Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

THRESHOLD = 0.8
N_CHARS = 5  # of a shingle
N_PERMUTATIONS, ROWS_PER_BAND, SEED = 128, 8, 42
N_TEXTS_AT_ONCE = 256
MAX_ROUNDS = 8  # within a band's run of equal hashes: groups told apart at most

Hashes = NDArray[np.uint64]


def cluster(texts: Iterable[str], scratch: Path) -> list[int]:
    """For each text the number of the first one that it nearly repeats, its own where it repeats none.

    Args:
        scratch: a private folder for the signatures (512 bytes a text), which are removed again.
    """
    with TemporaryDirectory(dir=scratch, prefix=".signatures-") as folder:
        path = Path(folder) / "signatures"
        n_texts = _write_signatures(texts, path)
        if not n_texts:
            return []
        signatures: NDArray[np.uint32] = np.memmap(path, np.uint32, "r", shape=(n_texts, N_PERMUTATIONS))
        joined = _Joined(n_texts)
        for band in range(0, N_PERMUTATIONS, ROWS_PER_BAND):
            for run in _equal_runs(_mixed(signatures[:, band : band + ROWS_PER_BAND])):
                _join_run(run, signatures, joined)
        return joined.firsts()


def shingles(text: str) -> Hashes:
    """Hashes of all runs of five characters of a text, repeats included; of a shorter text its own."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    n = max(len(codes) - N_CHARS + 1, min(len(codes), 1))
    hashes = np.zeros(n, np.uint64)
    for place in range(min(N_CHARS, len(codes))):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[place : place + n]
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    return hashes ^ (hashes >> np.uint64(32))


def _write_signatures(texts: Iterable[str], path: Path) -> int:
    n_texts, source = 0, iter(texts)
    with path.open("wb") as out:
        while some := list(islice(source, N_TEXTS_AT_ONCE)):
            parts = [shingles(text) for text in some]
            bounds = np.cumsum([0, *(len(part) for part in parts)]).tolist()
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(parts), bounds, N_PERMUTATIONS, SEED)
            np.array(matrix.to_rows(), np.uint32).tofile(out)
            n_texts += len(some)
    return n_texts


def _mixed(band: NDArray[np.uint32]) -> Hashes:
    """One hash a row."""
    hashes = np.zeros(len(band), np.uint64)
    for column in band.T:
        hashes = (hashes ^ column.astype(np.uint64)) * np.uint64(0x100000001B3) + np.uint64(0x9E3779B9)
    return hashes


def _equal_runs(hashes: Hashes) -> Iterator[NDArray[np.intp]]:
    """Rows with equal hashes, in their order, where there are several."""
    order = np.argsort(hashes, kind="stable")
    values = hashes[order]
    starts = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    yield from (order[start:stop] for start, stop in pairwise(starts) if stop - start > 1)


def _join_run(run: NDArray[np.intp], signatures: NDArray[np.uint32], joined: _Joined) -> None:
    for _ in range(MAX_ROUNDS):
        first, rest = run[0], run[1:]
        is_near = (signatures[rest] == signatures[first]).mean(1) >= THRESHOLD
        for other in rest[is_near]:
            joined.join(int(first), int(other))
        run = rest[~is_near]
        if len(run) < 2:
            return


class _Joined:
    """Disjoint sets of numbers; the smallest member stands for its set."""

    def __init__(self, n: int) -> None:
        self._parent = np.arange(n)

    def first(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = int(parent[item])
        return item

    def join(self, a: int, b: int) -> None:
        a, b = self.first(a), self.first(b)
        self._parent[max(a, b)] = min(a, b)

    def firsts(self) -> list[int]:
        return [self.first(item) for item in range(len(self._parent))]


def components(pairs: Iterable[tuple[str, int]]) -> dict[str, str]:
    """Owner → the first owner that they are connected with through clusters, in order of appearance.

    Args:
        pairs: (owner, cluster of one of their texts).
    """
    number: dict[str, int] = {}
    owner_of: dict[int, int] = {}
    links: list[tuple[int, int]] = []
    for owner, label in pairs:
        mine = number.setdefault(owner, len(number))
        links.append((owner_of.setdefault(label, mine), mine))
    joined = _Joined(len(number))
    for a, b in links:
        joined.join(a, b)
    names = list(number)
    return {owner: names[first] for owner, first in zip(names, joined.firsts(), strict=True)}
