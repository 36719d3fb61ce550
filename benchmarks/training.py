"""The training benchmark: ours and TRL side by side on the same tokens.

    python -m benchmarks.training [--quick] [--workload NAME ...] [--repeats 5] [--data DIR]

Prints a table and writes ``benchmarks/results/training.json`` (``training-quick.json``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import compare, projection, scaling, trials
from benchmarks.flops import Shape
from benchmarks.measure import git_commit, machine, versions
from benchmarks.runner import Runner, RunnerError, measure_once
from benchmarks.settings import ALPHA, LEARNING_RATE, MAX_GRAD_NORM, RANK, model_path
from benchmarks.table import print_result
from benchmarks.workloads import WORKLOADS, UnavailableError, Workload, make
from iimedgpt.engine.chat import Chat
from iimedgpt.engine.models import resolve_compute, resolve_device

RESULTS = Path(__file__).with_name("results")
MODEL = "embedded"
QUICK: dict[str, Any] = {"n_steps": 1, "n_tail": 0, "size": 0.25}  # short records for a quick look


def main() -> None:
    """Run what the command line asks for."""
    options = _parse()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    path = options.out / ("training-quick.json" if options.quick else "training.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    result = _head()
    chat, shape = _model()
    workloads = _workloads(options, chat, result, say)
    settings, primary = _peer(options, workloads, result, say)
    other = "float32" if primary == "bfloat16" else "bfloat16"
    with ExitStack() as stack:
        kept = stack.enter_context(compare.three_runners()) if options.quick else None
        for workload in workloads:
            row = result["workloads"][workload.name]
            row |= _measure(workload, kept, shape, primary, settings, options.repeats, say)
            if not options.quick:
                row["other_precision"] = _measure(workload, None, shape, other, settings, 1, say)
                row |= _memory_at_equal_batch(workload, row, settings, primary, say)
                _compare_losses(row)
            _write(path, result, started)
    result["projection"] = projection.project(workloads)
    if options.scaling:
        result["scaling"] = scaling.run(chat, MODEL, primary, settings["sft"], say)
    if options.llamafactory:
        from benchmarks import llamafactory

        result["llamafactory"] = llamafactory.compare(options.llamafactory, workloads, result, say)
    _write(path, result, started)
    print_result(result)
    print(f"written: {path}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short records, one repeat, one precision; minutes")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only these (repeat the option)")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of every side, by turns (5)")
    parser.add_argument("--steps", type=int, default=1, help="timed optimiser steps: records (1)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="instead of the peer's fastest")
    parser.add_argument("--data", type=Path, default=os.environ.get("IIMEDGPT_DATA"), help="folder with ai_hospital")
    parser.add_argument("--no-scaling", dest="scaling", action="store_false", help="leave the scaling table out")
    parser.add_argument("--scaling", action="store_true", default=True, help=argparse.SUPPRESS)
    parser.add_argument("--llamafactory", type=Path, metavar="PYTHON", help="interpreter that has llamafactory")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.scaling = 1, False
    options.data = None if options.data is None else Path(options.data)
    return options


def _head() -> dict[str, Any]:
    """What stands at the top of the file."""
    return {
        "benchmark": "training",
        "command": "python -m benchmarks.training " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "versions": versions(),
        "machine": machine(),
        "settings": {
            "model": "Gemma 3 270M (embedded)",
            "adapter": f"LoRA r {RANK}, alpha {ALPHA}, all linear layers, dropout 0, the same initial values",
            "optimiser": f"AdamW, constant {LEARNING_RATE}, no warm-up, gradients clipped at {MAX_GRAD_NORM}",
            "clock": "from the end of a warm-up step on another record to the end of the timed steps; in DPO "
            "the reference log-probabilities of the timed pairs are added; loading and tokenising are not",
            "memory": "peak resident memory (VmHWM) from the loaded model to the end of the run",
        },
        "workloads": {},
    }


def _model() -> tuple[Chat, Shape]:
    from transformers import AutoConfig, AutoTokenizer

    path = model_path(MODEL)
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    chat = Chat(tokenizer)
    return chat, Shape.of(AutoConfig.from_pretrained(path).get_text_config(), RANK)


def _workloads(options: argparse.Namespace, chat: Chat, result: dict[str, Any], say: Any) -> list[Workload]:
    found = []
    for name in options.workload or WORKLOADS:
        try:
            sizes = QUICK if options.quick else {"n_steps": options.steps}
            workload = make(name, chat, options.data, **sizes)
        except UnavailableError as reason:
            result["workloads"][name] = {"skipped": str(reason)}
            say(f"{name} skipped: {reason}")
            continue
        result["workloads"][name] = {"what": workload.what, **workload.facts()}
        found.append(workload)
    return found


def _peer(
    options: argparse.Namespace, workloads: list[Workload], result: dict[str, Any], say: Any
) -> tuple[dict[str, dict[str, Any]], str]:
    """The peer's settings for SFT and DPO, and the precision in which it is fastest."""
    fastest = options.precision or str(resolve_compute("auto", resolve_device("cpu"))).removeprefix("torch.")
    settings = {"sft": dict(trials.DEFAULT), "dpo": dict(trials.DEFAULT)}
    if not options.quick:
        result["peer_trials"] = []
        for kind in settings:
            subject = next((w for w in workloads if w.kind == kind), None)
            if subject is None:
                continue
            tried = trials.try_settings(subject, MODEL, say)
            result["peer_trials"] += tried
            settings[kind] = trials.best(tried)
        fastest = options.precision or settings["sft"].get("precision") or settings["dpo"]["precision"]
    result["peer"] = {"name": "trl", "settings": settings, "primary_precision": fastest}
    return settings, fastest


