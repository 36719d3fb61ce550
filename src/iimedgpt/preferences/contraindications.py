"""Which drugs the visible record contraindicates, by a table of the project's own with its sources.

The table (``errors_contraindications.toml``) makes wrong answers to train on; it advises nobody. A row
counts as **not reviewed by a clinician** until somebody signs it in ``reviewed_by``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iimedgpt import io
from iimedgpt.errors import DataError

TABLE = Path(__file__).with_name("errors_contraindications.toml")
Cause = Literal["allergy", "pregnancy", "renal", "interaction", "disease", "age"]

_CLAUSES = re.compile(r"[^，。；;,\n？?！!]*[，。；;,\n？?！!]?")
_NOT_SO = re.compile(r"无|否认|未|不伴|没有|没得过|停用|排除|除外|鉴别|不是")
_RELATIVE = re.compile(r"[父母]亲?|爸|妈|家族|祖父|祖母|外公|外婆|[兄弟姐妹哥]|儿子|女儿|配偶|丈夫|妻子|爱人")
_AGE = re.compile(r"[男女]性?[，,、\s]{0,2}(?:年龄)?(\d{1,3})(岁|个月|月龄|天)")


class Contraindication(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    cause: Cause
    record: str | None = None  # regular expression
    max_age: int | None = Field(default=None, gt=0)  # the patient is younger, in years
    drugs: tuple[str, ...] = Field(min_length=1)
    group: str
    source: str = Field(min_length=1)
    reviewed_by: str = ""

    def is_met(self, visible: str) -> bool:
        """True where the record says so of the patient: not negated, not asked, not of a relative."""
        if self.max_age is not None and not _is_younger(visible, self.max_age):
            return False
        return self.record is None or _is_stated(self.record, visible)


@cache
def injectable() -> frozenset[str]:
    """Drugs of the table that are also given by injection or infusion."""
    return frozenset(tomllib.loads(io.read_text(TABLE))["injectable"])


@cache
def contraindications() -> tuple[Contraindication, ...]:
    """The table's rows.

    Raises:
        DataError: a row has no condition, no source or an unknown field.
    """
    rows = tomllib.loads(io.read_text(TABLE))["contraindications"]
    try:
        found = tuple(Contraindication.model_validate(row) for row in rows)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise DataError(first["msg"], path=TABLE, field=".".join(map(str, first["loc"]))) from None
    for row in found:
        if row.record is None and row.max_age is None:
            raise DataError("no condition", path=TABLE, field=row.name, expected="record, or max_age")
    return found


def contraindicated(visible: str) -> Iterator[Contraindication]:
    """Rows whose condition the visible record meets, in the table's order."""
    return (row for row in contraindications() if row.is_met(visible))


def _is_stated(pattern: str, visible: str) -> bool:
    for match in _CLAUSES.finditer(visible):
        clause = match[0]
        found = re.search(pattern, clause)
        if found is None or re.search("[？?吗]|鉴别", clause):
            continue
        if not _NOT_SO.search(clause[: found.start()]) and not _RELATIVE.search(clause[: found.start()]):
            return True
    return False


def _is_younger(visible: str, years: int) -> bool:
    found = _AGE.search(visible)
    return found is not None and (found[2] != "岁" or int(found[1]) < years)
