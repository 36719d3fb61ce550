"""Forget a patient: everything that came from them leaves a run, and a run made again stays without them.

An app beside the chain. The order makes it safe to be cut off anywhere and called again:

1. the ledger (``records.forgotten``), so that no later run reads the patient's rows;
2. every stage's manifest, so that nothing changed below still counts as complete;
3. copies, what else names the patient, and whatever mixes patients: exports in the run's folder, and all that
   followed training, because a model's answer may repeat what it learnt, and rule-made errors borrow other
   patients' answers;
4. rows of mixture, instructions and records, from the last to the first: what is left always tells
   whose the rest is.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iimedgpt import chain, io
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError
from iimedgpt.export import INDEX, read_index
from iimedgpt.io import Secret
from iimedgpt.manifest import MANIFEST, read_manifest
from iimedgpt.records import forgotten
from iimedgpt.records.readers import patient_namespace
from iimedgpt.run import DROPPED, LOCK, locked

ROW_STAGES = ("records", "instructions", "mixture")  # each row is of one patient, whom it names
VOTES = "rank"  # folder of the ranking page
ABLATION = ("arms", "ablation")  # folders of `iimedgpt ablate`
KEPT = {LOCK, ".key"}  # of every stage: neither holds anything of a patient
TRAINED = {"adapter", "log.jsonl"}  # of a training: listed, for whoever uses them to decide
OWN_IDS = ("patient_id", "record_id", "encounter_id", "instruction_id", "conversation_id")


@dataclass
class Forgotten:
    """What was done, and what is left to do by hand."""

    n_rows: dict[str, int] = field(default_factory=dict)  # file → rows taken out
    removed: list[str] = field(default_factory=list)  # files and folders that went as a whole
    adapters: tuple[str, ...] = ()  # that have, or may have, learnt from the patient: to be trained again
    copies: list[str] = field(default_factory=list)  # exports elsewhere
    other_runs: list[str] = field(default_factory=list)  # that hold the patient too
    is_repeated: bool = False  # the patient had been forgotten before, and nothing was touched


def forget(config: RunConfig, patient: str) -> Forgotten:
    """Take a patient out of a run.

    Args:
        patient: the number by which the source knows them, or their ``patient_id``.

    Raises:
        DataError: the run holds nobody of this number and has forgotten nobody of it.
        IIMedGPTError: a stage is being run.
    """
    secret = Secret.load()
    possible = _possible_ids(config, patient, secret)
    ledger = forgotten.read_ledger(config)
    with ExitStack() as locks:
        for name in _present_stages(config):
            locks.enter_context(locked(config.run_dir / name, name))
        patients, ids = _find(config, possible)
        before = {one for one in possible if forgotten.mark(secret, one) in ledger}
        if not patients | before:
            raise DataError(
                "no such patient in this run",
                path=config.run_dir,
                expected="the patient's number as the source writes it, or a patient_id of the run",
                hint="check the number, and that $IIMEDGPT_SECRET_FILE is the secret of this run",
            )
        done = Forgotten(is_repeated=not patients and not forgotten.is_pending(config))
        pattern = _pattern(ids | patients | before)
        if patients - before:
            entry = forgotten.Entry(forgotten_at=_now(), adapters=_adapters(config.run_dir, pattern))
            ledger |= {forgotten.mark(secret, one): entry for one in patients - before}
        if not done.is_repeated:
            forgotten.write_ledger(config, ledger)
            _clear(config, pattern, done)
            forgotten.finish(config)
    entries = [ledger[key] for one in patients | before if (key := forgotten.mark(secret, one)) in ledger]
    done.adapters = tuple(sorted({name for entry in entries for name in _not_yet_retrained(config.run_dir, entry)}))
    done.other_runs = _other_runs(config, _pattern(patients | before))
    return done


def render(done: Forgotten, config: RunConfig, recipe: Path) -> Iterator[str]:
    """What went, and what is left to do by hand; the patient's number is never repeated."""
    for file, n in done.n_rows.items():
        yield f"rows taken out of {file}: {n}"
    if done.removed:
        yield f"files and folders removed, to be made again: {len(done.removed)}"
    for name in done.adapters:
        yield f"has, or may have, learnt from the patient, train again: {config.run_dir / name}"
    for folder in done.copies:
        yield f"a copy was exported to {folder}: remove it"
    for name in done.other_runs:
        yield f"run '{name}' holds the patient too: forget them there as well"
    yield "forgotten before: nothing was touched" if done.is_repeated else f"next: iimedgpt run {recipe}"


def _present_stages(config: RunConfig) -> list[str]:
    return [stage.name for stage in chain.stages() if (config.run_dir / stage.name).is_dir()]


def _possible_ids(config: RunConfig, patient: str, secret: Secret) -> set[str]:
    """The ids that this number would have under each source, and the number itself as an id."""
    readers = {source.reader for source in config.records.sources}
    spaces = {patient_namespace(reader) for reader in readers}
    keys = {patient, patient.strip()}
    return {secret.id("patient", space, key) for space in spaces for key in keys} | {patient.strip()}


