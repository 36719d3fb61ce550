"""Names in Chinese text: beside a label, a title, a sex; signatures; names without any of these where both
surname and given name are usual.

The label decides: behind 主治医师： a name is taken whatever its surname is. Behind a bare word (患者张三) the
surname, the characters of the given name and what follows have to agree (``namelike``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from iimedgpt.records.deid.found import Found
from iimedgpt.records.deid.namelike import (
    CLINICAL,
    END,
    HAN,
    HAS_MARK,
    LABEL,
    LABELLED,
    LATIN,
    LED,
    LIST,
    ROLE,
    ROLE_END,
    SEPARATOR,
    SEX_NEXT,
    SKIPPED,
    SPACED,
    TITLE,
    a_name,
    any_surname_end,
    dotted_end,
    is_boundary,
    is_given,
    is_usual,
    is_word,
    n_surname,
    name_end,
    sound_end,
)
from iimedgpt.records.deid.names_alone import called, foreign, in_prose, nicknames, signed
from iimedgpt.records.deid.roles import NOBODY, TITLES
from iimedgpt.records.deid.words import CJK, COMMON, COMPOUND, NOT_NAMES, ONLY_SURNAMES, RARE, SAFE


def find_names(text: str) -> Iterator[Found]:
    """Names in one text (half-width), overlaps included; ``is_full`` where the name may be looked for elsewhere."""
    yield from _behind_labels(text)
    yield from _behind_other_labels(text)
    yield from _behind_roles(text)
    yield from _before_titles(text)
    yield from _before_sex(text)
    yield from _introduced(text)
    yield from foreign(text)
    yield from called(text)
    yield from nicknames(text)
    yield from signed(text)
    yield from in_prose(text)


_LOOSELY_DOTTED = re.compile(rf"{HAN}{{2,8}}[.．⋅●]{HAN}{{2,8}}(?=[^{CJK}]|$)")
_BARE_LABELLED = re.compile(rf"{HAN}{{2,3}}(?=[^{CJK}]|$)")


def _behind_labels(text: str) -> Iterator[Found]:
    for label in LABEL.finditer(text):
        separator = SEPARATOR.match(text, label.end())
        if separator is None:
            continue
        at = separator.end()
        is_marked = label.group() not in _WEAK and (
            any(mark in separator["mark"] for mark in ":=|→") or text[label.end() : label.end() + 1] in tuple("】]》>")
        )
        is_apart = is_marked or bool(separator["mark"]) or separator.end() > label.end()
        is_sure = label.group() not in _WEAK and label.group() not in ("医师", "医生", "护士", "技师")
        skipped = SKIPPED.match(text, at)
        if skipped and is_apart:
            at = skipped.end()
        while True:
            end = _labelled_end(text, at, is_marked=is_marked, is_apart=is_apart, is_sure=is_sure)
            if end is None:
                break
            yield a_name(at, end)
            more = LIST.match(text, end)
            if more is None:
                break
            at, is_marked = more.end(), False  # behind the first name the others have to look like names


# whoever a form asks for: …人, …者, …员, …师, with a mark behind it
_OTHER_LABEL = re.compile(
    rf"(?<!{HAN}){HAN}{{0,8}}?(?:人|者|员|师|医生|护士|医士|护理|姓名|名字|签名|签字|签名处|签字处|主诊|主刀|抄送|翻译|经办|经手|负责|陪护|陪床|家长|户主|代签|代办)"
    r"(?:\([^()\n]{1,8}\))?[】\]]?[:=|]\s{0,3}"
)
_SPEAKER = re.compile(
    "(?:患者|病人|本人|家人|医师|老师|旁人|别人|咨询者|提问者|网友|客服人员|工作人员|医务人员|医生|护士)[^\u3400-\u9fff]*$"
)
_NO_NAME = re.compile(
    "全体|全部|社区|团队|小组|家庭|值班|当班|上级|下级|本院|外院|相关|有关|其他|其它|各级|多名|一名|两名|本市|外地|我院|我科|[一二两三四五六七八九十几数多各][名位人]|[院组室队班部区站所厂校]$"
)
_OTHER_NAME = re.compile(rf"{HAN}{{2,4}}{END}")


def _behind_other_labels(text: str) -> Iterator[Found]:
    """经办人：…, 测量者：…: labels that no list holds. Behind those of speakers only what looks like a name."""
    if not any(mark in text for mark in ":=|"):
        return
    for label in _OTHER_LABEL.finditer(text):
        at = label.end()
        if text.startswith(_NOBODY, at):
            continue
        end = dotted_end(text, at) or sound_end(text, at) or name_end(text, at, COMMON | RARE, needs_usual=False)
        if end is None and not _SPEAKER.search(label.group()):
            whole = _OTHER_NAME.match(text, at)
            is_other = whole is None or CLINICAL.search(whole.group()) or _NO_NAME.search(whole.group())
            if whole and not is_other and not is_word(text, at) and is_given(whole.group()):
                end = whole.end()
        if end is not None:
            yield a_name(at, end)


_WEAK = frozenset(
    (
        "诊断 检查 报告 记录 审核 核对 复核 麻醉 书写 审阅 校对 主检 主管 主治 经治 管床 主任 副主任 助手 会诊 随访 抢救"
    ).split()
)


def _labelled_end(text: str, at: int, *, is_marked: bool, is_apart: bool, is_sure: bool) -> int | None:
    if at >= len(text) or text.startswith(_NOBODY, at) or LABEL.match(text, at):
        return None
    if is_apart and (loose := _LOOSELY_DOTTED.match(text, at)):
        return loose.end()
    end = dotted_end(text, at) or sound_end(text, at, needs_mark=not (is_apart and is_sure))
    if end is None:
        end = _latin_end(text, at)
        if end is not None and not is_apart and not (is_sure and " " in text[at:end]):
            end = None
    if end is not None:
        return end
    if spaced := SPACED.match(text, at):
        if is_apart and n_surname(text, at, COMMON | RARE) and len(spaced.group().replace(" ", "")) in (2, 3, 4):
            second = spaced.end()
            if LABEL.match(text, at + len(spaced.group().rstrip()) - 1) is None:
                return second
    end = name_end(
        text, at, COMMON | RARE if is_sure else COMMON, needs_usual=not ((is_apart and is_sure) or is_marked)
    )
    if end is not None:
        return end
    if not is_apart and is_sure and text[at - 1] in "师者人名字士":
        bare = _BARE_LABELLED.match(text, at)
        if bare and not CLINICAL.search(bare.group()) and is_given(bare.group()) and not is_word(text, at):
            return bare.end()
    if not is_marked and not (is_apart and is_sure):
        return any_surname_end(text, at, is_apart=is_apart)
    whole = LABELLED.match(text, at)
    if not is_sure:  # 医师：多久了
        return any_surname_end(text, at, is_apart=True)
    if (
        whole
        and not CLINICAL.search(whole.group())
        and not _NO_NAME.search(whole.group())
        and whole.group() not in NOT_NAMES
    ):
        if whole.end() - at <= 4 or is_marked or HAS_MARK.search(whole.group()):
            return whole.end()
    n = n_surname(text, at, COMMON) if is_marked else 0
    if n and not is_word(text, at) and is_given(text[at + n : at + n + 1]):
        return at + n + (2 if is_given(text[at + n + 1 : at + n + 2]) else 1)
    return None


_NOBODY = tuple(NOBODY)
_MEDICAL_LATIN = re.compile(
    r"(?:CT|MRI|MR|ECG|EKG|B超|ICU|WBC|RBC|PLT|HGB|CRP|ALT|AST|PET|DSA|DR|CR|HIV|HBV|HCV|HPV|TORCH|EB|COPD|ARDS|SLE|AIDS|NYHA|TNM|GCS|Apgar|Murphy|"
    r"McBurney|Babinski|Kernig|Brudzinski|Romberg|Lasegue|Glasgow|Child|Killip|Forrest|Barthel|Braden|Morse|Caprini|Ranson|Wells|Holter|[A-Z]{2,6})(?![a-z])"
)


# Child-Pugh B级, Lung-RADS 4B类: scales, signs and operations by their authors
_OF_MEDICINE = re.compile(
    r" ?[0-9A-Z]{0,3}[-+]?(?:级|期|型|类|分|度|征|病|氏|试验|评|指数|量表|综合|法|线|点|角|骨折|手术|术|波|环|管|细胞|菌|阳|阴)"
)


def _latin_end(text: str, at: int) -> int | None:
    """Where a name in Latin letters ends that begins here."""
    latin = LATIN.match(text, at)
    if latin is None or not _is_latin_name(latin.group()) or _OF_MEDICINE.match(text, latin.end()):
        return None
    return latin.end()


def _is_latin_name(value: str) -> bool:
    if "RADS" in value or re.search(" [A-Z0-9]{1,2}$", value):
        return False
    return " " in value or not (_MEDICAL_LATIN.match(value) or len(value) < 3)


_ROLE_GAP = re.compile(r"(?:\((?:[^()\n]{1,8})\))?[,:]? ?(?:\(|姓名|名叫|叫|即|是|为|系|—|-)?(?:姓名)?:? ?")


def _behind_roles(text: str) -> Iterator[Found]:
    """患者张三, 妻子李四 and 请张三主任: without a label's mark."""
    for role in ROLE.finditer(text):
        gap = _ROLE_GAP.match(text, role.end())
        for at in {role.end(), gap.end() if gap else role.end()}:
            if text.startswith(_NOBODY, at):
                continue
            end = dotted_end(text, at) or sound_end(text, at, needs_mark=len(role.group()) < 2)
            if end is None and (latin := LATIN.match(text, at)) and len(role.group()) > 1:
                words = latin.group().split()
                is_named = len(words) > 1 or SEX_NEXT.match(text, latin.end())
                if is_named and _is_latin_name(latin.group()) and not latin.group().isupper():
                    end = latin.end()
            if end is None:
                is_clear = len(role.group()) > 1
                end = name_end(text, at, COMMON | RARE if is_clear else SAFE, needs_usual=True)
                if end is None and is_clear:
                    end = any_surname_end(text, at)
                is_doubtful = text[at : at + 1] in RARE - ONLY_SURNAMES
                if end is not None and is_doubtful and not SEX_NEXT.match(text, end) and end - at < 3:
                    end = None
            spaced = SPACED.match(text, at) if end is None else None
            if spaced and text[at] in COMMON and (SEX_NEXT.match(text, spaced.end()) or text[at] in SAFE):
                given = spaced.group()[1:].replace(" ", "")
                if is_given(given) and (is_usual(given) or SEX_NEXT.match(text, spaced.end())):
                    end = spaced.end()
            if end is not None:
                yield a_name(at, end)
                more = LIST.match(text, end)
                while more and (next_end := name_end(text, more.end(), COMMON, needs_usual=True)):
                    yield a_name(more.end(), next_end)
                    more = LIST.match(text, next_end)
                break


