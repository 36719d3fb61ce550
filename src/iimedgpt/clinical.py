"""Facts of clinical text: numbers, drugs, departments, examinations, diagnoses, negations, sides.

Pure functions on one text, Chinese first and English where it is simple. They find names, never
judge them; what is listed is in ``terms.toml`` beside this file. Precision before recall: a fact
that is not found is not counted, a wrong one would accuse a text that is right.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache, lru_cache
from importlib import resources
from itertools import pairwise
from typing import Any, NamedTuple

from iimedgpt.quantities import DOSE_UNITS, plain, quantities, split_unit, without_numbering
from iimedgpt.text import fold, unique

FactKind = str  # "number" | "drug" | "negation"
FACT_KINDS: tuple[FactKind, ...] = ("number", "drug", "negation")

_MAX_NAME_CHARS = 60  # longer is running text, not the name of a disease
_END = "，,。；;！!？?\n"


@cache
def _terms() -> dict[str, Any]:
    return tomllib.loads(resources.files("iimedgpt").joinpath("terms.toml").read_text(encoding="utf-8"))


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Leftmost, longest first; a word of letters matches whole words only.

    The first characters are looked up as a set before hundreds of names are tried.
    """
    ordered = sorted(words, key=lambda word: (-len(word), word))
    latin = [re.escape(word) for word in ordered if word[0].isascii()]
    other = [re.escape(word) for word in ordered if not word[0].isascii()]
    first = "".join(sorted({word[0] for word in ordered if not word[0].isascii()}))
    parts = [rf"(?=[{first}])(?:{'|'.join(other)})"] if other else []
    parts += [rf"(?<![a-z0-9])(?=[a-z0-9])(?:{'|'.join(latin)})(?![a-z])"] if latin else []
    return re.compile("|".join(parts))


def _spellings(table: Mapping[str, list[str]]) -> dict[str, str]:
    names = {name.lower(): name for name in table}
    return names | {alias.lower(): name for name, aliases in table.items() for alias in aliases}


@cache
def _drug_names() -> tuple[re.Pattern[str], dict[str, str]]:
    listed = _terms()["drugs"]
    names = {plain(name).lower(): name for name in (*listed["zh"], *listed["en"])}
    names |= {alias.lower(): name for alias, name in listed["aliases"].items()}
    return _pattern(names), names


@cache
def _department_names() -> tuple[re.Pattern[str], dict[str, str]]:
    names = _spellings(_terms()["departments"])
    return _pattern(names), names


@cache
def _examination_names() -> tuple[re.Pattern[str], dict[str, str]]:
    names = _spellings(_terms()["examinations"])
    return _pattern(names), names


def numbers(text: str) -> list[str]:
    """Numeric facts with their unit in one spelling: "13.2", "120/80", "3天", "10.88e9"; no repeats.

    List numbering and digits inside names (CA125, B12, 2型糖尿病) are no facts.
    """
    return unique(quantities(text))


# what follows a drug's name in the name of a test: 凝血酶原时间, 左旋多巴负荷试验, 胰岛素释放试验, 青霉素皮试
_TEST_TAIL = re.compile("原|时间|(?:负荷|抑制|激发|释放|耐量|兴奋|皮肤)?试验|皮试|抵抗")


def drugs(text: str) -> list[str]:
    """Generic names of the listed drugs, longest match, in order of appearance; aliases resolved."""
    pattern, names = _drug_names()
    found = pattern.finditer(plain(text).lower())
    return unique(names[match[0]] for match in found if not _TEST_TAIL.match(match.string, match.end()))


def departments(text: str) -> list[str]:
    """Department names in one spelling: "内科病例 消化内科病例" gives 消化内科.

    内科 and 外科 stand only where nothing more specific is named.
    """
    pattern, names = _department_names()
    found = unique(names[match[0]] for match in pattern.finditer(plain(text).lower()))
    general = {"内科", "外科"}
    return [name for name in found if name not in general] or found


