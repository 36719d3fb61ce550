"""What an answer is worth: the metric a clinician would ask for per task, and text metrics for all.

Every function is pure, takes the answer first and the reference second, and gives a share in
[0, 1], or None where the reference holds nothing to compare with. An empty answer is worth 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rapidfuzz.distance import LCSseq

from iimedgpt import clinical
from iimedgpt.text import fold, unique

Extract = Callable[[str], Sequence[str]]

REPETITION_N = 4
_SPACE = re.compile(r"\s+")
_NUMBERING = re.compile(r"(?:^|(?<=[\s；;，,。、]))[(（]?\d{1,2}[.．、)）](?!\d)\s*", re.MULTILINE)
_SEPARATOR = re.compile(r"[、，,；;。\n]+")
_BRACKET = re.compile(r"\s*[(（\[].*$")
_HEADING = re.compile(
    r"^[ \t]*(?:[【\[](?P<bracket>[^】\]\n]{1,40})[】\]][ \t]*[:：]?"
    r"|(?P<plain>[^\W\d_]{2,12}|[A-Za-z][A-Za-z /]{1,38}[A-Za-z])[ \t]*[:：])",
    re.MULTILINE,
)


@dataclass(frozen=True)
class TaskMetric:
    """The clinician's metric of one task: its name, what it counts, and how."""

    name: str
    says: str
    score: Callable[[str, str], float | None]


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F1 on characters, spaces left out.

    F1 of precision LCS/len(answer) and recall LCS/len(reference) = 2·LCS / (both lengths). Equal to
    ``rouge-chinese`` on text split into characters. Source: Lin 2004, *ROUGE*, equations 2-4, β = 1.
    """
    answer, reference = _SPACE.sub("", answer), _SPACE.sub("", reference)
    if not answer or not reference:
        return 0.0
    return 2.0 * LCSseq.similarity(answer, reference) / (len(answer) + len(reference))


def set_f1(found: Iterable[str], expected: Iterable[str]) -> float:
    """F1 of two sets: 2·|both| / (|found| + |expected|); two empty sets agree (1.0)."""
    found, expected = set(found), set(expected)
    if not found and not expected:
        return 1.0
    return 2.0 * len(found & expected) / (len(found) + len(expected))


def listed(text: str) -> list[str]:
    """Items of an enumeration, numbering removed, folded for comparing, in order, each once."""
    parts = _SEPARATOR.split(_NUMBERING.sub("\n", text))
    return unique(item for part in parts if (item := fold(part)))


def sections(text: str) -> dict[str, str]:
    """Headed sections: folded heading → body. ``【主诉】…`` and ``主诉：…`` at a line's start are headings.

    Text before the first heading stands under ``""``; a repeated heading's bodies are joined.
    """
    found: dict[str, str] = {}
    marks = list(_HEADING.finditer(text))
    starts = [*(mark.start() for mark in marks), len(text)]
    head = text[: starts[0]].strip()
    if head:
        found[""] = head
    for mark, end in zip(marks, starts[1:], strict=True):
        name = fold(mark["bracket"] or mark["plain"])
        body = text[mark.end() : end].strip()
        found[name] = f"{found[name]}\n{body}".strip() if name in found else body
    return found


def section_coverage(answer: str, reference: str) -> float | None:
    """Share of the reference's headed sections that the answer has too, with a body."""
    expected = [name for name, body in sections(reference).items() if name and body]
    if not expected:
        return None
    found = sections(answer)
    return sum(bool(found.get(name)) for name in expected) / len(expected)


def section_overlap(answer: str, reference: str) -> float:
    """Mean over the reference's sections of ROUGE-L between its body and the answer's under that heading.

    Coverage alone is full marks for a form with nothing right in it. A reference without headings
    is one section.
    """
    expected = {name: body for name, body in sections(reference).items() if body}
    if not any(expected):
        return rouge_l(answer, reference)
    found = sections(answer)
    return sum(rouge_l(found.get(name, ""), body) for name, body in expected.items()) / len(expected)


