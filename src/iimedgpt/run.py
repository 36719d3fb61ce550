"""What a run is: ``runs/<name>/<stage>/`` folders, each complete when its manifest says so.

A stage is a pure step from files to files. Its manifest is written last and atomically; it holds
the hash of everything that decides the result (the *key*), so that a second run skips what is
done and redoes what changed, and a killed run goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from iimedgpt import __version__, gate, io
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError, IIMedGPTError, StageNotReadyError
from iimedgpt.manifest import MANIFEST, Manifest, git_commit, read_manifest, versions
from iimedgpt.progress import reported_at
from iimedgpt.text import content_id

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)

DROPPED = "dropped.jsonl"
LOCK = ".lock"
PROGRESS = ".progress.json"  # how far a stage is while it runs
MAX_HELD_ROWS = 50_000  # dropped rows held in memory before they are written


@dataclass(frozen=True)
class Processes:
    """This process's place in a launch of several that run the same command, one a device; alone by default."""

    rank: int = 0  # 0 is the first: it decides, writes and talks
    count: int = 1
    from_first: Callable[[Callable[[], Any]], Any] = lambda make: make()  # the first one's result, or error, in all


ALONE = Processes()


@dataclass(frozen=True)
class Stage:
    """A named step of the chain."""

    name: str
    sections: tuple[str, ...]  # parts of the configuration that decide its result
    needs: tuple[str, ...]  # stages whose outputs it reads
    run: Callable[[StageContext], None]
    inputs: Callable[[RunConfig], dict[str, Path]] = lambda _: {}  # files from outside the run
    is_collective: bool = False  # all processes of a launch work on it together (training)
    is_gated: bool = False  # made from records: refuses those that have not passed the leak gate


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
    dropped: list[str] = field(default_factory=list)  # lines of `dropped.jsonl` not yet on disk
    scratch: Path | None = None  # where the outputs of all processes but the first go, to be thrown away

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
        return (self.scratch or self.directory) / file

    def cache(self, file: str) -> Path:
        """A file that outlives changes of the configuration and is no output; it has to say what it was made from."""
        return self.directory / ".cache" / file

    def keep(self, n: int = 1) -> None:
        """Count rows that went through."""
        self.n_kept += n

    def drop(self, item_id: str, reason: str) -> None:
        """Count one row that did not, with its reason; never with its text."""
        self.n_dropped[reason] += 1
        self.dropped.append(io.json_line({"id": item_id, "reason": reason}))
        if len(self.dropped) >= MAX_HELD_ROWS:
            self._spill()

    def _spill(self) -> None:
        io.append_lines(self.directory / f".{DROPPED}", self.dropped)
        self.dropped.clear()

    def write_dropped(self) -> None:
        """``dropped.jsonl``: of millions of rows most are on disk already, under a hidden name."""
        self._spill()
        os.replace(self.directory / f".{DROPPED}", self.directory / DROPPED)

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


def execute(
    stage: Stage, config: RunConfig, *, is_forced: bool = False, processes: Processes = ALONE
) -> tuple[Manifest, bool]:
    """Run a stage unless it is complete. Returns its manifest and whether it ran.

    Of several processes the first runs it while the others wait; in a collective stage all take part,
    and what the others write is thrown away.

    Raises:
        StageNotReadyError, DataError: an input is not there.
        LeakGateError: it is made from records that have not passed the leak gate.
        IIMedGPTError: whatever the stage raises; nothing of it then counts as done.
    """
    done = processes.from_first(lambda: None if is_forced else _complete(stage, config))
    if done is not None:
        return done, False
    key, inputs = processes.from_first(lambda: _admit(stage, config))
    if not stage.is_collective:
        return processes.from_first(lambda: _make(stage, config, key, inputs, is_forced)), True
    # An error must not wait for the others here: they may be waiting for this process inside the stage.
    manifest = None
    if processes.rank == 0:
        manifest = _make(stage, config, key, inputs, is_forced)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            stage.run(StageContext(stage, config, config.run_dir / stage.name, scratch=Path(scratch)))
    return processes.from_first(lambda: manifest), True


def _admit(stage: Stage, config: RunConfig) -> tuple[str, dict[str, str]]:
    """The plan of a stage that may run."""
    planned = plan(stage, config)
    if stage.is_gated:
        gate.check(config)
    return planned


def _complete(stage: Stage, config: RunConfig) -> Manifest | None:
    return read_manifest(config.run_dir / stage.name) if is_complete(stage, config) else None


def _make(stage: Stage, config: RunConfig, key: str, inputs: dict[str, str], is_forced: bool) -> Manifest:
    directory = io.make_private_dir(config.run_dir / stage.name)
    with locked(directory, stage.name):
        _drop_stale(directory, key, {**_leaves(config_of(stage, config)), **inputs}, is_forced)
        for name in (MANIFEST, f".{DROPPED}"):
            (directory / name).unlink(missing_ok=True)
        context = StageContext(stage, config, directory)
        started = time.time()
        with reported_at(directory / PROGRESS):
            stage.run(context)
        context.write_dropped()
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
            git_commit=git_commit(),
            versions=versions(),
            started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            seconds=round(time.time() - started, 2),
        )
        io.write_json(directory / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _drop_stale(directory: Path, key: str, made_from: dict[str, Any], is_forced: bool) -> None:
    """What an interrupted run left is good for the same key only; what is thrown away is said."""
    mark = directory / ".key"
    before: dict[str, Any] = {}
    with suppress(DataError, TypeError, ValueError):  # none, or one of an older version
        before = dict(io.read_json(mark))
    if before.get("key") == key and not is_forced:
        return
    steps = [int(path.name.rpartition("-")[2]) for path in directory.glob("checkpoints/checkpoint-*")]
    if not (directory / MANIFEST).exists() and (steps or any(directory.glob("partial/*"))):
        left = f"{max(steps)} training steps" if steps else "partial results"
        why = "--force was given" if is_forced else f"changed since: {_changed(before.get('from', {}), made_from)}"
        log.warning("%s: what an interrupted run left (%s) is discarded; %s", directory.name, left, why)
    for folder in (directory / "checkpoints", directory / "partial"):
        shutil.rmtree(folder, ignore_errors=True)
    io.write_json(mark, {"key": key, "from": made_from})


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Names of what differs."""
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "the code"


def _leaves(tree: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves.update(_leaves(value, f"{place}{name}.") if isinstance(value, dict) else {place + name: value})
    return leaves


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


def is_running(directory: Path) -> bool:
    """True while some process works on the stage in this folder."""
    import fcntl

    try:
        handle = os.open(directory / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def locked(directory: Path, stage: str) -> Iterator[None]:
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
