"""What the figures share: colours, fonts, and text measured without any font. No matplotlib here.

Colours are Okabe and Ito's, told apart with any colour vision, and never the only mark.
"""

from __future__ import annotations

from collections.abc import Sequence

HAN_FAMILY = "iimedgpt Han"  # the page's own glyphs, after the reader's fonts
FONTS = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, "
    "'Noto Sans CJK SC', 'Noto Sans SC', 'Microsoft YaHei', 'PingFang SC', 'iimedgpt Han', sans-serif"
)
INK, QUIET, RULE = "#1f2328", "#57606a", "#d0d7de"
BLUE, VERMILLION, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#6e7781"
SERIES = (BLUE, "#e69f00", GREEN, "#cc79a7", "#56b4e9", VERMILLION, GREY, "#f0e442")
SPLIT_COLOURS = ("#8c959f", "#cc79a7", GREEN)
MODEL_STYLE = {"base": (GREY, "o"), "sft": (BLUE, "s"), "sft+dpo": (VERMILLION, "D")}
VERDICT_STYLE = {"win": BLUE, "tie": "#c9d1d9", "loss": "#e69f00", "invalid": "#ffffff"}
WIDTH = 590.0  # points


def text_width(text: str, size: float = 8.5) -> float:
    """Estimated width in points: a wide character is an em, any other a bit more than half."""
    return size * sum(1.0 if ord(char) > 0x2E7F else 0.56 for char in text)


def shorten(text: str, width: float, size: float = 8.5) -> str:
    """The text, its end cut where it is wider than so many points."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def legend_places(names: Sequence[str], left: float, right: float) -> list[tuple[float, int]]:
    """(x, row) of each legend entry, wrapped at the right edge."""
    places, x, row = [], left, 0
    for name in names:
        width = 13 + text_width(name, 8) + 14
        if x > left and x + width > right:
            x, row = left, row + 1
        places.append((x, row))
        x += width
    return places
