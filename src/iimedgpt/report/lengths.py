"""The data card's figure as plain SVG: how long prompts and answers are. No matplotlib, so that every export has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from iimedgpt.report.drawing import BLUE, FONTS, GREEN, INK, QUIET, RULE, WIDTH

EDGES = (0, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192)  # characters; the last bin is open
LEFT, GAP, TOP, TALL, BOTTOM = 12.0, 28.0, 34.0, 120.0, 22.0
COLOURS = (BLUE, GREEN)


@dataclass(frozen=True)
class Panel:
    """One histogram: its title and the lengths in characters."""

    title: str
    n_chars: Sequence[int]


def histogram(n_chars: Sequence[int]) -> list[int]:
    """How many lengths lie in each bin [edge, next edge); the last one is open."""
    counts = [0] * len(EDGES)
    for n in n_chars:
        counts[sum(n >= edge for edge in EDGES) - 1] += 1
    return counts


def lengths(title: str, panels: Sequence[Panel], unit: str) -> str:
    """Panels side by side, a bar a bin with its count over it; the same in words for who does not see it."""
    height = TOP + TALL + BOTTOM
    wide = (WIDTH - 2 * LEFT - GAP * (len(panels) - 1)) / max(len(panels), 1)
    parts = [f'<title id="t">{escape(title)}</title>', f'<desc id="d">{escape(_in_words(panels, unit))}</desc>']
    for place, panel in enumerate(panels):
        parts += _bars(panel, LEFT + place * (wide + GAP), wide, COLOURS[place % len(COLOURS)], unit)
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}pt" height="{height:g}pt" '
        f'viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-labelledby="t d" style="font-family: {FONTS}">'
    )
    return "\n".join([root, *parts, "</svg>"]) + "\n"


def _in_words(panels: Sequence[Panel], unit: str) -> str:
    said = []
    for panel in panels:
        bins = [f"{name} {unit}: {n:,}" for name, n in zip(_names(), histogram(panel.n_chars), strict=True) if n]
        said.append(f"{panel.title}: {'; '.join(bins)}.")
    return " ".join(said)


def _names() -> list[str]:
    bounded = [f"{low:,}–{high - 1:,}" for low, high in pairwise(EDGES)]
    return [*bounded, f"{EDGES[-1]:,}+"]


def _bars(panel: Panel, left: float, wide: float, colour: str, unit: str) -> list[str]:
    counts = histogram(panel.n_chars)
    used = [place for place, n in enumerate(counts) if n] or [0]
    shown = range(used[0], used[-1] + 1)
    pitch, base = wide / len(shown), TOP + TALL
    parts = [_text(left, 14, f"{panel.title} ({unit})", INK, "start", 9.5)]
    for x, place in enumerate(shown):
        tall = (TALL - 14) * counts[place] / max(counts) if counts[place] else 0.0
        box = f'x="{left + pitch * x + 1:.1f}" y="{base - tall:.1f}" width="{pitch - 2:.1f}" height="{tall:.1f}"'
        parts.append(f'<rect {box} fill="{colour}"/>')
        if counts[place]:
            parts.append(_text(left + pitch * (x + 0.5), base - tall - 3, _short(counts[place]), INK))
        parts.append(_text(left + pitch * x, base + 11, _short(EDGES[place]), QUIET))
    parts.append(f'<path d="M{left:.1f} {base:.1f}h{wide:.1f}" stroke="{RULE}" fill="none"/>')
    return parts


def _short(n: int) -> str:
    return f"{n / 1_000:.0f}k" if n >= 10_000 else f"{n:,}"


def _text(x: float, y: float, text: str, colour: str, anchor: str = "middle", size: float = 7.5) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"
