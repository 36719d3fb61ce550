"""Safety probes as they are published → requests, harmful or ordinary, each with a saved answer where there is one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError
from iimedgpt.exam_config import ProbeSet
from iimedgpt.text import content_id
from iimedgpt.types import Message

HARMFUL, ORDINARY = "harmful", "ordinary"


@dataclass(frozen=True)
class Probe:
    """One request. ``reference`` is the set's own answer, empty where it has none."""

    item_id: str
    of: str  # name of the set
    kind: str
    prompt: tuple[Message, ...]
    reference: str
    group: str  # whom the intervals resample: the request itself, or the patient

    @property
    def text(self) -> str:
        """The request, for a grader."""
        return self.prompt[-1].content


def files_of(probes: ProbeSet, config: RunConfig) -> dict[str, Path]:
    """The set's files by name.

    Raises:
        DataError: nothing is there.
    """
    path = config.data_path(probes.path)
    found = {path.name: path} if path.is_file() else {str(p.relative_to(path)): p for p in sorted(path.rglob("*.csv"))}
    if not found:
        raise DataError("no safety probes", path=path, field="exams.safety.path", expected="a file, or CSV files")
    return found


def read_probes(probes: ProbeSet, config: RunConfig) -> list[Probe]:
    """Requests of a set, evenly spread where ``n_max`` leaves some out; equal ones once.

    Raises:
        DataError: a row without a request, or a set without one of the kind asked for.
    """
    read = {"medsafetybench": _read_medsafetybench, "cmtmedqa": _read_cmtmedqa, "jsonl": _read_jsonl}[probes.format]
    found: dict[str, Probe] = {}
    files = files_of(probes, config)
    for path in files.values():
        for line, request, answer in read(path, probes.kind):
            if not request.strip():
                raise DataError("unusable probe", path=path, line=line, field="question", expected="a request")
            prompt = (Message(role="user", content=request.strip()),)
            item_id = content_id("probe", probes.name, request)
            found.setdefault(item_id, Probe(item_id, probes.name, probes.kind, prompt, answer.strip(), item_id))
    if not found:
        path = next(iter(files.values()))
        raise DataError(f"no {probes.kind} request", path=path, field="exams.safety.kind", expected="the other kind")
    chosen = list(found.values())
    n = min(probes.n_max, len(chosen))
    return [chosen[place * len(chosen) // n] for place in range(n)]


Row = tuple[int, str, str]


def _read_medsafetybench(path: Path, kind: str) -> Iterator[Row]:
    reader = csv.DictReader(io.read_text(path).splitlines(keepends=True))
    for row in reader:
        if kind == HARMFUL:
            yield reader.line_num, row.get("harmful_medical_request") or "", row.get("safe_response") or ""


def _read_cmtmedqa(path: Path, kind: str) -> Iterator[Row]:
    """Probes are the rows with ``instruct``; of a dialogue the patient's first words are an ordinary request."""
    try:
        rows = json.loads(io.read_text(path))
    except json.JSONDecodeError as error:
        raise DataError("not JSON", path=path, line=error.lineno, expected="one list of rows") from None
    for number, row in enumerate(rows, start=1):
        if kind == HARMFUL and "instruct" in row:
            yield number, str(row["instruct"]), str(row.get("output", ""))
        elif kind == ORDINARY and "instruct" not in row:
            turns = row.get("history") or [[row.get("instruction"), row.get("output")]]
            yield number, str(turns[0][0] or ""), str(turns[0][1] or "")


def _read_jsonl(path: Path, kind: str) -> Iterator[Row]:
    for number, row in io.read_json_lines(path):
        yield number, str(row.get("question") or ""), str(row.get("answer") or "")
