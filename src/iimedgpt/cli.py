"""The command line: verb → configuration → stage. stdout carries results, stderr the log."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from iimedgpt import __version__, chain
from iimedgpt import recipe as recipes
from iimedgpt.cli_ablate import ablate
from iimedgpt.cli_rank import rank
from iimedgpt.cli_watch import watch
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError, IIMedGPTError, Interrupted, MissingExtraError, StageNotReadyError
from iimedgpt.manifest import Manifest
from iimedgpt.progress import console as log
from iimedgpt.run import ALONE, Processes, Stage, execute

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="From a hospital's own medical records to an aligned medical language model, with proof. "
    "Not a medical device.",
)
out = Console(highlight=False)

Recipe = Annotated[Path, typer.Argument(metavar="RUN.toml", help="the run's configuration")]
Data = Annotated[Path | None, typer.Option("--data", help="folder that relative data paths start from")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="override a value: --set dpo.beta=0.2")]
ModelName = Annotated[str | None, typer.Option("--model", help="another base model: a name or a folder")]
Force = Annotated[bool, typer.Option("--force", help="run even where the result is up to date")]
Debug = Annotated[bool, typer.Option("--debug", help="show where an internal error happened")]


def _load(recipe: Path, data: Path | None, sets: list[str] | None, model: str | None = None) -> RunConfig:
    overrides = [*(sets or []), *([f"model.name='{model}'"] if model else [])]
    return recipes.load(recipe, overrides, data)


def _say(stage: Stage, manifest: Manifest, has_run: bool) -> None:
    if not has_run:
        log.print(f"[dim]·[/] {stage.name:<13} up to date ({manifest.n_kept} kept)")
        return
    dropped = sum(manifest.n_dropped.values())
    text = f", {dropped} dropped" if dropped else ""
    log.print(f"[green]✓[/] {stage.name:<13} {manifest.n_kept} kept{text}  {manifest.seconds:.1f} s")


def _execute(stage: Stage, run_config: RunConfig, recipe: Path, force: bool) -> tuple[Manifest, bool]:
    """One stage; an interruption says how to go on."""
    try:
        return execute(stage, run_config, is_forced=force, processes=_processes())
    except StageNotReadyError as error:
        error.hint = (error.hint or "").replace("RUN.toml", str(recipe))
        raise
    except KeyboardInterrupt as stop:
        if not _is_to_tell():
            raise
        place = f"stage '{stage.name}' {stop}".rstrip()
        log.print(f"\n[yellow]Interrupted[/] in {place}. Finished stages and checkpoints are kept.", soft_wrap=True)
        log.print(f"  go on with: {escape(shlex.join(['iimedgpt', *sys.argv[1:]]))}", soft_wrap=True)
        raise typer.Exit(_exit_code(stop)) from None


def _run_stage(stage: Stage, run_config: RunConfig, recipe: Path, force: bool) -> None:
    _say(stage, *_execute(stage, run_config, recipe, force))
    out.print(str(run_config.run_dir / stage.name), soft_wrap=True)


def _stage_command(name: str, help_text: str) -> None:
    def command(
        recipe: Recipe,
        data: Data = None,
        sets: Sets = None,
        model: ModelName = None,
        force: Force = False,
        debug: Debug = False,
    ) -> None:
        run_config = _load(recipe, data, sets, model)
        _run_stage(chain.stage_named(name), run_config, recipe, force)

    command.__doc__ = f"{help_text}\n\nExample: `iimedgpt {name} recipes/demo.toml`"
    app.command(name)(command)


@app.command()
def records(
    recipe: Recipe,
    n: Annotated[int, typer.Argument(metavar="[N]", min=1, help="with --preview: records of each source")] = 3,
    data: Data = None,
    sets: Sets = None,
    model: ModelName = None,
    force: Force = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="show what becomes of the first rows, de-identified; write nothing")
    ] = False,
    forget: Annotated[
        str | None,
        typer.Option(
            "--forget",
            metavar="PATIENT",
            help="take a patient out of the run: the source's number, or a patient_id; - reads it from stdin",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Read the sources, take identifiers out, write timelines.

    Example: `iimedgpt records recipes/demo.toml --preview 3`
    """
    run_config = _load(recipe, data, sets, model)
    if preview:
        _preview(run_config, n)
        return
    if forget is not None:
        _forget(run_config, sys.stdin.readline() if forget == "-" else forget, recipe)
        return
    _run_stage(chain.stage_named("records"), run_config, recipe, force)


