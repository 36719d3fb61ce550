"""Near-duplicates beside datatrove's: ``python -m benchmarks.datatrove /path/to/venv/bin/python``.

datatrove runs in an environment of its own and is given the same texts, the same shingles (runs of five
characters, through a word tokenizer that returns characters: its own for Chinese returns words) and as many
permutations and bands (128, 16 of 8). Both run in one process on one core, reading the texts not timed. What differs:
datatrove takes punctuation out first, and calls two texts near that share a band; ours then compares the signatures
(0.8 and more). Filters are not compared: ours judge an answer by rules that datatrove does not have.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
N_TEXTS, N_RUNS = 3_000, 3
N_BUCKETS, ROWS_PER_BAND, N_CHARS = 16, 8, 5
TIMEOUT_S = 400
SIDES = ("ours", "datatrove")


def main(arguments: Sequence[str] | None = None) -> None:
    """Both in turns, print and write the medians into ``benchmarks/results/near-duplicates.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datatrove", description=__doc__)
    parser.add_argument("python", type=Path, help="interpreter of an environment that holds datatrove[processing]")
    parser.add_argument("--texts", type=int, default=N_TEXTS, help=f"number of texts ({N_TEXTS})")
    parser.add_argument("--runs", type=int, default=N_RUNS, help=f"measurements of each ({N_RUNS})")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "near-duplicates.json", help="result file")
    options = parser.parse_args(arguments)
    from iimedgpt.manifest import git_commit, versions

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "texts.json"
        path.write_text(json.dumps(texts(options.texts)), encoding="utf-8")
        python = {"ours": Path(sys.executable), "datatrove": options.python}
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(options.runs):
            for side in SIDES:
                runs[side].append(_call(python[side], side, path))
    seconds = {side: median(run["seconds"] for run in runs[side]) for side in SIDES}
    result = {
        "n_texts": options.texts,
        "n_texts_changed_slightly": options.texts // 10,
        "seconds": seconds,
        "texts_per_s": {side: round(options.texts / seconds[side], 1) for side in SIDES},
        "speedup": round(seconds["datatrove"] / seconds["ours"], 2),
        "runs": runs,
        "n_cores": os.cpu_count(),
        "versions": versions() | {"datatrove": runs["datatrove"][0]["version"]},
        "git_commit": git_commit(),
    }
    options.out.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for side in SIDES:
        print(f"{side:<10}{result['texts_per_s'][side]:>10,.0f} texts/s, {runs[side][0]['n_removed']} of a text before")
    print(f"speedup {result['speedup']}\nwritten: {options.out}")


def texts(n: int) -> list[str]:
    """Texts of ``n`` synthetic records; every tenth is the one nine before it with a sentence added."""
    from iimedgpt.records import synthetic

    made: list[str] = []
    for place, raw in enumerate(synthetic.generate(n)):
        is_copy = place % 10 == 9
        made.append(f"{made[-9]}\n复诊第{place}号。" if is_copy else "\n".join(event.text for event in raw.events))
    return made


def _call(python: Path, side: str, path: Path) -> dict[str, Any]:
    command = [str(python), "-m", "benchmarks.datatrove", side, str(path)]
    env = os.environ | {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=env)
    if done.returncode:
        raise SystemExit(f"{side} ended with code {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_ours(given: list[str], folder: Path) -> dict[str, Any]:
    """Seconds of :func:`iimedgpt.mixture.duplicates.cluster` and the texts that repeat an earlier one."""
    from iimedgpt.mixture.duplicates import cluster

    start = time.perf_counter()
    labels = cluster(given, folder)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "n_removed": sum(label != place for place, label in enumerate(labels))}


def measure_datatrove(given: list[str], folder: Path) -> dict[str, Any]:
    """Seconds of datatrove's signatures, buckets and clusters, and the texts that it would remove."""
    from importlib.metadata import version

    import datatrove.pipeline.dedup.minhash as theirs
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature

    config = MinhashConfig(n_grams=N_CHARS, num_buckets=N_BUCKETS, hashes_per_bucket=ROWS_PER_BAND)
    signatures, buckets, removed = (str(folder / name) for name in ("signatures", "buckets", "removed"))
    theirs.load_word_tokenizer = lambda language: _Characters()
    first = MinhashDedupSignature(signatures, config)
    documents = [Document(text=text, id=str(place)) for place, text in enumerate(given)]
    start = time.perf_counter()
    first.run(iter(documents), 0, 1)
    for bucket in range(N_BUCKETS):
        MinhashDedupBuckets(signatures, buckets, config=config).run(None, bucket, N_BUCKETS)
    MinhashDedupCluster(buckets, removed, config=config).run(None, 0, 1)
    seconds = time.perf_counter() - start
    n_removed = sum(path.stat().st_size // 4 for path in Path(removed).rglob("*.remove"))
    return {"seconds": seconds, "n_removed": n_removed, "version": version("datatrove")}


class _Characters:
    def word_tokenize(self, text: str) -> list[str]:
        return list(text)


def _side(side: str, path: Path) -> None:
    given = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        measure = measure_ours if side == "ours" else measure_datatrove
        print("\n" + json.dumps(measure(given, Path(name))))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in SIDES:
        _side(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
