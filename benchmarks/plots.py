"""Pictures of the results: ``python -m benchmarks.plots`` makes docs/scaling.svg from results/training.json."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
SIDES = (("ours", "shared", "#1b7837"), ("unshared", "the same engine, unshared", "#5e81ac"), ("trl", "TRL", "#b2182b"))
AXES = (
    ("tasks", "tasks a record (512 tokens)"),
    ("record_tokens", "record length, tokens (6 tasks)"),
    ("vocabulary", "vocabulary (6 tasks, 256 tokens)"),
)


def main() -> None:
    """Read the results and write the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "training.json")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "scaling.svg")
    options = parser.parse_args()
    result = json.loads(options.results.read_text(encoding="utf-8"))
    draw(result["scaling"], options.out)
    print(f"written: {options.out}")


def draw(scaling: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Seconds a step above, peak memory below, one column for each thing that grows."""
    plt.rcParams |= {"svg.hashsalt": "iimedgpt", "font.size": 9, "svg.fonttype": "none"}
    figure, rows = plt.subplots(2, len(AXES), figsize=(10, 5.4), layout="constrained")
    for column, (axis, label) in enumerate(AXES):
        for row, (key, unit) in enumerate((("seconds", "seconds a step"), ("peak_gib", "peak memory, GiB"))):
            _panel(rows[row][column], scaling[axis], axis, key)
            rows[row][column].set_ylabel(unit if column == 0 else "")
        rows[1][column].set_xlabel(label)
    figure.legend(*rows[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(SIDES), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _panel(panel: Axes, points: list[dict[str, Any]], axis: str, key: str) -> None:
    for side, label, colour in SIDES:
        shown = [(point[axis], point[side][key]) for point in points if point.get(side) and key in point[side]]
        if shown:
            panel.plot(*zip(*shown, strict=True), marker="o", label=label, color=colour)
    panel.set_xscale("log", base=2)
    panel.set_xticks([point[axis] for point in points], [f"{point[axis]:,}" for point in points])
    panel.minorticks_off()
    panel.set_ylim(bottom=0)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
