"""Ids met so far, in 8 bytes each: sorted numbers, and a small set of the newest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_NEW_MAX = 65_536  # ids kept as a set before they are sorted in: at most 8 MB


class Seen:
    """A set of ids of at most 16 hex digits that only grows; a million take 8 MB and the set of the newest."""

    def __init__(self, n_new_max: int = N_NEW_MAX) -> None:
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._new: set[int] = set()
        self._n_new_max = n_new_max

    def __contains__(self, item_id: str) -> bool:
        return self._has(int(item_id, 16))

    def __len__(self) -> int:
        return len(self._sorted) + len(self._new)

    def add(self, item_id: str) -> None:
        """Remember an id; one that is there already changes nothing.

        Raises:
            OverflowError: the id has more than 16 hex digits.
        """
        number = int(item_id, 16)
        if number >> 64:
            raise OverflowError("an id of more than 64 bits")
        if self._has(number):
            return
        self._new.add(number)
        if len(self._new) >= self._n_new_max:
            new = np.fromiter(self._new, np.uint64, len(self._new))
            self._sorted = np.concatenate((self._sorted, new))
            self._sorted.sort(kind="stable")
            self._new.clear()

    def _has(self, number: int) -> bool:
        if number in self._new:
            return True
        place = int(np.searchsorted(self._sorted, np.uint64(number))) if len(self._sorted) else 0
        return place < len(self._sorted) and int(self._sorted[place]) == number