_PARTS = (
    "头颅|颅脑|头部|头面部|脑部|脑|鼻窦|颈部|颈椎|颈动脉|颈内动脉|甲状腺|胸部|胸|双肺|肺部|肺动脉|肺|主动脉|冠状动脉|冠脉|乳腺|"
    "全腹部?|上腹部?|中腹部?|下腹部?|腹部|肝胆胰脾双?肾?|肝胆脾胰双?肾?|肝胆|肝脏|胆囊|胆道|胰腺|脾脏|双肾|肾脏|肾上腺|肾|泌尿系统?|输尿管|"
    "腹股沟区?|骶髂关节|胸腰椎|膀胱|前列腺|盆腔|妇科|子宫附件|子宫|附件|经?阴道|产科|胎儿|腰椎|胸椎|脊柱|骨盆|髋关节|膝关节|踝关节|肩关节|腕关节|肘关节|髋部?|膝|"
    "踝|肩|腕|肘|足|手|四肢|双下肢|下肢|双上肢|上肢|深?静脉|动脉|血管|心脏|浅表|淋巴结|阴囊|睾丸|眼部|眼眶|眼|垂体|内听道|关节|软组织"
)
_MODALITY_SPELLINGS = {
    "CT": "ct",
    "CTA": "cta",
    "CTPA": "ctpa",
    "MRA": "mra",
    "MRCP": "mrcp",
    "MRI": "mri mr 核磁共振 核磁 磁共振成像 磁共振",
    "超声": "b超 彩超 彩色多普勒超声 彩色多普勒 多普勒超声 超声波 超声",
    "X线": "x线片 x线 x光片 x光 x片 dr片 dr 正侧位片 正位片 平片",
    "造影": "造影",
}
_MODALITIES = {spelling: name for name, all_ in _MODALITY_SPELLINGS.items() for spelling in all_.split()}
_IMAGING = re.compile(
    rf"(?:[左右双两][侧]?)?(?:(?:{_PARTS})[及、+和]?)*(?:床旁|平扫|增强|高分辨率?|螺旋|薄层|双能|正侧位|正位|侧位)?"
    rf"(?<![a-z])(?:{'|'.join(sorted(_MODALITIES, key=len, reverse=True))})(?![a-z])"
    r"(?:平扫\+?增强|增强|平扫)?|胸片"
)
_NOT_DONE = re.compile(r"未(?:做|行|查|进行)|没有[^。；\n]{0,24}记录|无[^。；\n]{0,16}记录|not (?:done|performed)")


def examinations(text: str) -> list[str]:
    """Names of examinations in an order or a results text, one spelling, no results: 血常规, 胸部CT, 胃镜.

    B超, 彩超 are 超声; X光, DR are X线; 磁共振 is MRI. A bare modality gives way to one with a body part.
    """
    pattern, names = _examination_names()
    found: list[str] = []
    for clause in re.split(r"[。；;\n]", plain(text).lower()):
        if not _NOT_DONE.search(clause):
            found += [names.get(name) or _imaging(name) for name in _leftmost_longest(clause, pattern, _IMAGING)]
    found = unique(found)
    bare = {name for name in found if name in _MODALITIES.values()}
    covered = {name for name in bare if any(other != name and other.endswith(name) for other in found)}
    return [name for name in found if name not in covered]


def _leftmost_longest(text: str, *patterns: re.Pattern[str]) -> Iterator[str]:
    """What any of the patterns matches: 超声心动图, which is listed, goes before the modality 超声."""
    ahead = {pattern: pattern.search(text) for pattern in patterns}
    while matches := [match for match in ahead.values() if match]:
        best = min(matches, key=lambda match: (match.start(), -match.end()))
        yield best[0]
        for match in matches:
            if match.start() < best.end():
                ahead[match.re] = match.re.search(text, best.end())


def _imaging(name: str) -> str:
    if name == "胸片":
        return "胸部X线"
    name = re.sub(r"床旁|平扫\+?|高分辨率?|螺旋|薄层|双能(?=ct)|正侧位|正位|侧位", "", name).rstrip("+")
    name = re.sub(r"^胸(?!部|椎|腰)", "胸部", name)
    name, is_enhanced = name.replace("增强", ""), "增强" in name
    for spelling in sorted(_MODALITIES, key=len, reverse=True):
        if name.endswith(spelling):
            part = name[: -len(spelling)].strip("及、+和")
            return part + _MODALITIES[spelling] + ("增强" if is_enhanced else "")
    return name


