"""The peer at its best: settings that could be faster, each tried on one step, the best one used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.runner import RunnerError, measure_once
from benchmarks.workloads import Step, Workload

DEFAULT: dict[str, Any] = {
    "batch": 1,
    "weights": "float32",
    "attention": "sdpa",
    "padding_free": False,
    "precompute_reference": True,
}
SFT_VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"batch": 2},
    {"attention": "eager"},
    {"batch": 2, "padding_free": True},
)
DPO_VARIANTS: tuple[dict[str, Any], ...] = ({}, {"batch": 2}, {"precompute_reference": False})
NOTABLE = 0.97  # of the time before: less may be chance, and the plainer setting stays
MAX_LOSS_DIFF = 1e-2  # a setting that trains something else is no setting


def first_units(workload: Workload, n: int) -> Workload:
    """A workload's first step with its last ``n`` sequences (or pairs), to try settings on."""
    size = n * (2 if workload.kind == "dpo" else 1)

    def cut(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(step[-size:] for step in steps)

    warm, *_ = cut((workload.warm,))
    return replace(workload, warm=warm, steps=cut(workload.steps[:1]), tail=())


def try_settings(workload: Workload, model: str, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every setting in both precisions where it matters, the best one of the first round going on."""
    small = first_units(workload, 2)
    n_units = len(small.steps[0]) // (2 if workload.kind == "dpo" else 1)
    trials: list[dict[str, Any]] = []

    def attempt(**changes: Any) -> None:
        settings = DEFAULT | changes
        trial: dict[str, Any] = {"workload": workload.name, "settings": settings}
        try:
            found = measure_once("trl", small, settings | {"model": model})
            trial |= {key: found[key] for key in ("seconds", "peak_gib")} | {"first_loss": found["losses"][0]}
        except RunnerError as error:
            trial["failed"] = str(error)
        trials.append(trial)
        changed = ", ".join(f"{key} {value}" for key, value in changes.items())
        say(f"trying {workload.name}: {changed}: {trial.get('seconds', 0):.1f} s {trial.get('failed', '')}")

    for precision in ("float32", "bfloat16"):
        attempt(precision=precision)
    precision = best(trials)["precision"]
    for changes in (DPO_VARIANTS if workload.kind == "dpo" else SFT_VARIANTS)[1:]:
        if changes.get("batch", 1) <= n_units:
            attempt(precision=precision, **changes)
    if workload.kind == "sft":
        attempt(precision="bfloat16", weights="bfloat16")
    return trials


def best(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The fastest setting that trains the same thing.

    bfloat16 weights (and so residuals) are another arithmetic than is asked of us, but they are how
    most people run the peer, so they may win too.
    """
    first = next(trial["first_loss"] for trial in trials if "first_loss" in trial)
    good = [t for t in trials if "seconds" in t and abs(t["first_loss"] / first - 1) < MAX_LOSS_DIFF]
    chosen = good[0]
    for trial in good[1:]:
        if trial["seconds"] < chosen["seconds"] * NOTABLE:
            chosen = trial
    settings: dict[str, Any] = chosen["settings"]
    return settings