_DUTY = frozenset(
    (
        "实习 见习 进修 规培 研究 主治 住院 值班 主管 责任 经治 接诊 全科 上级 本科 外科 内科 急诊 门诊 手术 麻醉 高年 低年 轮转 专科 查房 管床 科室 病房 副高 正高 该科 其他 两位 三位 几位 "
        "多位 各位 一位 这位 那位 某位 我的 您的 你的 他的 她的 自己 咨询 当地 本院 我院 外院 中医 西医 牙科 儿科 妇科 产科 眼科 骨科 皮科 男科 校医 村医 家庭"
    ).split()
)
_STAFF_TITLE = frozenset(TITLES[: TITLES.index("先生")])
_SHORT_TITLE = frozenset("总哥姐叔姨婶伯嫂爷某老妈爸") | {
    "某某",
    "老人",
    "家属",
    "同学",
    "叔叔",
    "爷爷",
    "奶奶",
    "妈妈",
    "爸爸",
    "婆婆",
}
_NOT_BEFORE_TITLE = frozenset(
    "于时和向曾全应管常安查计单平成方能终那关有该都自从同及当由经并项来多各位好老何门房任代总正副主某本我你他她高解简包"
)
# a title's word that goes on to another word
_TITLE_GOES_ON = re.compile(
    "老(?:年|人|师|伴|婆|公|大|化|是|板)|总(?:是|之|体|量|胆|蛋|共|数|结|的|计|括|会|觉|有|在|想|分|医)|姐(?:妹|姐|夫)|哥(?:哥|们)|伯(?:格|恩)|爷(?:爷)|妈(?:妈)?(?:富|的)|爸(?:爸)|叔(?:叔|丁)|姨(?:妈|夫)|婶(?:婶)|某(?:些|种|处|个|次|日|月|年|地|院|医|科|市|县|省|大|公司|厂|村|校)|爸爸|妈妈"
)


