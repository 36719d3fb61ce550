"""Numbers in clinical text as comparable facts: value and unit in one spelling. Pure functions.

``clinical.numbers`` is the public face; this file holds the writing systems of numbers:
full width, powers of ten, Chinese and English number words, list numbering that is no fact.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

_N_CACHED = 512  # texts of a few records: every task asks for the same ones
# one name: its spellings; "" holds a unit that goes without saying
_SPELLINGS = {
    "": "mmhg kpa",
    "umol/l": "umol/l μmol/l",
    "ug/l": "ug/l μg/l",
    "ug/ml": "ug/ml μg/ml",
    "u/l": "u/l iu/l",
    "u/ml": "u/ml iu/ml",
    "次/分": "次/分钟 次/分 次/min bpm",
    "℃": "°c 摄氏度 度",
    "mg": "mg 毫克",
    "ug": "ug μg mcg 微克",
    "kg": "kg 公斤 千克",
    "g": "g 克",
    "ml": "ml 毫升",
    "cm": "cm 厘米 公分",
    "mm": "mm 毫米",
    "岁": "岁 周岁 years_old year_old year-old years-old",
    "年": "年 years year",
    "月": "月 个月 months month",
    "周": "周 星期 weeks week",
    "天": "天 日 days day",
    "小时": "小时 hours hour hrs h",
    "分钟": "分钟 minutes minute min",
    "秒": "秒 seconds",
    "次": "次 times",
    "u": "u iu 单位 units",
}
_PLAIN_UNITS = (
    "mmol/l nmol/l pmol/l mg/dl mg/l g/dl g/l ng/ml ng/l pg/ml miu/ml mm/h ml/h mg/kg l % 斤 片 粒 支 袋 滴 丸 级 分 类"
)
_UNITS = {spelling.replace("_", " "): unit for unit, all_ in _SPELLINGS.items() for spelling in all_.split()}
_UNITS |= {unit: unit for unit in _PLAIN_UNITS.split()}
# amounts a plan may bring in: how much, how often, how long
_DOSES = "mg ug g ml u mg/kg ml/h 片 粒 支 袋 滴 丸 次 天 周 月 小时 分钟"
DOSE_UNITS = frozenset(_DOSES.split())

_UNIT = re.compile(
    "|".join(
        re.escape(unit) + ("(?![a-z])" if unit[-1].isascii() and unit[-1].isalpha() else "")
        for unit in sorted(_UNITS, key=len, reverse=True)
    )
)
_VALUE = re.compile(
    r"(?P<date>(?:19|20)\d\d\s*[-/.年]\s*\d{1,2}(?:\s*[-/.月]\s*\d{1,2}日?|月)?)"
    r"|(?P<mantissa>\d+(?:\.\d+)?)\s*[x*·]?\s*10\s*[\^*]\s*(?P<power>\d{1,2})"
    r"|(?P<value>\d+(?:\.\d+)?(?:/\d+(?:\.\d+)?)?)"
)
_GAP = re.compile(r"\s*-?\s*(?:[余多来几]+)?\s*")
_TEST_NAME = re.compile(r"24(?:小时|h)(?:动态|尿|食管|心电|血压)|2(?:小时|h)(?:血糖|c肽|胰岛素)")
_NAME_TAIL = re.compile(r"\s*(?:型|期|号|导联|维)|-?[a-z]")
_NUMBERING = re.compile(r"(?<![\d./])(?<!\d:)\(?(\d{1,2})(?:[)]、?|、|\.(?!\d)|\.(?=\d{1,2}型)|\.\s+)")
_CIRCLED = re.compile(r"[\u2460-\u2473]、?")
_SUPERSCRIPT = re.compile(r"[⁰¹²³⁴-⁹]+")

_ZH_DIGIT = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"两": 2}
_ZH_COUNTED = "年|月|周|星期|天|日|小时|分钟|岁|次|斤|公斤|片|粒|度"
_ZH_NUMBER = re.compile(
    rf"(?<![周第星期十])([一二两三四五六七八九十]{{1,3}}|半(?!月[板瓣]))(?=[余多来几]?个?(?:{_ZH_COUNTED}))"
)
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * n for n, word in enumerate(_TENS_WORDS.split(), start=2)}
_ONES_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_ONES = {word: n for n, word in enumerate(_ONES_WORDS.split(), start=1)}
_EN_NUMBER = re.compile(rf"\b(?:({'|'.join(_TENS)})(?:[- ]({'|'.join(_ONES)}))?|({'|'.join(_ONES)}))\b")


@lru_cache(_N_CACHED)
def plain(text: str) -> str:
    """One spelling for the same signs: NFKC, ⁹ as ``^9``, × as x, circled numbers as line breaks."""
    text = _CIRCLED.sub("\n", text)
    text = _SUPERSCRIPT.sub(lambda match: "^" + match[0], text)
    return unicodedata.normalize("NFKC", text).replace("×", "x").replace("〇", "零")


def without_numbering(text: str, mark: str = "\n") -> str:
    """List numbers (1. 2、(3)) replaced by ``mark``; only a run that starts at 1 counts as numbering.

    So "80、" in an enumeration of values stays, and "贫血3.冠心病" is taken apart.
    """
    last = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal last
        number = int(match[1])
        if number not in (1, last + 1):
            return match[0]
        last = number
        return mark

    return _NUMBERING.sub(replace, plain(text))


@lru_cache(_N_CACHED)
def quantities(text: str, *, is_lenient: bool = False) -> tuple[str, ...]:
    """Values with units in order of appearance, repeats kept: "13.2mmol/l", "120/80", "3天", "10.88e9".

    A digit that is part of a name (CA125, B12, 2型, L4) is no quantity. ``is_lenient`` also takes
    number words without a unit and digits in names: for the text that has to support a fact.
    """
    text = without_numbering(text).lower()
    text = _EN_NUMBER.sub(lambda match: _english(match, text, is_lenient), text)
    text = _ZH_NUMBER.sub(lambda match: _chinese(match[1]), text)
    found = []
    for match in _VALUE.finditer(text):
        fact = _fact(match, text, is_lenient)
        if fact:
            found.append(fact)
            if is_lenient and "/" in fact:  # a pair supports its halves
                found += [part for part in fact.split("/") if part[:1].isdigit()]
    return tuple(found)


def split_unit(fact: str) -> tuple[str, str]:
    """("13.2", "mmol/l") of "13.2mmol/l"."""
    match = re.match(r"[\d.\-]+(?:/\d[\d.]*)?", fact)
    end = match.end() if match else 0
    return fact[:end], fact[end:]


def _fact(match: re.Match[str], text: str, is_lenient: bool) -> str | None:
    if match["date"]:
        return "-".join(str(int(part)) for part in re.findall(r"\d+", match["date"]))
    if match["mantissa"]:
        return f"{_trim(match['mantissa'])}e{int(match['power'])}"
    value = "/".join(_trim(part) for part in match["value"].split("/"))
    if not is_lenient and _TEST_NAME.match(text, match.start()):
        return None
    unit_at = _GAP.match(text, match.end())
    unit = _UNIT.match(text, unit_at.end() if unit_at else match.end())
    if unit:
        return value + _UNITS[unit[0]]
    if is_lenient:
        return value
    before = text[: match.start()]
    is_after_letter = bool(re.search(r"[a-z]-?$", before)) and not before.endswith("bp")
    if (is_after_letter and "." not in value) or _NAME_TAIL.match(text, match.end()):
        return None
    return value


def _trim(value: str) -> str:
    number = Decimal(value)
    return format(number.normalize() if "." in value else number, "f")


def _chinese(word: str) -> str:
    if word == "半":
        return "0.5"
    tens, ten, ones = word.rpartition("十")
    if not ten:
        return "".join(str(_ZH_DIGIT[char]) for char in word) if len(word) == 1 else word
    high = _ZH_DIGIT.get(tens, 1) if len(tens) <= 1 else 0
    return str(high * 10 + (_ZH_DIGIT[ones] if ones else 0)) if high and len(ones) <= 1 else word


def _english(match: re.Match[str], text: str, is_lenient: bool) -> str:
    gap = _GAP.match(text, match.end())
    has_unit = _UNIT.match(text, gap.end() if gap else match.end())
    if not (is_lenient or has_unit):
        return match[0]
    tens, ones, alone = match.groups()
    return str(_ONES[alone] if alone else _TENS[tens] + (_ONES[ones] if ones else 0))
