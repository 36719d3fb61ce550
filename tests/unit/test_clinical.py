"""Facts of clinical text: what counts as one, in which spelling, and what a text supports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iimedgpt import clinical
from iimedgpt.records.synthetic import load_knowledge


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("体温38.50℃", ["38.5℃"]),
        ("BP：１２０／８０mmHg", ["120/80"]),  # full width; mmHg goes without saying
        ("咳嗽三天，发热2日", ["3天", "2天"]),  # Chinese numerals, 日 is 天
        ("病程二十余年，加重半月", ["20年", "0.5月"]),
        ("白细胞 12.3×10^9/L", ["12.3e9"]),
        ("白细胞12.3x10⁹/L", ["12.3e9"]),
        ("白细胞12.3*10^9/L", ["12.3e9"]),
        ("WBC12.310^9/L", ["12.3e9"]),  # the sign lost, as exports do
        ("HGB115.00g/L", ["115g/l"]),
        ("a 26-year-old with eight years of pain", ["26岁", "8年"]),
        ("口服 0.5 g，每日3次", ["0.5g", "3次"]),
        ("病程半月余", ["0.5月"]),
    ],
)
def test_numbers_have_one_spelling(text: str, facts: list[str]) -> None:
    assert clinical.numbers(text) == facts


@pytest.mark.parametrize(
    "text",
    [
        "CA125升高",
        "维生素B12",
        "2型糖尿病",
        "T4偏低",
        "COVID-19",
        "5-HT",
        "L4椎体",
        "24小时动态心电图",
        "one of them",
        "餐后2小时C肽",
        "半月板损伤",
    ],
)
def test_a_digit_inside_a_name_is_no_number(text: str) -> None:
    assert clinical.numbers(text) == []


@pytest.mark.parametrize(
    "text", ["1.头痛2.发热3.2型糖尿病", "（1）头痛（2）发热", "①头痛②发热", "1、头痛\n2、发热", "(1) 头痛"]
)
def test_list_numbering_is_no_number(text: str) -> None:
    assert clinical.numbers(text) == []


def test_an_enumeration_of_values_is_not_taken_for_numbering() -> None:
    assert clinical.numbers("脉搏80、呼吸20、体温37") == ["80", "20", "37"]


def test_drugs_take_the_longest_name_and_resolve_aliases() -> None:
    assert clinical.drugs("予左氧氟沙星、艾司奥美拉唑，速尿20mg，lasix") == [
        "左氧氟沙星",
        "艾司奥美拉唑",
        "呋塞米",
        "furosemide",
    ]
    assert clinical.drugs("去甲氧柔红霉素12mg静滴，0.9%生理盐水冲管") == ["去甲氧柔红霉素", "氯化钠"]


def test_a_drug_in_the_name_of_a_test_is_no_drug() -> None:
    assert clinical.drugs("凝血酶原时间12s，左旋多巴负荷试验，地塞米松抑制试验，青霉素皮试") == []


def test_every_examination_of_the_packaged_knowledge_is_known() -> None:
    names = [examination.name for disease in load_knowledge() for examination in disease.examinations]
    assert [name for name in names if not clinical.examinations(name)] == []


def test_every_treatment_of_the_packaged_knowledge_names_a_drug_or_a_procedure() -> None:
    items = [item for disease in load_knowledge() for item in disease.treatment]
    no_drug = [item for item in items if not clinical.drugs(item)]
    procedures = ("术", "禁食", "牵引", "照射", "输注", "介入", "碎石")
    assert [item for item in no_drug if not any(word in item for word in procedures)] == []


def test_the_drug_list_is_as_long_as_promised() -> None:
    listed = clinical._terms()["drugs"]
    assert len(set(listed["zh"])) >= 250
    assert len(set(listed["en"])) >= 60
    assert all(clinical.drugs(name) for name in (*listed["zh"], *listed["en"]))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("内科病例 消化内科病例", ["消化内科"]),
        ("内科病例 普通内科病例", ["内科"]),
        ("普外科", ["普通外科"]),
        ("心血管内科、急诊", ["心内科", "急诊科"]),
        ("Cardiology clinic", ["cardiology"]),
        ("候诊区", []),
    ],
)
def test_departments_are_normalised_and_specific(text: str, names: list[str]) -> None:
    assert clinical.departments(text) == names


def test_examinations_are_names_without_results() -> None:
    text = "头颅CT平扫：未见出血灶。急查血常规：白细胞12.3×10^9/L。心脏彩超示EF 60%，胸片正常。"
    assert clinical.examinations(text) == ["头颅CT", "血常规", "超声心动图", "胸部X线"]


def test_examinations_have_one_spelling_a_modality() -> None:
    assert clinical.examinations("腹部B超") == clinical.examinations("腹部彩超检查") == ["腹部超声"]
    assert clinical.examinations("腰椎核磁共振") == ["腰椎MRI"]
    assert clinical.examinations("膝关节X光片") == ["膝关节X线"]
    assert clinical.examinations("chest x-ray and EKG") == ["chest x-ray", "electrocardiogram"]
    assert clinical.examinations("mri、MRI") == ["MRI"]


@pytest.mark.parametrize(
    ("order", "name"),
    [
        ("超声心动图", "超声心动图"),  # listed, longer than the modality it begins with
        ("骨盆正位X线", "骨盆X线"),
        ("双足双能CT", "双足CT"),
        ("骶髂关节MRI", "骶髂关节MRI"),
        ("胸腰椎磁共振", "胸腰椎MRI"),
        ("腹股沟区彩超", "腹股沟区超声"),
        ("肾穿刺活检", "肾穿刺活检"),
    ],
)
def test_an_examination_keeps_its_part(order: str, name: str) -> None:
    assert clinical.examinations(order) == [name]


def test_a_bare_modality_gives_way_to_one_with_a_part_and_what_was_not_done_is_left_out() -> None:
    assert clinical.examinations("CT、胸部CT") == ["胸部CT"]
    assert clinical.examinations("MRI") == ["MRI"]
    assert clinical.examinations("未行胃镜。已查肠镜。") == ["肠镜"]


def test_diagnoses_are_split_and_cleaned() -> None:
    text = "初步诊断：1.腹痛待查：胃炎？胆囊炎？2.高血压病（2级，很高危）3.2型糖尿病"
    assert clinical.diagnoses(text) == ["腹痛", "胃炎", "胆囊炎", "高血压病(2级,很高危)", "2型糖尿病"]
    assert clinical.diagnoses("1. Pneumonia, left lower lobe.\n2. Hypertension.") == [
        "Pneumonia, left lower lobe",
        "Hypertension",
    ]
    assert clinical.diagnoses("？。") == clinical.diagnoses("无确诊") == []


def test_the_main_diagnosis_is_the_first_without_its_bracket() -> None:
    assert clinical.main_diagnosis("（1）高血压病（3级）（2）冠心病") == "高血压病"
    assert clinical.main_diagnosis("1. Pneumonia (left)") == "pneumonia"
    assert clinical.main_diagnosis("？") is None
    assert clinical.main_diagnosis("the patient is here today because " * 3) is None  # running text


def test_negations_are_found_in_every_form() -> None:
    text = "无头晕、头痛，否认“高血压、糖尿病”病史，未闻及干湿性啰音。Murphy征（-），移动性浊音阴性"
    assert clinical.negations(text) == [
        "头晕",
        "头痛",
        "高血压",
        "糖尿病",
        "干湿性啰音",
        "murphy征",
        "移动性浊音",
    ]
    assert clinical.negations("Denies fever, chills, or cough. No rash.") == ["fever", "chills", "cough", "rash"]


@pytest.mark.parametrize(
    "text",
    [
        "四肢无力",
        "无明显诱因",
        "无需手术",
        "无痛胃镜",
        "有无头痛？",
        "未见异常",
        "无尿",
        "无关",
        "无先兆偏头痛",
        "程度无变化",
        "疝无张力修补术",
    ],
)
def test_what_only_looks_like_a_negation_is_none(text: str) -> None:
    assert clinical.negations(text) == []


def test_a_finding_that_begins_like_no_negation_is_still_one() -> None:
    assert clinical.negations("无尿频、尿痛，无关节痛，无意识丧失") == ["尿频", "尿痛", "关节痛", "意识丧失"]


def test_sides_come_with_their_part() -> None:
    assert clinical.sides("左侧膝关节肿痛，右上腹压痛，双肺呼吸音粗") == ["左膝", "右上腹", "双肺"]
    assert clinical.sides("left knee pain") == ["left knee"]


def test_unsupported_lists_what_the_visible_text_lacks_by_kind() -> None:
    visible = "患者：咳嗽三天了，吃过阿莫西林\n医生：有没有胸痛？\n患者：没有\n检查：体温 38.5"
    answer = "1.咳嗽3天，体温38.5℃，无胸痛，服阿莫西林。2.血压150/90mmHg，无咯血，予布洛芬。"
    assert clinical.unsupported(answer, visible) == {
        "number": ["150/90"],
        "drug": ["布洛芬"],
        "negation": ["咯血"],
    }


@pytest.mark.parametrize(
    ("note", "dialogue"),
    [
        ("无发热", "医生：发烧吗？\n患者：不烧。"),
        ("无胸痛、咯血", "医生：胸口疼不疼，咳血吗？\n患者：都没有。"),
        ("无活动后气促", "医生：走路喘吗？\n患者：不喘。"),  # part of the finding
        ("无血块", "患者：小便里没见过血块。"),  # not asked, said
        ("无双下肢水肿", "医生：腿肿不肿？\n患者：腿不肿。"),
    ],
)
def test_a_negation_is_supported_by_what_the_patient_says_in_plain_words(note: str, dialogue: str) -> None:
    assert clinical.unsupported(note, dialogue) == {}


@pytest.mark.parametrize(
    "dialogue", ["医生：发烧吗？\n患者：烧，昨晚开始的。", "医生：咳嗽吗？\n患者：不咳。", "患者：不仅发烧，还咳嗽。"]
)
def test_what_the_patient_affirms_or_was_not_asked_supports_no_negation(dialogue: str) -> None:
    assert clinical.unsupported("无发热", dialogue) == {"negation": ["发热"]}


def test_a_number_with_another_unit_is_not_supported() -> None:
    assert clinical.unsupported("病程3年", "病程3天") == {"number": ["3年"]}
    assert clinical.unsupported("白细胞12.3×10^9/L", "WBC 12.3*10^9/L") == {}
    assert clinical.unsupported("a 26-year-old", "Patient: I'm twenty six.") == {}


@given(st.text(alphabet="左右无头痛3.8℃、，。()（）阿司匹林\n12×^/ab", max_size=60))
def test_a_text_supports_itself(text: str) -> None:
    assert clinical.unsupported(text, text) == {}


@given(st.text(max_size=80))
def test_any_text_is_read_without_error(text: str) -> None:
    clinical.unsupported(text, "")
    for read in (clinical.departments, clinical.examinations, clinical.diagnoses, clinical.sides):
        assert all(isinstance(item, str) and item for item in read(text))
    clinical.main_diagnosis(text)
