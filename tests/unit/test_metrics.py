"""Metrics of free answers: values derived by hand, and rouge-chinese as an oracle."""

from __future__ import annotations

import pytest

from iimedgpt.evaluation import metrics


def test_rouge_l_is_twice_the_common_subsequence_over_both_lengths() -> None:
    # 胃肠科 in 消化内科: only 科 → 2·1 / (3 + 4)
    assert metrics.rouge_l("胃肠科", "消化内科") == pytest.approx(2 / 7)
    assert metrics.rouge_l("a b\ncd", "abxd") == pytest.approx(2 * 3 / 8)
    assert metrics.rouge_l("", "消化内科") == 0.0


def test_rouge_l_equals_rouge_chinese_on_characters() -> None:
    from rouge_chinese import Rouge

    pairs = [
        ("患者三天前出现发热咳嗽", "患者发热伴咳嗽三天"),
        ("血常规胸片", "血常规、胸部CT、肺功能"),
        ("完全不同", "另外一句话"),
        ("相同的话", "相同的话"),
    ]
    for answer, reference in pairs:
        oracle = Rouge().get_scores(" ".join(answer), " ".join(reference))[0]["rouge-l"]["f"]
        assert metrics.rouge_l(answer, reference) == pytest.approx(oracle, abs=1e-7)


def test_set_f1_counts_what_both_hold() -> None:
    # 1 in common of 2 and 3: 2·1/5
    assert metrics.set_f1(["a", "b"], ["b", "c", "d"]) == pytest.approx(0.4)
    assert metrics.set_f1([], ["a"]) == 0.0


def test_listed_items_lose_numbering_but_keep_decimals() -> None:
    assert metrics.listed("1、血常规；2. 肝功能\n(3)补液1.5升") == ["血常规", "肝功能", "补液15升"]


def test_triage_needs_exactly_the_departments_in_any_order_and_spelling() -> None:
    score = metrics.task_metric("triage").score
    assert score("建议就诊于消化内科。", "消化内科") == 1.0
    assert score("神经内科、骨科", "骨科，神经内科") == 1.0
    assert score("骨科、神经内科、皮肤科", "骨科，神经内科") == 0.0
    assert score("", "骨科") == 0.0


def test_a_department_nobody_listed_is_compared_as_written() -> None:
    score = metrics.task_metric("triage").score
    assert score("灵枢阁", "灵枢阁。") == 1.0
    assert score("骨科", "灵枢阁") == 0.0


def test_examinations_are_compared_in_one_spelling() -> None:
    # 磁共振 is MRI; 血常规 in common, one extra on each side: 2·2 / (3 + 3)
    score = metrics.task_metric("examination").score
    assert score("血常规、头颅磁共振、胃镜", "血常规、头颅MRI、心电图") == pytest.approx(4 / 6)


def test_diagnoses_match_without_numbering_doubt_and_brackets() -> None:
    score = metrics.task_metric("diagnosis").score
    assert score("初步诊断：1.高血压病(3级) 2.糖尿病？", "高血压病(2级)；糖尿病") == 1.0
    assert score("糖尿病", "高血压病；糖尿病") == pytest.approx(2 / 3)


def test_treatment_compares_drugs_and_says_nothing_where_the_reference_names_none() -> None:
    score = metrics.task_metric("treatment").score
    assert score("阿莫西林口服，奥美拉唑", "给予奥美拉唑") == pytest.approx(2 / 3)
    assert score("休息", "给予奥美拉唑") == 0.0
    assert score("休息", "卧床休息，清淡饮食") is None


def test_basis_compares_facts_and_keeps_decimal_points() -> None:
    score = metrics.task_metric("basis").score
    assert score("血红蛋白132g/L", "血红蛋白13.2g/L") == 0.0
    assert score("血红蛋白13.2g/L", "血红蛋白13.2g/L") == 1.0
    assert score("症状典型", "症状典型") is None


def test_sections_are_found_by_bracket_or_colon() -> None:
    text = "【主诉】腹痛三天\n现病史：无诱因起病\n伴恶心\nPast history: none"
    assert metrics.sections(text) == {
        "主诉": "腹痛三天",
        "现病史": "无诱因起病\n伴恶心",
        "pasthistory": "none",
    }


def test_a_form_with_nothing_right_is_covered_but_worth_nothing() -> None:
    reference = "主诉：腹痛\n既往史：体健"
    form = "主诉：XX\n既往史：YY"
    assert metrics.section_coverage(form, reference) == 1.0
    assert metrics.section_overlap(form, reference) == 0.0
    # One section right, one missing: half of both.
    assert metrics.section_coverage("主诉：腹痛", reference) == 0.5
    assert metrics.section_overlap("主诉：腹痛", reference) == 0.5
    assert metrics.section_coverage("主诉：", reference) == 0.0


def test_a_reference_without_headings_is_one_section() -> None:
    assert metrics.section_coverage("腹痛", "腹痛三天") is None
    assert metrics.section_overlap("腹痛", "腹痛三天") == pytest.approx(2 * 2 / 6)


def test_repetition_is_the_share_of_four_grams_seen_before() -> None:
    # abcabcabc: 6 four-grams, 3 distinct
    assert metrics.repetition_rate("abcabcabc") == 0.5
    assert metrics.repetition_rate("abc") == 0.0


def test_unsupported_facts_are_those_the_visible_record_lacks() -> None:
    visible = "患者发热38.5℃三天，无咳嗽，已服阿莫西林。"
    assert metrics.n_unsupported("体温38.5℃，阿莫西林", visible) == (0, 2)
    # 39.9℃ and 奥美拉唑 stand nowhere, 阿莫西林 does.
    assert metrics.n_unsupported("体温39.9℃，阿莫西林，奥美拉唑", visible) == (2, 3)
    assert metrics.n_unsupported("多休息", visible) == (0, 0)


def test_a_task_of_ones_own_is_scored_by_rouge() -> None:
    assert metrics.task_metric("discharge_letter").name == "rouge_l"


@pytest.mark.parametrize("task", list(metrics.TASK_METRICS))
def test_every_metric_gives_an_empty_answer_nothing(task: str) -> None:
    reference = "主诉：血常规13.2g/L，消化内科，给予奥美拉唑"
    assert metrics.task_metric(task).score("", reference) == 0.0