_DIAGNOSIS_LABEL = re.compile(
    r"^(?:(?:初步|入院|门诊|最后|最终|出院|临床|西医|中医)?诊断(?:结果|为|是)?|考虑为?|"
    r"(?:final |initial )?diagnos[ei]s)\s*[::]?\s*",
    re.IGNORECASE,
)
_NO_DIAGNOSIS = re.compile(r"[无未]确诊|诊断不明|不详$")
_DOUBT = re.compile(r"待查|待排除?|(?:的)?可能性?大?$|[??]|不除外|^疑似|^考虑")


def diagnoses(text: str) -> list[str]:
    """Items of a diagnosis text: numbering, labels, doubt (？, 待查) and end marks off, no repeats.

    Brackets are kept with their item and never split: 高血压病(2级,很高危).
    """
    items = []
    for part in _outside_brackets(without_numbering(text)):
        part = _DOUBT.sub("", _DIAGNOSIS_LABEL.sub("", part.strip())).strip(" .:：、-*•\"“”'#伴")
        if fold(part) and not _NO_DIAGNOSIS.search(part):
            items.append(part)
    return unique(items)


def _outside_brackets(text: str) -> list[str]:
    separators = "\n,，;；。、?？" if re.search(r"[\u4e00-\u9fff]", text) else "\n;?"
    parts, depth = [""], 0
    for i, char in enumerate(text):
        depth = max(0, depth + (char in "([") - (char in ")]"))
        is_doubt_colon = char in ":：" and parts[-1].strip().endswith(("待查", "诊断", "诊断结果"))
        is_title = parts[-1].lower().endswith(("ms", "mr", "mrs", "dr", "vs"))
        is_full_stop = char == "." and not is_title and (i + 1 == len(text) or text[i + 1].isspace())
        if depth == 0 and (char in separators or is_doubt_colon or is_full_stop):
            parts.append("")
        else:
            parts[-1] += char
    return parts


def main_diagnosis(text: str) -> str | None:
    """The first diagnosis without its bracket, the key for holding out diseases.

    None where there is none, or only running text.
    """
    for item in diagnoses(text):
        name = re.sub(r"\s*[(\[].*$", "", item).strip()
        if fold(name):
            return name.lower() if len(name) <= _MAX_NAME_CHARS else None
    return None


_NOT_NEGATION = (
    "(?!力|菌|创|痛胃|痛肠|痛性|痛失|名|效|法|需|尿(?![频急痛血失])|误|论|色|意(?!识)|影|机|奈|偿|形|脉|固|关(?!节)|殊|特殊|"
    "先兆|张力|排卵|精子|黄疸型|症状性|(?:明显|其他)?(?:诱因|异常|规律|变化|改变))"
)
_NEGATION = re.compile(
    rf"(?:否认|未见|未闻及|未触及|未扪及|未及|没有|不伴|(?<![有])无){_NOT_NEGATION}(?:有|明显|显著|过)?(?P<zh>[^{_END}:()]+)"
    r"|\b(?:no|denies|denied|without|negative for)\s+(?P<en>[a-z][a-z \-,/]*)"
)
_NEGATIVE = re.compile(rf"(?P<sign>[^{_END}:()、无未]{{1,14}}?)(?:试验|检查)?(?:呈|均|为)?(?:阴性|\(-\))")
_FINDING_TAIL = re.compile(r"(?:病|接触|过敏)?史$|等.*$|[的了]$|症状$")
_QUOTES = " \"'“”‘’《》"
_ZH_JOIN = re.compile(r"[、/及和或与]")
_EN_JOIN = re.compile(r"\s*,\s*(?:or |and |nor )?|\s+(?:or|and|nor)\s+|/")


def negations(text: str) -> list[str]:
    """Findings said to be absent: 无X, 否认X, 未见X, X阴性, X(-), no X, denies X; lists taken apart."""
    found: list[str] = []
    for match in _negation_matches(plain(text).lower()):
        finding = match[match.lastgroup or 0]
        joints = _EN_JOIN if match.lastgroup == "en" else _ZH_JOIN
        found += [_FINDING_TAIL.sub("", part.strip(_QUOTES)).strip(_QUOTES) for part in joints.split(finding)]
    return unique(part for part in found if 1 < len(part) <= (40 if part.isascii() else 14))


