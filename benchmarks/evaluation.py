"""The evaluation measured: coverage of intervals, judges against GPT-4, text metrics.

    python -m benchmarks.evaluation [--quick] [--data DIR] [--only PART ...] [--out FILE]

Each part is written as soon as it is measured; parts that are not measured again stay in the file as they were.
A part that fails is named with its error, the others go on, and the command ends with status 1.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from iimedgpt import __version__, io
from iimedgpt.manifest import git_commit

RESULTS = Path(__file__).parent / "results"
PARTS = {"coverage": False, "metrics": False, "judges": True}  # name → whether it reads --data


def measure(part: str, data: Path | None, quick: bool) -> dict[str, Any]:
    """One part, its module imported only now.

    Raises:
        ValueError: the part reads public sets and no folder was named.
    """
    if PARTS[part] and data is None:
        raise ValueError("needs --data DIR")
    run: Callable[..., dict[str, Any]] = import_module(f"benchmarks.evaluation_{part}").measure
    return run(data, quick) if PARTS[part] else run(quick)


def collect(parts: list[str], data: Path | None, quick: bool, out: Path) -> list[str]:
    """Measure the parts and write them one by one; names of those that failed."""
    result: dict[str, Any] = io.read_json(out) if out.exists() else {"parts": {}}
    failed = []
    for part in parts:
        start = time.perf_counter()
        try:
            found = measure(part, data, quick)
        except Exception as error:
            print(f"{part}: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(part)
            continue
        seconds = round(time.perf_counter() - start, 1)
        made_by = {"version": __version__, "commit": git_commit(), "quick": quick, "machine": platform.machine()}
        result["parts"][part] = {"result": found, "seconds": seconds, **made_by}
        io.write_json(out, result)
        print(f"{part}: {seconds} s -> {out.name}")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller, for a first look")
    parser.add_argument("--data", type=Path, default=None, help="folder with the public sets (judges)")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts alone")
    parser.add_argument("--out", type=Path, default=None, help="result file")
    options = parser.parse_args()
    out = options.out or RESULTS / ("evaluation-quick.json" if options.quick else "evaluation.json")
    sys.exit(1 if collect(options.only, options.data, options.quick, out) else 0)


if __name__ == "__main__":
    main()
