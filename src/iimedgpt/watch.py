"""What a run is doing, from its files alone: works on a run of another process, and on one that has ended.

An app beside the chain. It opens nothing that holds text of records: manifests, locks and the small
progress file of the stage that is running.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

from iimedgpt import chain, io
from iimedgpt.errors import DataError
from iimedgpt.manifest import read_manifest
from iimedgpt.run import PROGRESS, is_running

EVERY_S = 1.0
ABLATION = "ablation"

State = Literal["done", "running", "interrupted", "waiting"]
_MARKS: dict[State, str] = {
    "done": "[green]✓[/] done",
    "running": "[cyan]▶[/] running",
    "interrupted": "[yellow]![/] interrupted",
    "waiting": "[dim]· waiting[/]",
}


@dataclass(frozen=True)
class StageView:
    """One stage as its files show it."""

    name: str
    state: State
    counts: str = ""  # kept and dropped, or done of how many
    seconds: float | None = None  # it took, or has taken so far
    eta: float | None = None  # seconds
    note: str = ""  # what the work says of itself: loss, margin


def view(run_dir: Path, now: float) -> list[StageView]:
    """All stages of a run in order, arms of an ablation behind them.

    Args:
        now: seconds since the epoch.
    """
    views = [_stage(run_dir / stage.name, stage.name, now) for stage in chain.stages()]
    for folder in sorted(run_dir.glob("arms/*/*")):
        for name in ("mixture", "sft"):
            if (folder / name).is_dir():
                views.append(_stage(folder / name, f"{folder.parent.name}: {name}", now))
    if (run_dir / ABLATION).is_dir():
        views.append(_stage(run_dir / ABLATION, ABLATION, now))
    return views


def _stage(folder: Path, name: str, now: float) -> StageView:
    progress: dict[str, Any] = {}
    with suppress(DataError, OSError):  # not there, or just being replaced
        progress = io.read_json(folder / PROGRESS) if (folder / PROGRESS).exists() else {}
    if is_running(folder):
        return _under_way(name, "running", progress, now)
    manifest = read_manifest(folder)
    if manifest is None:
        return _under_way(name, "interrupted", progress, now) if progress else StageView(name, "waiting")
    n_dropped = sum(manifest.n_dropped.values())
    counts = f"{manifest.n_kept:,} kept" + (f", {n_dropped:,} dropped" if n_dropped else "")
    return StageView(name, "done", counts, manifest.seconds, note=_result(name, manifest.facts))


def _under_way(name: str, state: State, progress: dict[str, Any], now: float) -> StageView:
    if not progress:
        return StageView(name, state)
    done, total, started = progress["done"], progress["total"], progress["started"]
    counts = f"{progress['label']}: {done:,}" + (f" of {total:,}" if total else "")
    taken = (now if state == "running" else progress["at"]) - started
    eta = (progress["at"] - started) / done * (total - done) - (now - progress["at"]) if total and done else None
    is_told = state == "running" and eta is not None
    return StageView(
        name, state, counts, taken, max(eta, 0.0) if is_told and eta is not None else None, progress["note"]
    )


def _result(name: str, facts: dict[str, Any]) -> str:
    """What a training ended with."""
    if "last_loss" not in facts:
        return ""
    margin = f"  margin {facts['last_margin']:.3f}" if isinstance(facts.get("last_margin"), float) else ""
    return f"{facts['n_steps']} steps  loss {facts['first_loss']:.3f} → {facts['last_loss']:.3f}{margin}"


def table(run_dir: Path, views: list[StageView]) -> Table:
    """The stages for a terminal."""
    shown = Table(title=f"{run_dir.name}  {run_dir}", title_justify="left")
    for title in ("Stage", "State", "Rows", "Time", "ETA", "Last"):
        shown.add_column(title, justify="right" if title in ("Time", "ETA") else "left")
    for one in views:
        shown.add_row(one.name, _MARKS[one.state], one.counts, _duration(one.seconds), _duration(one.eta), one.note)
    return shown


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"


def watch(run_dir: Path, console: Console, *, once: bool) -> None:
    """Show a run until it ends, or once.

    Raises:
        DataError: there is no such run.
    """
    if not run_dir.is_dir():
        raise DataError("no such run", path=run_dir, expected="a folder under runs/", hint="iimedgpt run RUN.toml")
    views = view(run_dir, time.time())
    if once or not console.is_terminal or _is_over(views):
        console.print(table(run_dir, views))
        return
    with Live(table(run_dir, views), console=console, refresh_per_second=4) as live:
        for views in _views(run_dir):
            live.update(table(run_dir, views))


def _views(run_dir: Path) -> Iterator[list[StageView]]:
    """The run every second until every stage is done; a pause between two stages is no end."""
    while True:
        views = view(run_dir, time.time())
        yield views
        if _is_over(views):
            return
        time.sleep(EVERY_S)


def _is_over(views: list[StageView]) -> bool:
    return all(one.state == "done" for one in views)
