"""Small edits of a correct answer that put one clinical error into its wording.

Each keeps length and style and changes one thing: a negation, a side, a dose, a hedge, a warning, a
number. Where it cannot, it says why (``Refusal``).
The patterns are the project's own and **not reviewed by a clinician**.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from iimedgpt import clinical
from iimedgpt.types import Language

MAX_LENGTH_DIFFERENCE = 0.2  # of the correct answer's characters


class Refusal(Enum):
    """Why an error cannot be made of an answer; counted per kind of error."""

    ABSENT = "nothing_of_the_kind"  # the answer holds nothing that the error could change
    NO_CAUSE = "nothing_in_the_record"  # no contraindication, other patient or differential to make it with
    SHOWS = "length_would_show"


@dataclass(frozen=True)
class Donor:
    """Another patient's answer to the same task."""

    text: str
    disease: str | None = None


@dataclass(frozen=True)
class ErrorContext:
    """What a rule may know beside the answer. All names are as they stand in the texts."""

    visible: str  # the prompt's text: what is supported there is no error
    language: Language = "zh"
    disease: str | None = None
    diagnoses: tuple[str, ...] = ()  # diagnoses named in the answer, the main one first
    alternatives: tuple[str, ...] = ()  # wrong diagnoses: the record's own differentials come first
    donors: tuple[Donor, ...] = ()


def is_length_kept(answer: str, changed: str) -> bool:
    """True where the change is at most a fifth of the answer's length."""
    return abs(len(changed) - len(answer)) <= MAX_LENGTH_DIFFERENCE * len(answer)


# (pattern, replacement): one character stands for one character wherever the language allows it.
_NEGATIONS_DROPPED = (
    (r"否认有", "确认有"),
    (r"否认(?!有)", "存在"),
    (r"没有(?!关系|必要)", "出现"),
    (r"(?<![有毫从])无(?![力菌创痛机殊业需法关论缝水偿端神助精名线氧形])", "有"),
    (r"未(?=见|闻及|触及|及|引出|扪及|探及|查及)", "可"),
    (r"未(?=出现|发现)", "已"),
    (r"不伴", "且伴"),
    (r"阴性", "阳性"),
    (r"(?<=[（(])[-－—](?=[)）])", "+"),
)
_NEGATIONS_ADDED = (
    (r"(?<![没确具患])有(?=明显|发热|咳|腹|胸|头|恶心|呕|压痛|反跳|叩|水肿|皮疹|啰音|高血|糖尿|过敏)", "无"),
    (r"(?<![许尚不])可(?=见|闻及|触及|及|引出|扪及|探及)", "未"),
    (r"(?<!不)伴有", "不伴"),
    (r"(?<!不)伴(?=发热|咳|腹|胸|头|恶心|呕|黄|皮疹|水肿|乏力)", "无"),
    (r"阳性", "阴性"),
    (r"(?<=[（(])[+＋](?=[)）])", "-"),
)
_NEGATIONS_DROPPED_EN = (
    (r"\bdenies\b", "reports"),
    (r"\bdenied\b", "reported"),
    (r"\bdenying\b", "reporting"),
    (r"\bwithout\b(?! contrast)", "with"),
    (r"\bnegative for\b", "positive for"),
    (r"\bno (?=evidence|sign|fever|pain|cough|nausea|vomiting|history|known|chest|shortness)", "some "),
)
_NEGATIONS_ADDED_EN = (
    (r"(?<=[Hh]e )reports\b", "denies"),  # he and she
    (r"(?<=atient )reports\b", "denies"),
    (r"(?<=[Hh]e )reported\b", "denied"),
    (r"(?<=atient )reported\b", "denied"),
    (r"\bpositive for\b", "negative for"),
)
_HEDGES = (
    (r"(?<!综合)(?<!需)考虑(?!到|患|其|与|[，。；、,]|[^，。；\n]{0,16}可能)", "确诊"),
    (r"疑似", "确诊"),
    (r"疑诊", "确诊"),
    (r"拟诊", "确诊"),
    (r"待排查?", "确诊"),
    (r"可能(?=为|是)", "肯定"),
    (r"可能性(?:较|比较|最)?大", "已经确诊"),
    (r"不(?:能|可)?(?:除外|排除)", "可以确诊"),
    (r"[?？](?=$|[\s，。；;,、])", ""),
    (r"[应需](?:注意)?与([^，。；：、\n]{2,12}?)(?:相)?鉴别", r"可完全排除\1"),
)
_HEDGES_EN = (
    (r"\bpossible\b", "definite"),
    (r"\bprobable\b", "definite"),
    (r"\bsuspected\b", "confirmed"),
    (r"\blikely\b", "surely"),
    (r"\bsuggests\b", "proves"),
    (r"\bsuggestive of\b", "proof of"),
)
_BACK = r"(?:就医|就诊|复诊|返院|来院|急诊|告知医[生护])"
_RED_FLAGS = (
    (rf"立即(?={_BACK})", "不必"),
    (rf"及时(?={_BACK})", "不必"),
    (rf"(?:尽快|尽早|随时)(?={_BACK})", "不必"),
)


