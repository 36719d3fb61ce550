"""Answers that teach nothing are told by a reason; short and technical ones are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from iimedgpt.instructions.quality import poor_answer


@pytest.mark.parametrize(
    ("answer", "language", "reason"),
    [
        ("详见病历。", "zh", "boilerplate_answer"),
        ("同 前", "zh", "boilerplate_answer"),
        ("见医嘱！", "zh", "boilerplate_answer"),
        ("As above.", "en", "boilerplate_answer"),
        ("。。。", "zh", "boilerplate_answer"),
        ("咳嗽咳痰，" * 30, "zh", "repetitive_answer"),
        ("Patient was seen and examined.", "zh", "wrong_language"),
        ("患者三天前受凉后出现咳嗽。", "en", "wrong_language"),
    ],
)
def test_poor_answers_have_a_reason(answer: str, language: Any, reason: str) -> None:
    assert poor_answer(answer, language) == reason


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ("急性支气管炎", "zh"),
        ("CT、MRI、B超", "zh"),
        ("HBV-DNA、AFP、PT", "zh"),
        ("血常规、尿常规、肝功能、肾功能、电解质、凝血功能、心电图、胸部CT、腹部B超、心脏彩超", "zh"),
        (
            "无发热，无咳嗽，无胸痛，无腹痛，无腹泻，无恶心呕吐，无尿频尿急尿痛，无皮疹，无关节肿痛，无头痛头晕，无心悸胸闷",
            "zh",
        ),
        ("Acute bronchitis", "en"),
        ("阿莫西林胶囊 0.5g 口服 每日三次；复查血常规。", "zh"),
    ],
)
def test_good_answers_have_none(answer: str, language: Any) -> None:
    assert poor_answer(answer, language) is None