def _find(config: RunConfig, possible: set[str]) -> tuple[set[str], set[str]]:
    """(patients of the run among the possible ids, all ids of what is theirs)."""
    patients: set[str] = set()
    ids: set[str] = set()
    for name in ROW_STAGES:
        for path in sorted((config.run_dir / name).rglob("*.jsonl")):
            for row in _rows(path):
                owner = row.get("patient_id") or row.get("group_id")
                if owner in possible:
                    patients.add(str(owner))
                    ids.update(str(row[key]) for key in OWN_IDS if row.get(key))
    return patients, ids


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file; a line that is no JSON object is passed over here and removed later."""
    return (row for _, line in io.read_lines(path) if (row := _row(line)) is not None)


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _pattern(ids: set[str]) -> re.Pattern[str]:
    """Matches a text that holds one of the ids as a whole."""
    return re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(map(re.escape, ids)))})(?![\w-])")


def _adapters(run_dir: Path, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Trained adapters that have, or may have, learnt from the patient."""
    has_seen = _has_seen(run_dir, "sft", "mixture", pattern)
    seen = {"sft": has_seen, "dpo": has_seen or _has_seen(run_dir, "dpo", "pairs", pattern)}
    return tuple(f"{name}/adapter" for name, is_so in seen.items() if is_so and (run_dir / name / "adapter").is_dir())


def _has_seen(run_dir: Path, training: str, data: str, pattern: re.Pattern[str]) -> bool:
    """True where the patient stands in the training data, or this is not the data that was trained on."""
    manifest, path = read_manifest(run_dir / training), run_dir / data / "train.jsonl"
    if manifest is None or not path.exists() or manifest.inputs.get(f"{data}/{path.name}") != io.sha256_file(path):
        return True
    return any(pattern.search(line) for _, line in io.read_lines(path))


def _not_yet_retrained(run_dir: Path, entry: forgotten.Entry) -> Iterator[str]:
    """The entry's adapters that are still those of then."""
    for name in entry.adapters:
        manifest = read_manifest((run_dir / name).parent)
        if (run_dir / name).is_dir() and (manifest is None or manifest.started_at < entry.forgotten_at):
            yield name


def _clear(config: RunConfig, pattern: re.Pattern[str], done: Forgotten) -> None:
    run_dir, stages = config.run_dir, _present_stages(config)
    for name in stages:
        (run_dir / name / MANIFEST).unlink(missing_ok=True)
    _clear_copies(run_dir, done)
    _clear_votes(config, pattern, done)
    for name in ABLATION:  # made from the stages, of everybody together
        if (run_dir / name).is_dir():
            _remove(run_dir / name, run_dir, done)
    known = {*stages, INDEX, VOTES, forgotten.LEDGER, forgotten.PENDING}
    for path in sorted(run_dir.rglob("*")):  # what somebody else laid there
        is_known = path.relative_to(run_dir).parts[0] in known
        if path.is_file() and not is_known and pattern.search(path.read_bytes().decode("utf-8", "replace")):
            _remove(path, run_dir, done)
    for name in reversed(stages):
        if name in ROW_STAGES:
            _filter_stage(run_dir, name, pattern, done)
        else:
            kept = KEPT | (TRAINED if (run_dir / name / "adapter").is_dir() else set())
            for path in sorted((run_dir / name).iterdir()):
                if path.name not in kept:
                    _remove(path, run_dir, done)


def _clear_votes(config: RunConfig, pattern: re.Pattern[str], done: Forgotten) -> None:
    """Clinicians' votes on the patient's items go, the files exported from them as a whole."""
    folder = config.run_dir / VOTES
    if not folder.is_dir() and config.rank.database_url_env is None:
        return
    from iimedgpt.preferences.store import Store

    store = Store.of_run(config)
    if n_removed := store.forget(lambda vote: pattern.search(vote) is not None):
        done.n_rows[f"{VOTES}/votes"] = n_removed
    store.close()
    for path in (*sorted(folder.glob("*.jsonl")), *sorted(folder.glob("*.csv"))):
        _remove(path, config.run_dir, done)


def _clear_copies(run_dir: Path, done: Forgotten) -> None:
    """Exports inside the run go; those elsewhere are named."""
    copies = read_index(run_dir)
    for copy in copies:
        folder = Path(copy["folder"])
        if folder.is_relative_to(run_dir.resolve()) and folder != run_dir.resolve():
            if folder.exists():
                _remove(run_dir / folder.relative_to(run_dir.resolve()), run_dir, done)
        else:
            done.copies.append(copy["folder"])
    if copies:
        io.write_json(run_dir / INDEX, [copy for copy in copies if copy["folder"] in done.copies])


def _filter_stage(run_dir: Path, name: str, pattern: re.Pattern[str], done: Forgotten) -> None:
    """Keep the other patients' rows; what does not consist of rows is made again by the stage."""
    for path in sorted((run_dir / name).rglob("*")):
        parts = path.relative_to(run_dir / name).parts
        if not path.is_file() or path.name in KEPT:
            continue
        if path.suffix == ".jsonl" and path.name != DROPPED and not any(part.startswith(".") for part in parts):
            if n_removed := sum(_is_theirs(line, pattern) for _, line in io.read_lines(path)):
                others = (json.loads(line) for _, line in io.read_lines(path) if not _is_theirs(line, pattern))
                io.write_jsonl(path, others)
                done.n_rows[str(path.relative_to(run_dir))] = n_removed
        else:
            _remove(path, run_dir, done)


def _is_theirs(line: str, pattern: re.Pattern[str]) -> bool:
    """True also for a line of which nobody can tell whose it is."""
    return pattern.search(line) is not None or _row(line) is None


def _remove(path: Path, run_dir: Path, done: Forgotten) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    done.removed.append(str(path.relative_to(run_dir)))


def _other_runs(config: RunConfig, pattern: re.Pattern[str]) -> list[str]:
    """Runs beside this one whose records name the patient."""
    found = []
    for path in sorted(config.run_dir.parent.glob("*/records/records.jsonl")):
        is_other = path.parents[1] != config.run_dir
        if is_other and any(pattern.search(line) for _, line in io.read_lines(path)):
            found.append(path.parents[1].name)
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
