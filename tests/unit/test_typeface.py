"""A page's own font holds the page's characters and no others."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="needs the extra 'report'")

import matplotlib
from fontTools.ttLib import TTFont

from iimedgpt.report.typeface import font_face, installed_font

DEJAVU = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
GREEK = 0x370


def characters(rule: str) -> set[str]:
    found = re.search(r"base64,([^)]+)\)", rule)
    assert found is not None
    font = TTFont(io.BytesIO(base64.b64decode(found.group(1))))
    return {chr(code) for code in font.getBestCmap()}


def test_the_rule_holds_the_characters_of_the_page_and_no_others() -> None:
    assert characters(font_face(DEJAVU, "loss αβ, β again", GREEK)) == {"α", "β"}


def test_the_same_page_gives_the_same_bytes() -> None:
    assert font_face(DEJAVU, "αβγ", GREEK) == font_face(DEJAVU, "γβα", GREEK)


def test_without_such_characters_or_without_a_font_there_is_no_rule() -> None:
    assert font_face(DEJAVU, "loss", GREEK) == ""
    assert font_face(None, "胸闷三天") == ""


@pytest.mark.skipif(installed_font() is None, reason="needs the extra 'fonts' (a Chinese font)")
def test_the_chinese_font_has_the_words_of_a_record() -> None:
    assert characters(font_face(installed_font(), "胸闷 loss 三天")) == set("胸闷三天")
