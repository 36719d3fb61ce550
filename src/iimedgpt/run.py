"""What a run is: ``runs/<name>/<stage>/`` folders, each complete when its manifest says so.

A stage is a pure step from files to files. Its manifest is written last and atomically; it holds
the hash of everything that decides the result (the *key*), so that a second run skips what is
done and redoes what changed, and a killed run goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from iimedgpt import __version__, io
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError, IIMedGPTError, StageNotReadyError
from iimedgpt.text import content_id
from iimedgpt.types import Frozen

Model = TypeVar("Model", bound=BaseModel)

MANIFEST = "manifest.json"
DROPPED = "dropped.jsonl"
LOCK = ".lock"
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


@dataclass(frozen=True)
class Stage:
    """A named step of the chain."""

    name: str
    sections: tuple[str, ...]  # parts of the configuration that decide its result
    needs: tuple[str, ...]  # stages whose outputs it reads
    run: Callable[[StageContext], None]
    inputs: Callable[[RunConfig], dict[str, Path]] = lambda _: {}  # files from outside the run


@dataclass
class StageContext:
    """What a stage is given: its configuration, its folder, its inputs, and a ledger of counts.

    The ledger holds ``n_in == n_kept + Σ n_dropped[reason]`` by construction.
    """

    stage: Stage
    config: RunConfig
    directory: Path
    n_kept: int = 0
    n_dropped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    dropped: list[dict[str, str]] = field(default_factory=list)

    def input(self, stage: str, file: str) -> Path:
        """A file of an upstream stage.

        Raises:
            StageNotReadyError: the stage is not complete.
        """
        if stage not in self.stage.needs:
            raise ValueError(f"stage {self.stage.name} does not declare that it needs {stage}")
        return self.directory.parent / stage / file

    def read(self, stage: str, file: str, model: type[Model]) -> Iterator[Model]:
        """Typed rows of an upstream stage's file."""
        return io.read_jsonl(self.input(stage, file), model)

    def output(self, file: str) -> Path:
        """A file of this stage."""
        return self.directory / file

    def keep(self, n: int = 1) -> None:
        """Count rows that went through."""
        self.n_kept += n

    def drop(self, item_id: str, reason: str) -> None:
        """Count one row that did not, with its reason; never with its text."""
        self.n_dropped[reason] += 1
        self.dropped.append({"id": item_id, "reason": reason})

    def check_drops(self, max_drop_frac: float) -> None:
        """Fail where too large a share was dropped, or nothing is left.

        Raises:
            DataError: with the reasons counted.
        """
        n_dropped = sum(self.n_dropped.values())
        n_in = self.n_kept + n_dropped
        reasons = ", ".join(f"{reason}: {n}" for reason, n in self.n_dropped.most_common(5))
        if self.n_kept == 0:
            raise DataError(
                f"stage '{self.stage.name}' kept nothing of {n_in} rows ({reasons or 'no rows at all'})",
                expected="at least one usable row",
            )
        if n_dropped > max_drop_frac * n_in:
            raise DataError(
                f"stage '{self.stage.name}' dropped {n_dropped} of {n_in} rows ({reasons})",
                expected=f"at most {max_drop_frac:.0%}",
                hint=f"mend the input, or raise {self.stage.name}.max_drop_frac",
            )


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a stage's folder, None where the stage is not complete."""
    path = directory / MANIFEST
    if not path.exists():
        return None
    try:
        return Manifest.model_validate(io.read_json(path))
    except (ValueError, DataError):
        return None


def plan(stage: Stage, config: RunConfig) -> tuple[str, dict[str, str]]:
    """(key, inputs by name → hash) of a stage as it would run now.

    Raises:
        StageNotReadyError: an upstream stage is not complete.
        DataError: an input file is missing.
    """
    inputs: dict[str, str] = {}
    for need in stage.needs:
        manifest = read_manifest(config.run_dir / need)
        if manifest is None:
            raise StageNotReadyError(stage.name, need)
        if config.model_dump(mode="json", include=set(manifest.config)) != manifest.config:
            raise StageNotReadyError(stage.name, need)  # complete, but for another configuration
        inputs.update({f"{need}/{file}": digest for file, digest in manifest.outputs.items()})
    inputs.update({name: io.sha256_file(path) for name, path in sorted(stage.inputs(config).items())})
    return content_id(__version__, stage.name, config_hash(stage, config), json.dumps(inputs, sort_keys=True)), inputs


