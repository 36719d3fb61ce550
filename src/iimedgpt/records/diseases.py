"""General knowledge of diseases for synthetic records: ``knowledge/*.toml``, checked when loaded.

Written for this project, **not reviewed by a clinician**, no medical advice.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from iimedgpt import io
from iimedgpt.errors import DataError
from iimedgpt.types import Frozen

KNOWLEDGE = Path(__file__).parent / "knowledge"
NUMBER_SLOT = re.compile(r"\{(-?\d+(?:\.\d+)?)-(-?\d+(?:\.\d+)?)(?::(\d))?\}")  # {low-high} or {low-high:decimals}
OUTCOME = re.compile("好转|痊愈|治愈|出院|缓解|消失|转阴")  # the future: never in a plan
DURATION = "{duration}"

_FIXED = r"^[^{}\n]+$"  # no slots
Line = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_FIXED)]
Question = Annotated[str, StringConstraints(min_length=2, max_length=40, pattern=r"^[^{}\n]+？$")]
Complaint = Annotated[str, StringConstraints(max_length=16 + len(DURATION), pattern=r"^[^{}\n]*\{duration\}[^{}\n]*$")]


class Finding(Frozen):
    """One positive finding: as the record says it, and as the patient does."""

    record: Line
    patient: Line


class Denial(Frozen):
    """A pertinent negative, with the doctor's question that it answers."""

    record: Annotated[str, StringConstraints(max_length=24, pattern=r"^(?:无|否认)[^{}\n]+$")]
    question: Question
    patient: Line


class Examination(Frozen):
    """An examination and its typical result; the result may hold number slots."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=_FIXED)]
    result: Annotated[str, StringConstraints(min_length=1, max_length=70)]

    @model_validator(mode="after")
    def _has_sound_slots(self) -> Self:
        if re.search(r"[{}]", NUMBER_SLOT.sub("", self.result)):
            raise ValueError("a slot of 'result' is not {low-high} or {low-high:decimals}")
        if any(float(low) > float(high) for low, high, _ in NUMBER_SLOT.findall(self.result)):
            raise ValueError("a slot of 'result' has low > high")
        return self


class Differential(Frozen):
    """A disease to tell apart, and how."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=_FIXED)]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=24, pattern=_FIXED)]


class Disease(Frozen):
    """What a typical record of one disease says. Ages in years, inclusive."""

    department: Line
    name: Annotated[str, StringConstraints(min_length=2, max_length=20, pattern=_FIXED)]
    sex: Literal["any", "male", "female"]
    ages: tuple[int, int]
    setting: Literal["outpatient", "inpatient", "either"]
    durations: tuple[Line, ...] = Field(min_length=2)
    complaints: tuple[Complaint, ...] = Field(min_length=2)
    findings: tuple[Finding, ...] = Field(min_length=4)
    denied: tuple[Denial, ...] = Field(min_length=3)
    past: tuple[Line, ...] = Field(min_length=3)
    signs: tuple[Line, ...] = Field(min_length=3)
    examinations: tuple[Examination, ...] = Field(min_length=2, max_length=4)
    key_examination: int = Field(ge=0)
    differentials: tuple[Differential, ...] = Field(min_length=1, max_length=3)
    treatment: tuple[Line, ...] = Field(min_length=2)
    advice: tuple[Line, ...] = Field(min_length=2)
    course: tuple[Line, ...] = Field(min_length=1)
    assertion: Annotated[str, StringConstraints(min_length=4, max_length=40, pattern=r"^[^{}\n？?]+$")]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if not 0 <= self.ages[0] <= self.ages[1] <= 110:
            raise ValueError("'ages' is not [youngest, oldest] within 0-110")
        if self.key_examination >= len(self.examinations):
            raise ValueError("'key_examination' is not an index of 'examinations'")
        if any(OUTCOME.search(line) for line in (*self.treatment, *self.advice)):
            raise ValueError("'treatment' or 'advice' tells an outcome")
        return self


@cache
def load_knowledge() -> tuple[Disease, ...]:
    """Every disease of the packaged knowledge files, in the order of their names.

    Raises:
        DataError: a file breaks the schema (named with its field), or a disease stands twice.
    """
    diseases = [disease for path in sorted(KNOWLEDGE.glob("*.toml")) for disease in read_knowledge(path)]
    if not diseases:
        raise DataError("no knowledge file", path=KNOWLEDGE, expected="*.toml")
    name, n = Counter(disease.name for disease in diseases).most_common(1)[0]
    if n > 1:
        raise DataError(f"the disease '{name}' stands {n} times", path=KNOWLEDGE, expected="each disease once")
    return tuple(diseases)


def read_knowledge(path: Path) -> list[Disease]:
    """The diseases of one file: a ``department`` and ``[[diseases]]`` tables.

    Raises:
        DataError: not TOML, or a field is missing, unknown or wrong.
    """
    try:
        tree = tomllib.loads(io.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"not valid TOML: {error}", path=path) from None
    tables = tree.get("diseases")
    if set(tree) != {"department", "diseases"} or not isinstance(tables, list):
        raise DataError("unexpected keys", path=path, expected="'department' and '[[diseases]]', nothing else")
    return [_parse(table, tree["department"], path, place) for place, table in enumerate(tables)]


def _parse(table: object, department: object, path: Path, place: int) -> Disease:
    if not isinstance(table, dict):
        raise DataError("not a table", path=path, field=f"diseases.{place}", expected="[[diseases]]")
    try:
        return Disease.model_validate({"department": department} | table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(["diseases", str(place), *(str(part) for part in first["loc"])])
        raise DataError(
            "invalid value", path=path, field=field, expected=first["msg"].removeprefix("Value error, ")
        ) from None