def _edit_one(answer: str, edits: Sequence[tuple[str, str]], rng: random.Random) -> str | Refusal:
    """Exactly one place edited, chosen by ``rng`` among all that match."""
    return edit_place(
        answer,
        [(match.start(), match.end(), match.expand(new)) for old, new in edits for match in re.finditer(old, answer)],
        rng,
    )


def edit_place(answer: str, places: list[tuple[int, int, str]], rng: random.Random) -> str | Refusal:
    """One of the (start, end, replacement) places edited, the first that keeps the length."""
    rng.shuffle(places)
    for start, end, new in places:
        changed = answer[:start] + new + answer[end:]
        if is_length_kept(answer, changed):
            return changed
    return Refusal.SHOWS if places else Refusal.ABSENT


def negation_dropped(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """A finding that was absent becomes present: 无发热 → 有发热, 未见 → 可见, 阴性 → 阳性."""
    return _edit_one(answer, _NEGATIONS_DROPPED if context.language == "zh" else _NEGATIONS_DROPPED_EN, rng)


def negation_added(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """A finding that was present becomes absent: 伴发热 → 无发热, 可闻及 → 未闻及, 阳性 → 阴性."""
    return _edit_one(answer, _NEGATIONS_ADDED if context.language == "zh" else _NEGATIONS_ADDED_EN, rng)


def overconfident(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """An open diagnosis becomes a certain one: 考虑 → 确诊, 待排 → 确诊, "肺炎？" → "肺炎"."""
    return _edit_one(answer, _HEDGES if context.language == "zh" else _HEDGES_EN, rng)


def red_flag_dismissed(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """Advice to come back at once becomes its opposite: 立即就医 → 不必就医."""
    return _edit_one(answer, _RED_FLAGS, rng)


_WARNING = re.compile(
    r"(?:[^。；;\n，,、.]{1,24}[，,、]){0,3}(?:[^。；;\n，,.]{0,24}[，,]?)?"
    rf"(?:立即|及时|尽快|尽早|随时)(?:到|去|来)?(?:急诊|医院)?{_BACK}"
)
_HARMLESS = (  # advice that suits everybody, in many lengths
    "注意休息",
    "注意劳逸结合",
    "保持心情舒畅",
    "保持室内空气流通",
    "规律作息，避免劳累",
    "保持心情舒畅，规律作息",
    "注意休息，保持室内空气流通",
    "规律作息，避免劳累，保持心情舒畅",
    "注意休息，规律作息，保持室内空气流通",
    "规律作息，避免劳累，保持心情舒畅，适当活动",
)


def red_flag_omitted(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """A warning sign and the advice to come back give way to advice that warns of nothing, as long as they were."""
    places = []
    for match in _WARNING.finditer(answer):
        fitting = sorted(_HARMLESS, key=lambda text: abs(len(text) - len(match[0])))
        places += [(match.start(), match.end(), text) for text in fitting[:1] if text not in answer]
    return edit_place(answer, places, rng)


_FACT = re.compile(
    r"(?<![\d./A-Za-z])(\d+(?:\.\d+)?)( ?(?:岁|天|周|个月|年|小时|℃|mmHg|次/分|g/L|mmol/L|μmol/L|U/L|cm|mm)"
    r"|[- ](?:day|week|month|year|hour)s?(?:[- ]old)?)(?![\dA-Za-z])"
)


def wrong_patients_fact(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """A number of this record becomes another patient's, with the same unit: 3天 → 10天, at every mention."""
    known = {match[0] for match in _FACT.finditer(context.visible)}
    own = list(dict.fromkeys(match.groups() for match in _FACT.finditer(answer) if match[0] in known))
    strange = [match.groups() for donor in context.donors for match in _FACT.finditer(donor.text)]
    text = context.visible + answer
    here = {*clinical.numbers(context.visible), *clinical.numbers(answer)}  # in one spelling: 3 天 is 3天
    rng.shuffle(own)
    refusal = Refusal.NO_CAUSE if own else Refusal.ABSENT
    for number, unit in own:
        for other, its_unit in strange:
            facts = clinical.numbers(other + unit)
            if its_unit != unit or f"{other}{unit}" in text or not facts or not here.isdisjoint(facts):
                continue
            changed = re.sub(rf"(?<![\d./A-Za-z]){re.escape(number + unit)}(?![\dA-Za-z])", other + unit, answer)
            if is_length_kept(answer, changed):
                return changed
            refusal = Refusal.SHOWS
    return refusal


_DOSE = re.compile(
    r"(?<![\dA-Za-z.~～/-])(\d+(?:\.\d+)?)(?=\s*(?:mg|ug|μg|µg|g|ml|mL|IU|U|万U|万单位|毫克|微克|克|毫升|单位|片|粒)"
    r"(?![A-Za-z]|\s*/\s*(?:d|m)?[lL]|烟|罗))"
)

_NO_DOSE = re.compile(r"出血|流血|失血|引流|尿量|积液|抽出|吸出")
CLAUSE_END = re.compile(r"[，。；;,\n]")


def dose_x10(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """One dose ten times too high: 20mg → 200mg, 0.5g → 5g. Concentrations and losses are no doses."""
    found = _DOSE.finditer(answer)
    places = [match for match in found if not _NO_DOSE.search(CLAUSE_END.split(answer[: match.start()])[-1])]
    return edit_place(
        answer, [(m.start(), m.end(), _times_ten(m.group(1))) for m in places if _is_positive(m.group(1))], rng
    )


def _times_ten(number: str) -> str:
    """Decimal text times ten, exactly: no float ever touches a dose."""
    whole, _, decimals = number.partition(".")
    whole = (whole + (decimals[:1] or "0")).lstrip("0") or "0"
    return f"{whole}.{decimals[1:]}" if decimals[1:] else whole


def _is_positive(number: str) -> bool:
    return any(digit in "123456789" for digit in number)


# Drugs (左氧氟沙星, 右美沙芬 …) and 左右 ("about") hold no side; the same list for both sides keeps
# the swap its own undoing.
_SIDE = re.compile(r"(?<![左右])[左右](?![左右氧旋西卡炔美佐雷洛丙]|甲状腺素|乙拉)")
_SIDE_EN = re.compile(
    r"\b(left|right|Left|Right)(?=[ -](?:side|upper|lower|arm|hand|wrist|elbow|shoulder|leg|foot|ankle|knee"
    r"|hip|thigh|calf|ear|eye|breast|chest|lung|kidney|flank|neck|heart|atri|ventric|great|big|index|thumb|groin))"
)
_OTHER_SIDE = {"左": "右", "右": "左", "left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def side_swapped(answer: str, context: ErrorContext, rng: random.Random) -> str | Refusal:
    """Left and right exchanged throughout, so that only the record shows the error."""
    pattern = _SIDE if context.language == "zh" else _SIDE_EN
    changed = pattern.sub(lambda match: _OTHER_SIDE[match.group()], answer)
    if changed == answer:
        return Refusal.ABSENT
    return changed if is_length_kept(answer, changed) else Refusal.SHOWS