def _preview(run_config: RunConfig, n_records: int) -> None:
    """Nothing is written to disk."""
    from iimedgpt.records.preview import preview, render

    for shown in preview(run_config, n_records, chain.tagger_loader(run_config)):
        _print(render(shown))


def _forget(run_config: RunConfig, patient: str, recipe: Path) -> None:
    from iimedgpt.forget import forget, render

    _print(render(forget(run_config, patient), run_config, recipe))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


for _name, _help in {
    "instructions": "Ask six clinical tasks at their places in each timeline.",
    "mixture": "Mix with other data and split by patient.",
    "sft": "Supervised fine-tuning of the base model.",
    "sample": "Let the SFT model answer, for preference pairs.",
    "pairs": "Make preference pairs: reference over sample, and named errors.",
    "dpo": "Preference alignment from the SFT result.",
    "evaluate": "Score base, SFT and SFT+DPO on held-out patients, beside controls.",
    "report": "Write the report in HTML and Markdown.",
}.items():
    _stage_command(_name, _help)

for _verb in (rank, ablate, watch):
    app.command()(_verb)


@app.command()
def run(
    recipe: Recipe,
    data: Data = None,
    sets: Sets = None,
    model: ModelName = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Run the whole chain; finished stages are skipped, interrupted ones go on.

    Example: `iimedgpt run recipes/demo.toml`
    """
    from iimedgpt.report.table import main_table

    run_config = _load(recipe, data, sets, model)
    chain.check(run_config)
    log.print(f"[bold]{run_config.name}[/]  {run_config.run_dir}")
    n_run = 0
    manifest: Manifest | None = None
    facts: dict[str, Any] = {}
    for stage in chain.stages():
        manifest, has_run = _execute(stage, run_config, recipe, force)
        n_run += has_run
        facts = manifest.facts if stage.name == "evaluate" else facts
        _say(stage, manifest, has_run)
    if not n_run:
        log.print(f"Nothing to do: all {len(chain.stages())} stages are up to date (--force runs them again).")
    out.print(main_table(facts))
    for sentence in facts.get("limits", ()):
        out.print(f"  {sentence}", style="dim")
    out.print(f"Report: {(run_config.run_dir / 'report' / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def show(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder, or its TOML file")],
    instruction: Annotated[
        str | None,
        typer.Option(
            "--instruction", metavar="ID", help="where a row comes from: an instruction, a pair, a line exported"
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a run's stages, counts, reasons and hashes.

    Example: `iimedgpt show runs/demo`
    """
    from iimedgpt.report.table import show_run

    folder = recipes.load(run_dir).run_dir if run_dir.suffix == ".toml" else run_dir
    if not folder.is_dir():
        raise DataError("no such run", path=folder, expected="a folder under runs/", hint="iimedgpt run RUN.toml")
    if instruction is None:
        out.print(show_run(folder))
        return
    from iimedgpt.report.lineage import lineage

    _print(f"{name:<21} {value}" for name, value in lineage(folder, instruction))


@app.command()
def export(
    recipe: Recipe,
    format_name: Annotated[
        Literal["trl", "llamafactory", "ms-swift"],
        typer.Option("--format", help="whose format: the trainer that reads it"),
    ],
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="folder; without it exports/FORMAT in the run's")
    ] = None,
    data: Data = None,
    sets: Sets = None,
    debug: Debug = False,
) -> None:
    """Write mixture and preference pairs for other trainers, with a data card.

    Example: `iimedgpt export recipes/demo.toml --format trl --out exported`
    """
    from iimedgpt.export import export as write

    run_config = _load(recipe, data, sets)
    folder = out_dir or run_config.run_dir / "exports" / format_name
    for file, n_rows in write(run_config, format_name, folder).items():
        log.print(f"[green]✓[/] {file:<34} {n_rows:,} rows")
    out.print(str(folder), soft_wrap=True)


