"""Names in Chinese text: beside a label, a title, a sex; signatures; names without any of these where both
surname and given name are usual.

The label decides: behind 主治医师： a name is taken whatever its surname is. Behind a bare word (患者张三) the
surname, the characters of the given name and what follows have to agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from iimedgpt.records.deid.found import Found
from iimedgpt.records.deid.roles import (
    FOLLOWERS,
    LABELS,
    NOBODY,
    NOT_GIVEN,
    PATIENTS,
    RELATIVES,
    STAFF,
    TITLES,
)
from iimedgpt.records.deid.words import CJK, COMMON, COMMON_PAIRS, COMPOUND, GIVEN, NOT_NAMES, RARE, SAFE, one_of

_C = f"[{CJK}]"
_LABEL = re.compile(r"(?:" + one_of(LABELS) + r"|姓 {1,4}名|签 {1,4}名|医 {1,2}师|术 {1,4}者|[Nn]ame|NAME)")
_ROLE = re.compile(one_of((*RELATIVES, *PATIENTS, *STAFF)))
_SEPARATOR = re.compile(
    r"[】\]》>]?\s{0,3}(?:[(\[][^()\[\]\n]{1,10}[)\]])?\s{0,3}(?:签名|签字|签章|姓名|名字)?\s{0,3}(?P<mark>[:=|/>_;→-]{0,3})[\s_]{0,6}"
    r"(?P<open>[(\[]?)(?:姓名|名叫|叫做|叫|系|是|为)?:?\s?"
)
_SKIPPED = re.compile(
    one_of((*(r for r in RELATIVES if len(r) > 1), *PATIENTS[:6], "本科", "我科", "本院")) + r"[:/ ]{0,2}"
)
_SEX_NEXT = re.compile(
    r"[,、; /|(\[]{0,3}(?:性别)?:?\s?[男女](?:[,、;: )/|\]0-9性。\n]|$)|[,、; (/]{1,2}(?:年龄)?:?\d{1,3} ?岁"
)
_FIELD = one_of(
    [
        "性别",
        "年龄",
        "出生",
        "民族",
        "婚姻",
        "职业",
        "职称",
        "科室",
        "科别",
        "床号",
        "床位",
        "住院号",
        "门诊号",
        "病案号",
        "病历号",
        "就诊卡",
        "日期",
        "时间",
        "电话",
        "手机",
        "联系",
        "与患者",
        "与病人",
        "关系",
        "身份证",
        "证件",
        "地址",
        "住址",
        "籍贯",
        "单位",
        "签名",
        "签字",
        "医师",
        "医生",
        "护士",
        "主任",
        "副主任",
        "主治",
        "教授",
        "签章",
        "记录",
        "审核",
        "报告",
        "检查",
        "申请",
        "诊断",
        "住院",
        "一助",
        "二助",
        "助手",
        "麻醉",
        "巡回",
        "器械",
        "第一",
        "第二",
        "术者",
        "主刀",
        "工号",
        "编号",
        "号码",
        "确认",
        "主持",
        "等人",
    ]
)
_END = rf"(?=[^{CJK}]|$|{_FIELD}|[男女](?:[,、; 性\d|/]|$))"
_DOTTED = re.compile(rf"{_C}{{1,12}}(?:[·•‧・∙˙]{_C}{{1,12}}){{1,4}}")
_LATIN = re.compile(r"[A-ZÀ-Þ][A-Za-zÀ-ÿ'’-]{0,20}\.?(?:,? [A-ZÀ-Þ][A-Za-zÀ-ÿ'’.-]{0,20}){0,3}(?![A-Za-z0-9])")
_LABELLED = re.compile(rf"{_C}{{2,8}}?{_END}")
_SPACED = re.compile(rf"({_C}) {{1,4}}({_C})(?: {{1,4}}({_C}))?(?!{_C})|({_C}{{1,2}}) {{1,4}}({_C})(?!{_C})")
_LIST = re.compile(r" ?[、/,;&+和及与 ] ?(?:主任|医师|医生|护士|副)?")
_LONG_TITLE = re.compile(one_of(title for title in TITLES if len(title) > 1))
_FOLLOWER = re.compile(one_of(FOLLOWERS))
_CLINICAL = re.compile(
    "[痛疼炎症癌瘤肠胃肝胆脾肺肾脑骨髓囊脉瓣腔叶灶节血尿糖压咳喘泻疹肿药术疗剂液胶针酶菌虫毒素钠钾钙酸胺苷膜腺]|性|科|检查|诊断|医院|病房|治疗|复查|正常|异常|阳性|阴性|情况|要求|意见|住院|门诊|护理|手术|主任|医师|医生|护士|患者|家属|签名|记录|会诊|指示|意见|看过|交代|谈话|沟通|建议|同意|说明|分析|认为|汇报|审核|批准|陪同|到场|在场|值班|到位|负责|处理|安排|联系|通知|协助|准备|完成|告知|解释|评估|观察|随访|报告|申请|执行|核对|拒绝|签字|确认|讨论|总结|姓名|电话|关系|工作|时间|日期|地点|单位|进行|尝试|相应|早泄|怎么|什么|多久|可以|需要"
)

# transliterated names of Uyghurs, Kazakhs, Tibetans, Mongols, Yi … run over these characters
_SOUNDS = (
    "特阿艾巴白贝布卜才达丹德迪多尔额尕格古哈海合黑吉加江卡凯克坤拉来勒里丽力鲁洛罗旦麻玛马买麦曼米明木穆姆娜乃尼努诺帕皮普其恰琴曲热日茹瑞萨赛色沙山甫苏索塔太提天图吐托瓦外旺维文乌吾西希夏先肖谢雅亚延叶伊依亦英尤于玉云扎泽札珠卓孜"
    "央次仁平措桑珍措姆嘎增金顿珠朗巴贡觉吾金久美登罗占堆让东周尖参智措旺姆高娃其木毕力图那仁赤峰嘎斯琴宝音孟根呼和牧其尔敖登呷伍支史体子石一沙惹各且果基补铁甲则黎生莫色作日毛热依汗别克铁赞胡"
    "凡玄朴柏努奴如孙杜都甸"
)
_MARKS = one_of(
    [
        "古丽",
        "卓玛",
        "扎西",
        "多吉",
        "次仁",
        "达娃",
        "尼玛",
        "旦增",
        "丹增",
        "索朗",
        "央金",
        "拉姆",
        "格桑",
        "巴桑",
        "平措",
        "洛桑",
        "罗布",
        "德吉",
        "白玛",
        "仁青",
        "才让",
        "才旦",
        "卓嘎",
        "普布",
        "边巴",
        "米玛",
        "拉巴",
        "次旺",
        "贡布",
        "强巴",
        "加措",
        "嘉措",
        "旺堆",
        "顿珠",
        "多杰",
        "桑吉",
        "南杰",
        "阿依",
        "阿卜",
        "阿不",
        "阿布都",
        "买买提",
        "麦麦提",
        "买提",
        "吐尔",
        "艾合",
        "艾尼",
        "热合曼",
        "热依",
        "木拉提",
        "库尔班",
        "巴哈尔",
        "帕提",
        "迪丽",
        "努尔",
        "玛依",
        "古再",
        "阿迪",
        "依明",
        "玉素",
        "赛买提",
        "肉孜",
        "托合",
        "沙吾",
        "萨吾",
        "叶尔",
        "别克",
        "哈孜",
        "巴特尔",
        "其其格",
        "乌云",
        "格日",
        "图雅",
        "高娃",
        "娜仁",
        "阿拉坦",
        "斯琴",
        "巴雅尔",
        "苏和",
        "孟克",
        "那日",
        "萨仁",
        "塔娜",
        "乌日",
        "哈斯",
        "宝音",
        "额尔",
        "巴图",
        "布和",
        "敖登",
        "朝克",
        "呼斯楞",
        "毕力格",
        "特木尔",
        "牧仁",
        "阿木古",
        "吉木",
        "木呷",
        "阿呷",
        "吉克",
        "沙马",
        "尔古",
        "日黑",
        "伍呷",
        "马海",
        "曲比",
        "木乃",
        "阿西",
        "石布",
        "子布",
        "尔布",
        "拉铁",
        "惹古",
        "各惹",
        "赛尔",
        "汗古",
        "尕藏",
        "索南",
        "拉毛",
        "卓尕",
        "热杰",
        "才仁",
        "完玛",
        "尔克",
        "帕孜",
        "祖丽",
        "阿孜",
        "依力",
        "木江",
        "提江",
        "艾力",
        "吾守",
        "司马义",
        "伊斯",
    ]
)
_TRANSLITERATED = re.compile(rf"[{_SOUNDS}]{{3,12}}")
_HAS_MARK = re.compile(_MARKS)
# clinical words written by sound
_NOT_SOUNDS = re.compile(
    "西林|他汀|沙坦|普利|洛尔|地平|拉唑|唑仑|格列|洛芬|替尼|卡因|沙星|霉素|西泮|利尿|阿托|阿司|阿莫|阿奇|阿米|阿卡|阿普|阿德|阿昔|阿霉|阿片|阿尔茨|阿是|阿胶|阿魏|艾司|布洛|布地|布美|多巴|多西|多潘|多奈|"
    "达比|达格|达那|利多|卡马|卡托|贝那|贝沙|尼莫|尼群|尼卡|尼古|伊马|依那|依折|依托|依达|依帕|马来|乌拉|乌司|乌鸡|乌头|乌梅|乌药|苏木|西地|西咪|西洛|索拉|索他|瑞格|瑞舒|瑞芬|维拉|维生|卡尔|格拉|海洛|"
    "塞米|托拉|托吡|托烷|曲马|曲美|曲安|曲尼|普萘|普罗|普鲁|比索|美托|拉米|拉贝|拉莫|吉非|吉西|厄洛|奥希|罗马|沙丁|沙美|沙库|沙利|茶碱|克拉|克林|克罗|克霉|氯|碘|亚胺|胰|黑色|白色|白塞|尼采|尿|丽珠|"
    "来曲|来氟|来那|达克|达卡|赛来|赛庚|赛斯|赛洛|赛治|赛拉|玛咖|柯萨|沙门|沙眼|里氏|丹参|丹毒|丹皮|当归|古典|罗汉|布鲁|海绵|海马|莫西|米索|米非|米诺|米力|米氮|米库|加巴|加压|加速|努南|马尼|图像|色素|色氨|文拉|尤文"
)


def find_names(text: str) -> Iterator[Found]:
    """Names in one text (half-width), overlaps included; ``is_full`` where the name may be looked for elsewhere."""
    yield from _behind_labels(text)
    yield from _behind_roles(text)
    yield from _before_titles(text)
    yield from _before_sex(text)
    yield from _introduced(text)
    yield from _foreign(text)
    yield from _called(text)
    yield from _nicknames(text)
    yield from _signed(text)
    yield from _in_prose(text)


def _name(start: int, end: int, *, is_full: bool = True) -> Found:
    return Found(start, end, "name", is_full)


_SPEAKS = re.compile("诉|代诉|自述|述|签字|签名|表示|来电|陪同|要求|称|反映|拒绝|同意|告知")

# --- what a name looks like ---------------------------------------------------------------------------------------


def _n_surname(text: str, at: int, surnames: frozenset[str]) -> int:
    """Characters of the surname that begins here, 0 where none does."""
    if text[at : at + 2] in COMPOUND:
        return 2
    return 1 if text[at : at + 1] in surnames else 0


def _is_given(given: str) -> bool:
    return bool(given) and all("\u3400" <= char <= "\u9fff" and char not in NOT_GIVEN for char in given)


def _is_usual(given: str) -> bool:
    return all(char in GIVEN for char in given)


def _is_word(text: str, at: int) -> bool:
    return any(text[at : at + n] in NOT_NAMES for n in (2, 3, 4))


def _is_boundary(text: str, at: int) -> bool:
    """Whether a name may end here: at a mark, or before a word that follows names."""
    if at >= len(text) or not ("\u3400" <= text[at] <= "\u9fff"):
        return True
    return _FOLLOWER.match(text, at) is not None


def _name_end(text: str, at: int, surnames: frozenset[str], *, needs_usual: bool) -> int | None:
    """Where the Han name that begins at ``at`` ends; ``None`` where there is none."""
    n = _n_surname(text, at, surnames)
    if not n or _is_word(text, at):
        return None
    if _LONG_TITLE.match(text, at + n):
        return None
    is_double = n == 1 and text[at + 1 : at + 2] in COMMON
    ends = []
    for n_given in (3, 2, 1) if is_double else (2, 1):
        end = at + n + n_given
        given = text[at + n : end]
        if len(given) < n_given or not _is_given(given) or not _is_boundary(text, end):
            continue
        if needs_usual and not (_is_usual(given) or _SEX_NEXT.match(text, end)):
            if text[at] not in SAFE or not _SPEAKS.match(text, end):
                continue
        if _SEX_NEXT.match(text, end):
            return end
        ends.append(end)
    return ends[0] if ends else None


_CLOSED = re.compile(rf"[^{CJK}]|$")


def _any_surname_end(text: str, at: int, *, is_apart: bool = False) -> int | None:
    """A name of any surname behind a role: the given name is usual, and a sex, a verb of speech or a mark follows."""
    if (
        not "\u3400" <= text[at : at + 1] <= "\u9fff"
        or text[at] in NOT_GIVEN
        or _is_word(text, at)
        or text[at] in _NO_SURNAME
    ):
        return None
    for n_given in (2, 1):
        end = at + 1 + n_given
        given = text[at + 1 : end]
        if len(given) < n_given or not (_is_given(given) and _is_usual(given)) or given in COMMON_PAIRS:
            continue
        if _CLINICAL.search(text, at, end) or text[at:end] in COMMON_PAIRS:
            return None
        is_sexed = _SEX_NEXT.match(text, end) is not None
        if (
            is_sexed
            or _SPEAKS.match(text, end)
            or (n_given == 2 and _CLOSED.match(text, end) and (is_apart or text[at] not in GIVEN))
        ):
            return end
    return None


_NO_SURNAME = frozenset(
    "小大一二三四五六七八九十多少好再又很较稍略可能会应须需拟欲已曾将正仍均皆都只仅且并但而则即其该本同各每某全个只些些双两数半单每去来进出入起坐站走跑睡醒吃喝饮食精神意识情绪生命体态发育营养查看要请谢哭笑说讲想感觉得以所能够自主动被家亲朋友同学老师医师"
)


def _sound_end(text: str, at: int, *, needs_mark: bool = True) -> int | None:
    """The end of a transliterated name: three or more of its characters, one of its usual parts or a boundary."""
    match = _TRANSLITERATED.match(text, at)
    if not match or _NOT_SOUNDS.search(match.group()):
        return None
    has_mark = _HAS_MARK.search(match.group()) is not None
    is_clear = not needs_mark and len(match.group()) >= 3 and _is_boundary(text, match.end())
    return match.end() if has_mark or is_clear else None


def _dotted_end(text: str, at: int) -> int | None:
    match = _DOTTED.match(text, at)
    if not match:
        return None
    last = max(match.group().rfind(dot) for dot in "·•‧・∙˙") + at + 1
    return _part_end(text, last, match.end())


def _part_end(text: str, start: int, end: int) -> int:
    """Where the part behind the dot ends: its characters of sound, else up to a word that follows names."""
    stop = start
    while stop < end and text[stop] in _SOUNDS:
        stop += 1
    if stop - start >= 2 and _is_boundary(text, stop):
        return stop
    for at in range(start + 2, min(end, start + 8)):
        if _FOLLOWER.match(text, at):
            return at
    return end


# --- rules --------------------------------------------------------------------------------------------------------


_LOOSELY_DOTTED = re.compile(rf"{_C}{{2,8}}[.．⋅●]{_C}{{2,8}}(?=[^{CJK}]|$)")
_BARE_LABELLED = re.compile(rf"{_C}{{2,3}}(?=[^{CJK}]|$)")


def _behind_labels(text: str) -> Iterator[Found]:
    for label in _LABEL.finditer(text):
        separator = _SEPARATOR.match(text, label.end())
        if separator is None:
            continue
        at = separator.end()
        is_marked = label.group() not in _WEAK and (
            any(mark in separator["mark"] for mark in ":=|→") or text[label.end() : label.end() + 1] in tuple("】]》>")
        )
        is_apart = is_marked or bool(separator["mark"]) or separator.end() > label.end()
        is_sure = label.group() not in _WEAK and label.group() not in ("医师", "医生", "护士", "技师")
        skipped = _SKIPPED.match(text, at)
        if skipped and is_apart:
            at = skipped.end()
        while True:
            end = _labelled_end(text, at, is_marked=is_marked, is_apart=is_apart, is_sure=is_sure)
            if end is None:
                break
            yield _name(at, end)
            more = _LIST.match(text, end)
            if more is None:
                break
            at, is_marked = more.end(), False  # behind the first name the others have to look like names


_WEAK = frozenset(
    [
        "诊断",
        "检查",
        "报告",
        "记录",
        "审核",
        "核对",
        "复核",
        "麻醉",
        "书写",
        "审阅",
        "校对",
        "主检",
        "主管",
        "主治",
        "经治",
        "管床",
        "主任",
        "副主任",
        "助手",
        "会诊",
        "随访",
        "抢救",
    ]
)


def _labelled_end(text: str, at: int, *, is_marked: bool, is_apart: bool, is_sure: bool) -> int | None:
    if at >= len(text) or text.startswith(_NOBODY, at) or _LABEL.match(text, at):
        return None
    if is_apart and (loose := _LOOSELY_DOTTED.match(text, at)):
        return loose.end()
    end = _dotted_end(text, at) or _sound_end(text, at, needs_mark=not (is_apart and is_sure))
    if end is None and is_apart and (latin := _LATIN.match(text, at)) and _is_latin_name(latin.group()):
        end = latin.end()
    if end is not None:
        return end
    if spaced := _SPACED.match(text, at):
        if is_apart and _n_surname(text, at, COMMON | RARE) and len(spaced.group().replace(" ", "")) in (2, 3, 4):
            second = spaced.end()
            if _LABEL.match(text, at + len(spaced.group().rstrip()) - 1) is None:
                return second
    end = _name_end(
        text, at, COMMON | RARE if is_sure else COMMON, needs_usual=not ((is_apart and is_sure) or is_marked)
    )
    if end is not None:
        return end
    if not is_apart and is_sure and text[at - 1] in "师者人名字士":
        bare = _BARE_LABELLED.match(text, at)
        if bare and not _CLINICAL.search(bare.group()) and _is_given(bare.group()) and not _is_word(text, at):
            return bare.end()
    if not is_marked and not (is_apart and is_sure):
        return _any_surname_end(text, at, is_apart=is_apart)
    whole = _LABELLED.match(text, at)
    if not is_sure:  # 医师：多久了
        return _any_surname_end(text, at, is_apart=True)
    if whole and not _CLINICAL.search(whole.group()) and whole.group() not in NOT_NAMES:
        if whole.end() - at <= 4 or is_marked or _HAS_MARK.search(whole.group()):
            return whole.end()
    n = _n_surname(text, at, COMMON) if is_marked else 0
    if n and not _is_word(text, at) and _is_given(text[at + n : at + n + 1]):
        return at + n + (2 if _is_given(text[at + n + 1 : at + n + 2]) else 1)
    return None


_NOBODY = tuple(NOBODY)
_MEDICAL_LATIN = re.compile(
    r"(?:CT|MRI|MR|ECG|EKG|B超|ICU|WBC|RBC|PLT|HGB|CRP|ALT|AST|PET|DSA|DR|CR|HIV|HBV|HCV|HPV|TORCH|EB|COPD|ARDS|SLE|AIDS|NYHA|TNM|GCS|Apgar|Murphy|"
    r"McBurney|Babinski|Kernig|Brudzinski|Romberg|Lasegue|Glasgow|Child|Killip|Forrest|Barthel|Braden|Morse|Caprini|Ranson|Wells|Holter|[A-Z]{2,6})(?![a-z])"
)


def _is_latin_name(value: str) -> bool:
    return " " in value or not (_MEDICAL_LATIN.match(value) or len(value) < 3)


_ROLE_GAP = re.compile(r"(?:\((?:[^()\n]{1,8})\))?[,:]? ?(?:\(|姓名|名叫|叫|即|是|为|系|—|-)?(?:姓名)?:? ?")


def _behind_roles(text: str) -> Iterator[Found]:
    """患者张三, 妻子李四 and 请张三主任: without a label's mark."""
    for role in _ROLE.finditer(text):
        gap = _ROLE_GAP.match(text, role.end())
        for at in {role.end(), gap.end() if gap else role.end()}:
            if text.startswith(_NOBODY, at):
                continue
            end = _dotted_end(text, at) or _sound_end(text, at, needs_mark=len(role.group()) < 2)
            if end is None and (latin := _LATIN.match(text, at)) and len(role.group()) > 1:
                words = latin.group().split()
                is_named = len(words) > 1 or _SEX_NEXT.match(text, latin.end())
                if is_named and _is_latin_name(latin.group()) and not latin.group().isupper():
                    end = latin.end()
            if end is None:
                is_clear = len(role.group()) > 1
                end = _name_end(text, at, COMMON | RARE if is_clear else SAFE, needs_usual=True)
                if end is None and is_clear:
                    end = _any_surname_end(text, at)
                if end is not None and text[at] in RARE and not _SEX_NEXT.match(text, end) and end - at < 3:
                    end = None
            spaced = _SPACED.match(text, at) if end is None else None
            if spaced and text[at] in COMMON and (_SEX_NEXT.match(text, spaced.end()) or text[at] in SAFE):
                given = spaced.group()[1:].replace(" ", "")
                if _is_given(given) and (_is_usual(given) or _SEX_NEXT.match(text, spaced.end())):
                    end = spaced.end()
            if end is not None:
                yield _name(at, end)
                more = _LIST.match(text, end)
                while more and (next_end := _name_end(text, more.end(), COMMON, needs_usual=True)):
                    yield _name(more.end(), next_end)
                    more = _LIST.match(text, next_end)
                break


