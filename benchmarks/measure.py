"""Clocks, memory, arithmetic rate, and the facts of the machine."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "numpy")


class StepClock:
    """When each optimiser step ended, whoever's loop runs: a hook on every torch optimiser.

    The first step of a run warms up. An epoch of n steps lasts from its end to the end of the n-th
    step after it, with everything in between (data, forward, backward, clipping, bookkeeping).
    ``after_first`` runs between the two, off the clock.
    """

    def __init__(self, after_first: Callable[[], object]) -> None:
        self._ends: list[float] = []
        self._after_first = after_first
        self._handle = register_optimizer_step_post_hook(self._tick)

    def _tick(self, *_: Any) -> None:
        if not self._ends:
            self._after_first()
        self._ends.append(time.perf_counter())

    def stop(self) -> None:
        """Take the hook away."""
        self._handle.remove()

    def seconds(self, n_steps: int) -> float:
        """How long the first ``n_steps`` steps took, the warm-up apart."""
        return self._ends[n_steps] - self._ends[0]


def peak_gib() -> float:
    """Peak resident memory since ``reset_peak``, in GiB.

    Linux tells it as VmHWM. ``ru_maxrss`` is the same and the way elsewhere, but on Linux it starts
    from what the process that started this one held.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20


def resident_gib() -> float:
    """Resident memory now, in GiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30


def reset_peak() -> bool:
    """Start the peak anew, so that loading the model does not count; False where the kernel refuses."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return peak_gib() < resident_gib() + 0.1


def give_back_memory() -> None:
    """Return what is no longer used, so that one measurement's memory is not the next one's."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        return


def best_of(work: Callable[[], object], n: int = 3) -> float:
    """Seconds of the fastest of ``n`` runs."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def base_linears(model: nn.Module) -> list[nn.Linear]:
    """The decoder's own linear layers: no head, no adapter."""
    named = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return [module for name, module in named if "lora_" not in name and "lm_head" not in name]


@torch.no_grad()
def matmul_rates(shapes: Iterable[tuple[int, int]], n_rows: int, dtype: torch.dtype) -> dict[str, float]:
    """GFLOP/s of the model's own products at a pack's row count, forward (x·Wᵀ) and backward (dy·W).

    Best of five runs each, after one to warm up, matrices in cache: what this processor can do.
    """
    rates: dict[str, float] = {}
    for n_in, n_out in dict.fromkeys(shapes):
        weight, x = torch.randn(n_out, n_in).to(dtype), torch.randn(n_rows, n_in).to(dtype)
        dy = torch.randn(n_rows, n_out).to(dtype)
        n_flops = 2.0 * n_rows * n_in * n_out
        for name, work in (("forward", lambda: nn.functional.linear(x, weight)), ("backward", lambda: dy @ weight)):  # noqa: B023
            best_of(work, 1)
            rates[f"{n_in}x{n_out} {name}"] = n_flops / best_of(work, 5) / 1e9
    return rates


def cpu_name() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def machine() -> dict[str, Any]:
    """Processor, cores, threads, memory, and how busy it was before."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return {
        "cpu": cpu_name(),
        "n_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "avx512_bf16": "avx512_bf16" in flags,
        "amx_bf16": "amx_bf16" in flags,
        "system": f"{platform.system()} {platform.release()}",
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str | None:
    """The commit, with a + where files differ from it."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")
