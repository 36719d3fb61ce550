"""Dates in clinical text: found in their many spellings, shifted by whole days, format kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from iimedgpt.records.deid.windows import find_windows
from iimedgpt.types import Language

_Y = r"(?P<y>(?:19|20)[0-9]{2})"
_M = r"(?P<m>1[0-2]|0?[1-9])"
_D = r"(?P<d>3[01]|[12][0-9]|0?[1-9])"
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip
_NAME = r"(?P<name>" + "|".join(f"{month}|{month[:3]}" for month in _MONTHS) + r"|sept)"
_NOT_IN_NUMBER = r"(?<![0-9])(?<![0-9][./])"
_S = r"[ \n]{0,2}"
# a range's end stands behind a date: "3~4日一次" and "5~6月龄" do not
_RANGE = r"(?:(?<=[年月日号份][-~—至到、及和])|(?<=[年月日号] [-~—至到])|(?<=[年月日号][-~—至到] ))"
_DAY_RANGE = rf"(?:{_RANGE}|(?<=[0-9][-~—至到、,]))"
_DIGIT = "〇零○Ｏ一二三四五六七八九"
_CAPITAL = "零壹贰叁肆伍陆柒捌玖"
_CN_M = r"(?P<cm>十[一二]?|[一二三四五六七八九正冬腊元]|零[一-九]|〇[一二三四五六七八九]|壹拾[壹贰]?|零?[壹贰叁肆伍陆柒捌玖])"
_CN_D = r"(?P<cd>初[一二三四五六七八九十]|二?十[一二三四五六七八九]?|[廿卄][一二三四五六七八九]?|三十一?|卅一?|二[一二三四五六七八九]|一[一二三四五六七八九〇零]|[二三][〇零]|三一|[零〇]?[一二三四五六七八九]|[贰叁]?拾[壹贰叁肆伍陆柒捌玖]?|零?[壹贰叁肆伍陆柒捌玖])"
_CN_Y = rf"(?P<cy>[{_DIGIT}]{{4}}|[{_CAPITAL}]{{4}}|[二三一九〇零八七六][{_DIGIT}])"
# what stands behind "5.1" and "5/1" where they are dates
_EVENT = (
    r"(?= ?(?:[0-2]?[0-9]:[0-5][0-9]|[,，]?(?:凌晨|清晨|晨|早上|早|上午|中午|午后|下午|傍晚|晚上|晚|夜间|夜)(?!血糖)|(?:再次|因|在|于|至|又|来|我|外|当地|本)?"
    r"(?:入院|出院|住院|手术|急诊|门诊|就诊|来诊|来院|复查|复诊|查|行|予|起|开始|术|化疗|放疗|CT|MR|B超|彩超|胸片|血常规|心电图|院|病理|会诊|转入|转院|拔管|拆线|换药|停|改|加用|抽血|采血|超声|胃镜|肠镜)))"
)
_LEAD = r"(?:(?<=[^大小等高低多少介位优对]于)|(?<=[在自从至到即定约])|(?<=[\n,，。;；、(（:：])|^)"
_NO_UNIT = r"(?! ?(?:[uUIg%]|mg|ml|单位|次|片|粒|支|mm|cm|级|分|~|mol))"
_INSULIN = r"(?<!胰岛素)(?<!胰岛素 )(?<!锐)(?<!灵)(?<!霖)(?<!R )(?<!30R)"

_SHARED = [
    # 2023-05-01, 2023/5/1, 2023.05.01
    _NOT_IN_NUMBER + _Y + rf"{_S}(?P<sep>[-/.．·]){_S}" + _M + rf"{_S}(?P=sep){_S}" + _D + r"(?![0-9])",
    _NOT_IN_NUMBER + _Y + r"(?P<sep>[ \n])" + _M + r"(?P=sep)" + _D + r"(?![0-9.])(?! ?[A-Za-z%/*×^])",
    # 20230501
    r"(?<![0-9A-Za-z.])" + _Y + r"(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12][0-9]|3[01])(?![0-9A-Za-z])",
    r"(?<![0-9A-Za-z.])"
    + _Y
    + r"(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12][0-9]|3[01])(?=[T _-]?[0-2][0-9]:?[0-5][0-9](?::?[0-5][0-9])?(?![0-9]))",
    # 2023-05 (not 2017.05ng/ml)
    _NOT_IN_NUMBER + _Y + r"(?P<sep>[-/.])(?P<m>0[1-9]|1[0-2])(?![0-9])(?![-/.][0-9])(?! ?[A-Za-z%μ×*^])",
    # 1/5/2023, 1.5.2023, 31-12-2023: the order is the country's, so a day above 12 decides
    r"(?<![0-9./-])(?P<m>1[0-2]|0?[1-9])(?P<sep>[-/.])" + _D + r"(?P=sep)" + _Y + r"(?![0-9])",
    r"(?<![0-9./-])" + _D + r"(?P<sep>[-/.])(?P<m>1[0-2]|0?[1-9])(?P=sep)" + _Y + r"(?![0-9])",
]
_NAMED = [
    r"(?<![A-Za-z])" + _NAME + r"\.? ?" + _D + r"(?P<ord>st|nd|rd|th)?,? ?" + _Y + r"(?![0-9])",
    r"(?<![0-9])"
    + _D
    + r"(?P<ord>st|nd|rd|th)?[ ./-]?(?:day )?(?:of )?"
    + _NAME
    + r"\.?[ ,./-]{0,2}(?:"
    + _Y
    + r"|(?P<yy>[0-9]{2})(?![0-9:]))(?![0-9])",
    r"(?<![A-Za-z])" + _NAME + r"\.?,?[ -](?:of )?" + _Y + r"(?![0-9])",
    r"(?<![A-Za-z])" + _NAME + r"\.?,? '(?P<yy>[0-9]{2})(?![0-9])",
    r"(?<![A-Za-z])"
    + _NAME
    + r"\.? (?:the )?"
    + _D
    + r"(?P<ord>st|nd|rd|th)?(?![0-9A-Za-z/%]|\.[0-9]| ?(?:mg|ml|%|mcg))",
    r"(?<![0-9./])" + _D + r"(?P<ord>st|nd|rd|th)?[ -](?:day )?(?:of )?" + _NAME + r"(?![A-Za-z])",
]
_ZH = [
    _NOT_IN_NUMBER + _Y + rf"{_S}年度?{_S}" + _M + rf"{_S}月份?{_S}" + _D + r"(?:[ \n]{0,2}[日号]|(?![0-9.]))",
    r"(?<![0-9])(?P<yy>[0-9]{2})" + rf"{_S}年{_S}" + _M + rf"{_S}月{_S}" + _D + rf"(?:{_S}[日号]|(?![0-9]))",
    r"(?<![0-9.])(?P<yy>[0-9]{2})" + rf"{_S}年{_S}" + _M + rf"{_S}月(?!{_S}[0-9])",
    _NOT_IN_NUMBER + _Y + rf"{_S}年{_S}" + _M + rf"{_S}月份?(?!{_S}[0-9])",
    _NOT_IN_NUMBER + _Y + rf"{_S}年(?!{_S}[0-9])",
    _NOT_IN_NUMBER + _Y + rf"{_S}年(?={_S}[0-9]{{1,2}}[天周次余])",
    _NOT_IN_NUMBER + _Y + r"(?= ?(?:-|~|—|至|到|、) ?(?:19|20)[0-9]{2} ?年)",
    _NOT_IN_NUMBER + _Y + r"(?P<sep>[-/.])(?P<m>1[0-2]|[1-9])(?![0-9])(?![-/.][0-9])(?! ?[A-Za-z%μ×*^])",
    r"(?<=[于在自从至到])(?P<yy>[0-9]{2})年(?=[初底末中春夏秋冬]|[\u4e00-\u9fff](?![年])|,)(?![前后余多来以之内间的制])",
    # two-digit years: 23.5.1
    r"(?<![0-9A-Za-z./-])"
    + _INSULIN
    + r"(?P<yy>[0-4][0-9]|[5-9][0-9])(?P<sep>[-/.])(?P<m>1[0-2]|0?[1-9])(?P=sep)"
    + _D
    + r"(?![0-9]|[-/.][0-9])"
    + _NO_UNIT,
    r"(?<![0-9A-Za-z./-])(?P<m>1[0-2]|0?[1-9])(?P<sep>[/-])"
    + _D
    + r"(?P=sep)(?P<yy>[0-9]{2})(?![0-9]|[-/.][0-9])"
    + _NO_UNIT,
    r"(?<![0-9])" + _M + rf"{_S}月份?{_S}" + _D + r"[ \n]{0,2}[日号]",
    r"(?<![0-9])" + _M + r" ?月 ?" + _D + r"(?= ?[-~—至到、] ?[0-9]{1,2} ?[日号])",
    r"(?<![0-9])" + _M + r" ?月 ?" + _D + r"(?![0-9日号./%]| ?(?:mg|ml|天|周|次|个|年|月|岁|粒|片|g|支|余|多))",
    # 5.1, 5/1, 05-01 where something of a date stands beside
    r"(?<![0-9./-])" + _LEAD + r" ?(?P<m>1[0-2]|0?[1-9])(?P<sep>[-/])" + _D + r"(?![0-9./%日号])" + _EVENT,
    r"(?<![0-9./-])"
    + _LEAD
    + r" ?(?P<m>1[0-2]|0?[1-9])(?P<sep>[.])"
    + _D
    + r"(?![0-9./%])"
    + _EVENT.replace("[,，]?(?:凌晨|清晨|晨|早上|早|上午|中午|午后|下午|傍晚|晚上|晚|夜间|夜)(?!血糖)", "凌晨|上午"),
    r"(?<![0-9./:-])(?P<m>0[1-9]|1[0-2])(?P<sep>[-/])(?P<d>0[1-9]|[12][0-9]|3[01])(?= [0-2]?[0-9]:[0-5][0-9])",
    r"(?<![0-9A-Za-z./:-])(?P<m>0[1-9])(?P<sep>[-/.])(?P<d>0[1-9]|[12][0-9]|3[01])(?![0-9./:%-])" + _NO_UNIT,
    r"(?:(?<=\n)|^)(?P<m>1[0-2]|0?[1-9])(?P<sep>[-/.])(?P<d>3[01]|[12][0-9]|0?[1-9])(?= [\u4e00-\u9fff]{2}|:)",
    r"(?<=[^大小等高低多少介位优对]于)(?P<m>1[0-2]|0?[1-9])(?P<sep>[-/.])"
    + _D
    + r"(?![0-9./%])(?=[\u4e00-\u9fff,，。])"
    + r"(?![年月周天岁倍级小分次左以之肌层mc])",
    r"(?<=[\u4e00-\u9fff])(?<![约为达至以较率值量计数酐糖钾钠钙氮白压])(?P<m>1[0-2]|0?[1-9])(?P<sep>[-/.])"
    + _D
    + r"(?![0-9./%])(?=(?:再次|又)?(?:入院|出院|手术|复查|复诊|就诊|来诊|查(?!血)|行|起|因|门诊|急诊|化疗|拔|拆))",
    r"(?<![0-9./])(?P<m>1[0-2]|0?[1-9])(?P<sep>[.])" + _D + r"(?=[日号](?![份龄均]))",
    rf"(?<![{_DIGIT}个几数两半这那每])" + _CN_M + r" ?月 ?" + _D + r" ?[日号]",
    # ranges of these: 2023.5.1-5.3, 5/1-5/7
    r"(?:(?<=[0-9][-~—至到])|(?<=[0-9] [-~—至到])|(?<=[0-9][-~—至到] ))(?<=[./-][0-9]{2}[-~—至到])(?P<m>1[0-2]|0?[1-9])(?P<sep>[./])"
    + _D
    + r"(?![0-9./%])",
    r"(?<=[./-][0-9][-~—至到])(?P<m>1[0-2]|0?[1-9])(?P<sep>[./])" + _D + r"(?![0-9./%])",
    r"(?<![0-9./-])"
    + _M
    + r"(?P<sep>[./])"
    + _D
    + r"(?=[-~—至到](?:1[0-2]|0?[1-9])(?P=sep)(?:3[01]|[12][0-9]|0?[1-9])(?![0-9./%]))(?=[^\n]{3,12}(?:日|号|住院|入院|出院|在|于|行|,|。|期间|化疗|我院|\)))"
    + _NO_UNIT,
    # the end of a range: 2023年5月1日至3日, 2019年5月-8月
    _RANGE + _M + r" ?月(?!" + _S + r"[0-9])",
    _DAY_RANGE + _D + r"[日号]",
    r"(?<=[0-9日号][、,])" + _D + r"(?=(?:[、,][0-9]{1,2}){1,6}[日号])",
    # written out
    rf"(?<![{_DIGIT}])" + _CN_Y + rf"{_S}年{_S}" + _CN_M + rf"{_S}月{_S}" + _CN_D + r"[日号]?",
    rf"(?<![{_DIGIT}])" + _CN_Y + rf"{_S}年{_S}" + _CN_M + rf"{_S}月份?",
    rf"(?<![{_DIGIT}])(?P<cy>[一二][九〇零○][{_DIGIT}]{{2}}|[壹贰][玖零][{_CAPITAL}]{{2}})年",
    _NOT_IN_NUMBER + _Y + rf"{_S}年{_S}" + _CN_M + rf"{_S}月(?:份|{_S}" + _CN_D + r"[日号]?)?",
    r"(?<![0-9])(?P<yy>[0-9]{2})年" + _CN_M + rf"{_S}月(?:份|{_S}" + _CN_D + r"[日号]?)?",
    rf"(?<![{_DIGIT}个几数两半这那每])" + _CN_M + rf"{_S}月{_S}" + _CN_D + r"[日号]",
    r"(?<![0-9])" + _M + r" ?月 ?" + _CN_D + r"[日号]",
    r"(?P<words>(?:农历|阴历|旧历|公历|阳历)?(?:[一二三四五六七八九十正冬腊闰]{1,3}月)(?:初[一二三四五六七八九十]|[廿卄][一二三四五六七八九]?|十[一二三四五六七八九]|二十|三十))(?![个天余多])",
    r"(?P<words>(?:农历|阴历|旧历|夏历)[^\n,。;]{0,8}?(?:[0-9一二三四五六七八九十正冬腊闰]{1,3}月)(?:[初廿]?[一二三四五六七八九十0-9]{1,3}[日号]?)?)",
    r"(?P<words>(?:同|当|本|上|次|下|该|翌|前)月(?:[0-9]{1,2}|[一二三四五六七八九十廿]{1,3})[日号])",
    r"(?P<words>(?:[廿卄卅][一二三四五六七八九]?)[日号](?!龄))",
    r"(?P<words>(?:除夕|元旦|春节|元宵节?|清明节?|劳动节|五一节?|端午节?|中秋节?|国庆节?|重阳节|腊八|小年夜?|大年初[一二三四五六七八九])(?:当[天日晚夜]|前[日夜一]))",
    r"(?P<words>(?:甲|乙|丙|丁|戊|己|庚|辛|壬|癸)(?:子|丑|寅|卯|辰|巳|午|未|申|酉|戌|亥)年)",
    r"(?P<words>民国[0-9一二三四五六七八九十]{1,3}年)",
]
_EN = [
    r"(?<![0-9/])" + _M + r"(?P<sep>[/-])" + _D + r"(?P=sep)(?:" + _Y + r"|(?P<yy>[0-9]{2}))(?![0-9/-])",
    r"(?<![0-9/])" + _D + r"(?P<sep>[/-])" + _M + r"(?P=sep)(?:" + _Y + r"|(?P<yy>[0-9]{2}))(?![0-9/-])",
    r"(?<![0-9./])" + _M + r"(?P<sep>\.)" + _D + r"(?P=sep)(?P<yy>[0-9]{2})(?![0-9./])",
    r"(?<![0-9/.-])(?:(?<=on )|(?<=since )|(?<=from )|(?<=until )|(?<=by )|(?<=to )|(?<=dated )|(?<=for )|(?<=through )|(?<=\()|(?<=and )|(?<=\n)|^|(?<=of ))"
    + _M
    + r"(?P<sep>[/-])"
    + _D
    + r"(?![0-9/%-]|\.[0-9])(?! ?(?:mg|ml|tablets?|hours?|days?|weeks?|months?|times|strength|normal|of|pain|systolic|murmur|doses?|years?|fields?|Babinski|DTR))",
    r"(?<![0-9/.-])(?P<m>0[1-9]|1[0-2])(?P<sep>[/-])(?P<d>0[1-9]|[12][0-9]|3[01])(?![0-9/%-]|\.[0-9])",
    r"(?<![0-9/])(?P<m>1[0-2]|0?[1-9])(?P<sep>/)" + _Y + r"(?![0-9/])",
    r"(?<![0-9/.-])" + _M + r"(?P<sep>/)" + _D + r"(?= ?[-–] ?[0-9]{1,2}/[0-9]{1,2}(?![0-9]))|(?<=/[0-9]-)(?P<m2>x)",
    r"(?:(?<=in )|(?<=since )|(?<=until )|(?<=year )|(?<=during )|(?<=of )|(?<=from )|(?<=to )|(?<=early )|(?<=late )|(?<=mid-)|(?<=by )|(?<=before )|(?<=after )|(?<=around )|(?<=and )|(?<=\())"
    + _Y
    + r"(?![0-9]|[.,][0-9]| ?(?:mg|ml|g|units|mL|steps|calories|cc|IU))",
    r"(?P<words>(?<![A-Za-z])the (?:[0-9]{1,2}(?:st|nd|rd|th)|first|second|third|fourth|fifth|tenth|fifteenth|twentieth) of (?:"
    + "|".join(_MONTHS)
    + r"))",
    r"(?P<words>(?<![A-Za-z])"
    + "(?:"
    + "|".join(_MONTHS)
    + r")[ ,-]{1,2}(?:the )?(?:(?:twenty|thirty)[ -])?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth))",
]
_EN = [pattern.replace(r"|(?<=/[0-9]-)(?P<m2>x)", "") for pattern in _EN]
_GROUPS: dict[str, tuple[list[str], re.RegexFlag]] = {
    "shared": (_SHARED, re.RegexFlag(0)),
    "named": (_NAMED, re.IGNORECASE),
    "zh": (_ZH, re.RegexFlag(0)),
    "en": (_EN, re.IGNORECASE),
}


def _trigger(pattern: str) -> str:
    """Characters one of which has to stand where the pattern matches; empty where none has to."""
    depth, outer = 0, ""
    for char in pattern:
        depth += char == "("
        outer += char if depth == 0 else ""
        depth -= char == ")"
    if "|" in outer or pattern.startswith("(?P<words>"):
        return ""
    if "月" in outer:
        return "月"
    if "年" in outer:
        return "年"
    return "-/.．·\n " if "(?P<sep>" in pattern else ""


_COMPILED = {
    name: [(_trigger(pattern), re.compile(pattern, flags)) for pattern in patterns]
    for name, (patterns, flags) in _GROUPS.items()
}
_HAS_MONTH_NAME = re.compile(
    "(?:"
    + "|".join(month[:3] for month in _MONTHS)
    + ")[a-z]{0,6}[ .,'/-]|[0-9][ /-]?(?:"
    + "|".join(month[:3] for month in _MONTHS)
    + ")",
    re.IGNORECASE,
)
_CENTURY_TURN = 40  # two-digit years up to here are of this century


_SEED = re.compile(
    rf"[0-9{_DIGIT}{_CAPITAL}十拾正元冬腊廿卄卅初][0-9{_DIGIT}{_CAPITAL}十拾廿卄卅初]{{0,7}}[ \n]{{0,2}}(?:[年月号日]|[-/.．·][ \n]{{0,2}}[0-9])|[0-9]{{8}}|(?:19|20)[0-9]{{2}}[ \n][0-9]"
    "|[同当本上次下该翌前]月[0-9一二三四五六七八九十廿]|[廿卄卅]|除夕|元旦|春节|元宵|清明|劳动节|五一|端午|中秋|国庆|重阳|腊八|小年|大年初|[甲乙丙丁戊己庚辛壬癸][子丑寅卯辰巳午未申酉戌亥]年|民国"
)


def find_dates(text: str, language: Language) -> Iterator[re.Match[str]]:
    """Every date and partial date, overlaps included: the longest one counts."""
    if language == "en":
        for name in ("shared", "en", "named"):
            for _, pattern in _COMPILED[name]:
                yield from pattern.finditer(text)
        return
    for start, end in find_windows(text, _SEED, 16, 24):
        window = text[start:end]
        for name in ("shared", "zh"):
            for trigger, pattern in _COMPILED[name]:
                if not trigger or any(char in window for char in trigger):
                    yield from (match for match in pattern.finditer(text, start, end) if not _is_score(match))
    if _HAS_MONTH_NAME.search(text):
        for _, pattern in _COMPILED["named"]:
            yield from pattern.finditer(text)


_SCORE = re.compile(r"(?:[Aa]pgar|APGAR|评分|得分|分别)[^0-9]{0,4}$")


def _is_score(match: re.Match[str]) -> bool:
    """Apgar 9-10-10: three numbers behind the name of a score are no date."""
    return (
        "yy" in match.re.groupindex
        and _SCORE.search(match.string, max(0, match.start() - 12), match.start()) is not None
    )


_VALUES = {
    **{char: number for number, char in enumerate("零一二三四五六七八九")},
    **{char: number for number, char in enumerate("零壹贰叁肆伍陆柒捌玖")},
    "〇": 0, "○": 0, "Ｏ": 0, "正": 1, "元": 1, "冬": 11, "腊": 12,
}  # fmt: skip


def read_numeral(text: str) -> int:
    """廿三, 二十三, 二三, 初五, 〇五, 贰拾叁 as a number."""
    text = text.lstrip("初").replace("拾", "十").replace("廿", "二十").replace("卄", "二十").replace("卅", "三十")
    if "十" not in text:
        return int("".join(str(_VALUES[char]) for char in text))
    tens, ones = text.split("十", 1)
    return (_VALUES[tens] if tens else 1) * 10 + (_VALUES[ones] if ones else 0)


def write_numeral(number: int, like: str) -> str:
    """The number as ``like`` was written: 二十三, 廿三, 二三 or 贰拾叁."""
    capital = any(char in "壹贰叁肆伍陆柒捌玖拾" for char in like)
    names = "零壹贰叁肆伍陆柒捌玖" if capital else "零一二三四五六七八九"
    tens, ones = divmod(number, 10)
    if like[0] in "零〇" and number < 10:
        return like[0] + names[number]
    if like[0] in "廿卄卅" and tens in (2, 3):
        return ("廿" if tens == 2 else "卅") + (names[ones] if ones else "")
    ten = "拾" if capital else "十"
    return ((names[tens] if tens > 1 or (capital and tens) else "") + ten if tens else "") + (
        names[ones] if ones else ""
    )


@dataclass
class DateShifter:
    """Moves the dates of one record by ``days``, so that the intervals between them stay.

    A year alone stands for its middle, a month alone for its 15th day. A date without a year
    takes the year of the last full date before it, because that decides on 29 February only.
    """

    days: int
    _year: int = 2001
    _last: date | None = None
    _last_end: int = field(default=-9)

    def start_text(self) -> None:
        """Forget where the last date ended: ranges do not cross texts."""
        self._last_end = -9

    def shift(self, match: re.Match[str], placeholder: str) -> str | None:
        """The date as it reads after the shift; the placeholder where it is no date of the calendar.

        ``None`` where it is no date at all: "8月" and "3日" alone are durations or ordinals as often.
        """
        groups = {name: value for name, value in match.groupdict().items() if value}
        if "words" in groups:
            return placeholder
        has_year = bool(groups.keys() & {"y", "yy", "cy"})
        has_month = bool(groups.keys() & {"m", "cm", "name"})
        has_day = bool(groups.keys() & {"d", "cd"})
        is_range_end = not has_year and not (has_day and has_month)
        if is_range_end and (self._last is None or match.start() - self._last_end > 3):
            return None
        try:
            old = date(*self._parts(groups))
            new = old + timedelta(days=self.days)
        except (ValueError, OverflowError, KeyError):
            return placeholder
        last_new = self._last + timedelta(days=self.days) if self._last else new
        self._last, self._last_end, self._year = old, match.end(), old.year
        if is_range_end and (new.year, new.month) != (last_new.year, last_new.month) and has_day:
            tail = match.group()[-1] if match.group()[-1] in "日号" else ""
            return f"{new.month}月{new.day}{tail}"
        return _render(match, groups, new)

    def _parts(self, groups: dict[str, str]) -> tuple[int, int, int]:
        year = self._year
        if "y" in groups:
            year = int(groups["y"])
        short = groups.get("yy") or (groups["cy"] if len(groups.get("cy", "")) == 2 else "")
        if short:
            number = int(short) if short.isdigit() and short.isascii() else read_numeral(short)
            year = number + (2000 if number <= _CENTURY_TURN else 1900)
        elif "cy" in groups:
            year = read_numeral(groups["cy"])
        if "name" in groups:
            month = [name[:3] for name in _MONTHS].index(groups["name"][:3].lower()) + 1
        elif "m" in groups:
            month = int(groups["m"])
        elif "cm" in groups:
            month = read_numeral(groups["cm"])
        else:
            month = self._last.month if self._last and groups.keys() & {"d", "cd"} else 7
        if "d" in groups:
            return year, month, int(groups["d"])
        if "cd" in groups:
            return year, month, read_numeral(groups["cd"])
        return year, month, 15 if groups.keys() & {"m", "cm", "name"} else 1


def _render(match: re.Match[str], groups: dict[str, str], new: date) -> str:
    """The match with its numbers replaced, zero-padded where the original is."""
    is_padded = any(groups.get(name, "").startswith("0") for name in "md") or (
        "sep" in groups and all(len(groups.get(name, "00")) == 2 for name in "md")
    )
    two = f"{new.year % 100:02d}"
    values = {
        "y": f"{new.year:04d}",
        "yy": two,
        "m": f"{new.month:02d}" if is_padded or _is_compact(match) else str(new.month),
        "d": f"{new.day:02d}" if is_padded or _is_compact(match) else str(new.day),
        "name": _like(groups.get("name", ""), _MONTHS[new.month - 1]),
        "ord": {1: "st", 2: "nd", 3: "rd"}.get(new.day % 10 if new.day // 10 != 1 else 0, "th"),
    }
    if "cy" in groups:
        values["cy"] = _write_year(f"{new.year:04d}"[-len(groups["cy"]) :], groups["cy"])
    if "cm" in groups:
        values["cm"] = write_numeral(new.month, groups["cm"])
    if "cd" in groups:
        values["cd"] = write_numeral(new.day, groups["cd"])
    text, offset = match.group(), match.start()
    for name in sorted(groups.keys() & values.keys(), key=match.start, reverse=True):
        start, end = match.span(name)
        text = text[: start - offset] + values[name] + text[end - offset :]
    return text


def _write_year(digits: str, like: str) -> str:
    capital = any(char in "壹贰叁肆伍陆柒捌玖" for char in like)
    zero = next((char for char in like if char in "〇零○Ｏ"), "零" if capital else "〇")
    names = zero + ("壹贰叁肆伍陆柒捌玖" if capital else "一二三四五六七八九")
    return "".join(names[int(digit)] for digit in digits)


def _is_compact(match: re.Match[str]) -> bool:
    return match.group().isdigit() and len(match.group()) == 8


def _like(old: str, month: str) -> str:
    """The new month's name, as long and as capital as the old one's."""
    name = month[:3] if len(old) <= 4 and old.lower() not in ("may", "june", "july") else month
    if old.isupper():
        return name.upper()
    return name.capitalize() if old[:1].isupper() else name
