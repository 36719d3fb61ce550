"""What the same workloads would take with an 8B model on one H100: arithmetic, nothing was run.

Assumed: both sides reach the same share of the card's dense bfloat16 rate. On CUDA the peer's fused
head scores trained rows only, so nothing is claimed for head rows, nor for kernels: what is left is
the tokens that are read once instead of several times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.compare import needed
from benchmarks.flops import Shape
from benchmarks.workloads import Workload

LABEL = "projection from a FLOPs model, nothing was run on a GPU"
PEAK_TFLOPS = 989.0  # H100 SXM, dense bfloat16, from its data sheet
ASSUMED_UTILISATION = 0.4
LLAMA_8B = Shape(
    n_layers=32,
    linears=((4096, 4096), (4096, 1024), (4096, 1024), (4096, 4096), (4096, 14336), (4096, 14336), (14336, 4096)),
    n_heads=32,
    head_dim=128,
    windows=(None,) * 32,
    hidden=4096,
    vocabulary=128_256,
    rank=16,
)


def project(workloads: Iterable[Workload]) -> dict[str, Any]:
    """Speed-up and minutes a thousand optimiser steps of each workload, at equal utilisation."""
    rate = PEAK_TFLOPS * 1e12 * ASSUMED_UTILISATION
    rows = {}
    for workload in workloads:
        peer, ours = (needed(workload, LLAMA_8B, how) / len(workload.steps) for how in ("trained_rows", "shared"))
        rows[workload.name] = {
            "speedup": peer / ours,
            "peer_minutes_per_1000_steps": 1_000 * peer / rate / 60,
            "ours_minutes_per_1000_steps": 1_000 * ours / rate / 60,
        }
    return {
        "label": LABEL,
        "model": "Llama-3-8B shape, LoRA r 16 on all linear layers",
        "device": "one H100 SXM, bfloat16",
        "peak_tflops": PEAK_TFLOPS,
        "assumed_utilisation_both_sides": ASSUMED_UTILISATION,
        "peer_head_rows": "trained rows only",
        "workloads": rows,
    }
