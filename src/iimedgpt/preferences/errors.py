"""Rejected answers with exactly one named clinical error: minimal edits of a correct answer.

Every rule is a pure function ``(answer, context, rng) -> str | None``; None where the answer gives
it nothing to change. Edits keep length and style (at most a fifth longer or shorter, only the
answer of another patient is exempt), so that neither can be learnt in place of the error.

The tables (``errors.toml``) and the rules are the project's own and **not reviewed by a clinician**.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from iimedgpt import io
from iimedgpt.preferences.edits import (
    CLAUSE_END,
    Donor,
    ErrorContext,
    dose_x10,
    is_length_kept,
    negation_added,
    negation_dropped,
    overconfident,
    red_flag_dismissed,
    side_swapped,
)
from iimedgpt.text import fold
from iimedgpt.types import Language

TABLES = Path(__file__).with_name("errors.toml")
ROUTINE = "routine"  # a group that is replaced and never comes in: its names suit everybody
CAVEAT = "rule-made errors: not reviewed by a clinician"

Make = Callable[[str, ErrorContext, random.Random], str | None]


@cache
def _table(name: str) -> Mapping[str, str]:
    """Name → group of one table."""
    groups: dict[str, list[str]] = tomllib.loads(io.read_text(TABLES))[name]
    return MappingProxyType({entry: group for group, entries in groups.items() for entry in entries})


# Where a name is half of another one, replacing it would leave nonsense that gives the error away:
# salts (盐酸X, X钠) and findings bound to a place (右踝关节肿胀, 左侧肢体无力).
_CONTEXT_REFUSED = {
    "drugs": ("(?<!盐酸)(?<!硫酸)(?<!复方)", "(?![钠钙钾镁])"),
    "findings": ("(?<![左右侧双踝膝肩肘腕髋指趾])", ""),
}


@cache
def _table_pattern(name: str) -> re.Pattern[str]:
    longest_first = sorted(_table(name), key=len, reverse=True)
    before, after = _CONTEXT_REFUSED.get(name, ("", ""))
    return re.compile(before + "(?:" + "|".join(map(re.escape, longest_first)) + ")" + after)


def _swap_name(answer: str, old: str, new: str, pattern: re.Pattern[str]) -> str | None:
    """Every mention of one name replaced; None where the length would give it away."""
    changed = pattern.sub(lambda match: new if match.group() == old else match.group(), answer)
    return changed if changed != answer and is_length_kept(answer, changed) else None


def _replace_from_table(
    table: str, answer: str, context: ErrorContext, rng: random.Random, refused: Sequence[str] = ()
) -> str | None:
    """One name of the table, chosen by ``rng``, becomes one of another group that nobody named.

    Groups that the answer or the visible record names are left alone altogether. Among what is
    left, names of the nearest length come first.
    """
    pattern, group_of = _table_pattern(table), _table(table)
    named = dict.fromkeys(pattern.findall(answer))
    taken = {group_of[name] for name in (*named, *pattern.findall(context.visible))}
    texts = answer + context.visible
    options = [name for name in group_of if group_of[name] not in (*taken, ROUTINE) and name not in texts]
    old_names = [name for name in named if name not in refused]
    rng.shuffle(old_names)
    rng.shuffle(options)
    for old in old_names:
        for new in sorted(options, key=lambda name: abs(len(name) - len(old))):
            changed = _swap_name(answer, old, new, pattern)
            if changed is not None:
                return changed
    return None


def drug_swapped(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """A drug becomes one for another kind of disease: 奥美拉唑 → 二甲双胍."""
    return _replace_from_table("drugs", answer, context, rng)


def department_replaced(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """A department becomes that of another organ: 消化内科 → 神经内科."""
    return _replace_from_table("departments", answer, context, rng)


def examination_replaced(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """An examination becomes one of another organ: 胃镜检查 → 眼底检查."""
    return _replace_from_table("examinations", answer, context, rng)


_NEGATION = re.compile(r"无|否认|未|不伴|没有")


def finding_invented(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """A finding that the record does not hold stands where a true one stood: 腹痛 → 皮疹.

    Findings with a negation earlier in their clause are left alone: "无腹痛" would become another
    negative, which invents nothing.
    """
    negated = []
    for match in _table_pattern("findings").finditer(answer):
        clause = CLAUSE_END.split(answer[: match.start()])[-1]
        if _NEGATION.search(clause):
            negated.append(match.group())
    return _replace_from_table("findings", answer, context, rng, refused=negated)


def diagnosis_replaced(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """The main diagnosis becomes a wrong one: a differential of this record, else another record's.

    The record's own differentials are the harder errors and stand first in ``alternatives``;
    the first one that fits the length is taken, so ``rng`` is not asked.
    """
    known = fold(answer + context.visible)
    options = [new for new in context.alternatives if fold(new) and fold(new) not in known]
    for old in context.diagnoses:
        for new in options:
            changed = answer.replace(old, new) if old else answer
            is_same = fold(old) in fold(new) or any(fold(own) in fold(new) for own in context.diagnoses)
            if changed != answer and not is_same and is_length_kept(answer, changed):
                return changed
    return None


def wrong_patient(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """The answer of another patient with another disease, the nearest one in length."""
    mine = fold(answer)
    best: Donor | None = None
    for donor in context.donors:
        theirs = fold(donor.text)
        if not theirs or theirs in mine or mine in theirs:
            continue
        if donor.disease is not None and donor.disease == context.disease:
            continue
        if best is None or abs(len(donor.text) - len(answer)) < abs(len(best.text) - len(answer)):
            best = donor
    return best.text if best is not None else None


@dataclass(frozen=True)
class ErrorRule:
    """A named error, the tasks it makes sense for (none = all) and its languages."""

    make: Make
    tasks: tuple[str, ...] = ()
    languages: tuple[Language, ...] = ("zh",)

    def is_for(self, task: str | None, language: Language) -> bool:
        return language in self.languages and (not self.tasks or task in self.tasks)


_BOTH: tuple[Language, ...] = ("zh", "en")
ERRORS: Mapping[str, ErrorRule] = MappingProxyType(
    {
        "negation_dropped": ErrorRule(negation_dropped, ("record", "basis"), _BOTH),
        "negation_added": ErrorRule(negation_added, ("record", "basis"), _BOTH),
        "side_swapped": ErrorRule(side_swapped, (), _BOTH),
        "dose_x10": ErrorRule(dose_x10, ("treatment", "record"), _BOTH),
        "drug_swapped": ErrorRule(drug_swapped, ("treatment",)),
        "finding_invented": ErrorRule(finding_invented, ("record", "basis")),
        "diagnosis_replaced": ErrorRule(diagnosis_replaced, ("diagnosis", "basis")),
        "department_replaced": ErrorRule(department_replaced, ("triage",)),
        "examination_replaced": ErrorRule(examination_replaced, ("examination",)),
        "overconfident": ErrorRule(overconfident, ("diagnosis", "basis", "record"), _BOTH),
        "red_flag_dismissed": ErrorRule(red_flag_dismissed, ("treatment",)),
        "wrong_patient": ErrorRule(wrong_patient, (), _BOTH),
    }
)


class ErrorChooser:
    """Deals the errors out so that the kinds come out as even as the answers allow.

    The kind made least often so far is tried first; ties are broken by a seeded order. Rare kinds
    (those few answers can carry) are therefore used wherever they fit.
    """

    def __init__(self, seed: str) -> None:
        self._n_made: Counter[str] = Counter()
        self._order = list(ERRORS)
        random.Random(f"{seed}:errors:order").shuffle(self._order)
        self._seed = seed
        self._ordinal = 0

    def make(self, answer: str, task: str | None, context: ErrorContext, n_max: int) -> list[tuple[str, str]]:
        """Up to ``n_max`` (error name, rejected answer), each with one error of its own kind."""
        self._ordinal += 1
        made: list[tuple[str, str]] = []
        for name in sorted(self._order, key=lambda name: self._n_made[name]):
            if len(made) == n_max:
                break
            if not ERRORS[name].is_for(task, context.language):
                continue
            rng = random.Random(f"{self._seed}:errors:{self._ordinal}:{name}")
            rejected = ERRORS[name].make(answer, context, rng)
            if rejected is not None and fold(rejected) != fold(answer):
                made.append((name, rejected))
        self._n_made.update(name for name, _ in made)
        return made
