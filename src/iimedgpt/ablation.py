"""Ablation: the chain several times with a part left out, all arms on the same held-out patients.

An app above the chain. Records, instructions and the held-out side are the run's own and made once;
every other arm is a run folder of its own under ``runs/NAME/arms/``, so that a second call does nothing
and a killed one goes on where it stopped. What an arm trains on is a subset of what the run trains on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from iimedgpt import chain, io
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError, StageNotReadyError
from iimedgpt.manifest import Manifest, read_manifest
from iimedgpt.run import LOCK, Stage, StageContext, execute

FOLDER, ARMS = "ablation", "arms"
RESULT = "ablation.json"
OWN = ("records", "instructions", "mixture", "sft", "sample", "pairs", "dpo")  # stages of the run itself
SHARED = ("records", "instructions")

Say = Callable[[Stage, Manifest, bool], None]


@dataclass(frozen=True)
class Arm:
    """One model of the ablation."""

    name: str
    title_en: str
    title_zh: str
    mixture: dict[str, Any] | None = None  # what its mixture has other than the run's; None: a model of the run itself
    adapters: tuple[str, ...] = ()  # of the run itself
    other_frac: float | None = None  # a point of the mixture-ratio curve


def arms(config: RunConfig) -> list[Arm]:
    """The models that are compared, in the order of the table."""
    left_out = {
        "records": Arm(
            "sft-without-records", "SFT without the record instructions", "SFT，去掉病历指令", {"trains_on": "other"}
        ),
        "other": Arm("sft-without-other", "SFT without the other data", "SFT，去掉其他数据", {"trains_on": "records"}),
    }
    curve = [
        Arm(
            f"sft-other-{fraction:g}",
            f"SFT, {fraction:.0%} other data",
            f"SFT，其他数据占 {fraction:.0%}",
            {"other_frac": fraction},
            other_frac=fraction,
        )
        for fraction in config.ablation.other_fracs
    ]
    return [
        Arm("base", "Base model", "基座模型"),
        *(left_out[part] for part in config.ablation.parts),
        *curve,
        Arm("sft", "SFT", "SFT", adapters=("sft",), other_frac=config.mixture.other_frac),
        Arm("sft+dpo", "SFT + DPO", "SFT + DPO", adapters=("sft", "dpo")),
    ]


def ablate(config: RunConfig, say: Say) -> tuple[dict[str, Any], bool]:
    """Train and score all arms; what is up to date is taken as it is.

    Args:
        say: told of every stage that was looked at: the stage, its manifest, whether it ran.

    Returns:
        What ``ablation.json`` holds, and whether anything ran.

    Raises:
        DataError: an arm has nothing to train on, or its held-out side is not the run's.
        IIMedGPTError: whatever a stage raises.
    """
    chain.need_train()
    has_run = False
    for name in OWN:
        has_run |= _execute(chain.stage_named(name), config, say)
    for arm in arms(config):
        if arm.mixture is not None:
            has_run |= _train(arm, config, say)
    has_run |= _execute(_scoring(config), config, say)
    return io.read_json(config.run_dir / FOLDER / RESULT), has_run


def _execute(stage: Stage, config: RunConfig, say: Say) -> bool:
    manifest, has_run = execute(stage, config)
    say(stage, manifest, has_run)
    return has_run


def arm_config(arm: Arm, config: RunConfig) -> RunConfig:
    """The run's configuration with the arm's mixture, in the arm's own folder."""
    mixture = config.mixture.model_copy(update=arm.mixture or {})
    return config.model_copy(update={"runs_dir": str(config.run_dir / ARMS / arm.name), "mixture": mixture})


def _train(arm: Arm, config: RunConfig, say: Say) -> bool:
    own = arm_config(arm, config)
    for name in SHARED:
        _share(config.run_dir / name, own.run_dir / name)
    has_run = _execute(chain.stage_named("mixture"), own, lambda stage, *what: say(_called(stage, arm), *what))
    _check_held_out(arm, own, config)
    return _execute(chain.stage_named("sft"), own, lambda stage, *what: say(_called(stage, arm), *what)) or has_run


def _called(stage: Stage, arm: Arm) -> Stage:
    return Stage(f"{arm.name}: {stage.name}", stage.sections, stage.needs, stage.run)


def _share(source: Path, target: Path) -> None:
    """The run's own stage in the arm's folder: the same files on disk, not copies."""
    if target.is_dir() and read_manifest(target) == read_manifest(source):
        return
    shutil.rmtree(target, ignore_errors=True)
    io.make_private_dir(target)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            io.make_private_dir(place)
        elif path.name != LOCK:
            os.link(path, place)


def _check_held_out(arm: Arm, own: RunConfig, config: RunConfig) -> None:
    found, wanted = (io.sha256_file(one.run_dir / "mixture" / "test.jsonl") for one in (own, config))
    if found != wanted:
        raise DataError(
            f"arm '{arm.name}' holds out other patients than the run",
            path=own.run_dir / "mixture" / "test.jsonl",
            expected="the run's own held-out side",
            hint="run the mixture stage of the run again, then iimedgpt ablate",
        )


