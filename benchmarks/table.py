"""The benchmark's result as tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

LAYOUT = (
    ("workload", "left"),
    ("peer s", "right"),
    ("unshared s", "right"),
    ("ours s", "right"),
    ("speed-up", "right"),
    ("= tokens x head x efficiency", "right"),
    ("token ratio", "right"),
    ("sharing gain", "right"),
    ("realised", "right"),
    ("mfu", "right"),
    ("memory", "right"),
    ("first loss", "right"),
    ("curve", "right"),
)


def print_result(result: dict[str, Any]) -> None:
    """All tables of a result."""
    console = Console(width=200 if not Console().is_terminal else None, highlight=False)
    console.print(_workloads(result))
    if "scaling" in result:
        for axis, rows in result["scaling"].items():
            console.print(_scaling(axis, rows))
    if "projection" in result:
        console.print(_projection(result["projection"]))


def _workloads(result: dict[str, Any]) -> Table:
    peer = result["peer"]
    table = Table(title=f"Training, ours and {peer['name']} {result['versions']['trl']}, {peer['primary_precision']}")
    for name, justify in LAYOUT:
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, row in result["workloads"].items():
        if "speedup" not in row:
            table.add_row(name, row.get("skipped") or row.get("failed") or "not measured")
            continue
        table.add_row(name, *_cells(row))
        if "speedup" in row.get("other_precision", {}):
            table.add_row(f"  {row['other_precision']['precision']}", *_cells(row["other_precision"]))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    split, seconds = row["speedup_split"], row["seconds"]
    memory = row.get("memory_ratio") or row["memory_ratio_fastest_peer"]
    return [
        *(f"{seconds[side]['median']:.2f}" for side in ("peer", "unshared", "ours")),
        f"{row['speedup']:.1f}x",
        f"{split['tokens_shared']:.2f} x {split['head_rows']:.2f} x {split['efficiency']:.2f}",
        f"{row['token_ratio']:.2f}",
        f"{row['sharing_gain']:.2f}x",
        f"{row['sharing_realised']:.0%}",
        f"{row['mfu']:.0%}",
        f"{memory:.2f}",
        f"{row['first_loss_rel_diff']:.0e}",
        f"{row['loss_curve_max_rel_diff']:.0e}",
    ]


def _scaling(axis: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"Scaling with {axis.replace('_', ' ')}: seconds (peak GiB)")
    for name in (axis.replace("_", " "), "original tokens", "trie tokens", "ours", "unshared", "peer"):
        table.add_column(name, justify="right")
    for row in rows:
        cells = [_cell(row[side]) for side in ("ours", "unshared", "trl")]
        table.add_row(f"{row[axis]:,}", f"{row['n_original_tokens']:,}", f"{row['n_trie_tokens']:,}", *cells)
    return table


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "left out"
    return f"{cell['seconds']:.1f} ({cell['peak_gib']:.1f})" if "seconds" in cell else "failed"


def _projection(projection: dict[str, Any]) -> Table:
    table = Table(title=f"{projection['model']}, {projection['device']}: {projection['label']}")
    for name in ("workload", "speed-up", "peer, minutes per 1,000 steps", "ours"):
        table.add_column(name, justify="left" if name == "workload" else "right")
    for name, row in projection["workloads"].items():
        minutes = (f"{row[f'{side}_minutes_per_1000_steps']:.1f}" for side in ("peer", "ours"))
        table.add_row(name, f"{row['speedup']:.1f}x", *minutes)
    return table
