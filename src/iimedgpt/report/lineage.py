"""From a row back to its record: the chain of ids, hashes and code versions, and whether it still holds.

No text of a record. The record's hash is that of its line in ``records.jsonl``; the manifests hold the
hash of that whole file as the instructions stage read it, so a chain that holds proves the line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iimedgpt import io
from iimedgpt.errors import DataError
from iimedgpt.manifest import Manifest, read_manifest

SPLITS = ("train", "validation", "test")
UNKNOWN = "—"


def lineage(run_dir: Path, row_id: str) -> Iterator[tuple[str, str]]:
    """(name, value) lines from an instruction, conversation or preference pair to its source.

    Raises:
        DataError: the run holds no row of this id.
    """
    pair = next((row for path in _files(run_dir, "pairs") for row in _matching(path, row_id, "pair_id")), None)
    instruction_id = str(pair["from_ids"][0]) if pair else row_id
    instruction = next(_matching(run_dir / "instructions/instructions.jsonl", instruction_id, "instruction_id"), None)
    if instruction is None:
        raise DataError(
            "no such instruction in this run",
            path=run_dir,
            expected="the id of an instruction, of an exported row or of a preference pair",
            hint="rows of other data come from no record; their source and licence stand in the mixture",
        )
    if pair:
        yield "pair", f"{row_id}  {pair['source']} {pair.get('error') or ''}".rstrip()
    yield "instruction", instruction_id
    yield "task", f"{instruction['task']}  ({instruction['language']})"
    made = read_manifest(run_dir / "instructions")
    yield "template", f"{instruction['template_id']}  {_template_file(made, str(instruction['task']))}"
    yield from _record(run_dir, str(instruction["record_id"]))
    for split in SPLITS:
        for _ in _matching(run_dir / f"mixture/{split}.jsonl", instruction_id, "conversation_id"):
            yield "split", split
    for path in _files(run_dir, "pairs"):
        for row in io.read_json_lines(path) if not pair else ():
            if instruction_id in row[1].get("from_ids", ()):
                yield "pair", f"{row[1]['pair_id']}  {row[1]['source']} {row[1].get('error') or ''}".rstrip()
    for stage in ("records", "instructions", "mixture", "pairs"):
        manifest = read_manifest(run_dir / stage)
        yield f"code of {stage}", _code(manifest)
    yield "chain", _verdict(run_dir)


def _files(run_dir: Path, stage: str) -> list[Path]:
    return [path for split in ("train", "test") if (path := run_dir / f"{stage}/{split}.jsonl").exists()]


def _matching(path: Path, row_id: str, key: str) -> Iterator[Mapping[str, Any]]:
    """Rows whose ``key`` is the id; lines without the id are not parsed."""
    for _, line in io.read_lines(path) if path.exists() else ():
        if row_id in line:
            row = _object(line)
            if row.get(key) == row_id:
                yield row


def _object(line: str) -> dict[str, Any]:
    row = json.loads(line)
    return row if isinstance(row, dict) else {}


def _record(run_dir: Path, record_id: str) -> Iterator[tuple[str, str]]:
    path = run_dir / "records/records.jsonl"
    for _, line in io.read_lines(path) if path.exists() else ():
        row = _object(line) if record_id in line else {}
        if row.get("record_id") == record_id:
            made = row["provenance"]
            yield "record", f"{record_id}  sha256 {hashlib.sha256(line.encode()).hexdigest()}"
            yield "patient", f"{row['patient_id']}  encounter {row['encounter_id']}"
            yield (
                "source",
                f"{made['reader']}  {made['file']} row {made['row']}  sha256 {made['file_sha256'] or UNKNOWN}",
            )
            yield "licence", str(made.get("license", "unstated"))
            return
    yield "record", f"{record_id}  is no longer in records.jsonl"


def _template_file(manifest: Manifest | None, task: str) -> str:
    """The task's file with its hash, as the instructions stage read it."""
    found = [
        (name, digest) for name, digest in (manifest.inputs if manifest else {}).items() if name.startswith("tasks/")
    ]
    named = [f"{name}  sha256 {digest}" for name, digest in found if name.endswith(f"-{task}.toml")]
    return named[-1] if named else UNKNOWN  # the last one wins, as in the stage


def _code(manifest: Manifest | None) -> str:
    if manifest is None:
        return "stage is not complete"
    version, commit = manifest.versions.get("iimedgpt", UNKNOWN), manifest.git_commit or UNKNOWN
    return f"iimedgpt {version}  commit {commit}  key {manifest.key}"


def _verdict(run_dir: Path) -> str:
    """Whether every file still is what the next stage read."""
    stages = ("records", "instructions", "mixture", "pairs")
    manifests = {stage: read_manifest(run_dir / stage) for stage in stages}
    for stage, manifest in manifests.items():
        if manifest is None:
            if stage == "pairs":
                continue
            return f"broken: {stage} is not complete"
        for file, digest in manifest.outputs.items():
            path = run_dir / stage / file
            if not path.exists() or io.sha256_file(path) != digest:
                return f"broken: {stage}/{file} is not what the stage wrote"
        for name, digest in manifest.inputs.items():
            before, _, file = name.partition("/")
            upstream = manifests.get(before)
            if upstream is not None and upstream.outputs.get(file, digest) != digest:
                return f"broken: {stage} was made from another {name}"
    return "holds: every file is what the next stage read"
