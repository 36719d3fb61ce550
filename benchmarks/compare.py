"""One workload, two sides, alternating: raw measurements and the figures made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from benchmarks import flops
from benchmarks.runner import Runner
from benchmarks.workloads import Workload

Say = Callable[[str], None]
Measurement = dict[str, Any]


@dataclass
class Raw:
    """Measurements of one workload in one precision, in the order taken."""

    precision: str
    ours: list[Measurement] = field(default_factory=list)
    unshared: list[Measurement] = field(default_factory=list)
    peer: list[Measurement] = field(default_factory=list)
    unshared_layout: str = "beside"
    unshared_trials_s: dict[str, float] = field(default_factory=dict)


@contextmanager
def three_runners() -> Iterator[dict[str, Runner]]:
    """A fresh process each for ours, ours unshared, and the peer."""
    with Runner("ours") as ours, Runner("ours") as unshared, Runner("trl") as trl:
        yield {"ours": ours, "unshared": unshared, "trl": trl}


def measure(
    workload: Workload,
    runners: dict[str, Runner],
    *,
    model: str,
    precision: str,
    peer_settings: dict[str, Any],
    repeats: int,
    layouts: Sequence[str],
    say: Say,
) -> Raw:
    """Ours, ours unshared and the peer by turns, each in its process."""
    raw = Raw(precision)
    own = {"model": model, "precision": precision}
    raw.unshared_layout, raw.unshared_trials_s = _choose_layout(runners["unshared"], workload, own, layouts)
    turns: list[tuple[str, list[Measurement], dict[str, Any]]] = [
        ("ours", raw.ours, own | {"layout": "shared"}),
        ("trl", raw.peer, peer_settings | {"model": model, "precision": precision}),
        ("unshared", raw.unshared, own | {"layout": raw.unshared_layout}),
    ]
    without_tail = replace(workload, tail=())  # losses are compared once
    for repeat in range(repeats):
        for side, found, settings in turns[repeat % 3 :] + turns[: repeat % 3]:
            found.append(runners[side].measure(workload if repeat == 0 else without_tail, settings))
        latest = ", ".join(f"{side} {found[-1]['seconds']:.1f} s" for side, found, _ in turns)
        say(f"{workload.name} {precision} {repeat + 1}/{repeats}: {latest}")
    return raw


def _choose_layout(
    runner: Runner, workload: Workload, own: dict[str, Any], layouts: Sequence[str]
) -> tuple[str, dict[str, float]]:
    """The faster way of reading sequences without sharing, tried once each."""
    if len(layouts) == 1:
        return layouts[0], {}
    seconds = {name: runner.measure(workload, own | {"layout": name})["seconds"] for name in layouts}
    return min(seconds, key=lambda name: seconds[name]), seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def _ratios(over: Sequence[Measurement], under: Sequence[Measurement], key: str = "seconds") -> dict[str, float]:
    return spread([a[key] / b[key] for a, b in zip(over, under, strict=True)])


def summarise(workload: Workload, raw: Raw, shape: flops.Shape) -> dict[str, Any]:
    """Every figure of one workload in one precision."""
    token_ratio = workload.facts()["token_ratio"]
    speedup, sharing = _ratios(raw.peer, raw.ours), _ratios(raw.unshared, raw.ours)
    ours, peer = raw.ours[0], raw.peer[0]
    return {
        "precision": raw.precision,
        "n_repeats": len(raw.ours),
        "speedup": speedup["median"],
        "speedup_range": [speedup["min"], speedup["max"]],
        "speedup_split": split(workload, shape, speedup["median"]),
        "token_ratio": token_ratio,
        "sharing_gain": sharing["median"],
        "sharing_gain_range": [sharing["min"], sharing["max"]],
        "sharing_realised": sharing["median"] / token_ratio,
        "unshared_layout": raw.unshared_layout,
        "unshared_trials_s": raw.unshared_trials_s,
        "unshared_speedup": _ratios(raw.peer, raw.unshared)["median"],
        "memory_ratio_fastest_peer": ours["peak_gib"] / peer["peak_gib"],
        "memory_ratio_above_model": (ours["peak_gib"] - ours["loaded_gib"]) / (peer["peak_gib"] - peer["loaded_gib"]),
        "first_loss": {"ours": ours["losses"][0], "peer": peer["losses"][0], "unshared": raw.unshared[0]["losses"][0]},
        "first_loss_rel_diff": _rel(ours["losses"][0], peer["losses"][0]),
        "loss_curve_max_rel_diff": max(map(_rel, ours["losses"], peer["losses"])),
        "losses": {"ours": ours["losses"], "peer": peer["losses"]},
        **_mfu(raw.ours, shape),
        "seconds": {
            side: spread([m["seconds"] for m in found]) | {"all": [m["seconds"] for m in found]}
            for side, found in (("ours", raw.ours), ("unshared", raw.unshared), ("peer", raw.peer))
        },
        "reference_s": {"ours": ours["reference_s"], "peer": peer["reference_s"]},
        "memory_gib": {
            side: {"peak": found[0]["peak_gib"], "model_loaded": found[0]["loaded_gib"]}
            for side, found in (("ours", raw.ours), ("unshared", raw.unshared), ("peer", raw.peer))
        },
        "is_peak_since_loading": ours["is_peak_reset"] and peer["is_peak_reset"],
        "flops_needed": ours["flops"],
        "packs_per_step": {"ours": ours["n_packs_per_step"], "unshared": raw.unshared[0]["n_packs_per_step"]},
    }


def _rel(a: float, b: float) -> float:
    return abs(a - b) / abs(b)


def _mfu(measurements: Sequence[Measurement], shape: flops.Shape) -> dict[str, Any]:
    """Needed operations a second over the matmul rate seen in the same process just before.

    ``mfu`` takes the best of the model's shapes, ``mfu_own_mix`` the mean over its layers as they are.
    """
    best, mix = [], []
    for m in measurements:
        rate = m["flops"]["total"] / m["seconds"] / 1e9
        best.append(rate / max(m["matmul_gflops"].values()))
        mix.append(rate / own_mix(m["matmul_gflops"], shape))
    return {
        "mfu": median(best),
        "mfu_range": [min(best), max(best)],
        "mfu_own_mix": median(mix),
        "matmul_gflops": {
            "best": median(max(m["matmul_gflops"].values()) for m in measurements),
            "own_mix": median(own_mix(m["matmul_gflops"], shape) for m in measurements),
            "rows": measurements[0]["matmul_rows"],
            "by_shape": measurements[0]["matmul_gflops"],
        },
    }


def own_mix(rates: dict[str, float], shape: flops.Shape) -> float:
    """Mean rate over a layer's linear products, each weighed by its operations (a harmonic mean)."""
    ways = [(n_in, n_out, way) for n_in, n_out in shape.linears for way in ("forward", "backward")]
    seconds = sum(n_in * n_out / rates[f"{n_in}x{n_out} {way}"] for n_in, n_out, way in ways)
    return sum(n_in * n_out for n_in, n_out, _ in ways) / seconds


def split(workload: Workload, shape: flops.Shape, speedup: float) -> dict[str, float]:
    """The speed-up as a product: tokens shared x head rows x efficiency.

    By operations: the peer reads every sequence in full and, on CPU, applies the head to every
    position; then the same with the head on trained rows only; then ours. What remains is efficiency.
    """
    every, trained, ours = (needed(workload, shape, how) for how in ("every_row", "trained_rows", "shared"))
    return {
        "tokens_shared": trained / ours,
        "head_rows": every / trained,
        "efficiency": speedup / (every / ours),
        "tflop_every_row": every / 1e12,
        "tflop_trained_rows": trained / 1e12,
        "tflop_shared": ours / 1e12,
    }


def needed(workload: Workload, shape: flops.Shape, how: str) -> float:
    """Operations of the timed steps: ``every_row``, ``trained_rows`` or ``shared``."""
    total = flops.Flops()
    for step in workload.steps:
        position, n_rows = flops.step_layout(step, how)
        total += flops.training(shape, position, n_rows)
        if workload.kind == "dpo":
            total += flops.forward(shape, position, n_rows)
    return total.total