def facts(text: str) -> list[str]:
    """Checkable facts of a text: numbers, examinations, drugs and findings negated, each once.

    They come normalised and are not folded further: 13.2 must not become 132.
    """
    kinds: tuple[Extract, ...] = (
        clinical.numbers,
        clinical.examinations,
        clinical.drugs,
        clinical.negations,
    )
    return unique(item.lower() for extract in kinds for item in extract(text))


def repetition_rate(text: str) -> float:
    """Share of a text's character 4-grams that stood in it before: 0 in good prose, near 1 in a loop."""
    text = _SPACE.sub("", text)
    n = len(text) - REPETITION_N + 1
    if n < 1:
        return 0.0
    return 1.0 - len({text[i : i + REPETITION_N] for i in range(n)}) / n


def n_unsupported(answer: str, visible: str) -> tuple[int, int]:
    """(facts of the answer that the visible record does not hold, facts of the answer checked)."""
    checked: tuple[Extract, ...] = (clinical.numbers, clinical.drugs, clinical.negations)
    n_missing = sum(len(missing) for missing in clinical.unsupported(answer, visible).values())
    return n_missing, sum(len(extract(answer)) for extract in checked)


def task_metric(task: str | None) -> TaskMetric:
    """The clinician's metric of a task; ROUGE-L for a task that a hospital added itself."""
    return TASK_METRICS.get(task or "", _OTHER)


def _folded(extract: Extract, text: str) -> list[str]:
    return unique(item for raw in extract(text) if (item := fold(raw)))


def _names(extract: Extract, answer: str, reference: str) -> tuple[list[str], list[str]]:
    """Names in both texts: the known ones where the reference holds any, else all listed items."""
    expected = _folded(extract, reference)
    return (_folded(extract, answer), expected) if expected else (listed(answer), listed(reference))


def _department_accuracy(answer: str, reference: str) -> float | None:
    found, expected = _names(clinical.departments, answer, reference)
    return float(set(found) == set(expected)) if expected else None


def _examination_f1(answer: str, reference: str) -> float | None:
    found, expected = _names(clinical.examinations, answer, reference)
    return set_f1(found, expected) if expected else None


def _diagnosis_f1(answer: str, reference: str) -> float | None:
    expected = _folded(_diagnosis_names, reference)
    return set_f1(_folded(_diagnosis_names, answer), expected) if expected else None


def _diagnosis_names(text: str) -> list[str]:
    """Diagnoses without their bracketed stage or side: 高血压病(2级) is 高血压病."""
    return [_BRACKET.sub("", item) or item for item in clinical.diagnoses(text)]


def _fact_f1(answer: str, reference: str) -> float | None:
    expected = facts(reference)
    return set_f1(facts(answer), expected) if expected else None


def _drug_f1(answer: str, reference: str) -> float | None:
    expected = _folded(clinical.drugs, reference)
    return set_f1(_folded(clinical.drugs, answer), expected) if expected else None


TASK_METRICS: Mapping[str, TaskMetric] = MappingProxyType(
    {
        "triage": TaskMetric("department_accuracy", "departments as a set, exact match", _department_accuracy),
        "record": TaskMetric(
            "section_overlap", "mean ROUGE-L over the reference's sections, absent ones 0", section_overlap
        ),
        "examination": TaskMetric("examination_f1", "F1 of the sets of examinations", _examination_f1),
        "diagnosis": TaskMetric("diagnosis_f1", "F1 of the sets of diagnoses, brackets left out", _diagnosis_f1),
        "basis": TaskMetric("fact_f1", "F1 of numbers, examinations, drugs and negated findings", _fact_f1),
        "treatment": TaskMetric("drug_f1", "F1 of the sets of drugs", _drug_f1),
    }
)
_OTHER = TaskMetric("rouge_l", "ROUGE-L F1 on characters", rouge_l)
