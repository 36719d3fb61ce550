"""The verb ``ablate`` of the command line; ``cli`` puts it beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from iimedgpt import recipe as recipes
from iimedgpt.manifest import Manifest
from iimedgpt.progress import console as log
from iimedgpt.run import Stage


def ablate(
    recipe: Annotated[Path, typer.Argument(metavar="RUN.toml", help="the run's configuration")],
    data: Annotated[Path | None, typer.Option("--data", help="folder that relative data paths start from")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="override a value: --set ablation.other_fracs=[0.2]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show where an internal error happened")] = False,
) -> None:
    """What each part of the training gained: the chain again with a part left out, on the same held-out patients.

    Arms that are up to date are not trained again; an interrupted call goes on where it stopped.

    Example: `iimedgpt ablate recipes/ablation.toml`
    """
    from iimedgpt import ablation

    config = recipes.load(recipe, sets or [], data)

    def say(stage: Stage, manifest: Manifest, has_run: bool) -> None:
        mark, what = ("[green]✓[/]", f"{manifest.seconds:.1f} s") if has_run else ("[dim]·[/]", "up to date")
        log.print(f"{mark} {stage.name:<30} {manifest.n_kept} kept  {what}")

    result, has_run = ablation.ablate(config, say)
    if not has_run:
        log.print("Nothing to do: every arm is up to date.")
    out = Console(highlight=False)
    out.print(ablation.table(result))
    for note in result["notes"]:
        out.print(f"  {note}", style="dim")
    out.print(str((config.run_dir / ablation.FOLDER / ablation.RESULT).resolve()), soft_wrap=True)
