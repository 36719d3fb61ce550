"""Where in a text a family of patterns can match at all: most of a clinical note holds no number and no place."""

from __future__ import annotations

import re


def find_windows(text: str, seed: re.Pattern[str], before: int, after: int) -> list[tuple[int, int]]:
    """Stretches around everything that ``seed`` finds, overlapping ones joined."""
    windows: list[tuple[int, int]] = []
    for match in seed.finditer(text):
        start, end = max(0, match.start() - before), min(len(text), match.end() + after)
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], max(end, windows[-1][1]))
        else:
            windows.append((start, end))
    return windows
