"""The verb ``watch`` of the command line; ``cli`` puts it beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from iimedgpt import recipe as recipes


def watch(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder, or its TOML file")],
    once: Annotated[bool, typer.Option("--once", help="print the state and end, for scripts")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show where an internal error happened")] = False,
) -> None:
    """Show what a run is doing: stage, step, loss, margin, time left; from its files, whoever runs it.

    Example: `iimedgpt watch recipes/demo.toml --once`
    """
    from iimedgpt.watch import watch as show

    folder = recipes.load(run_dir).run_dir if run_dir.suffix == ".toml" else run_dir
    show(folder, Console(highlight=False), once=once)
