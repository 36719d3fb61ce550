"""Rejected answers: each rule makes exactly the error of its name, and nothing else."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from iimedgpt.preferences.contexts import ContextBuilder, differentials
from iimedgpt.preferences.edits import Donor, ErrorContext, Refusal, is_length_kept
from iimedgpt.preferences.errors import ERRORS, Edited, ErrorChooser
from iimedgpt.types import Conversation, Message

VISIBLE = "【主诉】上腹痛三天\n【现病史】三天前进食后出现上腹痛，伴恶心，无发热。"


def make(name: str, answer: str, seed: int = 0, **context: Any) -> str | None:
    made = ERRORS[name].make(answer, ErrorContext(**{"visible": VISIBLE} | context), random.Random(seed))
    if isinstance(made, Refusal):
        return None
    return made.text if isinstance(made, Edited) else made


def changed_part(before: str, after: str) -> tuple[str, str]:
    """What is left of both texts without their common beginning and end."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return before[start : len(before) - end], after[start : len(after) - end]


@pytest.mark.parametrize(
    ("name", "answer", "rejected"),
    [
        ("negation_dropped", "患者无发热，食欲可。", "患者有发热，食欲可。"),
        ("negation_dropped", "既往体健，否认高血压病史。", "既往体健，存在高血压病史。"),
        ("negation_dropped", "腹部超声未见异常回声。", "腹部超声可见异常回声。"),
        ("negation_dropped", "双肺呼吸音清，墨菲征阴性。", "双肺呼吸音清，墨菲征阳性。"),
        ("negation_dropped", "移动性浊音（-），肠鸣音正常", "移动性浊音（+），肠鸣音正常"),
        ("negation_added", "右下腹伴压痛，可触及包块。", "右下腹伴压痛，未触及包块。"),
        ("negation_added", "上腹痛三天，伴恶心。", "上腹痛三天，无恶心。"),
        ("negation_added", "尿蛋白阳性，尿糖正常。", "尿蛋白阴性，尿糖正常。"),
        ("side_swapped", "左侧肢体无力，右侧正常。", "右侧肢体无力，左侧正常。"),
        ("dose_x10", "予奥美拉唑20mg口服，每日一次。", "予奥美拉唑200mg口服，每日一次。"),
        ("dose_x10", "阿莫西林0.5g，每日三次，餐后口服。", "阿莫西林5g，每日三次，餐后口服。"),
        ("dose_x10", "地高辛0.125 mg，每日一次口服。", "地高辛1.25 mg，每日一次口服。"),
        ("overconfident", "考虑急性胃炎，建议复查。", "确诊急性胃炎，建议复查。"),
        ("overconfident", "右肺阴影，肺结核待排。", "右肺阴影，肺结核确诊。"),
        ("overconfident", "社区获得性肺炎？", "社区获得性肺炎"),
        ("red_flag_dismissed", "如出现黑便，请立即就医。", "如出现黑便，请不必就医。"),
    ],
)
def test_edit_by_hand(name: str, answer: str, rejected: str) -> None:
    assert make(name, answer) == rejected


@pytest.mark.parametrize(
    ("name", "answer", "rejected"),
    [
        ("negation_dropped", "The patient denies fever.", "The patient reports fever."),
        ("negation_added", "She reports chest pain; old reports lost.", "She denies chest pain; old reports lost."),
        ("side_swapped", "Pain in the left knee since May.", "Pain in the right knee since May."),
        ("dose_x10", "Lisinopril 10 mg daily.", "Lisinopril 100 mg daily."),
        ("overconfident", "This is possible pneumonia.", "This is definite pneumonia."),
    ],
)
def test_english_edit_by_hand(name: str, answer: str, rejected: str) -> None:
    assert make(name, answer, language="en") == rejected


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("negation_dropped", "四肢乏力，行无痛胃镜，无菌敷料覆盖。"),
        ("negation_dropped", "询问有无发热。"),
        ("side_swapped", "病程一周左右，予左氧氟沙星口服。"),
        ("dose_x10", "血红蛋白 120g/L，血压 120/80mmHg。"),
        ("dose_x10", "予 0 mg 安慰剂"),
        ("drug_swapped", "注意休息，清淡饮食。"),
        ("department_replaced", "回家休息"),
        ("examination_replaced", "无需检查"),
        ("overconfident", "急性胃炎"),
        ("overconfident", "综合考虑，诊断为胃炎；考虑患儿年龄小。"),
        ("dose_x10", "术中出血约200ml，维生素B1片口服。"),
        ("drug_swapped", "予盐酸氨溴索及双氯芬酸钠。"),
        ("finding_invented", "右踝关节肿胀"),
        ("overconfident", "肺炎？"),  # the mark is a third of the answer: its loss would show
        ("finding_invented", "无腹痛、腹泻，否认头晕。"),
        ("red_flag_dismissed", "一周后门诊随访。"),
        ("wrong_patient", "急性胃炎"),
        ("diagnosis_replaced", "急性胃炎"),
    ],
)
def test_rule_leaves_alone_what_holds_nothing_to_change(name: str, answer: str) -> None:
    assert make(name, answer) is None


