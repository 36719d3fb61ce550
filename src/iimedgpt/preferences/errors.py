"""Rejected answers with exactly one named clinical error: minimal edits of a correct answer.

Every rule is a pure function ``(answer, context, rng)`` that gives the wrong answer, or the reason why
there is none (``Refusal``). Edits keep length and style (at most a fifth longer or shorter, only the
answer of another patient is exempt), so that neither can be learnt in place of the error.

The tables (``errors.toml``, ``errors_contraindications.toml``) and the rules are the project's own and
**not reviewed by a clinician** until somebody signs them in ``reviewed_by``.
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
from typing import Any

from iimedgpt import clinical, io
from iimedgpt.preferences.contraindications import contraindicated, injectable
from iimedgpt.preferences.edits import (
    CLAUSE_END,
    Donor,
    ErrorContext,
    Refusal,
    dose_x10,
    is_length_kept,
    negation_added,
    negation_dropped,
    overconfident,
    red_flag_dismissed,
    red_flag_omitted,
    side_swapped,
    wrong_patients_fact,
)
from iimedgpt.preferences.filters import answer_key
from iimedgpt.text import fold, unique
from iimedgpt.types import Language

TABLES = Path(__file__).with_name("errors.toml")
ROUTINE = "routine"  # a group that is replaced and never comes in: its names suit everybody
CAVEAT = "rule-made error, not reviewed by a clinician"


@dataclass(frozen=True)
class Edited:
    """A wrong answer, and the row of a table that it was made with."""

    text: str
    row: str = ""
    reviewed_by: str = ""


Make = Callable[[str, ErrorContext, random.Random], str | Edited | Refusal]


@cache
def _tables() -> Mapping[str, Any]:
    return MappingProxyType(tomllib.loads(io.read_text(TABLES)))


@cache
def _table(name: str) -> Mapping[str, str]:
    """Name → group of one table."""
    groups: dict[str, list[str]] = _tables()[name]
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
) -> str | Refusal:
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
    return Refusal.ABSENT if not old_names else Refusal.SHOWS if options else Refusal.NO_CAUSE


def drug_swapped(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """A drug becomes one for another kind of disease: 奥美拉唑 → 二甲双胍."""
    stopped = [match[0] for match in _table_pattern("drugs").finditer(answer) if _is_stopped(answer, match.start())]
    return _replace_from_table("drugs", answer, context, rng, refused=stopped)


_STOPPED = re.compile(r"停用|停服|避免|禁用|忌用|不用|不宜|慎用|禁止")
_NOT_SWALLOWED = re.compile(r"静滴|静注|静脉|肌注|注射|皮下|吸入|雾化|外用|涂|滴眼|滴鼻|滴耳|含漱|纳肛|滴入|点眼|喷")
_INJECTED = re.compile(r"静滴|静注|静脉|肌注|注射")


def _is_stopped(answer: str, start: int) -> bool:
    return bool(_STOPPED.search(CLAUSE_END.split(answer[:start])[-1]))


def _can_stand(answer: str, old: str, new: str) -> bool:
    """True where the drug is given, and in a way the new one is given too: an infusion stays an infusion."""
    for match in re.finditer(re.escape(old), answer):
        clause = re.split(r"[；;。\n]", answer[match.start() :])[0]
        if _is_stopped(answer, match.start()) or answer[: match.start()].endswith("%"):
            return False
        if _NOT_SWALLOWED.search(clause) and not (_INJECTED.search(clause) and new in injectable()):
            return False
    return True


def drug_contraindicated(answer: str, context: ErrorContext, rng: random.Random) -> Edited | Refusal:
    """A drug becomes one that the visible record contraindicates: allergy, pregnancy, kidneys, interaction, age.

    A drug of the same use is replaced before others: then the record alone shows the error.
    """
    pattern, group_of = _table_pattern("drugs"), _table("drugs")
    listed = [name for name in clinical.drugs(answer) if name in answer]
    old_names = unique([*pattern.findall(answer), *listed])
    if not old_names:
        return Refusal.ABSENT
    rows = list(contraindicated(context.visible))
    rng.shuffle(rows)
    texts = answer + context.visible
    options = [
        (group_of.get(old) != row.group, abs(len(new) - len(old)), old, new, row)
        for row in rows
        for new in row.drugs
        if new not in texts
        for old in old_names
        if _can_stand(answer, old, new)
    ]
    for _, _, old, new, row in sorted(options, key=lambda option: option[:2]):
        changed = answer.replace(old, new)
        if is_length_kept(answer, changed):
            return Edited(changed, row.name, row.reviewed_by)
    return Refusal.SHOWS if options else Refusal.NO_CAUSE


def department_replaced(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """A department becomes that of another organ: 消化内科 → 神经内科."""
    return _replace_from_table("departments", answer, context, rng)


def examination_replaced(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """An examination becomes one of another organ: 胃镜检查 → 眼底检查."""
    return _replace_from_table("examinations", answer, context, rng)


_NEGATION = re.compile(r"无|否认|未|不伴|没有")


def finding_invented(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
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


def diagnosis_replaced(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """The main diagnosis becomes a wrong one: a differential of this record, else another record's.

    The record's own differentials are the harder errors and stand first in ``alternatives``;
    the first one that fits the length is taken, so ``rng`` is not asked.
    """
    if not any(name in answer for name in context.diagnoses):
        return Refusal.ABSENT
    known = fold(answer + context.visible)
    options = [new for new in context.alternatives if fold(new) and fold(new) not in known]
    for old in context.diagnoses:
        for new in options:
            changed = answer.replace(old, new) if old else answer
            is_same = fold(old) in fold(new) or any(fold(own) in fold(new) for own in context.diagnoses)
            if changed != answer and not is_same and is_length_kept(answer, changed):
                return changed
    return Refusal.SHOWS if options else Refusal.NO_CAUSE


def wrong_patient(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
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
    return best.text if best is not None else Refusal.NO_CAUSE


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
        "drug_contraindicated": ErrorRule(drug_contraindicated, ("treatment",)),
        "finding_invented": ErrorRule(finding_invented, ("record", "basis")),
        "diagnosis_replaced": ErrorRule(diagnosis_replaced, ("diagnosis", "basis")),
        "department_replaced": ErrorRule(department_replaced, ("triage",)),
        "examination_replaced": ErrorRule(examination_replaced, ("examination",)),
        "overconfident": ErrorRule(overconfident, ("diagnosis", "basis", "record"), _BOTH),
        "red_flag_dismissed": ErrorRule(red_flag_dismissed, ("treatment",)),
        "red_flag_omitted": ErrorRule(red_flag_omitted, ("treatment",)),
        "wrong_patients_fact": ErrorRule(wrong_patients_fact, ("record", "basis"), _BOTH),
        "wrong_patient": ErrorRule(wrong_patient, (), _BOTH),
    }
)


@dataclass(frozen=True)
class MadeError:
    """A wrong answer, the name of its error and what has to be said with it wherever it goes."""

    name: str
    text: str
    row: str = ""  # of errors_contraindications.toml
    caveat: str = CAVEAT


class ErrorChooser:
    """Deals the errors out so that the kinds come out as even as the answers allow.

    The kind made least often so far is tried first; ties are broken by a seeded order. Rare kinds
    (those few answers can carry) are therefore used wherever they fit. ``counts`` holds for each kind
    how often it was made, and else why not; ``not_needed`` where other kinds were made instead.
    """

    def __init__(self, seed: str) -> None:
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in ERRORS}
        self._order = list(ERRORS)
        random.Random(f"{seed}:errors:order").shuffle(self._order)
        self._seed = seed
        self._ordinal = 0

    def make(self, answer: str, task: str | None, context: ErrorContext, n_max: int) -> list[MadeError]:
        """Up to ``n_max`` wrong answers, each with one error of its own kind."""
        self._ordinal += 1
        made: list[MadeError] = []
        for name in sorted(self._order, key=lambda name: self.counts[name]["made"]):
            result = "not_needed"
            if len(made) < n_max:
                tried = self._try(name, answer, task, context)
                made += [tried] if isinstance(tried, MadeError) else []
                result = "made" if isinstance(tried, MadeError) else tried
            self.counts[name][result] += 1
        return made

    def _try(self, name: str, answer: str, task: str | None, context: ErrorContext) -> MadeError | str:
        if not ERRORS[name].is_for(task, context.language):
            return "not_for_this_task"
        edited = ERRORS[name].make(answer, context, random.Random(f"{self._seed}:errors:{self._ordinal}:{name}"))
        if isinstance(edited, Refusal):
            return edited.value
        if isinstance(edited, str):
            edited = Edited(edited, reviewed_by=_tables()["reviewed_by"])
        if answer_key(edited.text) == answer_key(answer):
            return Refusal.ABSENT.value
        return MadeError(name, edited.text, edited.row, "" if edited.reviewed_by else CAVEAT)
