"""The leak gate: nothing is made from records whose de-identification was not looked at a second time and passed.

The records stage writes a report with its verdict; every stage that is made from records, and every
export, asks here first. A configuration can accept records that failed, by the run's own name, so
that the permission is not copied along with a recipe.
"""

from __future__ import annotations

from typing import Any, Literal

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import LeakGateError
from iimedgpt.types import Frozen

REPORT = "deid.json"  # in the folder of the stage `records`


class Verdict(Frozen):
    """What the second look came to."""

    state: Literal["passed", "failed"]
    reasons: tuple[str, ...] = ()  # why it failed; never text of a record
    warnings: tuple[str, ...] = ()


def read_verdict(config: RunConfig) -> Verdict | None:
    """The verdict on a run's records, None where there is no report.

    Raises:
        DataError: the report is there and broken.
    """
    path = config.run_dir / "records" / REPORT
    if not path.exists():
        return None
    report: dict[str, Any] = io.read_json(path)
    return Verdict.model_validate(report["gate"])


def is_accepted(config: RunConfig) -> bool:
    """True where the configuration accepts records that failed, for this very run."""
    return config.records.accept_leaks == config.name


def check(config: RunConfig) -> None:
    """Refuse records that have not passed.

    Raises:
        LeakGateError: saying why, and how to go on.
    """
    verdict = read_verdict(config)
    if is_accepted(config) or (verdict is not None and verdict.state == "passed"):
        return
    why = "there is no report on them" if verdict is None else "; ".join(verdict.reasons)
    raise LeakGateError(
        f"the records have not passed the leak gate: {why}",
        hint=f"read {config.run_dir / 'records' / REPORT}, mend the mapping or the source and run `records` again; "
        f'or accept it by name: records.accept_leaks = "{config.name}"',
    )
