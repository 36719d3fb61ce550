"""Who is trained on and who is held out: by patient, and by disease where asked.

Choices are seeded and made over the order of first appearance, never over ids: ids are HMACs under
a secret and would choose other patients on another machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

from iimedgpt.config import MixtureConfig
from iimedgpt.errors import DataError
from iimedgpt.types import Split

Item = TypeVar("Item")


@dataclass(frozen=True)
class Assignment:
    """The side of every patient, and the diseases no training patient may have."""

    sides: Mapping[str, Split]
    held_out_diseases: tuple[str, ...]


def split_together(
    diseases_of: Mapping[str, Sequence[str]], first_of: Mapping[str, str], config: MixtureConfig, seed: int
) -> Assignment:
    """``split_patients`` for groups of patients who stay together; each group counts once.

    Args:
        diseases_of: patient → their diseases, patients in order of first appearance.
        first_of: patient → the patient who stands for their group; who is not in it stands alone.
    """
    grouped: dict[str, list[str]] = {}
    for patient, diseases in diseases_of.items():
        grouped.setdefault(first_of.get(patient, patient), []).extend(diseases)
    found = split_patients({name: list(dict.fromkeys(group)) for name, group in grouped.items()}, config, seed)
    sides = {patient: found.sides[first_of.get(patient, patient)] for patient in diseases_of}
    return Assignment(sides, found.held_out_diseases)


def split_patients(diseases_of: Mapping[str, Sequence[str]], config: MixtureConfig, seed: int) -> Assignment:
    """Assign every patient to one side.

    A patient with any held-out disease goes to test. Further patients are drawn until the test
    share is reached; held-out diseases alone may exceed it. A share above zero gives at least one
    patient where that leaves one for training.

    Args:
        diseases_of: patient → their diseases, patients in order of first appearance.

    Raises:
        DataError: nobody is left for training.
    """
    patients = list(diseases_of)
    held_out = _choose_diseases(diseases_of, config.hold_out_diseases_frac, seed)
    in_test = {patient for patient in patients if not held_out.isdisjoint(diseases_of[patient])}
    rest = [patient for patient in patients if patient not in in_test]
    random.Random(f"{seed}:mixture:patients").shuffle(rest)
    n_test = max(0, _share(config.test_frac, len(patients)) - len(in_test))
    n_validation = _share(config.validation_frac, len(patients))
    if n_test + n_validation >= len(rest):  # too few patients for both: training comes first
        n_validation = max(0, min(n_validation, len(rest) - n_test - 1))
    if n_test + n_validation >= len(rest):
        raise DataError(
            f"no patient is left for training: {len(in_test) + n_test} of {len(patients)} are held out",
            expected="at least one training patient",
            hint="lower mixture.test_frac or mixture.hold_out_diseases_frac, or read more records",
        )
    validation = set(rest[n_test : n_test + n_validation])
    test = in_test.union(rest[:n_test])
    sides: dict[str, Split] = {
        patient: "test" if patient in test else "validation" if patient in validation else "train"
        for patient in patients
    }
    diseases = dict.fromkeys(disease for found in diseases_of.values() for disease in found)
    return Assignment(sides, tuple(disease for disease in diseases if disease in held_out))


def _choose_diseases(diseases_of: Mapping[str, Sequence[str]], frac: float, seed: int) -> set[str]:
    diseases = list(dict.fromkeys(disease for found in diseases_of.values() for disease in found))
    n_held_out = min(_share(frac, len(diseases)), max(0, len(diseases) - 1))
    return set(random.Random(f"{seed}:mixture:diseases").sample(diseases, n_held_out))


def _share(frac: float, n: int) -> int:
    """``frac`` of ``n``, halves up, at least one where asked for any."""
    return max(1, int(frac * n + 0.5)) if frac > 0 and n > 1 else 0


def round_robin(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[Item]:
    """One item of each group in turn, groups in order of first appearance, none lost."""
    groups: dict[Hashable, list[tuple[Item]]] = {}
    for item in items:
        groups.setdefault(key(item), []).append((item,))
    return [cell[0] for turn in zip_longest(*groups.values()) for cell in turn if cell is not None]


def spread(items: Sequence[Item], n: int) -> list[Item]:
    """``n`` items at even distances over the sequence; all of them where there are no more."""
    if n >= len(items):
        return list(items)
    return [items[index * len(items) // n] for index in range(n)]