def _negation_matches(text: str) -> list[re.Match[str]]:
    matches = list(_NEGATION.finditer(text))
    if "阴性" in text or "(-)" in text:
        matches += _NEGATIVE.finditer(text)
    return sorted(matches, key=lambda match: match.start())


_SIDE = re.compile(
    r"([左右双])(?:侧|边)?((?:上|中|下|前|后|内|外)?(?:上肢|下肢|肢体|膝|肩|髋|踝|肘|腕|肺|肾|眼|耳|乳|腿|臂|手|足|脚|胸|腹|腰|"
    r"颈|额|颞|顶|枕|肝|叶|心|脑|面|季肋|肋|髂|胁|鼻|颌|卵巢|附件|睾丸|甲状腺|锁骨|肱骨|股骨|胫骨|桡骨|尺骨)?)"
    r"|\b(left|right|bilateral)\b(?:[- ]sided)?(?: (?!and|or|side)([a-z]+))?"
)


def sides(text: str) -> list[str]:
    """Sides with the part they belong to: 左膝, 右上腹, 双肺, "left knee"; the side alone without a part."""
    found = _SIDE.finditer(plain(text).lower())
    return unique((m[1] + m[2]) if m[1] else f"{m[3]} {m[4] or ''}".strip() for m in found)


def unsupported(answer: str, visible: str) -> dict[FactKind, list[str]]:
    """Facts of the answer that the visible text does not hold, by kind; kinds without any are left out.

    A number counts as held where value and unit agree, or one of them has no unit. A negation
    counts as held where the visible text negates the finding, also as question and "no".
    """
    held, lay = _held(visible), _terms()["lay"]
    missing = {
        "number": [fact for fact in numbers(answer) if not _is_held(fact, held.units)],
        "drug": [name for name in drugs(answer) if name not in held.drugs],
        "negation": [finding for finding in negations(answer) if not _is_negated(finding, held.negated, lay)],
    }
    return {kind: facts for kind, facts in missing.items() if facts}


class _Held(NamedTuple):
    """What a visible text supports."""

    units: Mapping[str, Set[str]]  # of each value
    drugs: Set[str]
    negated: str


@lru_cache(16)  # of one record: an answer and each of its clauses are held against the same text
def _held(visible: str) -> _Held:
    units: dict[str, set[str]] = {}
    for value, unit in map(split_unit, set(quantities(visible, is_lenient=True))):
        units.setdefault(value, set()).add(unit)
    return _Held(units, frozenset(drugs(visible)), fold("\n".join(_negated_scopes(visible))))


def is_dose(fact: str) -> bool:
    """True where a numeric fact is an amount, a frequency or a duration, as plans bring them in."""
    return split_unit(fact)[1] in DOSE_UNITS


def _is_held(fact: str, values: Mapping[str, Set[str]]) -> bool:
    value, unit = split_unit(fact)
    units = values.get(value)
    return units is not None and (not unit or unit in units or "" in units)


def _is_negated(finding: str, scope: str, lay: Mapping[str, list[str]]) -> bool:
    """In the same words, or as patients say it: 活动后胸痛 by "胸口疼"."""
    if fold(finding) in scope:
        return True
    return any(fold(word) in scope for name, words in lay.items() if name in finding for word in (name, *words))


_NO = re.compile(
    r"[^::]{0,8}[::]\s*(?:[^,。;:]{0,2}(?:没|无|不(?!行|了|得|舒))|否|no\b|nope|not\b|uh , no|i (?:don|have ?n|did ?n))"
)
_PATIENT = ("患者:", "patient:")
# the patient's own words: 没见过血块, 不怎么痒
_SAID_NO = re.compile(r"(?<!差)(?:没|不(?!仅|光|但|只|过|知))[^,。;?\n]{1,10}")


def _negated_scopes(visible: str) -> list[str]:
    text = plain(visible).lower()
    scopes = [match[0] for match in _negation_matches(text)]
    lines = text.split("\n")
    scopes += [match[0] for line in lines if line.startswith(_PATIENT) for match in _SAID_NO.finditer(line)]
    for question, reply in pairwise(lines):
        if question.rstrip().endswith("?") and _NO.match(reply[:24]):
            scopes.append(question)
    return scopes