def test_english_left_as_a_verb_is_no_side() -> None:
    assert make("side_swapped", "He left the clinic right away.", language="en") is None


@pytest.mark.parametrize("seed", range(8))
def test_one_negation_of_many_is_edited(seed: int) -> None:
    answer = "无发热，无咳嗽，未见皮疹，墨菲征阴性。"
    rejected = make("negation_dropped", answer, seed)
    assert rejected is not None
    assert changed_part(answer, rejected) in [("无", "有"), ("未", "可"), ("阴", "阳")]


def test_side_swap_undoes_itself() -> None:
    answer = "左下肺呼吸音低，右侧胸廓正常，病程三天左右，予左氧氟沙星。"
    rejected = make("side_swapped", answer)
    assert rejected == "右下肺呼吸音低，左侧胸廓正常，病程三天左右，予左氧氟沙星。"
    assert make("side_swapped", rejected) == answer


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("name", "answer", "old", "not_of_group"),
    [
        ("drug_swapped", "予奥美拉唑口服，奥美拉唑餐前服用，忌酒。", "奥美拉唑", "泮托拉唑"),
        ("department_replaced", "建议就诊：消化内科", "消化内科", "普外科"),
        ("examination_replaced", "胃镜检查、腹部超声", None, "肠镜"),
        ("finding_invented", "患者上腹痛三天，进食后加重。", "上腹痛", "恶心"),
    ],
)
def test_name_becomes_one_of_another_group_and_back(
    name: str, answer: str, old: str | None, not_of_group: str, seed: int
) -> None:
    rejected = make(name, answer, seed)
    assert rejected is not None
    assert is_length_kept(answer, rejected)
    if old is not None:
        new = changed_name(answer, rejected, old)
        assert rejected.replace(new, old) == answer
        assert new not in VISIBLE
    assert not_of_group not in rejected


def changed_name(before: str, after: str, old: str) -> str:
    """The name that stands in ``after`` wherever ``old`` stood in ``before``."""
    head, *_, tail = before.split(old)
    n_mentions = before.count(old)
    length = len(old) + (len(after) - len(before)) // n_mentions
    assert after.startswith(head)
    assert after.endswith(tail)
    return after[len(head) : len(head) + length]


def test_finding_of_the_record_is_never_invented() -> None:
    everything_but_skin = (
        "恶心腹胀便秘黑便黄疸吞咽困难胸闷心悸咳嗽咯血气促头痛头晕晕厥耳鸣复视"
        "肢体麻木言语不清尿频血尿发热盗汗下肢水肿紫癜关节痛"
    )
    rejected = make("finding_invented", "患者腹痛。伴出汗。", visible=everything_but_skin)
    assert rejected in ("患者皮疹。伴出汗。", "患者瘙痒。伴出汗。")  # the only group left


def test_drug_replacement_avoids_every_group_the_record_names() -> None:
    visible = "既往服用二甲双胍、阿托伐他汀、布洛芬、沙丁胺醇、丙戊酸钠、别嘌醇、甲巯咪唑、坦索罗辛。"
    rejected = make("drug_swapped", "予奥美拉唑口服两周。", visible=visible)
    assert rejected is not None
    new = changed_name("予奥美拉唑口服两周。", rejected, "奥美拉唑")
    anti_infectives = (
        "阿莫西林 头孢曲松 头孢呋辛 头孢克肟 头孢地尼 莫西沙星 阿奇霉素 克拉霉素 万古霉素 奥司他韦 阿昔洛韦"
    )
    assert new in anti_infectives.split()


def test_diagnosis_takes_the_records_own_differential_first() -> None:
    rejected = make(
        "diagnosis_replaced",
        "1.急性阑尾炎 2.2型糖尿病",
        diagnoses=("急性阑尾炎", "2型糖尿病"),
        alternatives=("急性胆囊炎", "支气管肺炎"),
    )
    assert rejected == "1.急性胆囊炎 2.2型糖尿病"


def test_diagnosis_that_the_record_supports_is_passed_over() -> None:
    rejected = make(
        "diagnosis_replaced",
        "急性阑尾炎",
        visible="既往史：急性胆囊炎。",
        diagnoses=("急性阑尾炎",),
        alternatives=("急性胆囊炎", "急性阑尾炎", "特别长的另一个诊断名称", "急性胰腺炎"),
    )
    assert rejected == "急性胰腺炎"


