"""Patients who were taken out of a run for good: a ledger of marks beside the stages' folders.

A mark is an HMAC of a patient's id under the same secret: the ledger names nobody, and tells of a
patient whom one has at hand whether they are in it. It is an input of the records stage, which
drops what it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError
from iimedgpt.io import Secret
from iimedgpt.types import Frozen

LEDGER = "forgotten.json"
PENDING = ".forgetting"  # there while a forgetting is under way, or was cut off


class Entry(Frozen):
    """One patient: when they were forgotten, and which adapters had been trained on them by then."""

    forgotten_at: str
    adapters: tuple[str, ...] = ()


def ledger_path(config: RunConfig) -> Path:
    """The ledger of a run, there or not."""
    return config.run_dir / LEDGER


def mark(secret: Secret, patient_id: str) -> str:
    """What stands for a patient in the ledger."""
    return secret.id("forgotten", patient_id)


def read_ledger(config: RunConfig) -> dict[str, Entry]:
    """Mark → entry; empty where nobody was forgotten.

    Raises:
        DataError: the ledger is there and broken: better no run than one that remembers.
    """
    path = ledger_path(config)
    if not path.exists():
        return {}
    try:
        return {key: Entry.model_validate(value) for key, value in dict(io.read_json(path)).items()}
    except (ValidationError, TypeError, ValueError):
        raise DataError("broken ledger", path=path, expected="marks of forgotten patients") from None


def write_ledger(config: RunConfig, entries: Mapping[str, Entry]) -> None:
    """Write the whole ledger, atomically; until ``finish`` the run's stages refuse to run."""
    io.write_text(config.run_dir / PENDING, "")
    io.write_json(ledger_path(config), {key: entry.model_dump(mode="json") for key, entry in entries.items()})


def is_pending(config: RunConfig) -> bool:
    """True where a forgetting was cut off."""
    return (config.run_dir / PENDING).exists()


def finish(config: RunConfig) -> None:
    """All that came from the patient is gone."""
    (config.run_dir / PENDING).unlink(missing_ok=True)


def check_finished(config: RunConfig) -> None:
    """Refuse to go on where a forgetting was cut off.

    Raises:
        DataError: saying how to finish it.
    """
    if is_pending(config):
        raise DataError(
            "a patient is being forgotten, or was and it was cut off",
            path=config.run_dir,
            hint="iimedgpt records RUN.toml --forget PATIENT again finishes it",
        )
