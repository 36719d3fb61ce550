"""Answers: made from the right events, without future, results or inventions."""

from __future__ import annotations

import pytest

from iimedgpt.instructions.targets import Target, build_target, is_future, is_stated, without_invented_negations
from iimedgpt.instructions.tasks import load_tasks
from iimedgpt.records.synthetic import load_knowledge
from iimedgpt.types import Event, EventKind, Language, Provenance, Record

TASKS = {task.name: task for task in load_tasks(("triage", "record", "examination", "diagnosis", "basis", "treatment"))}
K = EventKind


def target(task: str, *events: tuple[EventKind, str], reporter: str | None = None, language: Language = "zh") -> Target:
    rows = [Event(kind=kind, text=text) for kind, text in events]
    rows += [Event(kind=K.TURN, text=reporter, speaker="reporter")] if reporter else []
    record = Record(
        record_id="r",
        patient_id="p",
        encounter_id="e",
        source="test",
        language=language,
        events=tuple(rows),
        provenance=Provenance(reader="jsonl", file="a", file_sha256="0", row=1),
    )
    return build_target(record, TASKS[task])


def test_triage_answers_with_normalised_departments() -> None:
    assert target("triage", (K.DEPARTMENT, "外科病例 普外科病例")).text == "普通外科"
    assert target("triage", (K.DEPARTMENT, "心内科、急诊")).text == "心内科、急诊科"
    assert target("triage", (K.DEPARTMENT, "cardiology clinic"), language="en").text == "cardiology"
    assert target("triage", (K.DEPARTMENT, "三楼")).reason == "no_department"


@pytest.mark.parametrize("task", ["triage", "record", "examination", "diagnosis", "basis", "treatment"])
def test_a_record_without_the_answer_gives_a_reason(task: str) -> None:
    assert target(task, (K.DEMOGRAPHICS, "女")).reason == "no_answer_event"


def test_a_note_holds_its_history_sections_and_nothing_of_examination_or_tests() -> None:
    note = target(
        "record",
        (K.PRESENT_ILLNESS, "3天前咳嗽"),
        (K.CHIEF_COMPLAINT, "咳嗽3天"),
        (K.PHYSICAL_EXAMINATION, "咽红"),
        (K.AUXILIARY_EXAMINATION, "血常规正常"),
        (K.FAMILY_HISTORY, "父母体健"),
    )
    assert note.text == "主诉：咳嗽3天\n现病史：3天前咳嗽\n家族史：父母体健"


def test_a_note_keeps_no_referral_diagnosis() -> None:
    note = target("record", (K.PRESENT_ILLNESS, "咳嗽3天，来院就诊，拟“肺炎”收住入院。"))
    assert note.text == "现病史：咳嗽3天，来院就诊。"


def test_an_english_note_of_one_section_is_that_section_under_its_name() -> None:
    assert target("record", (K.PAST_HISTORY, "Asthma."), language="en").text == "Past history: Asthma."


def test_ordered_examinations_are_taken_as_names() -> None:
    made = target("examination", (K.EXAMINATION_ORDER, "1.查血常规 2.胸片、某某抗体"), (K.AUXILIARY_EXAMINATION, "CT"))
    assert made.text == "血常规、胸部X线、某某抗体"


def test_examinations_are_extracted_from_results_without_the_results() -> None:
    made = target("examination", (K.AUXILIARY_EXAMINATION, "血常规：白细胞12×10^9/L。头颅CT示脑梗死。"))
    assert made.text == "血常规、头颅CT"


def test_examinations_are_read_from_the_reporters_list_only() -> None:
    reported = "#检查项目#\n- 头颅CT\n- 血常规\n#头颅CT检查#\n- 考虑出血，建议复查MRI"
    assert target("examination", reporter=reported).text == "头颅CT、血常规"
    assert target("examination", reporter="腹部超声：胆囊结石").reason == "no_answer_event"


@pytest.mark.parametrize(
    "order", ["血常规：白细胞升高", "乙肝五项阴性", "血糖 11.2mmol/L", "胸片未见异常", "CBC normal"]
)
def test_a_result_in_an_order_drops_the_row(order: str) -> None:
    assert target("examination", (K.EXAMINATION_ORDER, order)).reason == "result_in_examination_answer"


def test_the_initial_diagnosis_goes_before_the_final_one() -> None:
    both = ((K.FINAL_DIAGNOSIS, "胆囊结石"), (K.INITIAL_DIAGNOSIS, "腹痛待查"))
    assert target("diagnosis", *both).text == "腹痛待查"
    assert target("diagnosis", both[0]).text == "胆囊结石"
    assert target("diagnosis", (K.FINAL_DIAGNOSIS, "其他疾病或无确诊")).reason == "no_diagnosis"


