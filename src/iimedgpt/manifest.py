"""The manifest of a stage: proof that it is complete, and what it was made from."""

from __future__ import annotations

import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import Field

from iimedgpt import __version__, io
from iimedgpt.errors import DataError
from iimedgpt.types import Frozen

MANIFEST = "manifest.json"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "pydantic", "numpy", "scipy", "rapidfuzz")


class Manifest(Frozen):
    """The proof that a stage is complete and what it was made from."""

    stage: str
    key: str  # hash of config sections, inputs and code version: decides whether to run again
    config: dict[str, Any]
    config_hash: str
    inputs: dict[str, str]  # name → SHA-256
    outputs: dict[str, str]  # file in the stage's folder → SHA-256
    n_in: int = Field(ge=0)
    n_kept: int = Field(ge=0)
    n_dropped: dict[str, int]  # reason → count
    facts: dict[str, Any]  # what the stage wants to say: counts, rates, losses
    seed: int
    device: str
    git_commit: str | None
    versions: dict[str, str]
    started_at: str
    seconds: float


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a stage's folder, None where the stage is not complete."""
    path = directory / MANIFEST
    if not path.exists():
        return None
    try:
        return Manifest.model_validate(io.read_json(path))
    except (ValueError, DataError):
        return None


@cache
def git_commit() -> str | None:
    """The commit of the code that runs, None outside a checkout."""
    with suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return result.stdout.strip()
    return None


@cache
def versions() -> dict[str, str]:
    """This package, Python, the platform, and the libraries that decide numbers."""
    found = {"iimedgpt": __version__, "python": platform.python_version(), "platform": sys.platform}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