_TITLE = re.compile(one_of(TITLES))
_DUTY = frozenset(
    [
        "实习",
        "见习",
        "进修",
        "规培",
        "研究",
        "主治",
        "住院",
        "值班",
        "主管",
        "责任",
        "经治",
        "接诊",
        "全科",
        "上级",
        "本科",
        "外科",
        "内科",
        "急诊",
        "门诊",
        "手术",
        "麻醉",
        "高年",
        "低年",
        "轮转",
        "专科",
        "查房",
        "管床",
        "科室",
        "病房",
        "副高",
        "正高",
        "该科",
        "其他",
        "两位",
        "三位",
        "几位",
        "多位",
        "各位",
        "一位",
        "这位",
        "那位",
        "某位",
        "我的",
        "您的",
        "你的",
        "他的",
        "她的",
        "自己",
        "咨询",
        "当地",
        "本院",
        "我院",
        "外院",
        "中医",
        "西医",
        "牙科",
        "儿科",
        "妇科",
        "产科",
        "眼科",
        "骨科",
        "皮科",
        "男科",
        "校医",
        "村医",
        "家庭",
    ]
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
_LED = frozenset("请由经予与和向找让是及、嘱我你的给被叫跟同随从对为、，,。;；:：(（\n 即遵示科长问谢邀约陪见")


def _before_titles(text: str) -> Iterator[Found]:
    for title in _TITLE.finditer(text):
        at = title.start()
        if at == 0 or _TITLE_GOES_ON.match(text, at):
            continue
        is_short = title.group() in _SHORT_TITLE
        found = None
        for n in (4, 3, 2):
            start = at - n
            if start < 0 or text[at - 2 : at] in _DUTY:
                continue
            is_led = start == 0 or not ("\u3400" <= text[start - 1] <= "\u9fff") or text[start - 1] in _LED
            n_surname = _n_surname(text, start, SAFE if is_short else COMMON | RARE if is_led else COMMON)
            given = text[start + n_surname : at]
            if not n_surname or not _is_given(given) or len(given) > 2 or _is_word(text, start):
                continue
            if text[start] in _NOT_BEFORE_TITLE and not (is_led and _is_usual(given)):
                continue
            if is_short and not is_led:
                continue
            if is_led or (_is_usual(given) and text[start] in SAFE):
                found = _name(start, at)
                break
        if found is None:
            found = _surname_before_title(text, at, title.group(), is_short=is_short)
        if found is not None:
            yield found


def _surname_before_title(text: str, at: int, title: str, *, is_short: bool) -> Found | None:
    if text[at - 2 : at] in _DUTY:
        return None
    if text[at - 2 : at] in COMPOUND:
        return _name(at - 2, at, is_full=False)
    surname = text[at - 1]
    before = text[at - 2] if at > 1 else ""
    is_led = not ("\u3400" <= before <= "\u9fff") or before in _LED
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
    return _name(start, end, is_full=False)


_NO_TITLED = frozenset(
    "该本其各女男中西牙村校军老好名位专新原现何某主副总正科每这那此两个多全都所按为由给是有让我你他她您外内上下院区级管治者的"
)


_SEXED = re.compile(
    rf"(?:^|(?<=[\n。;:,、 (|/]))({_C}{{2,8}}(?:[·•‧・]{_C}{{1,10}}){{0,3}}|[A-Z][A-Za-z'’-]+(?: [A-Z][A-Za-z'’.-]*){{0,3}})"
    r"(?=[,、; (|/]{1,3}(?:性别:?)?[男女](?:性|孩|童|婴)?(?:[,、; )|/0-9。]|$))"
)
_NOT_SEXED = re.compile(
    "患者|病人|患儿|性别|已婚|未婚|离异|丧偶|[汉回满壮藏苗彝]族|老年|中年|青年|新生|婴儿|幼儿|儿童|学生|职员|农民|工人|退休|岁|孩子|宝宝|本人|[床号]$|科$|诊$|院$|省|市|县"
)
_ROLE_END = re.compile(one_of((*PATIENTS, *(r for r in RELATIVES if len(r) > 1), "姓名", "名字")))


def _before_sex(text: str) -> Iterator[Found]:
    """张三,男,45岁."""
    if "男" not in text and "女" not in text:
        return
    for match in _SEXED.finditer(text):
        start, end = match.span(1)
        for role in _ROLE_END.finditer(text, start, end):
            start = role.end()
        value = text[start:end]
        if len(value) < 2 or _NOT_SEXED.search(value) or _is_word(text, start) or _CLINICAL.search(value):
            continue
        is_han = len(value) <= 4 and "·" not in value
        if (
            is_han
            and not _n_surname(text, start, COMMON | RARE)
            and match.start(1) > 0
            and text[match.start(1) - 1] != "\n"
        ):
            continue
        yield _name(start, end)


_INTRODUCTION = re.compile(
    "我叫|名叫|叫做|我是|本人是|名字叫|名字是|姓名叫|自称|化名|原名|曾用名|小名|乳名|昵称|大名|全名|署名|名为|取名|起名|此致|敬上|尊敬的|亲爱的|你好|您好|感谢|谢谢|收件人|寄给|转告|告知|通知|联系|找|致电|邀请|邀|请|由|经|电话告知|陪同|委托|授权"
)
_NAMING = re.compile("我叫|名叫|叫做|本人是|名字|姓名|自称|化名|原名|曾用名|小名|乳名|昵称|大名|全名|署名|取名|起名")
_SURNAMED = re.compile(
    rf"(?<![百家族])(?:免贵|我|他|她|贵|患者|本人)姓(?!名|氏|什|啥)({_C})(?!{_C}名)|(?<=姓){_C}(?=[的,。、]|$)"
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
            end := _dotted_end(text, at)
            or _sound_end(text, at)
            or _name_end(text, at, surnames, needs_usual=not is_naming)
        ):
            if end - at >= 3 or not _is_boundary(text, end + 1) or end == len(text) or text[end] in ",。;、:)\n !?的":
                yield _name(at, end)
    for match in _SURNAMED.finditer(text):
        start, end = match.span(1) if match.group(1) else match.span()
        if text[start] in COMMON | RARE:
            yield _name(start, end, is_full=False)


_AFTER_DOT = re.compile("综合征|综合症|病|征|氏|试验|手术|反射|分类|分级|评分|定律|法|线|体|型")


def _foreign(text: str) -> Iterator[Found]:
    """Names with a dot inside, and transliterated ones of known parts."""
    if not any(dot in text for dot in "·•‧・∙˙"):
        dots: Iterator[re.Match[str]] = iter(())
    else:
        dots = _DOTTED.finditer(text)
    for match in dots:
        start = match.start()
        first = next(i for i, char in enumerate(match.group()) if char in "·•‧・∙˙") + start
        begin = first
        while begin > start and text[begin - 1] in _SOUNDS and first - begin < 10:
            begin -= 1
        if first - begin < 2:  # not written by sound: up to four characters, behind a role or a word that leads names
            begin = max(start, first - 4)
        for role in _ROLE_END.finditer(text, begin, first):
            begin = role.end()
        while begin < first - 1 and text[begin] in "的由请与和及让给叫被是找向在于为嘱经名":
            begin += 1
        end = _dotted_end(text, begin)
        if end is None or _AFTER_DOT.match(text, end) or _AFTER_DOT.search(text, first + 1, end) or begin == first:
            continue
        yield _name(begin, end)
    for match in _TRANSLITERATED.finditer(text):
        value = match.group()
        if _NOT_SOUNDS.search(value):
            continue
        mark = _HAS_MARK.search(value)
        if mark is None:
            continue
        before, after = text[max(0, match.start() - 1) : match.start()], match.end()
        if len(value) >= 4 or not ("\u3400" <= before <= "\u9fff") or before in _LED or before in "者人儿属亲妇子女":
            if len(value) > 3 or _is_boundary(text, after):
                yield _name(match.start(), after)


_CALLED_SIMPLE = re.compile(
    rf"[小老阿][{''.join(sorted(COMMON))}](?!便|时|肠|脑|儿|关节|叶|梁|管|柴|苏打|米|腿|腹|结节|剂量|细胞|血管|气道|鱼际|姐|学|心|区|麦|茴|檗|子|女|先生)|[小阿][强明华芳珍娟英红兰梅丽军伟勇刚杰辉波斌玲燕霞萍敏静娇香莲凤桂花宝]"
)
_NOT_BEFORE_SMALL = frozenset("大中太最很较极微细狭幼弱矮变缩窄短瘦弄从越甚略稍偏减家古衰苍长养敬尊年")
_NICKNAMED = re.compile(
    rf"(?:小名|乳名|昵称|外号|绰号|人称|爱称|家人称其|叫他|叫她|别名|(?:孩子|宝宝|儿子|女儿|弟弟|妹妹|小孩|娃|他|她)名?叫)(?:叫|是|为|:|“|\"|「)?[“\"「]?({_C}{{2,3}})(?=[^{CJK}]|$|[的于因在])"
)
_TWICE = re.compile(
    r"(?:([丽莉娜婷芳娟玲红燕强军亮磊涛鹏浩佳琳蕾薇菲萌雯倩颖洁媛媚嫣洋阳昊凯轩宇航辉豪晨圆虎龙琪欣楠])\1)(?![\1])"
)
_NOT_CALLED = re.compile(
    "小(?:叶|麦|金丹|马|白|黄|高|方|包|平|安|毛|康|温|石|田|江|于|时|关|单|文|成|常|易|管|简|解|房|路|车|盖|代|左|全|梅|兰|余|党|章|鱼)|老(?:年|白|石|高|万|路|房|车|黄|解)|阿(?:胶|姨|司|莫|奇|片|托|尔)|小(?:陈皮|孙子|孙女|许多|马驹|苏打|胡须|胡同|杜鹃|程度)|老(?:陈醋|孙子)"
)


def _called(text: str) -> Iterator[Found]:
    """小王, 老李, 阿强."""
    for match in _CALLED_SIMPLE.finditer(text):
        start, end = match.span()
        if _NOT_CALLED.match(text, start) or (_is_word(text, start + 1) and text[start] != "阿"):
            continue
        before = text[start - 1] if start else ""
        if before not in _NOT_BEFORE_SMALL and (_is_boundary(text, end) or _TITLE.match(text, end)):
            yield _name(start, end, is_full=False)


def _nicknames(text: str) -> Iterator[Found]:
    for match in _NICKNAMED.finditer(text):
        yield _name(*match.span(1), is_full=False)
    for match in _TWICE.finditer(text):
        start, end = match.span()
        before = text[start - 1] if start else ""
        if (not ("\u3400" <= before <= "\u9fff") or before in _LED or before in "子女儿妹弟孙友学") and _is_boundary(
            text, end
        ):
            yield _name(start, end, is_full=False)
    for match in _FAMILY_NAMED.finditer(text):
        yield _name(*match.span(1), is_full=False)


_FAMILY_NAMED = re.compile(
    rf"(?<![百同异外贵免])([{''.join(sorted(COMMON))}])姓(?:患者|病人|男子|女子|男性|女性|患儿|产妇|老人|司机|伤者|先生|女士|,|家属|医生|护士)"
)


_SIGNED = re.compile(
    rf"(?:^|(?<=\n)|(?<=[。;！!.] )|(?<=[。;])|(?<= )|(?<=[/、]))({_C}{{2,4}}|{_C} {_C}{{1,2}})"
    rf"(?=(?: ?[/、,] ?{_C}{{2,4}}){{0,3}} ?(?:$|\n|[( ]?\d{{4}} ?[-/.年]|\d{{1,2}}:\d\d|\d{{1,2}}月))"
)


def _signed(text: str) -> Iterator[Found]:
    """A name alone at the end of a line or before a date."""
    for match in _SIGNED.finditer(text):
        start, end = match.span(1)
        value = match.group(1).replace(" ", "")
        n = _n_surname(text, start, COMMON)
        if n and not _is_word(value, 0) and len(value) > n and len(value) - n <= 2:
            given = value[n:]
            if _is_given(given) and not _CLINICAL.search(value) and (_is_usual(given)):
                yield _name(start, end)


_INSIDE_WORDS = frozenset(
    [
        "扩张",
        "紧张",
        "主张",
        "夸张",
        "舒张",
        "开张",
        "慌张",
        "女王",
        "大王",
        "霸王",
        "行李",
        "桃李",
        "张罗",
        "包罗",
        "感谢",
        "代谢",
        "多谢",
        "答谢",
        "道谢",
        "谢谢",
        "也许",
        "或许",
        "允许",
        "少许",
        "容许",
        "不许",
        "特许",
        "准许",
        "几许",
        "何曾",
        "未曾",
        "不曾",
        "荒唐",
        "复苏",
        "流苏",
        "紫苏",
        "生姜",
        "干姜",
        "炮姜",
        "高良姜",
        "古董",
        "过程",
        "病程",
        "流程",
        "疗程",
        "里程",
        "全程",
        "课程",
        "日程",
        "行程",
        "工程",
        "进程",
        "教程",
        "路程",
        "旅程",
        "规程",
        "章程",
        "产程",
        "单程",
        "前程",
        "次程",
        "其余",
        "剩余",
        "多余",
        "年余",
        "月余",
        "天余",
        "周余",
        "岁余",
        "粉葛",
        "二胡",
        "价钱",
        "子孙",
        "外孙",
        "儿孙",
        "森林",
        "园林",
        "耳郭",
        "胸郭",
        "轮郭",
        "城郭",
        "富翁",
        "面庞",
        "新郑",
        "大宋",
        "萌萌",
        "京沪",
        "汉唐",
        "高唐",
        "南宋",
        "北魏",
        "后汉",
        "门冯",
        "杏林",
        "桃林",
        "农林",
        "竹林",
        "百许",
        "尺许",
        "年许",
        "许许",
        "良姜",
        "萧萧",
        "杨杨",
        "徐徐",
        "荷杜",
        "青杜",
    ]
)
# not in the given name of a name that nothing sets off from the words around it
_OPEN_NOT = frozenset(
    "一二三四五六七八九十百千万大小多少可能会有在来去行为以要起和与及从对向同上中下前后先再又已经常平时年月日天明显发作成开放生长正全单双新"
)
_LEAD = frozenset("请由经与和同向让给被叫找是及、即跟为对随")
_PROSE = re.compile(
    rf"[{''.join(sorted(SAFE))}][{''.join(sorted(GIVEN))}]{{1,2}}|{one_of(COMPOUND)}[{''.join(sorted(GIVEN))}]{{1,2}}"
)
_VERBS = re.compile(
    "诉|自述|自诉|述|说|称|表示|反映|签字|签名|来诊|来院|来电|入院|出院|住院|要求|拒绝|同意|陪同|陪护|送来|代诉|代述|代签|查房|会诊|汇报|指示|看过|主刀|执刀|值班|接诊|记录|医|主任|护|教授|于|因|今|昨|男|女|突|既往|平素|近|被|主诉|与|和|及|的|在|等|已|曾|患|已于|现|经|自"
)


def _in_prose(text: str) -> Iterator[Found]:
    """Usual surname and given name with marks or words on both sides that stand beside names."""
    for match in _PROSE.finditer(text):
        start = match.start()
        before = text[start - 1] if start else ""
        is_led = not ("\u3400" <= before <= "\u9fff") or before in _LEAD
        if _is_word(text, start) or (not is_led and text[start - 1 : start + 1] in _INSIDE_WORDS):
            continue
        n = 2 if text[start : start + 2] in COMPOUND else 1
        for n_given in (2, 1):
            end = start + n + n_given
            given = text[start + n : end]
            if len(given) < n_given or not (_is_given(given) and _is_usual(given)):
                continue
            is_closed = end == len(text) or not ("\u3400" <= text[end] <= "\u9fff")
            if given in NOT_NAMES or given in COMMON_PAIRS:
                continue
            is_sure = n == 2 or n_given == 2
            is_open = is_sure and n_given == 2 and not set(given) & _OPEN_NOT
            if (_VERBS.match(text, end) and (is_led or is_sure)) or (is_closed and is_sure) or is_open:
                yield _name(start, end)
                break
