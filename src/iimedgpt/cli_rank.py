"""The verb ``rank`` of the command line; ``cli`` puts it beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iimedgpt import recipe as recipes
from iimedgpt.errors import MissingExtraError
from iimedgpt.progress import console as log

MIN_PORT, MAX_PORT = 1, 65_535


def rank(
    recipe: Annotated[Path, typer.Argument(metavar="RUN.toml", help="the run's configuration")],
    add_annotator: Annotated[
        str | None, typer.Option("--add-annotator", metavar="NAME", help="give a clinician a key; it is shown once")
    ] = None,
    remove_key: Annotated[
        str | None, typer.Option("--remove-key", metavar="NAME", help="lock a clinician out; the votes stay")
    ] = None,
    export: Annotated[
        bool, typer.Option("--export", help="write rankings.jsonl, judgements.jsonl and rankings.csv")
    ] = False,
    host: Annotated[
        str, typer.Option("--host", help="address to listen on; TLS belongs before any other")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=MIN_PORT, max=MAX_PORT, help="port to listen on")] = 8765,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="certificate file (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="its private key (PEM)")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="folder that relative data paths start from")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="override a value: --set rank.n_answers=3")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show where an internal error happened")] = False,
) -> None:
    """Let clinicians rank answers and compare models in the browser.

    Example: `iimedgpt rank recipes/demo.toml --add-annotator "Dr Li"`
    """
    try:
        from iimedgpt.web import serve
    except ImportError as error:
        if error.name not in ("fastapi", "uvicorn", "jinja2", "sqlalchemy"):
            raise
        raise MissingExtraError("web", "the ranking page") from None
    config = recipes.load(recipe, sets or [], data)
    if add_annotator is not None:
        key = serve.add_annotator(config, add_annotator)
        log.print("Hand this key over in person; it is shown this once and stored nowhere.")
        typer.echo(key)
    elif remove_key is not None:
        serve.remove_key(config, remove_key)
        log.print("The key and its sessions are worthless from now on; the votes stay.")
    elif export:
        for file, n_rows in serve.write_export(config).items():
            log.print(f"[green]✓[/] {file:<18} {n_rows:,} rows")
        typer.echo(str(config.run_dir / "rank"))
    else:
        scheme = "https" if tls_cert else "http"
        shown = f"[{host}]" if ":" in host else host
        serve.serve(
            config,
            host,
            port,
            tls_cert,
            tls_key,
            lambda: log.print(f"{scheme}://{shown}:{port}/  (Ctrl-C stops)", markup=False),
        )
