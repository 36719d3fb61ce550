"""Every error a person can meet, each with an exit code and a way out.

    IIMedGPTError (1)
    ├── ConfigError (2)         the TOML or a --set value is wrong
    ├── DataError (3)           a file, line or field of the input is wrong
    ├── MissingExtraError (4)   an optional dependency is not installed
    ├── StageNotReadyError (5)  another verb has to run first
    ├── GenerationError (6)     a model could not answer
    ├── TrainingError (7)       training stopped; the last good checkpoint is kept
    └── LeakGateError (8)       identifiers may be left in the records: nothing is made from them

Beside the tree, ``Interrupted`` (128 + signal): a person or the system asked the run to stop.

No message ever holds text of a record: ids, file names, line numbers and field names only.
"""

from __future__ import annotations

from pathlib import Path


class IIMedGPTError(Exception):
    """Root of the tree. ``hint`` is the way out, printed on its own line."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(IIMedGPTError):
    """A configuration value is unknown, of the wrong type or out of its bounds."""

    exit_code = 2


class DataError(IIMedGPTError):
    """Input data is missing or malformed; names file, line, field and what was expected."""

    exit_code = 3

    def __init__(
        self,
        problem: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        field: str | None = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        place = str(path) if path is not None else ""
        if line is not None:
            place += f":{line}"
        parts = [part for part in (place, f"field '{field}'" if field else "", problem) if part]
        message = ": ".join(parts)
        if expected:
            message += f" (expected {expected})"
        super().__init__(message, hint=hint)
        self.path, self.line, self.field, self.expected = path, line, field, expected


class MissingExtraError(IIMedGPTError):
    """An optional dependency is needed; names the pip line that brings it."""

    exit_code = 4

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the optional extra '{extra}'",
            hint=f"pip install 'iimedgpt[{extra}]'",
        )


class StageNotReadyError(IIMedGPTError):
    """A stage's input is not there or not complete; names the verb to run first."""

    exit_code = 5

    def __init__(self, stage: str, needs: str, recipe: str = "RUN.toml") -> None:
        super().__init__(
            f"stage '{stage}' needs stage '{needs}', which is not complete",
            hint=f"iimedgpt {needs} {recipe}",
        )


class GenerationError(IIMedGPTError):
    """A model or endpoint could not produce an answer."""

    exit_code = 6


class TrainingError(IIMedGPTError):
    """Training stopped; names the step and what is kept."""

    exit_code = 7


class LeakGateError(IIMedGPTError):
    """The records have not passed the leak gate; names the reasons and the way to accept them."""

    exit_code = 8


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop; the message says how far it came."""

    def __init__(self, signal_number: int, message: str = "") -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
