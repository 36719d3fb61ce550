"""Batches that hold a budget of trie tokens: groups that share a prefix stay together.

A *group* is a list of sequences that belong side by side (the tasks of a record, the answers of a
pair). A *step* is a fixed number of groups; inside a step, groups fill *packs*, each a trie read in
one forward.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from iimedgpt.engine.trie import TokenSequence, count_tokens, shared_prefix
from iimedgpt.errors import DataError

Group = Sequence[int]  # indices of sequences


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
    sequences: Sequence[TokenSequence], groups: Sequence[Group], budget: int, *, is_shared: bool = True
) -> list[tuple[int, ...]]:
    """Packs of at most ``budget`` trie tokens, groups in the order given.

    A group over the budget is split between its sequences (and shares less). Without sharing, every
    sequence is a pack of its own: the fallback for models that fail the probe.

    Raises:
        DataError: one sequence alone is over the budget; says how long and what to set.
    """
    if not is_shared:
        return [(index,) for group in groups for index in group]
    packs: list[tuple[int, ...]] = []
    current = _Growing()
    for unit in _units(sequences, groups, budget):
        members = [sequences[i] for i in unit]
        if current.indices and current.size + current.cost(members) > budget:
            packs.append(tuple(current.indices))
            current = _Growing()
        current.add(unit, members)
    return [*packs, tuple(current.indices)] if current.indices else packs


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


def _units(sequences: Sequence[TokenSequence], groups: Sequence[Group], budget: int) -> list[list[int]]:
    """Groups, those over the budget cut into runs that fit."""
    units = []
    for group in groups:
        run: list[int] = []
        for index in group:
            if len(sequences[index].ids) > budget:
                raise DataError(
                    f"sequence {index} has {len(sequences[index].ids)} tokens, over the {budget} of one pack",
                    hint="raise tokens_per_pack, or lower max_tokens to drop long sequences",
                )
            if run and count_tokens([sequences[i] for i in (*run, index)]) > budget:
                units.append(run)
                run = []
            run.append(index)
        if run:
            units.append(run)
    return units


def plan_training(
    sequences: Sequence[TokenSequence],
    groups: Sequence[Group],
    *,
    epochs: float,
    groups_per_step: int,
    budget: int,
    seed: int,
    is_shared: bool = True,
    n_processes: int = 1,
) -> Plan:
    """All steps of a training run: groups shuffled anew each epoch, the same for the same seed.

    ``epochs`` may be a fraction; the last step of an epoch may be smaller.
    """
    order: list[Group] = []
    for epoch in range(int(epochs) + 1):
        shuffled = list(groups)
        random.Random(f"{seed}:epoch:{epoch}").shuffle(shuffled)
        share = min(1.0, epochs - epoch)
        order += shuffled[: max(1, round(share * len(shuffled)))] if share > 0 else []
    budget = max([budget, *(len(sequence.ids) for sequence in sequences)])
    steps = [
        tuple(fill_packs(sequences, order[start : start + groups_per_step], budget, is_shared=is_shared))
        for start in range(0, len(order), groups_per_step)
    ]
    n_packs = max((len(step) for step in steps), default=0)
    n_packs = -(-n_packs // n_processes) * n_processes
    return Plan(tuple(step + ((),) * (n_packs - len(step)) for step in steps))
