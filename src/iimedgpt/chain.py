"""The chain of stages, put together: which code runs, what it reads, and which model it is handed.

An app beside the command line. Heavy imports happen inside the stage that needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from iimedgpt.config import RunConfig
from iimedgpt.engine.folders import local_model, tagger_folder
from iimedgpt.entities import EntityTagger
from iimedgpt.errors import DataError, MissingExtraError, StageNotReadyError
from iimedgpt.run import Stage, StageContext, is_complete, plan
from iimedgpt.types import LanguageModel

ADAPTERS = {"base": (), "sft": ("sft",), "sft+dpo": ("sft", "dpo")}


def stages() -> tuple[Stage, ...]:
    """All stages in the order in which they run."""
    return (
        Stage("records", ("records",), (), _records, _records_inputs),
        _made("instructions", ("instructions",), ("records",), _instructions, _instructions_inputs),
        _made("mixture", ("mixture",), ("records", "instructions"), _mixture, _mixture_inputs),
        _made("sft", ("model", "sft"), ("mixture",), _sft, _model_inputs, is_collective=True),
        _made("sample", ("model", "endpoint", "sample"), ("mixture", "sft"), _sample, _model_inputs),
        _made("pairs", ("pairs",), ("mixture", "sample"), _pairs, _pairs_inputs),
        _made("dpo", ("model", "dpo"), ("pairs", "sft"), _dpo, _model_inputs, is_collective=True),
        _made(
            "evaluate",
            ("model", "evaluate", "judging", "exams"),
            ("mixture", "pairs", "sft", "dpo"),
            _evaluate,
            _evaluate_inputs,
        ),
        _made(
            "report",
            ("name", "report"),
            ("records", "instructions", "mixture", "sft", "sample", "pairs", "dpo", "evaluate"),
            _report,
        ),
    )


_made = partial(Stage, is_gated=True)  # a stage that is made from records


def stage_named(name: str) -> Stage:
    """The stage with this name."""
    return next(stage for stage in stages() if stage.name == name)


def check(config: RunConfig) -> None:
    """Everything that comes from outside is there: said before the first stage runs, not in the last.

    Raises:
        DataError: a data file or a model folder is missing or incomplete.
    """
    for stage in stages():
        for name, path in stage.inputs(config).items():
            if not path.exists():
                raise DataError("not found", path=path, field=name, hint="--data DIR names the folder with the data")


def state(stage: Stage, config: RunConfig) -> str:
    """How far a stage is, in words."""
    if is_complete(stage, config):
        return "up to date"
    try:
        plan(stage, config)
    except StageNotReadyError:
        return "waits for the stage before it"
    return "ready to run"


def _records(ctx: StageContext) -> None:
    from iimedgpt.records import build

    build.run(ctx, tagger_loader(ctx.config))


def _records_inputs(config: RunConfig) -> dict[str, Path]:
    from iimedgpt.records import build

    folder = config.records.ner
    return build.inputs(config) | (_model_files(tagger_folder(folder), "ner") if folder else {})


def tagger_loader(config: RunConfig) -> Callable[[], EntityTagger] | None:
    """Loads the tagger of ``records.ner`` in whichever process calls it; None where there is none.

    Raises:
        DataError: the folder does not hold such a model.
        MissingExtraError: torch is not installed.
    """
    if config.records.ner is None:
        return None
    folder = tagger_folder(config.records.ner)
    need_train("records.ner")
    from iimedgpt.engine.ner import load_tagger

    return partial(load_tagger, folder)


def _instructions(ctx: StageContext) -> None:
    from iimedgpt.instructions import build

    build.run(ctx)


def _instructions_inputs(config: RunConfig) -> dict[str, Path]:
    from iimedgpt.instructions import build

    return build.inputs(config)


def _mixture(ctx: StageContext) -> None:
    from iimedgpt.mixture import build

    build.run(ctx)


def _mixture_inputs(config: RunConfig) -> dict[str, Path]:
    from iimedgpt.mixture import build

    return build.inputs(config)


def _model_inputs(config: RunConfig) -> dict[str, Path]:
    """A local model's weights, tokenizer and template decide too."""
    folder = local_model(config.model.name)
    return _model_files(folder, "model") if folder else {}