def _scoring(config: RunConfig) -> Stage:
    def inputs(_: RunConfig) -> dict[str, Path]:
        return {
            f"{arm.name}/{file}": folder / file
            for arm in arms(config)
            if arm.mixture is not None
            for folder in (_adapter_of(arm, config),)
            for file in ("adapter_config.json", "adapter_model.safetensors")
        }

    return Stage(
        FOLDER,
        ("model", "evaluate", "ablation"),
        ("mixture", "pairs", "sft", "dpo"),
        lambda ctx: _compare(ctx, config),
        inputs,
        is_gated=True,
    )


def _adapter_of(arm: Arm, config: RunConfig) -> Path:
    return arm_config(arm, config).run_dir / "sft" / "adapter"


def _compare(ctx: StageContext, config: RunConfig) -> None:
    from iimedgpt.evaluation import arms as scoring

    known = {arm.name: arm for arm in arms(config)}

    def adapters(name: str) -> dict[str, Path]:
        arm = known[name]
        if arm.mixture is not None:
            return {name.replace(".", "_"): _adapter_of(arm, config)}  # peft splits names at dots
        return {adapter: ctx.input(adapter, "adapter") for adapter in arm.adapters}

    pairs = [(name, "sft") for name in known if name != "sft"]
    found = scoring.run(ctx, list(known), pairs, chain.model_loader(ctx, adapters))
    shutil.rmtree(ctx.output("partial"))
    trained = {arm.name: _training_facts(arm, config) for arm in known.values()}
    result = {
        "arms": [
            {"name": arm.name, "title_en": arm.title_en, "title_zh": arm.title_zh}
            | {"metrics": found["metrics"][arm.name], "training": trained[arm.name]}
            for arm in known.values()
        ],
        "controls": {name: shown for name, shown in found["metrics"].items() if name not in known and shown},
        "differences": found["differences"],
        "curve": list(_curve(config, found["metrics"])),
        "verdicts": found["verdicts"],
        "n_patients": found["n_patients"],
        "notes": list(NOTES),
    }
    io.write_json(ctx.output(RESULT), result)
    ctx.facts.update({key: result[key] for key in ("arms", "differences", "curve", "verdicts", "notes")})


NOTES = (
    "One training run an arm: the intervals hold the chance of which patients were held out, not that of another "
    "training.",
    "An arm without a part trains on fewer answers and steps than SFT does: less data and other data are not told "
    "apart.",
    "p: exact sign test over patients against SFT; p (Holm): corrected for all rows of the table.",
    "The reference judge sees likeness to the reference answer alone, which favours DPO on pairs with references.",
)


def _training_facts(arm: Arm, config: RunConfig) -> dict[str, Any]:
    """What the arm's SFT was trained on: a share of other data that the sources cannot fill shows here."""
    if arm.mixture is None and "sft" not in arm.adapters:
        return {}
    folder = (config if arm.mixture is None else arm_config(arm, config)).run_dir
    mixture, sft = (read_manifest(folder / name) for name in ("mixture", "sft"))
    if mixture is None or sft is None:  # both are inputs of this stage
        raise StageNotReadyError(FOLDER, "sft")
    n_train = mixture.facts["splits"]["train"]["n_conversations"]
    return {"n_train": n_train, "n_other": mixture.facts["n_other"], "n_steps": sft.facts["n_steps"]}


def _curve(config: RunConfig, metrics: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Loss and choice by the share of other data, the run's own share among them."""
    points = [arm for arm in arms(config) if arm.other_frac is not None]
    if len(points) > 1:
        for arm in sorted(points, key=lambda arm: arm.other_frac or 0.0):
            for name in ("loss", "choice_accuracy"):
                if name in metrics[arm.name]:
                    yield {"other_frac": arm.other_frac, "metric": name, **metrics[arm.name][name]}


def table(result: dict[str, Any]) -> Table:
    """The result for a terminal: one row an arm, differences to SFT with interval and corrected p."""
    names = {
        "loss": "Loss",
        "choice_accuracy": "Choice",
        "preference_accuracy": "Preference",
        "task_score": "Task score",
    }
    shown = Table(title="Ablation on the same held-out patients; below each value: difference to SFT [95 %], p (Holm)")
    shown.add_column("Arm")
    for title in names.values():
        shown.add_column(title, justify="right")
    rows = {(row["arm"], row["metric"]): row for row in result["differences"]}
    for arm in result["arms"]:
        cells = [_cell(arm["metrics"].get(name), rows.get((arm["name"], name)), name == "loss") for name in names]
        shown.add_row(arm["title_en"], *cells)
    return shown


def _cell(metric: dict[str, Any] | None, row: dict[str, Any] | None, is_loss: bool) -> str:
    if metric is None:
        return "—"
    text = f"{metric['value']:.3f}" if is_loss else f"{metric['value']:.1%}"
    if row is None or row["ci_low"] is None:
        return text
    scale, unit = (1, "") if is_loss else (100, " pp")
    digits = 3 if is_loss else 1
    low, high = row["ci_low"] * scale, row["ci_high"] * scale
    return (
        f"{text}\n{row['value'] * scale:+.{digits}f}{unit} [{low:+.{digits}f}, {high:+.{digits}f}]"
        f"\np {row['p_holm']:.3g}"
    )