def _before_titles(text: str) -> Iterator[Found]:
    for title in TITLE.finditer(text):
        at = title.start()
        if at == 0 or _TITLE_GOES_ON.match(text, at):
            continue
        is_short = title.group() in _SHORT_TITLE
        found = None
        for length in (4, 3, 2):
            start = at - length
            if start < 0 or text[at - 2 : at] in _DUTY:
                continue
            is_led = start == 0 or not ("\u3400" <= text[start - 1] <= "\u9fff") or text[start - 1] in LED
            n = n_surname(text, start, SAFE if is_short else COMMON | RARE if is_led else COMMON)
            given = text[start + n : at]
            if not n or not is_given(given) or len(given) > 2 or is_word(text, start):
                continue
            if text[start] in _NOT_BEFORE_TITLE and not (is_led and is_usual(given)):
                continue
            if is_short and not is_led:
                continue
            if is_led or (is_usual(given) and text[start] in SAFE):
                found = a_name(start, at)
                break
        if found is None:
            found = _surname_before_title(text, at, title.group(), is_short=is_short)
        if found is not None:
            yield found


def _surname_before_title(text: str, at: int, title: str, *, is_short: bool) -> Found | None:
    if text[at - 2 : at] in _DUTY:
        return None
    if text[at - 2 : at] in COMPOUND:
        return a_name(at - 2, at, is_full=False)
    surname = text[at - 1]
    before = text[at - 2] if at > 1 else ""
    is_led = not ("\u3400" <= before <= "\u9fff") or before in LED
    if is_short and title not in ("某", "某某"):
        allowed = surname in SAFE and is_led
    elif surname in _NOT_BEFORE_TITLE:
        allowed = (
            is_led
            and surname not in "和向有该都自从同及当由经并来多各位好老门房任代总正副主某本我你他她于时各"
            and surname in COMMON
        )
    else:
        allowed = (surname in COMMON and (is_led or surname in SAFE)) or (
            surname in RARE and is_led and title in _STAFF_TITLE
        )
    if not allowed and title in _STAFF_TITLE and before and before in "请由经" and surname not in _NO_TITLED:
        allowed = "\u3400" <= surname <= "\u9fff"
    if not allowed or (before + surname) in ("感谢", "多谢", "拜谢", "答谢", "谢谢", "致谢", "鸣谢"):
        return None
    if surname == "谢" and not (is_led and title in _STAFF_TITLE and before and before in "请由经找"):
        return None
    if text[at - 1 : at + 1] in NOT_NAMES:
        return None
    start = at - 2 if before and before in "小老大阿" else at - 1
    end = at + len(title) if title in ("某", "某某") else at
    return a_name(start, end, is_full=False)


