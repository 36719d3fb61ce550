"""Small edits of a correct answer that put one clinical error into its wording.

Each keeps length and style and changes one thing: a negation, a side, a dose, a hedge, a warning.
The patterns are the project's own and **not reviewed by a clinician**.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from iimedgpt.types import Language

MAX_LENGTH_DIFFERENCE = 0.2  # of the correct answer's characters


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
)
_HEDGES_EN = (
    (r"\bpossible\b", "definite"),
    (r"\bprobable\b", "definite"),
    (r"\bsuspected\b", "confirmed"),
    (r"\blikely\b", "surely"),
    (r"\bsuggests\b", "proves"),
    (r"\bsuggestive of\b", "proof of"),
)
_RED_FLAGS = (
    (r"立即(?=就医|就诊|急诊|返院|来院)", "不必"),
    (r"及时(?=就医|就诊|复诊|返院|来院)", "不必"),
    (r"(?:尽快|尽早|随时)(?=就医|就诊|复诊|返院|来院)", "不必"),
)


def _edit_one(answer: str, edits: Sequence[tuple[str, str]], rng: random.Random) -> str | None:
    """Exactly one place edited, chosen by ``rng`` among all that match."""
    places = [(match.start(), match.end(), new) for old, new in edits for match in re.finditer(old, answer)]
    rng.shuffle(places)
    for start, end, new in places:
        changed = answer[:start] + new + answer[end:]
        if is_length_kept(answer, changed):
            return changed
    return None


def negation_dropped(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """A finding that was absent becomes present: 无发热 → 有发热, 未见 → 可见, 阴性 → 阳性."""
    return _edit_one(answer, _NEGATIONS_DROPPED if context.language == "zh" else _NEGATIONS_DROPPED_EN, rng)


def negation_added(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """A finding that was present becomes absent: 伴发热 → 无发热, 可闻及 → 未闻及, 阳性 → 阴性."""
    return _edit_one(answer, _NEGATIONS_ADDED if context.language == "zh" else _NEGATIONS_ADDED_EN, rng)


def overconfident(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """An open diagnosis becomes a certain one: 考虑 → 确诊, 待排 → 确诊, "肺炎？" → "肺炎"."""
    return _edit_one(answer, _HEDGES if context.language == "zh" else _HEDGES_EN, rng)


def red_flag_dismissed(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """Advice to come back at once becomes its opposite: 立即就医 → 不必就医."""
    return _edit_one(answer, _RED_FLAGS, rng)


_DOSE = re.compile(
    r"(?<![\dA-Za-z.~～/-])(\d+(?:\.\d+)?)(?=\s*(?:mg|ug|μg|µg|g|ml|mL|IU|U|万U|万单位|毫克|微克|克|毫升|单位|片|粒)"
    r"(?![A-Za-z]|\s*/\s*(?:d|m)?[lL]|烟|罗))"
)

_NO_DOSE = re.compile(r"出血|流血|失血|引流|尿量|积液|抽出|吸出")
CLAUSE_END = re.compile(r"[，。；;,\n]")


def dose_x10(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """One dose ten times too high: 20mg → 200mg, 0.5g → 5g. Concentrations and losses are no doses."""
    found = _DOSE.finditer(answer)
    places = [match for match in found if not _NO_DOSE.search(CLAUSE_END.split(answer[: match.start()])[-1])]
    rng.shuffle(places)
    for match in places:
        changed = answer[: match.start()] + _times_ten(match.group(1)) + answer[match.end() :]
        if _is_positive(match.group(1)) and is_length_kept(answer, changed):
            return changed
    return None


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


def side_swapped(answer: str, context: ErrorContext, rng: random.Random) -> str | None:
    """Left and right exchanged throughout, so that only the record shows the error."""
    pattern = _SIDE if context.language == "zh" else _SIDE_EN
    changed = pattern.sub(lambda match: _OTHER_SIDE[match.group()], answer)
    return changed if changed != answer and is_length_kept(answer, changed) else None
