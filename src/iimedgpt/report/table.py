"""Tables for the terminal: what a run's stages did, and base against SFT against SFT+DPO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from iimedgpt.errors import DataError
from iimedgpt.manifest import Manifest, read_manifest
from iimedgpt.report import evidence
from iimedgpt.report.facts import STAGES, parse_main_table
from iimedgpt.report.measures import MISSING, compact
from iimedgpt.report.words import Words

N_HASH = 8


def show_run(run_dir: Path) -> RenderableType:
    """Stages of a run with counts, seconds and short hashes; drop reasons below, and how to go on.

    Raises:
        DataError: there is no such run.
    """
    if not run_dir.is_dir():
        raise DataError(
            "no such run", path=run_dir, expected="a folder that holds stages", hint="iimedgpt run RUN.toml"
        )
    table = Table(title=Text(run_dir.name), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("stage", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("in", "kept", "dropped"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for name in ("config", "key"):
        table.add_column(name, no_wrap=True)
    dropped, hints = [], []
    for name in _stage_names(run_dir):
        manifest = read_manifest(run_dir / name)
        state = _state(run_dir / name, manifest)
        table.add_row(Text(name), _STATE_TEXT[state], *_counts(manifest))
        if manifest is not None and manifest.n_dropped:
            dropped.append(Text(f"  {name}: {evidence.reasons(manifest.n_dropped)}"))
        if state == "incomplete":
            hints.append(_way_on(run_dir / name))
    missing = [name for name in STAGES if not (run_dir / name).exists()]
    if missing and not hints:
        hints.append(Text(f"next: iimedgpt {missing[0]} RUN.toml, or iimedgpt run RUN.toml for all the rest"))
    if dropped:
        dropped.insert(0, Text("dropped, by reason", style="bold"))
    return Group(table, *(line for lines in (dropped, hints) if lines for line in (Text(""), *lines)))


def main_table(facts: Mapping[str, Any]) -> Table:
    """Base, SFT and SFT+DPO with 95 % intervals, from the facts of the evaluation's manifest."""
    made = evidence.main_table(Words("en"), parse_main_table(facts))
    table = Table(
        title=Text(made.title),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        caption_justify="left",
    )
    for i, column in enumerate(made.columns):
        table.add_column(column, justify="right" if i >= made.n_text else "left")
    for row in made.rows:
        table.add_row(*(Text(compact(cell)) for cell in row))
    table.caption = Text("loss in nats per token; [low, high]: 95 % interval, patients resampled")
    return table


_STATE_TEXT = {
    "complete": Text("complete", style="green"),
    "incomplete": Text("incomplete", style="bold yellow"),
    "not run": Text("not run", style="dim"),
}


def _stage_names(run_dir: Path) -> list[str]:
    """The chain's stages, then other folders that hold a stage's manifest."""
    others = [path.name for path in sorted(run_dir.iterdir()) if read_manifest(path) is not None]
    return list(dict.fromkeys([*STAGES, *others]))


def _state(directory: Path, manifest: Manifest | None) -> str:
    if manifest is not None and all((directory / file).exists() for file in manifest.outputs):
        return "complete"
    return "incomplete" if directory.exists() else "not run"


def _counts(manifest: Manifest | None) -> tuple[Text, ...]:
    if manifest is None:
        return tuple(Text(MISSING, style="dim") for _ in range(6))
    return (
        Text(f"{manifest.n_in:,}"),
        Text(f"{manifest.n_kept:,}"),
        Text(f"{sum(manifest.n_dropped.values()):,}"),
        Text(f"{manifest.seconds:,.1f}"),
        Text(manifest.config_hash[:N_HASH]),
        Text(manifest.key[:N_HASH]),
    )


def _way_on(directory: Path) -> Text:
    name = directory.name
    kept = [folder for folder in ("checkpoints", "partial") if any((directory / folder).glob("*"))]
    start = "goes on from what is kept" if kept else "does it again"
    return Text(
        f"{name} is not complete: still running, or interrupted; iimedgpt {name} RUN.toml {start}",
        style="yellow",
    )