def _measure(
    workload: Workload,
    kept: dict[str, Runner] | None,
    shape: Shape,
    precision: str,
    settings: dict[str, dict[str, Any]],
    repeats: int,
    say: Any,
) -> dict[str, Any]:
    """One workload in one precision, in processes of its own unless some are kept for all.

    A failure is a line of the result, not the end of the run.
    """
    own = dict(settings[workload.kind])
    if precision == "float32":
        own["weights"] = "float32"
    if len(workload.steps[0]) // (2 if workload.kind == "dpo" else 1) % own["batch"]:
        own["batch"] = 1
    with ExitStack() as stack:
        runners = kept or stack.enter_context(compare.three_runners())
        try:
            raw = compare.measure(
                workload,
                runners,
                model=MODEL,
                precision=precision,
                peer_settings=own,
                repeats=repeats,
                layouts=("beside", "alone") if repeats > 1 else ("beside",),
                say=say,
            )
        except RunnerError as error:
            say(f"{workload.name} failed: {error}")
            return {"failed": str(error)}
    return compare.summarise(workload, raw, shape) | {"peer_settings": own}


def _compare_losses(row: dict[str, Any]) -> None:
    """Losses are compared in float32, whatever the primary precision."""
    exact = row if row.get("precision") == "float32" else row["other_precision"]
    if "losses" in exact:
        row |= {key: exact[key] for key in ("first_loss_rel_diff", "loss_curve_max_rel_diff")}
        row["loss_compared_in"] = "float32"


def _memory_at_equal_batch(
    workload: Workload, row: dict[str, Any], settings: dict[str, dict[str, Any]], precision: str, say: Any
) -> dict[str, Any]:
    """Peak memory where the peer, as we do, reads the step's sequences in one forward."""
    n = len(workload.steps[0]) // (2 if workload.kind == "dpo" else 1)
    if "memory_gib" not in row:
        return {}
    try:
        own = settings[workload.kind] | {"batch": n, "precision": precision, "model": MODEL}
        found = measure_once("trl", workload, own)
    except RunnerError as error:
        return {"memory_ratio": None, "peer_at_equal_batch": {"batch": n, "failed": str(error)}}
    say(f"{workload.name}: peer with {n} at once: {found['seconds']:.1f} s, {found['peak_gib']:.1f} GiB")
    return {
        "memory_ratio": row["memory_gib"]["ours"]["peak"] / found["peak_gib"],
        "memory_ratio_equal_batch_above_model": (
            (row["memory_gib"]["ours"]["peak"] - row["memory_gib"]["ours"]["model_loaded"])
            / (found["peak_gib"] - found["loaded_gib"])
        ),
        "peer_at_equal_batch": {"batch": n, "seconds": found["seconds"], "peak_gib": found["peak_gib"]},
    }


def _write(path: Path, result: dict[str, Any], started: float) -> None:
    result["seconds_in_all"] = round(time.monotonic() - started, 1)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