_NO_TITLED = frozenset(
    "该本其各女男中西牙村校军老好名位专新原现何某主副总正科每这那此两个多全都所按为由给是有让我你他她您外内上下院区级管治者的"
)


_SEXED = re.compile(
    rf"(?:^|(?<=[\n。;:,、 (|/]))({HAN}{{2,8}}(?:[·•‧・]{HAN}{{1,10}}){{0,3}}|[A-Z][A-Za-z'’-]+(?: [A-Z][A-Za-z'’.-]*){{0,3}})"
    r"(?=[,、; (|/]{1,3}(?:性别:?)?[男女](?:性|孩|童|婴)?(?:[,、; )|/0-9。]|$))"
)
_NOT_SEXED = re.compile(
    "患者|病人|患儿|性别|已婚|未婚|离异|丧偶|[汉回满壮藏苗彝]族|老年|中年|青年|新生|婴儿|幼儿|儿童|学生|职员|农民|工人|退休|岁|孩子|宝宝|本人|[床号]$|科$|诊$|院$|省|市|县"
)


def _before_sex(text: str) -> Iterator[Found]:
    """张三,男,45岁."""
    if "男" not in text and "女" not in text:
        return
    for match in _SEXED.finditer(text):
        start, end = match.span(1)
        for role in ROLE_END.finditer(text, start, end):
            start = role.end()
        value = text[start:end]
        if len(value) < 2 or _NOT_SEXED.search(value) or is_word(text, start) or CLINICAL.search(value):
            continue
        is_han = len(value) <= 4 and "·" not in value
        if (
            is_han
            and not n_surname(text, start, COMMON | RARE)
            and text[: match.start(1)].rstrip(" ")[-1:] not in ("", "\n", "|")
        ):
            continue
        yield a_name(start, end)


_INTRODUCTION = re.compile(
    "我叫|名叫|叫做|我是|本人是|名字叫|名字是|姓名叫|自称|化名|原名|曾用名|小名|乳名|昵称|大名|全名|署名|名为|取名|起名|此致|敬上|尊敬的|亲爱的|你好|您好|感谢|谢谢|收件人|寄给|转告|告知|通知|联系|找|致电|邀请|邀|请|由|经|电话告知|陪同|委托|授权"
)
_NAMING = re.compile("我叫|名叫|叫做|本人是|名字|姓名|自称|化名|原名|曾用名|小名|乳名|昵称|大名|全名|署名|取名|起名")
_SURNAMED = re.compile(
    rf"(?<![百家族])(?:免贵|我|他|她|贵|患者|本人)姓(?!名|氏|什|啥)({HAN})(?!{HAN}名)|(?<=姓){HAN}(?=[的,。、]|$)"
)


def _introduced(text: str) -> Iterator[Found]:
    for lead in _INTRODUCTION.finditer(text):
        at = lead.end()
        while at < len(text) and text[at] in ":, ":
            at += 1
        if at - lead.end() > 2 or text.startswith(_NOBODY, at):
            continue
        is_naming = _NAMING.match(lead.group()) is not None
        surnames = COMMON | RARE if is_naming else SAFE
        if (
            end := dotted_end(text, at)
            or sound_end(text, at)
            or name_end(text, at, surnames, needs_usual=not is_naming)
        ):
            if end - at >= 3 or not is_boundary(text, end + 1) or end == len(text) or text[end] in ",。;、:)\n !?的":
                yield a_name(at, end)
    for match in _SURNAMED.finditer(text):
        start, end = match.span(1) if match.group(1) else match.span()
        if text[start] in COMMON | RARE:
            yield a_name(start, end, is_full=False)
