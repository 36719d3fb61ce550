"""Drugs that a record contraindicates: when a row of the table is met, and what is made of it."""

from __future__ import annotations

import random

import pytest

from iimedgpt.preferences.contraindications import contraindicated, contraindications
from iimedgpt.preferences.edits import ErrorContext, Refusal
from iimedgpt.preferences.errors import CAVEAT, ERRORS, Edited, ErrorChooser


def rows(visible: str) -> set[str]:
    return {row.name for row in contraindicated(visible)}


@pytest.mark.parametrize(
    ("visible", "name"),
    [
        ("【既往史】青霉素过敏史。", "penicillin_allergy"),
        ("患者：我对青霉素过敏。", "penicillin_allergy"),
        ("【既往史】磺胺药过敏。", "sulfonamide_allergy"),
        ("【主诉】停经34周，孕34周，头痛1天", "pregnancy_renin_angiotensin"),
        ("【现病史】孕32+4周，下腹紧缩感", "late_pregnancy_nsaid"),
        ("【初步诊断】慢性肾脏病5期", "renal_metformin"),
        ("eGFR 18 ml/min", "renal_nsaid"),
        ("【既往史】长期服用华法林。", "warfarin_nsaid"),
        ("【现病史】含服硝酸甘油后缓解", "nitrate_pde5"),
        ("【既往史】支气管哮喘10年。", "asthma_beta_blocker"),
        ("【一般资料】男，7岁", "child_tetracycline"),
        ("【一般资料】女，8个月", "child_quinolone"),
    ],
)
def test_condition_is_met(visible: str, name: str) -> None:
    assert name in rows(visible)


@pytest.mark.parametrize(
    "visible",
    [
        "【既往史】否认青霉素过敏史，否认哮喘、消化性溃疡病史。",
        "医生：对青霉素过敏吗？\n患者：不过敏。",
        "【家族史】母亲患支气管哮喘。",
        "【体格检查】子宫增大如孕10周。",
        "【初步诊断】慢性肾脏病2期；eGFR 75 ml/min",
        "【一般资料】男，18岁，学生",
        "需与消化性溃疡鉴别；鉴别诊断：除外支气管哮喘",
    ],
)
def test_negated_asked_and_relatives_conditions_are_not_met(visible: str) -> None:
    assert rows(visible) == set()


def test_every_row_says_where_it_comes_from_and_comes_up_for_review() -> None:
    names = [row.name for row in contraindications()]
    assert len(set(names)) == len(names) >= 30
    assert {row.cause for row in contraindications()} == {
        "allergy", "pregnancy", "renal", "interaction", "disease", "age",
    }  # fmt: skip
    assert all(len(row.source) > 10 for row in contraindications())


def make(answer: str, visible: str) -> Edited | str | Refusal:
    return ERRORS["drug_contraindicated"].make(answer, ErrorContext(visible=visible), random.Random(0))


def test_a_drug_of_the_same_use_is_replaced_first() -> None:
    made = make("布洛芬0.3g口服，头孢呋辛0.25g口服。", "【既往史】青霉素过敏史。")
    assert isinstance(made, Edited)
    assert made.row == "penicillin_allergy"
    assert made.text.startswith("布洛芬0.3g口服，")
    assert made.text.split("，")[1].removesuffix("0.25g口服。") in ("阿莫西林", "氨苄西林", "青霉素")


@pytest.mark.parametrize(
    ("answer", "visible", "why"),
    [
        ("注意休息。", "【既往史】青霉素过敏史。", Refusal.ABSENT),
        ("头孢呋辛0.25g口服。", "【既往史】既往体健。", Refusal.NO_CAUSE),
        ("停用头孢呋辛。", "【既往史】青霉素过敏史。", Refusal.NO_CAUSE),  # a drug stopped is not given
        ("布地奈德1mg雾化吸入。", "【既往史】支气管哮喘10年。", Refusal.NO_CAUSE),  # the way of giving would show
    ],
)
def test_why_there_is_no_error(answer: str, visible: str, why: Refusal) -> None:
    assert make(answer, visible) is why


def test_pairs_are_marked_until_a_clinician_signs_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from iimedgpt.preferences import errors

    context = ErrorContext(visible="【既往史】青霉素过敏史。")
    monkeypatch.setattr(errors, "ERRORS", {"drug_contraindicated": ERRORS["drug_contraindicated"]})
    (made,) = ErrorChooser("0").make("头孢呋辛0.25g口服。", "treatment", context, 1)
    assert (made.caveat, made.row) == (CAVEAT, "penicillin_allergy")
    signed = [row.model_copy(update={"reviewed_by": "Dr. A, 2026-01-01"}) for row in contraindications()]
    monkeypatch.setattr(errors, "contraindicated", lambda _: signed[:1])
    (made,) = ErrorChooser("0").make("头孢呋辛0.25g口服。", "treatment", context, 1)
    assert made.caveat == ""
