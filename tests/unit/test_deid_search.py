"""A value is found exactly where its pattern matches, however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iimedgpt.records.deid.dictionary import NUMBERS, compile_value
from iimedgpt.records.deid.search import RecordText
from iimedgpt.records.raw import Category
from iimedgpt.types import Language

VALUES: tuple[tuple[Category, str], ...] = (
    ("phone", "13912345678"),
    ("phone", "010-62345678"),
    ("medical_number", "ZY2024017"),
    ("medical_number", "HO1l20"),
    ("employer", "红小红"),
    ("id_card", "11010119800101123X"),
    ("plate", "京A12345"),
    ("name", "王小红"),
    ("name", "欧阳明"),
    ("name", "小红"),
    ("name", "阿依古丽·买买提"),
    ("name", "张A伟"),
    ("address", "朝阳区建国路88号(东门)"),
    ("address", "(东门)2单元"),
    ("employer", "A-B 科技公司"),
    ("name", "Li Ming"),
    ("email", "li.ming@example.com"),
)
NOISE = "0一O1lI2两3三 -·.\n/()*×xX某○王小红欧阳明AbB京＊"


@st.composite
def cases(draw: st.DrawFn) -> tuple[Category, str, list[str]]:
    category, value = draw(st.sampled_from(VALUES))
    gaps = st.sampled_from(["", "", "", "", " ", "-", "\n", "·", "  ", "   ", "    ", " - "])

    def spelt() -> str:
        chars = []
        for char in value:
            alike = {"0": "0〇零○O", "1": "1一幺Il", "2": "2二两", "8": "8八"}.get(char, char + char.swapcase())
            chars.append(draw(st.sampled_from(alike)) if draw(st.booleans()) else char)
            chars.append(draw(gaps))
        return "".join(chars)

    def masked() -> str:
        return value[:3] + draw(st.text("*×xX0123", max_size=12)) + value[-2:]

    parts = st.one_of(
        st.text(NOISE, max_size=6),
        st.builds(spelt),
        st.builds(masked),
        st.just(value[:-1]),
        st.just(value * 2 + value[:2]),
    )
    return category, value, ["".join(draw(st.lists(parts, max_size=5))) for _ in range(draw(st.integers(1, 3)))]


@pytest.mark.parametrize("language", ["zh", "en"])
@given(cases())
@settings(max_examples=200, deadline=None)
def test_a_value_is_found_where_its_pattern_matches(language: Language, case: tuple[Category, str, list[str]]) -> None:
    category, value, texts = case
    pattern = compile_value(category, value, language)
    expected = [(number, *match.span()) for number, text in enumerate(texts) for match in pattern.finditer(text)]
    assert list(RecordText(texts).find(category, value, language)) == expected


def test_the_values_hold_numbers_names_and_words() -> None:
    assert {category for category, _ in VALUES} & NUMBERS == {"phone", "medical_number", "id_card", "plate"}
