"""The report's figures as SVG text: same data, same bytes, on every machine.

Text stays text (``svg.fonttype = none``) and is placed by our own arithmetic in the bundled
DejaVu, never by the machine's fonts; the reader's browser then picks a font that holds Chinese.
Colours are Okabe and Ito's, told apart with any colour vision, and never the only mark.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from iimedgpt.report.drawing import (
    BLUE,
    FONTS,
    INK,
    MODEL_STYLE,
    QUIET,
    RULE,
    SERIES,
    SPLIT_COLOURS,
    VERDICT_STYLE,
    VERMILLION,
    WIDTH,
    legend_places,
    shorten,
    text_width,
)
from iimedgpt.report.facts import Cell

_UNUSED_ID = re.compile(r'<g id="[^"]*">')
_FAMILY = re.compile(r"; font-family: [^;\"]*|font-family: [^;\"]*; ?")
_STYLE = re.compile(r"\s*<defs>\s*<style type=\"text/css\">.*?</style>\s*</defs>", re.DOTALL)


@dataclass(frozen=True)
class Panel:
    """One measure by row: model → cell for each row, and what has to be beaten."""

    title: str
    rows: Sequence[Mapping[str, Cell]]
    controls: Sequence[float | None]
    chance: float | None = None


@contextmanager
def _style(salt: str) -> Iterator[None]:
    options = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "font.size": 8.5,
        "text.color": INK,
        "axes.edgecolor": RULE,
        "axes.linewidth": 0.8,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
    }
    with warnings.catch_warnings(), matplotlib.rc_context(options):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser's fonts have it
        yield


def _svg(figure: Any) -> str:
    out = io.StringIO()
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(out, format="svg", metadata=empty)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = _UNUSED_ID.sub("<g>", _STYLE.sub("", _FAMILY.sub("", svg)))
    root = f'<svg style="font-family: {FONTS}; stroke-linejoin: round" '
    return re.sub(r"\s*\n\s*", "\n", svg.replace("<svg ", root, 1)).strip() + "\n"


def _canvas(height: float) -> Any:
    """A figure of the full width, with coordinates in points for what is drawn outside axes."""
    return Figure(figsize=(WIDTH / 72, height / 72), dpi=72)


def _plane(figure: Any, height: float) -> Any:
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    axes.axis("off")
    return axes


def _axes(figure: Any, height: float, left: float, bottom: float, width: float, tall: float) -> Any:
    axes = figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, tall / height))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes


def _legend(plane: Any, names: Sequence[str], colours: Sequence[str], box: tuple[float, float, float]) -> None:
    """Swatches with names from (left, right, top) downwards."""
    left, right, top = box
    for name, colour, (x, row) in zip(names, colours, legend_places(names, left, right), strict=True):
        y = top - 13 * row
        hatch = "////" if colour == "#ffffff" else None
        plane.add_patch(
            Rectangle((x, y - 4), 9, 8, facecolor=colour, edgecolor=QUIET if hatch else colour, lw=0.6, hatch=hatch)
        )
        plane.text(x + 13, y, name, fontsize=8, color=QUIET, va="center_baseline")


def distribution(tasks: Sequence[str], panels: Sequence[tuple[Sequence[str], Sequence[Sequence[int]]]]) -> str | None:
    """Conversations per task as stacked bars, one panel a grouping. None where there are none.

    Args:
        tasks: row labels.
        panels: (names of the parts, counts ``[task][part]``), side by side.
    """
    if not any(n for _, counts in panels for row in counts for n in row):
        return None
    label = min(max(text_width(task) for task in tasks) + 10, 120)
    width = (WIDTH - label - 12 - 44 * len(panels)) / len(panels)
    lefts = [label + i * (width + 44) for i in range(len(panels))]
    rows = [
        1 + max(row for _, row in legend_places(parts, left, left + width + 30))
        for (parts, _), left in zip(panels, lefts, strict=True)
    ]
    tall, head = 22.0 * len(tasks), 10 + 13.0 * max(rows)
    height = tall + head + 10
    with _style("distribution"):
        figure = _canvas(height)
        plane = _plane(figure, height)
        for i, (parts, counts) in enumerate(panels):
            palette = SERIES if i == 0 else SPLIT_COLOURS
            colours = [palette[j % len(palette)] for j in range(len(parts))]
            axes = _axes(figure, height, lefts[i], 6, width, tall)
            _stack(axes, counts, colours)
            axes.set_yticks(range(len(tasks)), [shorten(t, label) for t in tasks] if i == 0 else [""] * len(tasks))
            axes.tick_params(axis="y", labelsize=8.5, labelcolor=INK)
            _legend(plane, parts, colours, (lefts[i], lefts[i] + width + 30, height - 8))
        return _svg(figure)


def _stack(axes: Any, counts: Sequence[Sequence[int]], colours: Sequence[str]) -> None:
    """Horizontal stacked bars with their totals at the end, first row on top."""
    largest = max(sum(row) for row in counts)
    for y, row in enumerate(counts):
        start = 0
        for n, colour in zip(row, colours, strict=True):
            axes.barh(y, n, left=start, height=0.62, color=colour, edgecolor="white", lw=0.6)
            start += n
        axes.text(start + largest * 0.02, y, f"{start:,}", va="center_baseline", fontsize=8, color=QUIET)
    axes.set_xlim(0, largest)
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def curves(
    panels: Sequence[tuple[str, Sequence[tuple[str, Sequence[tuple[float, float]]]]]], x_label: str
) -> str | None:
    """Values over steps, two panels a row; a second series is drawn as points. None without values.

    Args:
        panels: (title, [(series name, [(step, value)])]).
        x_label: what the steps are called.
    """
    shown = [(title, [one for one in series if one[1]]) for title, series in panels]
    shown = [(title, series) for title, series in shown if series]
    if not shown:
        return None
    n_rows = (len(shown) + 1) // 2
    height, width = 150.0 * n_rows, (WIDTH - 100) / 2
    with _style("curves"):
        figure = _canvas(height)
        plane = _plane(figure, height)
        for i, (title, series) in enumerate(shown):
            left, bottom = 40 + (i % 2) * (width + 48), height - 150 * (i // 2) - 122
            axes = _axes(figure, height, left, bottom, width, 96)
            axes.grid(axis="y", color=RULE, lw=0.6)
            axes.set_axisbelow(True)
            axes.locator_params(axis="y", nbins=4)
            axes.locator_params(axis="x", nbins=6, integer=True)
            colour = BLUE if i == 0 else VERMILLION
            for j, (_, points) in enumerate(series):
                xs, ys = zip(*points, strict=True)
                if j == 0:
                    axes.plot(xs, ys, color=colour, lw=1.6, marker="o" if len(xs) < 2 else None, ms=4)
                else:
                    axes.plot(xs, ys, "D", color="white", mec=INK, mew=1.2, ms=5, clip_on=False)
            plane.text(left, bottom + 109, title, fontsize=8.5, fontweight="bold", va="center")
            if len(series) > 1:
                end = left + width - text_width(series[1][0], 8)
                plane.plot([end - 8], [bottom + 109], "D", color="white", mec=INK, mew=1.2, ms=5)
                plane.text(left + width, bottom + 109, series[1][0], fontsize=8, color=QUIET, va="center", ha="right")
            plane.text(left + width, bottom - 20, x_label, fontsize=8, color=QUIET, va="center", ha="right")
        return _svg(figure)


def verdicts(rows: Sequence[tuple[str, str, Mapping[str, int]]], names: Mapping[str, str]) -> str | None:
    """Win / tie / loss / invalid as shares of all comparisons, counts written in. None without rows.

    Args:
        rows: (models, judge and criterion, verdict → count).
        names: verdict → word, in the order of drawing.
    """
    rows = [row for row in rows if sum(row[2].values())]
    if not rows:
        return None
    label, tall = 168.0, 34.0 * len(rows)
    height = tall + 34
    with _style("verdicts"):
        figure = _canvas(height)
        plane = _plane(figure, height)
        axes = _axes(figure, height, label, 6, WIDTH - label - 52, tall)
        for y, (models, detail, counts) in enumerate(rows):
            total, start = sum(counts.values()), 0.0
            for verdict in names:
                share = counts.get(verdict, 0) / total
                _segment(axes, y, (start, share), verdict, counts.get(verdict, 0))
                start += share
            middle = 6 + tall - 34 * (y + 0.5)
            plane.text(label - 8, middle + 6, shorten(models, 156), fontweight="bold", ha="right", va="center")
            plane.text(
                label - 8,
                middle - 6,
                shorten(detail, 156, 7.5),
                fontsize=7.5,
                color=QUIET,
                ha="right",
                va="center",
            )
            plane.text(WIDTH - 46, middle, f"n = {total}", fontsize=8, color=QUIET, va="center")
        axes.set_xlim(0, 1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines["bottom"].set_visible(False)
        colours = [VERDICT_STYLE[verdict] for verdict in names]
        _legend(plane, list(names.values()), colours, (label, WIDTH, height - 12))
        return _svg(figure)


def _segment(axes: Any, y: int, place: tuple[float, float], verdict: str, n: int) -> None:
    start, share = place
    if not n:
        return
    hatch = "////" if verdict == "invalid" else None
    colour = VERDICT_STYLE[verdict]
    axes.barh(
        y,
        share,
        left=start,
        height=0.6,
        color=colour,
        edgecolor=QUIET if hatch else "white",
        lw=0.8,
        hatch=hatch,
    )
    if share >= 0.05:
        ink = "white" if verdict == "win" else INK
        back = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if hatch else None
        middle = start + share / 2
        axes.text(middle, y, str(n), ha="center", va="center_baseline", fontsize=8, color=ink, bbox=back)


def ablation(
    labels: Sequence[str], panels: Sequence[Panel], names: Mapping[str, str], marks: tuple[str, str]
) -> str | None:
    """Models by row with intervals, the best control and chance marked. None without values.

    Args:
        labels: row labels (tasks), as many as each panel has rows.
        panels: measures, side by side.
        names: model → name, in the order of drawing.
        marks: the words for the best control and for chance.
    """
    if not any(cell.value is not None for panel in panels for row in panel.rows for cell in row.values()):
        return None
    label = min(max(text_width(text) for text in labels) + 12, 120)
    width = (WIDTH - label - 14 - 28 * (len(panels) - 1)) / len(panels)
    tall = 34.0 * len(labels)
    height = tall + 66
    with _style("ablation"):
        figure = _canvas(height)
        plane = _plane(figure, height)
        for i, panel in enumerate(panels):
            axes = _axes(figure, height, label + i * (width + 28), 22, width, tall)
            _dots(axes, panel, list(names))
            axes.set_yticks(range(len(labels)), [shorten(t, label) for t in labels] if i == 0 else [""] * len(labels))
            axes.tick_params(axis="y", labelsize=8.5, labelcolor=INK)
            plane.text(label + i * (width + 28), 22 + tall + 10, panel.title, fontweight="bold", va="center")
        _model_legend(plane, names, marks, (label, height - 10))
        return _svg(figure)


def _dots(axes: Any, panel: Panel, models: Sequence[str]) -> None:
    for y, (row, control) in enumerate(zip(panel.rows, panel.controls, strict=True)):
        axes.axhspan(y - 0.5, y + 0.5, color="#f6f8fa" if y % 2 == 0 else "#ffffff", lw=0, zorder=0)
        for i, model in enumerate(models):
            cell, (colour, marker) = row.get(model, Cell()), MODEL_STYLE[model]
            place = y + 0.26 * (i - (len(models) - 1) / 2)
            if cell.value is None:
                continue
            if cell.low is not None and cell.high is not None:
                axes.plot([cell.low, cell.high], [place, place], color=colour, lw=1.4, solid_capstyle="butt")
            axes.plot([cell.value], [place], marker, color=colour, ms=5, mec="white", mew=0.6, zorder=3)
        if control is not None:
            axes.plot([control, control], [y - 0.42, y + 0.42], color=INK, lw=1.6, zorder=2)
    if panel.chance is not None:
        axes.axvline(panel.chance, color=QUIET, lw=1, ls=(0, (3, 3)), zorder=1)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.grid(axis="x", color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=0.06)


def _model_legend(plane: Any, names: Mapping[str, str], marks: tuple[str, str], place: tuple[float, float]) -> None:
    x, y = place
    for model, name in names.items():
        colour, marker = MODEL_STYLE[model]
        plane.plot([x, x + 14], [y, y], color=colour, lw=1.4)
        plane.plot([x + 7], [y], marker, color=colour, ms=5, mec="white", mew=0.6)
        plane.text(x + 19, y, name, fontsize=8, color=QUIET, va="center_baseline")
        x += 19 + text_width(name, 8) + 16
    for name, line in zip(marks, ("-", (0, (2, 1.4))), strict=True):
        plane.plot([x + 4, x + 4], [y - 5, y + 5], color=INK if line == "-" else QUIET, lw=1.5, ls=line)
        plane.text(x + 11, y, name, fontsize=8, color=QUIET, va="center_baseline")
        x += 11 + text_width(name, 8) + 16
