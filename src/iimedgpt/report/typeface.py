"""Chinese glyphs for a reader without a Chinese font: the characters of one page as a font inside the page.

The font is Noto Sans SC (SIL Open Font License 1.1) of the PyPI package ``pylopdf-fonts-zh-cn`` (the extra
``fonts``). Without the package the page relies on the reader's own fonts.
"""

from __future__ import annotations

import base64
import io
from importlib.util import find_spec
from pathlib import Path

from iimedgpt.report.drawing import HAN_FAMILY

PACKAGE, FILE = "pylopdf_fonts_zh_cn", "NotoSansSC-Regular.otf"
FIRST_WIDE = 0x2E80  # where East Asian scripts begin; what lies below every system has


def installed_font() -> Path | None:
    """The font's file, None where the package is not installed."""
    found = find_spec(PACKAGE)
    path = Path(found.origin).parent / FILE if found is not None and found.origin else None
    return path if path is not None and path.exists() else None


def font_face(path: Path | None, text: str, first: int = FIRST_WIDE) -> str:
    """A ``@font-face`` rule that holds the text's characters from ``first`` on; empty where there are none.

    The same font and text give the same bytes.

    Args:
        path: a TrueType or OpenType font; None gives an empty rule.
        text: the page.
        first: the lowest code point that is embedded.
    """
    wanted = sorted({ord(char) for char in text if ord(char) >= first})
    if path is None or not wanted:
        return ""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    font = TTFont(path, recalcTimestamp=False)
    options = Options(layout_features=[], hinting=False, notdef_outline=True)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=wanted)
    subsetter.subset(font)
    font.flavor = "woff"
    out = io.BytesIO()
    font.save(out)
    data = base64.b64encode(out.getvalue()).decode("ascii")
    return f'@font-face {{ font-family: "{HAN_FAMILY}"; src: url(data:font/woff;base64,{data}) format("woff"); }}'
