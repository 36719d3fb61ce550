"""Figure 1 as plain SVG: the record's trunk, a branch per task, and the steps that follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from iimedgpt.report.drawing import (
    BLUE,
    FONTS,
    GREEN,
    GREY,
    INK,
    QUIET,
    VERMILLION,
    WIDTH,
    shorten,
)

HEIGHT = 268
LEFT, TRUNK_Y, TASK_Y, JOIN_Y, STEP_Y = 12.0, 66.0, 106.0, 164.0, 198.0
TASK_TALL, STEP_TALL, STEP_GAP = 40.0, 58.0, 20.0
STEP_COLOURS = (GREY, BLUE, GREY, VERMILLION, GREEN)


@dataclass(frozen=True)
class Branch:
    """One task: its name, what is known at its branch point, its instructions as text."""

    name: str
    sees: str
    n: str


@dataclass(frozen=True)
class Step:
    """One step after the tasks: its name and at most two short lines."""

    name: str
    lines: tuple[str, ...]


def pipeline(title: str, branches: Sequence[Branch], steps: Sequence[Step], end: str) -> str:
    """SVG of the whole chain.

    Args:
        title: what stands over the trunk.
        branches: the tasks in the order of their branch points; neighbours that see the same share one.
        steps: mixture, SFT, preferences, DPO, evaluation.
        end: what lies after the last branch point and is never shown.
    """
    right = WIDTH - 74
    pitch = (right - LEFT) / max(len(branches), 1)
    parts = [_text(LEFT, 16, title, size=9.5, is_bold=True, anchor="start")]
    parts += [_line([(LEFT, TRUNK_Y), (right - 4, TRUNK_Y)], BLUE, 3)]
    parts += [_line([(right + 4, TRUNK_Y), (WIDTH - 12, TRUNK_Y)], GREY, 1.8, dash="3 3")]
    parts += _lines((right + WIDTH) / 2 - 4, TRUNK_Y - 12, end, QUIET)
    parts += _trunk(branches, pitch)
    for i, branch in enumerate(branches):
        x = LEFT + pitch * (i + 0.5)
        parts += [_line([(x, TASK_Y + TASK_TALL), (x, JOIN_Y)], GREY, 1)]
        parts += _box((x, TASK_Y, pitch - 8, TASK_TALL), shorten(branch.name, pitch - 14), (branch.n,), BLUE)
    if branches:
        ends = LEFT + pitch / 2, LEFT + pitch * (len(branches) - 0.5)
        parts += [_line([(ends[0], JOIN_Y), (ends[1], JOIN_Y)], GREY, 1)]
    parts += _steps(steps, LEFT + min(pitch / 2, 48))
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}pt" height="{HEIGHT}pt" '
        f'viewBox="0 0 {WIDTH:g} {HEIGHT}" style="font-family: {FONTS}">'
    )
    return "\n".join([root, *parts, "</svg>"]) + "\n"


def _trunk(branches: Sequence[Branch], pitch: float) -> list[str]:
    parts = []
    for start, stop in _branch_points(branches):
        centres = [LEFT + pitch * (i + 0.5) for i in range(start, stop)]
        node = sum(centres) / len(centres)
        for x in centres:
            parts.append(_line([(node, TRUNK_Y), (node, TRUNK_Y + 20), (x, TRUNK_Y + 20), (x, TASK_Y)], BLUE, 1.2))
        parts.append(f'<circle cx="{node:.1f}" cy="{TRUNK_Y}" r="4.5" fill="#fff" stroke="{BLUE}" stroke-width="2"/>')
        parts += _lines(node, TRUNK_Y - 12, branches[start].sees, INK)
    return parts


def _branch_points(branches: Sequence[Branch]) -> Iterator[tuple[int, int]]:
    start = 0
    for i, branch in enumerate(branches):
        if i + 1 == len(branches) or branches[i + 1].sees != branch.sees:
            yield start, i + 1
            start = i + 1


def _steps(steps: Sequence[Step], entry: float) -> list[str]:
    """Boxes in a row with arrows between them; the first is entered from above at ``entry``."""
    width = (WIDTH - 2 * LEFT - STEP_GAP * (len(steps) - 1)) / max(len(steps), 1)
    parts = []
    for i, step in enumerate(steps):
        x = LEFT + width / 2 + i * (width + STEP_GAP)
        tip = (entry, STEP_Y) if i == 0 else (x - width / 2, STEP_Y + STEP_TALL / 2)
        tail = (entry, JOIN_Y) if i == 0 else (tip[0] - STEP_GAP, tip[1])
        parts.append(_line([tail, tip], GREY, 1.2))
        dx, dy = (3.2, -6) if i == 0 else (-6, 3.2)
        wing = (tip[0] - 3.2, tip[1] + dy) if i == 0 else (tip[0] + dx, tip[1] - 3.2)
        points = f"{tip[0]:.1f},{tip[1]:.1f} {tip[0] + dx:.1f},{tip[1] + dy:.1f} {wing[0]:.1f},{wing[1]:.1f}"
        parts.append(f'<polygon points="{points}" fill="{GREY}"/>')
        colour = STEP_COLOURS[i % len(STEP_COLOURS)]
        parts += _box((x, STEP_Y, width, STEP_TALL), step.name, step.lines, colour)
    return parts


def _box(place: tuple[float, float, float, float], name: str, lines: Sequence[str], colour: str) -> list[str]:
    """A rounded box at (centre x, top y, width, height) with its words in the middle."""
    x, y, width, height = place
    shape = f'<rect x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4"'
    first = y + height / 2 - 6.2 * len(lines) + 3
    return [
        f'{shape} fill="#fff" stroke="{colour}" stroke-width="1.3"/>',
        _text(x, first, name, is_bold=True),
        *(
            _text(x, first + 12.4 * i, shorten(line, width - 6, 8), size=8, colour=QUIET)
            for i, line in enumerate(lines, start=1)
        ),
    ]


def _lines(x: float, bottom: float, text: str, colour: str) -> list[str]:
    """Lines of centred small text, the last one standing on ``bottom``."""
    lines = text.split("\n")
    return [_text(x, bottom - 10 * (len(lines) - 1 - i), line, size=8, colour=colour) for i, line in enumerate(lines)]


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: float = 8.5,
    colour: str = INK,
    is_bold: bool = False,
    anchor: str = "middle",
) -> str:
    weight = ' font-weight="600"' if is_bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}'
    return f"<text {place}>{escape(text)}</text>"


def _line(points: Sequence[tuple[float, float]], colour: str, width: float, dash: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    style = 'fill="none" stroke-linecap="round" stroke-linejoin="round"'
    return f'<polyline points="{path}" stroke="{colour}" stroke-width="{width}" {style}{dashed}/>'