def config_of(stage: Stage, config: RunConfig) -> dict[str, Any]:
    """The parts of the configuration that decide a stage's result."""
    tree = config.model_dump(mode="json", include={"seed", *stage.sections})
    return dict(sorted(tree.items()))


def config_hash(stage: Stage, config: RunConfig) -> str:
    return content_id(json.dumps(config_of(stage, config), sort_keys=True))


def is_complete(stage: Stage, config: RunConfig) -> bool:
    """True where the stage's manifest is there, its key is today's and its outputs are untouched."""
    directory = config.run_dir / stage.name
    manifest = read_manifest(directory)
    if manifest is None:
        return False
    try:
        key, _ = plan(stage, config)
        return manifest.key == key and all(
            io.sha256_file(directory / file) == digest for file, digest in manifest.outputs.items()
        )
    except (StageNotReadyError, DataError):
        return False


def execute(stage: Stage, config: RunConfig, *, is_forced: bool = False) -> tuple[Manifest, bool]:
    """Run a stage unless it is complete. Returns its manifest and whether it ran.

    Raises:
        StageNotReadyError, DataError: an input is not there.
        IIMedGPTError: whatever the stage raises; nothing of it then counts as done.
    """
    if not is_forced and is_complete(stage, config):
        manifest = read_manifest(config.run_dir / stage.name)
        if manifest is not None:
            return manifest, False
    key, inputs = plan(stage, config)
    directory = io.make_private_dir(config.run_dir / stage.name)
    with _locked(directory, stage.name):
        (directory / MANIFEST).unlink(missing_ok=True)
        _drop_stale(directory, key, is_forced)
        context = StageContext(stage, config, directory)
        started = time.time()
        stage.run(context)
        io.write_jsonl(directory / DROPPED, context.dropped)
        manifest = Manifest(
            stage=stage.name,
            key=key,
            config=config_of(stage, config),
            config_hash=config_hash(stage, config),
            inputs=inputs,
            outputs=_hash_outputs(directory),
            n_in=context.n_kept + sum(context.n_dropped.values()),
            n_kept=context.n_kept,
            n_dropped=dict(sorted(context.n_dropped.items())),
            facts=context.facts,
            seed=config.seed,
            device=context.device,
            git_commit=_git_commit(),
            versions=_versions(),
            started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            seconds=round(time.time() - started, 2),
        )
        io.write_json(directory / MANIFEST, manifest.model_dump(mode="json"))
    return manifest, True


def _drop_stale(directory: Path, key: str, is_forced: bool) -> None:
    """Checkpoints of an interrupted run are good for the same key only."""
    mark = directory / ".key"
    if is_forced or not mark.exists() or mark.read_text() != key:
        for folder in (directory / "checkpoints", directory / "partial"):
            shutil.rmtree(folder, ignore_errors=True)
        io.write_text(mark, key)


def _hash_outputs(directory: Path) -> dict[str, str]:
    skipped = {MANIFEST, LOCK}
    files: Iterable[Path] = sorted(
        path
        for path in directory.rglob("*")
        if path.is_file()
        and path.name not in skipped
        and not any(
            part.startswith(".") or part in ("checkpoints", "partial") for part in path.relative_to(directory).parts
        )
    )
    return {str(path.relative_to(directory)): io.sha256_file(path) for path in files}


@contextmanager
def _locked(directory: Path, stage: str) -> Iterator[None]:
    """One process a stage: an operating-system lock that dies with its holder."""
    import fcntl

    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IIMedGPTError(
                f"stage '{stage}' is being run by another process", hint="wait for it, or stop it"
            ) from None
        yield
    finally:
        os.close(handle)


@cache
def _git_commit() -> str | None:
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
def _versions() -> dict[str, str]:
    versions = {"iimedgpt": __version__, "python": platform.python_version(), "platform": sys.platform}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