def _model_files(folder: Path, prefix: str) -> dict[str, Path]:
    kinds = (".json", ".jinja", ".model", ".safetensors")
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in kinds)
    return {f"{prefix}:{path.name}": path for path in files}


def _sft(ctx: StageContext) -> None:
    need_train()
    from iimedgpt import sft

    sft.run(ctx)


def _sample(ctx: StageContext) -> None:
    from iimedgpt.preferences import sample

    sample.run(ctx, _model_loader(ctx))


def _pairs(ctx: StageContext) -> None:
    from iimedgpt.preferences import pairs

    pairs.run(ctx)


def _pairs_inputs(config: RunConfig) -> dict[str, Path]:
    from iimedgpt.preferences import pairs

    return pairs.inputs(config)


def _dpo(ctx: StageContext) -> None:
    need_train()
    from iimedgpt import dpo

    dpo.run(ctx)


def _evaluate(ctx: StageContext) -> None:
    from iimedgpt.evaluation import evaluate

    evaluate.run(ctx, _model_loader(ctx))


def _evaluate_inputs(config: RunConfig) -> dict[str, Path]:
    from iimedgpt.evaluation import exam_sets, probe_sets
    from iimedgpt.evaluation.judging import arena

    exams = {
        f"exam:{exam.name}:{name}": path
        for exam in config.exams.sets
        for name, path in exam_sets.files_of(exam, config).items()
    }
    safety = {
        f"safety:{probes.name}:{name}": path
        for probes in config.exams.safety
        for name, path in probe_sets.files_of(probes, config).items()
    }
    return {**_model_inputs(config), **arena.inputs(config), **exams, **safety}


def _report(ctx: StageContext) -> None:
    try:
        from iimedgpt.report import report
    except ImportError as error:
        if error.name not in ("jinja2", "matplotlib"):
            raise
        raise MissingExtraError("report", "the report") from None
    report.run(ctx)


def need_train(needed_for: str = "training and scoring") -> None:
    """Refuse in one line where torch and its libraries are not installed.

    Raises:
        MissingExtraError: naming the pip line.
    """
    from importlib.util import find_spec

    if any(find_spec(package) is None for package in ("torch", "transformers", "peft", "accelerate")):
        raise MissingExtraError("train", needed_for)


def _model_loader(ctx: StageContext) -> Callable[[str], LanguageModel]:
    """Our models by name; any other name is another model, by its folder or as 'embedded'."""

    def adapters(name: str) -> dict[str, Path] | None:
        return {adapter: ctx.input(adapter, "adapter") for adapter in ADAPTERS[name]} if name in ADAPTERS else None

    return model_loader(ctx, adapters)


def model_loader(
    ctx: StageContext, adapters: Callable[[str], dict[str, Path] | None]
) -> Callable[[str], LanguageModel]:
    """Loads the base once; each name of ours is a view of it with the adapters it stands for.

    Args:
        adapters: name of a model → its adapters in order, name → folder; None of a model that is not ours,
            which is loaded by its own name each time it is asked for.
    """
    need_train()
    from iimedgpt.engine.adapters import load_adapters
    from iimedgpt.engine.generate import TrieLanguageModel
    from iimedgpt.engine.models import LoadedModel, load_model

    shared: dict[str, LoadedModel] = {}

    def load(name: str) -> LanguageModel:
        wanted = adapters(name)
        if wanted is None:
            other = load_model(ctx.config.model.model_copy(update={"name": name}))
            return TrieLanguageModel(other, name)
        if "model" not in shared:
            shared["model"] = load_model(ctx.config.model)
            ctx.device = str(shared["model"].device)
        loaded: Any = shared["model"]
        present = getattr(loaded.model, "peft_config", {})
        load_adapters(loaded, [(adapter, folder) for adapter, folder in wanted.items() if adapter not in present])
        return TrieLanguageModel(loaded, name, tuple(wanted))

    return load
