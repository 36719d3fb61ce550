"""Headings of clinical records → kinds of events, in the many spellings hospitals use.

A heading is compared after ``text.fold``: case, spaces and punctuation do not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from iimedgpt.text import fold
from iimedgpt.types import Event, EventKind, Language

# The first heading of a kind is its own name; the text under the others keeps its heading in
# front, because "无" under 过敏史 is not "无" under 既往史.
_ZH: dict[EventKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    EventKind.DEMOGRAPHICS: (
        ("一般资料", "基本资料", "基本信息", "一般情况", "患者信息", "患者一般情况", "病人信息"),
        (),
    ),
    EventKind.CHIEF_COMPLAINT: (("主诉", "主訴", "病人主诉", "患者主诉", "入院主诉", "主诉及病史", "就诊原因"), ()),
    EventKind.DEPARTMENT: (("科室", "科别", "就诊科室", "入院科室", "导诊科室", "申请科室"), ()),
    EventKind.PRESENT_ILLNESS: (
        ("现病史", "現病史", "现病历", "现在史", "病史", "病史摘要", "简要病史", "主要病史"),
        ("系统回顾", "发病情况"),
    ),
    EventKind.PAST_HISTORY: (
        ("既往史", "過去史", "过去史", "既往病史", "既往疾病史", "既往健康状况", "既往情况"),
        (
            "过敏史",
            "药物过敏史",
            "食物药物过敏史",
            "药物食物过敏史",
            "既往用药史",
            "预防接种",
            "疫苗接种史",
            "手术史",
            "外伤史",
            "手术外伤史",
            "输血史",
            "传染病史",
            "预防接种史",
            "用药史",
        ),
    ),
    EventKind.PERSONAL_HISTORY: (
        ("个人史", "社会史"),
        ("婚育史", "婚姻史", "生育史", "月经史", "月经婚育史", "婚姻生育史", "喂养史", "出生史"),
    ),
    EventKind.FAMILY_HISTORY: (("家族史", "家族病史", "家族遗传史", "家庭史"), ()),
    EventKind.PHYSICAL_EXAMINATION: (
        ("查体", "体格检查", "体查", "体检", "入院查体", "入院时查体", "体格检查及专科检查", "全身检查"),
        (
            "专科检查",
            "专科情况",
            "专科查体",
            "专科体检",
            "妇科检查",
            "产科检查",
            "眼科检查",
            "口腔检查",
            "生命体征",
            "神经系统查体",
        ),
    ),
    EventKind.EXAMINATION_ORDER: (("检查项目", "检查申请", "检查建议", "拟行检查", "建议检查"), ()),
    EventKind.AUXILIARY_EXAMINATION: (
        (
            "辅助检查",
            "实验室及辅助检查",
            "实验室及器械检查",
            "实验室与辅助检查",
            "辅助检查结果",
            "门诊检查",
            "门急诊检查",
            "入院前检查",
            "检查结果",
            "辅检",
        ),
        ("实验室检查", "影像学检查", "影像检查", "特殊检查", "化验", "化验检查", "检验结果", "器械检查"),
    ),
    EventKind.INITIAL_DIAGNOSIS: (
        (
            "初步诊断",
            "初诊诊断",
            "入院诊断",
            "入院初步诊断",
            "门诊诊断",
            "门急诊诊断",
            "急诊诊断",
            "印象",
            "拟诊",
            "初步印象",
        ),
        (),
    ),
    EventKind.BASIS: (("诊断依据", "诊断分析", "诊断及依据", "诊断及诊断依据", "诊断与诊断依据"), ()),
    EventKind.DIFFERENTIAL: (("鉴别诊断", "鉴别"), ()),
    EventKind.TREATMENT: (
        (
            "诊治经过",
            "诊疗经过",
            "治疗方案",
            "治疗方法",
            "诊疗方案",
            "诊治计划",
            "诊疗意见",
            "处置",
            "诊疗计划",
            "治疗计划",
            "治疗",
            "处理",
            "处理意见",
            "治疗意见",
        ),
        ("医嘱", "用药", "处方", "健康指导", "出院医嘱"),
    ),
    EventKind.COURSE: (
        (
            "病程记录",
            "病程",
            "治疗经过",
            "住院经过",
            "入院后诊疗经过",
            "手术经过",
            "手术记录",
            "首次病程记录",
            "日常病程记录",
            "查房记录",
            "会诊记录",
            "会诊意见",
            "转科记录",
            "随访",
        ),
        (),
    ),
    EventKind.FINAL_DIAGNOSIS: (
        (
            "诊断结果",
            "最终诊断",
            "最后诊断",
            "出院诊断",
            "确定诊断",
            "明确诊断",
            "临床诊断",
            "主要诊断",
            "修正诊断",
            "补充诊断",
            "诊断",
        ),
        (),
    ),
    EventKind.DISCHARGE_SUMMARY: (
        ("分析总结", "出院小结", "出院总结", "出院记录", "死亡记录", "总结", "病例讨论"),
        ("出院情况", "出院时情况", "转归", "预后"),
    ),
    EventKind.NOTE: (("备注", "其他", "附记"), ()),
}

_EN: dict[EventKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    EventKind.DEMOGRAPHICS: (("Demographics", "Patient information"), ()),
    EventKind.CHIEF_COMPLAINT: (("Chief complaint", "CC", "Reason for visit", "Presenting complaint"), ()),
    EventKind.DEPARTMENT: (("Department", "Specialty", "Clinic"), ()),
    EventKind.PRESENT_ILLNESS: (
        ("History of present illness", "HPI", "Present illness", "GENHX", "Subjective"),
        ("Review of systems", "Review of symptoms", "ROS", "Interval history"),
    ),
    EventKind.PAST_HISTORY: (
        ("Past medical history", "Medical history", "Past history", "PMH", "PASTMEDICALHX"),
        (
            "Surgical history",
            "Past surgical history",
            "PASTSURGICAL",
            "Medications",
            "Current medications",
            "Allergies",
            "Allergy",
            "Immunizations",
            "Gynecologic history",
            "GYNHX",
            "Birth history",
            "OTHER_HISTORY",
        ),
    ),
    EventKind.PERSONAL_HISTORY: (("Social history", "Personal history"), ("FAM/SOCHX", "Occupational history")),
    EventKind.FAMILY_HISTORY: (("Family history",), ()),
    EventKind.PHYSICAL_EXAMINATION: (
        ("Physical examination", "Physical exam", "Exam", "Examination", "Objective"),
        ("Vitals", "Vital signs", "Vitals reviewed"),
    ),
    EventKind.EXAMINATION_ORDER: (("Tests ordered", "Orders", "Recommended tests"), ()),
    EventKind.AUXILIARY_EXAMINATION: (
        ("Results", "Test results", "Investigations", "Diagnostic results"),
        ("Labs", "Laboratory", "Imaging", "EKG", "ECG"),
    ),
    EventKind.INITIAL_DIAGNOSIS: (("Initial diagnosis", "Admitting diagnosis", "Provisional diagnosis"), ()),
    EventKind.BASIS: (("Basis of diagnosis", "Diagnostic basis"), ()),
    EventKind.DIFFERENTIAL: (("Differential diagnosis", "Differential"), ()),
    EventKind.TREATMENT: (
        ("Plan", "Treatment", "Treatment plan", "Assessment and plan", "Assessment/plan", "Recommendations"),
        ("Instructions", "Patient instructions", "Disposition"),
    ),
    EventKind.COURSE: (("Hospital course", "Course", "EDCOURSE", "ED course", "Progress note"), ()),
    EventKind.FINAL_DIAGNOSIS: (
        ("Final diagnosis", "Discharge diagnosis", "Diagnosis", "Diagnoses", "Assessment", "Impression"),
        (),
    ),
    EventKind.DISCHARGE_SUMMARY: (("Discharge summary", "Summary"), ()),
    EventKind.NOTE: (("Note", "Notes"), ("Procedures", "Procedure")),
}


class Section(NamedTuple):
    """What a heading stands for. ``is_part``: one part of its kind, so its text keeps the heading."""

    kind: EventKind
    is_part: bool


def _table(headings: dict[EventKind, tuple[tuple[str, ...], tuple[str, ...]]]) -> dict[str, Section]:
    return {
        fold(heading): Section(kind, is_part)
        for kind, (names, parts) in headings.items()
        for is_part, group in ((False, names), (True, parts))
        for heading in group
    }


_TABLES: dict[Language, dict[str, Section]] = {"zh": _table(_ZH), "en": _table(_EN)}


def zh_headings() -> frozenset[str]:
    """All known Chinese headings, as written."""
    return frozenset(heading for names, parts in _ZH.values() for heading in (*names, *parts))


def parse_heading(heading: str, language: Language) -> Section | None:
    """The section a heading opens, ``None`` for a heading that is not known."""
    return _TABLES[language].get(fold(heading))


def build_events(sections: Iterable[tuple[str, str]], language: Language) -> tuple[list[Event], int]:
    """Events of (heading, text) pairs and how many headings were not known.

    Sections of one kind become one event, in the order of their first appearance; blank texts give
    none. The text under an unknown heading becomes a NOTE with its heading in front: a note stands
    late in the timeline, so that nothing unknown is ever shown too early.
    """
    parts: dict[EventKind, list[str]] = {}
    n_unknown = 0
    colon = "：" if language == "zh" else ": "
    for heading, text in sections:
        if not text.strip():
            continue
        section = parse_heading(heading, language)
        if section is None:
            n_unknown += 1
            section = Section(EventKind.NOTE, is_part=True)
        shown = f"{heading.strip(' :：')}{colon}{text.strip()}" if section.is_part else text.strip()
        parts.setdefault(section.kind, []).append(shown)
    return [Event(kind=kind, text="\n".join(texts)) for kind, texts in parts.items()], n_unknown