@app.command()
def validate(
    recipe: Recipe,
    data: Data = None,
    sets: Sets = None,
    model: ModelName = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="run a few packs for seconds, to estimate hours")
    ] = True,
    debug: Debug = False,
) -> None:
    """Check a configuration and that its data and model are there; estimate hours and memory of training.

    Example: `iimedgpt validate recipes/demo.toml`
    """
    run_config = _load(recipe, data, sets, model)
    chain.check(run_config)
    states = [f"{stage.name}: {chain.state(stage, run_config)}" for stage in chain.stages()]
    out.print(f"{recipe}: valid\n" + "\n".join(f"  {state}" for state in states))
    try:
        chain.need_train()
    except MissingExtraError as missing:
        out.print(f"no estimate: {missing} ({missing.hint})", markup=False, soft_wrap=True)
        return
    from iimedgpt.estimate import estimate

    out.print(estimate(run_config, is_measured=measure))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="NAME.toml", help="file to write")],
    debug: Debug = False,
) -> None:
    """Write a configuration with every option, its default and its meaning.

    Example: `iimedgpt init my_hospital.toml`
    """
    if path.exists():
        raise DataError("exists already", path=path, expected="a new file name")
    path.write_text(recipes.example(path.stem), encoding="utf-8")
    out.print(f"{path}: edit [[records.sources]], then: iimedgpt run {path}", markup=False, soft_wrap=True)


def _version(value: bool) -> None:
    if value:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Set up logging."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def _terminate(number: int, _: object) -> None:
    raise Interrupted(number)


def _exit_code(stop: KeyboardInterrupt) -> int:
    return stop.exit_code if isinstance(stop, Interrupted) else 130


def main() -> None:
    """Entry point: every error is one line, a hint and an exit code."""
    os.umask(0o077)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if _processes().rank:
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  only the first talks
        app()
    except SystemExit as end:
        if not end.code:
            _part()
        raise
    except IIMedGPTError as error:
        if not _is_to_tell():
            sys.exit(error.exit_code)
        log.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        if error.hint:
            log.print(f"  → {escape(error.hint)}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stop:
        sys.exit(_exit_code(stop))
    except Exception as error:  # the message may hold text of a record: type and place only
        if _is_to_tell():
            _internal_error(error)
        sys.exit(70)


def _is_launched() -> bool:
    """True in one of several processes that torchrun or accelerate started with the same command."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _processes() -> Processes:
    """This process's place among those of its launch."""
    if not _is_launched():
        return ALONE
    chain.need_train()
    from iimedgpt.engine import distributed

    return distributed.join()


def _is_to_tell() -> bool:
    """True where this process failed before any other: one error is told once, by whoever met it."""
    if _is_launched():
        from iimedgpt.engine import distributed

        if not distributed.is_first_failure():
            return False
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    return True


def _part() -> None:
    if _is_launched():
        from iimedgpt.engine import distributed

        distributed.leave()


def _internal_error(error: Exception) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}"
    log.print(f"[red]internal error:[/] {type(error).__name__} at {place}", soft_wrap=True)
    if "--debug" in sys.argv:
        for frame in frames:
            log.print(f"  {frame.filename}:{frame.lineno} in {frame.name}", soft_wrap=True)
        log.print("  (the message is withheld: it may hold text of a record)")
    else:
        log.print("  → run again with --debug and report the lines it prints")
