"""Puts the tables of results/training.json into docs/benchmarks.md, between its two markers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START, END = "<!-- training: made by python -m benchmarks.document -->", "<!-- end of training -->"


def main() -> None:
    """Rewrite the part between the markers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.document", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "training.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    options = parser.parse_args()
    result = json.loads(options.results.read_text(encoding="utf-8"))
    text = options.page.read_text(encoding="utf-8")
    before, after = text[: text.index(START) + len(START)], text[text.index(END) :]
    options.page.write_text(before + "\n\n" + "\n".join(tables(result)) + "\n\n" + after, encoding="utf-8")


def tables(result: dict[str, Any]) -> Iterator[str]:
    """Markdown lines."""
    machine, rows = result["machine"], list(_measured(result))
    yield f"`{result['command'].strip()}`, {result['date'][:10]}, commit {str(result['git_commit'])[:9]};"
    yield f"{machine['cpu']}, {machine['n_cores']} cores; torch {result['versions']['torch']},"
    yield f"TRL {result['versions']['trl']}. Medians of {max(row['n_repeats'] for _, row in rows)} repeats [range]."
    yield ""
    yield "| workload | peer, s | unshared, s | ours, s | speed-up | tokens × head × efficiency |"
    yield "|---|---|---|---|---|---|"
    for name, row in rows:
        split = row["speedup_split"]
        low, high = row["speedup_range"]
        yield (
            f"| {name} | {_seconds(row, 'peer')} | {_seconds(row, 'unshared')} | {_seconds(row, 'ours')} "
            f"| **{row['speedup']:.1f}x** [{low:.1f}, {high:.1f}] "
            f"| {split['tokens_shared']:.2f} × {split['head_rows']:.2f} × {split['efficiency']:.2f} |"
        )
    yield ""
    yield "| workload | token ratio | sharing gain | realised | mfu | memory, same batch | fastest | loss 1 | curve |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, row in rows:
        equal = f"{row['memory_ratio']:.2f}" if row.get("memory_ratio") else "—"
        yield (
            f"| {name} | {row['token_ratio']:.2f} | {row['sharing_gain']:.2f}x | {row['sharing_realised']:.0%} "
            f"| {row['mfu']:.0%} | {equal} | {row['memory_ratio_fastest_peer']:.2f} "
            f"| {row['first_loss_rel_diff']:.0e} | {row['loss_curve_max_rel_diff']:.0e} |"
        )
    if factory := result.get("llamafactory"):
        yield ""
        yield from (f"LLaMA-Factory, {name}: {_factory(row)}." for name, row in factory["workloads"].items())
    if projection := result.get("projection"):
        found = ", ".join(f"{name} {row['speedup']:.1f}x" for name, row in projection["workloads"].items())
        yield ""
        yield f"{projection['model']}, {projection['device']} ({projection['label']}): {found}."


def _measured(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, row in result["workloads"].items():
        if "speedup" in row:
            yield f"{name}, {row['precision']}", row
            other = row.get("other_precision", {})
            if "speedup" in other:
                yield f"{name}, {other['precision']}", other


def _seconds(row: dict[str, Any], side: str) -> str:
    times = row["seconds"][side]
    return f"{times['median']:.1f} [{times['min']:.1f}, {times['max']:.1f}]"


def _factory(row: dict[str, Any]) -> str:
    if "seconds" not in row:
        return f"failed ({row['failed']})"
    ours = f", ours {row['speedup']:.1f}x" if "speedup" in row else ""
    return f"{row['seconds']:.1f} s, {row['peak_gib']:.1f} GiB{ours}"


if __name__ == "__main__":
    main()
