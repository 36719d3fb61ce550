"""Records per second from file to instructions: ``python -m benchmarks.records [--quick] [--sizes N …]``.

Synthetic records in the open format (gzip), written beforehand and not timed. **2,000 texts** come from the
project's own generator; beyond them the same texts come again, with the same names and numbers inside, as other
patients' records with a note of their own. Time and memory are those of so many records; variety is that of 2,000.
Each size runs in a process of its own, whose memory is sampled with that of its workers.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from iimedgpt.manifest import git_commit, versions
from iimedgpt.records import synthetic

HERE = Path(__file__).parent
SIZES = {"quick": (1_000, 10_000), "full": (1_000, 10_000, 100_000, 1_000_000)}
STAGES = ("records", "instructions")
TARGET_PER_S, TARGET_GIB = 2_000, 1.0
SAMPLE_S = 0.2
N_TEXTS = 2_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000 records only")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of records instead of the usual ones")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 is one a core")
    parser.add_argument("--out", type=Path, default=None, help="result file (benchmarks/results/records.json)")
    options = parser.parse_args(arguments)
    size = "quick" if options.quick else "full"
    rows = [measure(n, options.workers) for n in options.sizes or SIZES[size]]
    out = options.out or HERE / "results" / ("records-quick.json" if options.quick else "records.json")
    result = {
        "command": "python -m benchmarks.records " + " ".join(sys.argv[1:] if arguments is None else arguments),
        "machine": {"n_cores": os.cpu_count(), "processor": platform.machine()},
        "versions": versions(),
        "git_commit": git_commit(),
        "targets": {"records_per_s": TARGET_PER_S, "peak_gib": TARGET_GIB},
        "sizes": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    print(f"\nwritten: {out}")


def measure(n: int, n_workers: int) -> dict[str, Any]:
    """Seconds of each stage and the peak of resident memory, parent and workers together."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_records(folder / "records.jsonl.gz", n)
        (folder / "run.toml").write_text(
            f'name = "bench"\nruns_dir = "{folder}/runs"\ndata_dir = "{folder}"\nworkers = {n_workers}\n'
            '[[records.sources]]\nreader = "jsonl"\npath = "records.jsonl.gz"\n'
        )
        env = os.environ | {"IIMEDGPT_SECRET_FILE": str(folder / "secret")}
        row: dict[str, Any] = {"n_records": n, "seconds": {}, "peak_gib": 0.0}
        for stage in STAGES:
            command = [sys.executable, "-m", "iimedgpt", stage, str(folder / "run.toml")]
            start = time.perf_counter()
            with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                peak = sample(child)
            if child.returncode:
                raise SystemExit(f"{' '.join(command[2:4])} ended with code {child.returncode}")
            row["seconds"][stage] = round(time.perf_counter() - start, 2)
            row["peak_gib"] = round(max(row["peak_gib"], peak / 2**30), 3)
            manifest = json.loads((folder / "runs" / "bench" / stage / "manifest.json").read_text())
            row[f"n_kept_{stage}"] = manifest["n_kept"]
        row["records_per_s"] = round(n / sum(row["seconds"].values()), 1)
        return row


def sample(child: subprocess.Popen[bytes]) -> int:
    """Peak of the resident bytes of a process and all below it, while it runs."""
    peak, parent = 0, psutil.Process(child.pid)
    while child.poll() is None:
        total = 0
        try:
            for process in (parent, *parent.children(recursive=True)):
                total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        peak = max(peak, total)
        time.sleep(SAMPLE_S)
    return peak


def write_records(path: Path, n: int) -> None:
    """``n`` records of the open format, every patient with a name, a number and a phone of their own."""
    texts = list(synthetic.generate(min(n, N_TEXTS)))
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as out:
        for place in range(n):
            raw = texts[place % len(texts)]
            events = [event.model_dump(mode="json", exclude_defaults=True) for event in raw.events]
            turn = place // len(texts)
            if turn:  # the same text again, of another patient at another age and temperature
                events.append({"kind": "note", "text": f"编号{place:07d}，体温{36 + turn % 40 / 10}℃，随访第{turn}次"})
            line = {
                "patient_id": f"{raw.patient_key}-{turn}",
                "encounter_id": f"{raw.encounter_key}-{turn}",
                "identifiers": {category: list(values) for category, values in raw.identifiers.items()},
                "events": events,
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The result for people."""
    lines = [f"{'records':>10}{'records, s':>12}{'instructions, s':>17}{'records/s':>11}{'peak, GiB':>11}"]
    for row in rows:
        seconds = row["seconds"]
        lines.append(
            f"{row['n_records']:>10,}{seconds['records']:>12.1f}{seconds['instructions']:>17.1f}"
            f"{row['records_per_s']:>11,.0f}{row['peak_gib']:>11.2f}"
        )
    lines.append(f"target: {TARGET_PER_S:,} records/s, under {TARGET_GIB} GiB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