def test_basis_and_differential_are_joined_under_their_names() -> None:
    made = target("basis", (K.DIFFERENTIAL, "与胃炎鉴别"), (K.BASIS, "腹痛伴压痛"))
    assert made.text == "诊断依据：腹痛伴压痛\n鉴别诊断：与胃炎鉴别"
    assert target("basis", (K.DIFFERENTIAL, "与胃炎鉴别")).reason == "no_answer_event"


def test_a_plan_keeps_what_is_to_be_done_and_loses_what_happened() -> None:
    text = "予头孢呋辛1.5g静滴抗感染。3天后体温正常。行胆囊切除术。术中见胆囊壁增厚。嘱低脂饮食，定期复查。痊愈出院。"
    made = target("treatment", (K.TREATMENT, text))
    assert made.text == "予头孢呋辛1.5g静滴抗感染。行胆囊切除术。嘱低脂饮食，定期复查。"
    assert made.n_removed == 3


def test_the_items_of_a_plan_are_numbered_anew_after_a_removal() -> None:
    made = target("treatment", (K.TREATMENT, "1.术后恢复良好；2.予吸氧；3.口服阿司匹林；"))
    assert made.text == "1.予吸氧；2.口服阿司匹林。"


def test_a_plan_of_outcomes_only_is_no_plan() -> None:
    made = target("treatment", (K.TREATMENT, "患者症状缓解，好转出院。"))
    assert (made.reason, made.n_removed) == ("only_outcome", 1)


def test_a_list_of_drugs_is_a_plan() -> None:
    assert target("treatment", (K.TREATMENT, "奥美拉唑、某某颗粒")).text == "奥美拉唑、某某颗粒"


@pytest.mark.parametrize(
    "sentence",
    [
        "症状逐渐缓解。",
        "复查胸片提示炎症吸收。",
        "3天后复查血常规正常。",
        "给药后血小板升至正常范围。",
        "出现腹痛，予禁食。",
        "术后转康复医学科治疗。",
        "病情稳定。",
        "术后恢复良好。",
        "随访半年。",
        "血红蛋白57g/L。",
        "术后病理为腺癌。",
        "患者再次出现腹痛。",
        "无头痛，无呕吐。",
        "切口愈合良好。",
        "治疗期间患者反复发热。",
        "患者腹痛加重，立即手术。",
        "左侧肌力3级。",
        "家属要求转院。",
        "体温38.5℃。",
        "She was discharged home.",
        "CT showed a mass.",
    ],
)
def test_outcomes_course_and_later_results_are_the_future(sentence: str) -> None:
    assert is_future(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "予布洛芬缓解疼痛。",
        "定期复查血常规。",
        "一周后门诊复诊。",
        "停药4周后复查呼气试验。",
        "每年复查胃镜及病理。",
        "绝对卧床休息，吸氧。",
        "急诊行手术治疗。",
        "口服二甲双胍0.5g，每日3次。",
        "布洛芬0.3g口服，体温＞38.5℃时用。",
        "发热或疼痛加重立即就诊。",
        "症状减轻不自行停药。",
        "治疗期间忌饮酒。",
        "术后1周复查。",
        "监测血压及肢体肌力。",
        "家属查乙肝并接种疫苗。",
        "Start lisinopril 10 mg daily and follow up in two weeks.",
    ],
)
def test_what_is_to_be_done_is_not_the_future(sentence: str) -> None:
    assert not is_future(sentence)


def test_no_plan_of_the_packaged_knowledge_is_taken_for_the_future() -> None:
    items = [item for disease in load_knowledge() for item in (*disease.treatment, *disease.advice)]
    assert [item for item in items if is_future(f"{item}。")] == []


def test_an_answer_is_stated_where_one_of_its_names_stands_in_the_record() -> None:
    made = target("diagnosis", (K.INITIAL_DIAGNOSIS, "1.肺炎 2.高血压病（2级）"))
    assert is_stated(made, "【既往史】高血压10年")
    assert not is_stated(made, "【既往史】糖尿病10年")
    assert not is_stated(target("basis", (K.BASIS, "肺炎，咳嗽")), "咳嗽，肺炎")  # exempt: it quotes


VISIBLE = "患者：咳嗽3天\n医生：发热吗？\n患者：没有"


def test_absent_findings_that_nobody_asked_about_leave_the_note() -> None:
    note = "现病史：咳嗽3天，无发热，无胸痛、咯血，有痰。\n既往史：否认高血压、糖尿病。\n过敏史：青霉素过敏。"
    assert without_invented_negations(note, VISIBLE) == (
        "现病史：咳嗽3天，无发热，有痰。\n过敏史：青霉素过敏。",
        2,
    )


def test_what_an_invented_negation_ran_over_goes_with_it() -> None:
    # keeping 咯血 after dropping 无胸痛 would turn an absent finding into a present one
    text, n_removed = without_invented_negations("现病史：咳嗽3天，无胸痛，咯血，盗汗。夜间加重。", VISIBLE)
    assert (text, n_removed) == ("现病史：咳嗽3天。夜间加重。", 3)
