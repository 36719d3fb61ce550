"""Batches that hold a budget of trie tokens: groups that share a prefix stay together.

A *group* is a list of sequences that belong side by side (the tasks of a record, the answers of a
pair). A *step* is a fixed number of groups; inside a step, groups fill *packs*, each a trie read in
one forward. The packs of a step are as even as the order of their groups allows.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from iimedgpt.engine.trie import TokenSequence, count_tokens, shared_prefix
from iimedgpt.errors import DataError

Group = Sequence[int]  # indices of sequences
HINT = "lower max_tokens to drop long sequences, or make room: checkpointing = true, or model.quantization"


@dataclass(frozen=True)
class Budget:
    """How many trie tokens a pack may hold.

    ``tokens`` is what packs are filled up to. A group stays whole, in a pack of its own, up to
    ``group_tokens``; a sequence up to ``sequence_tokens``. Beyond that it cannot be read.
    """

    tokens: int
    group_tokens: int
    sequence_tokens: int

    @classmethod
    def of(cls, tokens: int) -> Budget:
        """The same bound for all three."""
        return cls(tokens, tokens, tokens)


@dataclass(frozen=True)
class Plan:
    """Packs per optimiser step, as indices of sequences. Every step has as many packs."""

    steps: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def packs_per_step(self) -> int:
        return max((len(step) for step in self.steps), default=0)


def group_by(keys: Sequence[str]) -> list[list[int]]:
    """Indices with equal keys together, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def fill_packs(
    sequences: Sequence[TokenSequence],
    groups: Sequence[Group],
    budget: int | Budget,
    *,
    is_shared: bool = True,
    multiple_of: int = 1,
    names: Sequence[str] | None = None,
) -> list[tuple[int, ...]]:
    """Packs of at most ``budget`` trie tokens, groups in the order given.

    There are as few packs as filling one after the other takes (rounded up to ``multiple_of``, the
    number of processes that read them side by side); among so many, the largest is as small as it
    can be. Without sharing, every sequence is a pack of its own: the fallback for models that fail
    the probe.

    Args:
        names: what a sequence is called in an error, its index where not given.

    Raises:
        DataError: one sequence alone is over the budget; says which, how long and what to set.
    """
    budget = Budget.of(budget) if isinstance(budget, int) else budget
    _check_lengths(sequences, groups, budget, names)
    if not is_shared:
        return [(index,) for group in groups for index in group]
    units = _units(sequences, groups, budget)
    filled = _fill(sequences, units, budget.tokens)
    n_packs = -(-len(filled) // multiple_of) * multiple_of
    # Filling in order never takes more packs with a higher bound, so the smallest bound that does with
    # as many is found by halving. It cannot be below a unit, but for those that stand alone anyway.
    sizes = [count_tokens([sequences[i] for i in unit]) for unit in units]
    low = max((size for size in sizes if size <= budget.tokens), default=1)
    high = min(budget.tokens, max((size for _, size in filled), default=1)) if n_packs > 1 else low
    while low < high:
        middle = (low + high) // 2
        tried = _fill(sequences, units, middle)
        if len(tried) <= n_packs:
            filled, high = tried, middle
        else:
            low = middle + 1
    return [pack for pack, _ in filled]


def _fill(
    sequences: Sequence[TokenSequence], units: Sequence[Sequence[int]], n_tokens: int
) -> list[tuple[tuple[int, ...], int]]:
    """(pack, its trie tokens): filled with units in order until the next one would not fit."""
    packs: list[tuple[tuple[int, ...], int]] = []
    current = _Growing()
    for unit in units:
        members = [sequences[i] for i in unit]
        if current.indices and current.size + current.cost(members) > n_tokens:
            packs.append((tuple(current.indices), current.size))
            current = _Growing()
        current.add(unit, members)
    return [*packs, (tuple(current.indices), current.size)] if current.indices else packs


def _check_lengths(
    sequences: Sequence[TokenSequence], groups: Sequence[Group], budget: Budget, names: Sequence[str] | None
) -> None:
    for group in groups:
        for index in group:
            n_tokens = len(sequences[index].ids)
            if n_tokens > budget.sequence_tokens:
                raise DataError(
                    f"sequence {index if names is None else names[index]} has {n_tokens} tokens, "
                    f"over the {budget.sequence_tokens} of one pack",
                    hint=f"{HINT}; tokens_per_pack = {n_tokens} tries it all the same",
                )


@dataclass
class _Growing:
    """A pack while it fills: its sequences in order, so that what a further one adds is quick to tell."""

    indices: list[int] = field(default_factory=list)
    ordered: list[tuple[int, ...]] = field(default_factory=list)
    size: int = 0

    def cost(self, members: Sequence[TokenSequence]) -> int:
        """Trie tokens that these sequences would add."""
        trial = _Growing(ordered=list(self.ordered))
        trial.add([], members)
        return trial.size

    def add(self, unit: Sequence[int], members: Sequence[TokenSequence]) -> None:
        self.indices += unit
        for member in members:
            place = bisect.bisect_left(self.ordered, member.ids)
            beside = self.ordered[max(place - 1, 0) : place + 1]
            self.size += len(member.ids) - max((shared_prefix(member.ids, other) for other in beside), default=0)
            self.ordered.insert(place, member.ids)


def _units(sequences: Sequence[TokenSequence], groups: Sequence[Group], budget: Budget) -> list[list[int]]:
    """Groups, those that are too large cut into runs that fit."""
    units = []
    for group in groups:
        if count_tokens([sequences[i] for i in group]) <= budget.group_tokens:
            units.append(list(group))
            continue
        run: list[int] = []
        for index in group:
            if run and count_tokens([sequences[i] for i in (*run, index)]) > budget.group_tokens:
                units.append(run)
                run = []
            run.append(index)
        units.append(run)
    return units


def plan_training(
    sequences: Sequence[TokenSequence],
    groups: Sequence[Group],
    *,
    epochs: float,
    groups_per_step: int,
    budget: int | Budget,
    seed: int,
    is_shared: bool = True,
    n_processes: int = 1,
    names: Sequence[str] | None = None,
) -> Plan:
    """All steps of a training run: groups shuffled anew each epoch, the same for the same seed.

    ``epochs`` may be a fraction; the last step of an epoch may be smaller. A plain number as budget
    gives way to a sequence that is longer alone.

    Raises:
        DataError: a sequence is over the budget; says which of ``names``.
    """
    order: list[Group] = []
    for epoch in range(int(epochs) + 1):
        shuffled = list(groups)
        random.Random(f"{seed}:epoch:{epoch}").shuffle(shuffled)
        share = min(1.0, epochs - epoch)
        order += shuffled[: max(1, round(share * len(shuffled)))] if share > 0 else []
    if isinstance(budget, int):
        budget = Budget(budget, budget, max([budget, *(len(sequence.ids) for sequence in sequences)]))
    steps = [
        tuple(
            fill_packs(
                sequences,
                order[start : start + groups_per_step],
                budget,
                is_shared=is_shared,
                multiple_of=n_processes,
                names=names,
            )
        )
        for start in range(0, len(order), groups_per_step)
    ]
    n_packs = max((len(step) for step in steps), default=0)
    n_packs = -(-n_packs // n_processes) * n_processes
    return Plan(tuple(step + ((),) * (n_packs - len(step)) for step in steps))
