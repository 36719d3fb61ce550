"""The second look: what must never be left in a record, however it is spelt, and what is no identifier."""

from __future__ import annotations

from collections import Counter

import pytest

from iimedgpt.records.raw import Category
from iimedgpt.records.residue import find_residues
from iimedgpt.types import Event, EventKind


def look(text: str, **identifiers: str) -> Counter[Category]:
    values: dict[Category, tuple[str, ...]] = {name: (value,) for name, value in identifiers.items()}  # type: ignore[misc]
    return find_residues([Event(kind=EventKind.NOTE, text=text)], values)


@pytest.mark.parametrize(
    ("text", "identifiers"),
    [
        ("甄测试诉头痛", {"name": "甄测试"}),
        ("甄 测\n试诉头痛", {"name": "甄测试"}),
        ("阿依古丽买买提来诊", {"name": "阿依古丽·买买提"}),
        ("seen by Jane Canary today", {"name": "Jane Canary"}),
        ("号码 138 0000-0000", {"phone": "13800000000"}),
        ("一三八〇〇〇〇〇〇〇〇", {"phone": "13800000000"}),
        ("住院号ZY 000123", {"medical_number": "ZY000123"}),
        ("住院号ｚｙ０００１２３", {"medical_number": "ZY000123"}),
    ],
)
def test_the_patients_own_values_are_found_however_they_are_spaced_and_spelt(
    text: str, identifiers: dict[str, str]
) -> None:
    assert look(text, **identifiers).keys() == identifiers.keys()


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("编号110101199003074514。", "id_card"),
        ("编号110101900307451。", "id_card"),
        ("1101011990030\n77758", "id_card"),  # with its check character, 8, broken by a line end
        ("拨13800000000转", "phone"),
        ("拨１３８００００００００转", "phone"),
        ("幺三八零零零零零零零零", "phone"),
        ("写信a.b@example.com", "email"),
        ("条码69012345678901", "medical_number"),
    ],
)
def test_shapes_that_no_clinical_text_holds_are_found_without_a_dictionary(text: str, category: str) -> None:
    assert category in look(text)


@pytest.mark.parametrize(
    "text",
    [
        "白细胞13812/uL，血压120/80mmHg，体温36.5℃，3.5×10^9/L",
        "HBV-DNA 12500000 IU/mL，2023年5月1日复查，2023-05-01 08:30",
        "血钾 4.2 3.9 4.1 4.0 3.8 4.4，尿量 1200 1300 1500 ml",
        "[姓名]，电话[电话]，身份证[证件号]，90岁以上",
        "第一、二、三、四、五腰椎，一二三四五六日",
        "0.12345678901234567",
    ],
)
def test_clinical_text_and_placeholders_hold_nothing(text: str) -> None:
    assert look(text, name="甄测试", phone="13800000000", age="91") == Counter()


def test_values_too_short_to_mean_anyone_are_passed_over() -> None:
    assert look("血压 120/90", medical_number="1209", name="Li") == Counter()