def test_wrong_patient_is_the_nearest_answer_of_another_disease() -> None:
    donors = (
        Donor("急性胃炎，伴脱水", "急性胃炎"),  # holds the right answer
        Donor("慢性肺病", "急性胃炎"),  # same disease
        Donor("肺炎", "肺炎"),
        Donor("支气管炎", "支气管炎"),  # four characters, as the answer
        Donor("原发性高血压三级", "高血压"),
    )
    assert make("wrong_patient", "急性胃炎", disease="急性胃炎", donors=donors) == "支气管炎"


def test_borrowed_diagnoses_that_sound_alike_come_first_and_synonyms_never() -> None:
    rows = [
        conversation("a", "diagnosis", "急性胰腺炎"),
        conversation("b", "diagnosis", "支气管哮喘"),
        conversation("c", "diagnosis", "急性胆囊炎"),  # 急, 性, 炎 of five
        conversation("d", "diagnosis", "重症急性胰腺炎"),  # all five
    ]
    assert ContextBuilder(rows).build(rows[0]).alternatives == ("急性胆囊炎", "支气管哮喘")


def test_differentials_are_read_from_headings_and_phrases() -> None:
    text = (
        "鉴别诊断：\n1.急性胰腺炎：淀粉酶正常，不支持。\n2. 消化性溃疡：无节律性疼痛。\n"
        "需与急性胆囊炎相鉴别。可排除肠梗阻。"
    )
    assert differentials(text) == ["急性胰腺炎", "消化性溃疡", "急性胆囊炎", "肠梗阻"]


def conversation(patient: str, task: str, answer: str, disease: str | None = None) -> Conversation:
    return Conversation(
        conversation_id=f"{patient}-{task}",
        messages=(
            Message(role="system", content="系统提示"),
            Message(role="user", content=f"记录 {patient}，请回答。"),
            Message(role="assistant", content=answer),
        ),
        group_id=patient,
        source="s",
        license="l",
        split="train",
        task=task,
        record_id=patient,
        disease=disease,
    )


def test_context_holds_the_record_and_the_other_patients() -> None:
    rows = [
        conversation("a", "diagnosis", "1.急性阑尾炎（化脓性） 2.高血压", "急性阑尾炎"),
        conversation("a", "basis", "诊断依据：转移性腹痛。\n1.急性胆囊炎：超声不支持。", "急性阑尾炎"),
        conversation("b", "diagnosis", "支气管哮喘", "支气管哮喘"),
        conversation("c", "diagnosis", "痛风性关节炎", "痛风性关节炎"),
    ]
    context = ContextBuilder(rows).build(rows[0])
    assert context.visible == "记录 a，请回答。"  # the system prompt is the same for all and no fact
    assert context.language == "zh"
    assert context.diagnoses[0] == "急性阑尾炎"
    assert context.alternatives == ("急性胆囊炎", "痛风性关节炎", "支气管哮喘")  # own differential first
    assert context.donors == (Donor("痛风性关节炎", "痛风性关节炎"), Donor("支气管哮喘", "支气管哮喘"))


def test_chooser_deals_the_kinds_out_evenly() -> None:
    chooser = ErrorChooser("0")
    answer = "患者左侧胸痛，无发热，伴咳嗽，考虑肺炎。"  # carries five kinds of errors
    donors = (Donor("患者右膝肿胀一周，无外伤史，予对症处理。", "关节炎"),)
    context = ErrorContext(visible="记录", donors=donors, disease="肺炎")
    made = [chooser.make(answer, "basis", context, 1) for _ in range(24)]
    counts = Counter(error.name for (error,) in made)
    negations = ["negation_dropped", "negation_added"]
    others = ["side_swapped", "overconfident", "finding_invented", "wrong_patient"]
    assert counts == dict.fromkeys(negations + others, 4)


def test_chooser_gives_different_kinds_for_one_answer_and_no_more_than_asked() -> None:
    context = ErrorContext(visible="记录", donors=(Donor("另一份回答"),))
    made = ErrorChooser("0").make("考虑左侧肺炎，无发热。", "basis", context, 3)
    assert len(made) == 3
    assert len({error.name for error in made}) == 3
    assert all(error.text != "考虑左侧肺炎，无发热。" for error in made)


def test_english_answers_get_english_rules_only() -> None:
    context = ErrorContext(visible="record", language="en")
    made = ErrorChooser("0").make("予奥美拉唑，考虑胃炎", "treatment", context, 9)
    assert made == []
