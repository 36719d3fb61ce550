"""What a name looks like in Chinese text, and where it ends."""

from __future__ import annotations

import re

from iimedgpt.records.deid.found import Found
from iimedgpt.records.deid.roles import (
    FOLLOWERS,
    LABELS,
    NOT_GIVEN,
    PATIENTS,
    RELATIVES,
    STAFF,
    TITLES,
)
from iimedgpt.records.deid.words import CJK, COMMON, COMMON_PAIRS, COMPOUND, GIVEN, NOT_NAMES, SAFE, one_of

HAN = f"[{CJK}]"
LABEL = re.compile(r"(?:" + one_of(LABELS) + r"|姓 {1,4}名|签 {1,4}名|医 {1,2}师|术 {1,4}者|[Nn]ame|NAME)")
ROLE = re.compile(one_of((*RELATIVES, *PATIENTS, *STAFF)))
SEPARATOR = re.compile(
    r"[】\]》>]?\s{0,3}(?:[(\[][^()\[\]\n]{1,10}[)\]])?\s{0,3}(?:签名|签字|签章|姓名|名字)?\s{0,3}(?P<mark>[:=|/>_;→-]{0,3})[\s_]{0,6}"
    r"(?P<open>[(\[]?)(?:姓名|名叫|叫做|叫|系|是|为)?:?\s?"
)
SKIPPED = re.compile(
    one_of((*(r for r in RELATIVES if len(r) > 1), *PATIENTS[:6], "本科", "我科", "本院")) + r"[:/ ]{0,2}"
)
SEX_NEXT = re.compile(
    r"[,、; /|(\[]{0,3}(?:性别)?:?\s?[男女](?:[,、;: )/|\]0-9性。\n]|$)|[,、; (/]{1,2}(?:年龄)?:?\d{1,3} ?岁"
)
_FIELD = one_of(
    (
        "性别 年龄 出生 民族 婚姻 职业 职称 科室 科别 床号 床位 住院号 门诊号 病案号 病历号 就诊卡 日期 时间 电话 手机 联系 与患者 与病人 关系 身份证 证件 地址 住址 籍贯 单位 签名 签字 医师 "
        "医生 护士 主任 副主任 主治 教授 签章 记录 审核 报告 检查 申请 诊断 住院 一助 二助 助手 麻醉 巡回 器械 第一 第二 术者 主刀 工号 编号 号码 确认 主持 等人"
    ).split()
)
END = rf"(?=[^{CJK}]|$|{_FIELD}|[男女](?:[,、; 性\d|/]|$))"
DOTTED = re.compile(rf"{HAN}{{1,12}}(?:[·•‧・∙˙]{HAN}{{1,12}}){{1,4}}")
LATIN = re.compile(r"[A-ZÀ-Þ][A-Za-zÀ-ÿ'’-]{0,20}\.?(?:,? [A-ZÀ-Þ][A-Za-zÀ-ÿ'’.-]{0,20}){0,3}(?![A-Za-z0-9])")
LABELLED = re.compile(rf"{HAN}{{2,8}}?{END}")
SPACED = re.compile(rf"({HAN}) {{1,4}}({HAN})(?: {{1,4}}({HAN}))?(?!{HAN})|({HAN}{{1,2}}) {{1,4}}({HAN})(?!{HAN})")
LIST = re.compile(r" ?[、/,;&+和及与 ] ?(?:主任|医师|医生|护士|副)?")
_LONG_TITLE = re.compile(one_of(title for title in TITLES if len(title) > 1))
_FOLLOWER = re.compile(one_of(FOLLOWERS))
CLINICAL = re.compile(
    "[痛疼炎症癌瘤肠胃肝胆脾肺肾脑骨髓囊脉瓣腔叶灶节血尿糖压咳喘泻疹肿药术疗剂液胶针酶菌虫毒素钠钾钙酸胺苷膜腺]|性|科|检查|诊断|医院|病房|治疗|复查|正常|异常|阳性|阴性|情况|要求|意见|住院|门诊|护理|手术|主任|医师|医生|护士|患者|家属|签名|记录|会诊|指示|意见|看过|交代|谈话|沟通|建议|同意|说明|分析|认为|汇报|审核|批准|陪同|到场|在场|值班|到位|负责|处理|安排|联系|通知|协助|准备|完成|告知|解释|评估|观察|随访|报告|申请|执行|核对|拒绝|签字|确认|讨论|总结|姓名|电话|关系|工作|时间|日期|地点|单位|进行|尝试|相应|早泄|怎么|什么|多久|可以|需要"
)

# transliterated names of Uyghurs, Kazakhs, Tibetans, Mongols, Yi … run over these characters
SOUNDS = (
    "特阿艾巴白贝布卜才达丹德迪多尔额尕格古哈海合黑吉加江卡凯克坤拉来勒里丽力鲁洛罗旦麻玛马买麦曼米明木穆姆娜乃尼努诺帕皮普其恰琴曲热日茹瑞萨赛色沙山甫苏索塔太提天图吐托瓦外旺维文乌吾西希夏先肖谢雅亚延叶伊依亦英尤于玉云扎泽札珠卓孜"
    "央次仁平措桑珍措姆嘎增金顿珠朗巴贡觉吾金久美登罗占堆让东周尖参智措旺姆高娃其木毕力图那仁赤峰嘎斯琴宝音孟根呼和牧其尔敖登呷伍支史体子石一沙惹各且果基补铁甲则黎生莫色作日毛热依汗别克铁赞胡"
    "凡玄朴柏努奴如孙杜都甸"
)
_MARKS = one_of(
    (
        "古丽 卓玛 扎西 多吉 次仁 达娃 尼玛 旦增 丹增 索朗 央金 拉姆 格桑 巴桑 平措 洛桑 罗布 德吉 白玛 仁青 才让 才旦 卓嘎 普布 边巴 米玛 拉巴 次旺 贡布 强巴 加措 嘉措 旺堆 顿珠 多杰 桑吉 "
        "南杰 阿依 阿卜 阿不 阿布都 买买提 麦麦提 买提 吐尔 艾合 艾尼 热合曼 热依 木拉提 库尔班 巴哈尔 帕提 迪丽 努尔 玛依 古再 阿迪 依明 玉素 赛买提 肉孜 托合 沙吾 萨吾 叶尔 别克 哈孜 巴特尔 "
        "其其格 乌云 格日 图雅 高娃 娜仁 阿拉坦 斯琴 巴雅尔 苏和 孟克 那日 萨仁 塔娜 乌日 哈斯 宝音 额尔 巴图 布和 敖登 朝克 呼斯楞 毕力格 特木尔 牧仁 阿木古 吉木 木呷 阿呷 吉克 沙马 尔古 "
        "日黑 伍呷 马海 曲比 木乃 阿西 石布 子布 尔布 拉铁 惹古 各惹 赛尔 汗古 尕藏 索南 拉毛 卓尕 热杰 才仁 完玛 尔克 帕孜 祖丽 阿孜 依力 木江 提江 艾力 吾守 司马义 伊斯"
    ).split()
)
TRANSLITERATED = re.compile(rf"[{SOUNDS}]{{3,12}}")
HAS_MARK = re.compile(_MARKS)
# clinical words written by sound
NOT_SOUNDS = re.compile(
    "罗布麻|西林|他汀|沙坦|普利|洛尔|地平|拉唑|唑仑|格列|洛芬|替尼|卡因|沙星|霉素|西泮|利尿|阿托|阿司|阿莫|阿奇|阿米|阿卡|阿普|阿德|阿昔|阿霉|阿片|阿尔茨|阿是|阿胶|阿魏|艾司|布洛|布地|布美|多巴|多西|多潘|多奈|"
    "达比|达格|达那|利多|卡马|卡托|贝那|贝沙|尼莫|尼群|尼卡|尼古|伊马|依那|依折|依托|依达|依帕|马来|乌拉|乌司|乌鸡|乌头|乌梅|乌药|苏木|西地|西咪|西洛|索拉|索他|瑞格|瑞舒|瑞芬|维拉|维生|卡尔|格拉|海洛|"
    "塞米|托拉|托吡|托烷|曲马|曲美|曲安|曲尼|普萘|普罗|普鲁|比索|美托|拉米|拉贝|拉莫|吉非|吉西|厄洛|奥希|罗马|沙丁|沙美|沙库|沙利|茶碱|克拉|克林|克罗|克霉|氯|碘|亚胺|胰|黑色|白色|白塞|尼采|尿|丽珠|"
    "来曲|来氟|来那|达克|达卡|赛来|赛庚|赛斯|赛洛|赛治|赛拉|玛咖|柯萨|沙门|沙眼|里氏|丹参|丹毒|丹皮|当归|古典|罗汉|布鲁|海绵|海马|莫西|米索|米非|米诺|米力|米氮|米库|加巴|加压|加速|努南|马尼|图像|色素|色氨|文拉|尤文"
)


def a_name(start: int, end: int, *, is_full: bool = True) -> Found:
    return Found(start, end, "name", is_full)


_SPEAKS = re.compile("诉|代诉|自述|述|签字|签名|表示|来电|陪同|要求|称|反映|拒绝|同意|告知")

# --- what a name looks like ---------------------------------------------------------------------------------------


def n_surname(text: str, at: int, surnames: frozenset[str]) -> int:
    """Characters of the surname that begins here, 0 where none does."""
    if text[at : at + 2] in COMPOUND:
        return 2
    return 1 if text[at : at + 1] in surnames else 0


def is_given(given: str) -> bool:
    return bool(given) and all("\u3400" <= char <= "\u9fff" and char not in NOT_GIVEN for char in given)


def is_usual(given: str) -> bool:
    return all(char in GIVEN for char in given)


def is_word(text: str, at: int) -> bool:
    return any(text[at : at + n] in NOT_NAMES for n in (2, 3, 4))


def is_boundary(text: str, at: int) -> bool:
    """Whether a name may end here: at a mark, or before a word that follows names."""
    if at >= len(text) or not ("\u3400" <= text[at] <= "\u9fff"):
        return True
    return _FOLLOWER.match(text, at) is not None


def name_end(text: str, at: int, surnames: frozenset[str], *, needs_usual: bool) -> int | None:
    """Where the Han name that begins at ``at`` ends; ``None`` where there is none."""
    n = n_surname(text, at, surnames)
    if not n or is_word(text, at):
        return None
    if _LONG_TITLE.match(text, at + n):
        return None
    is_double = n == 1 and text[at + 1 : at + 2] in COMMON
    ends = []
    for n_given in (3, 2, 1) if is_double else (2, 1):
        end = at + n + n_given
        given = text[at + n : end]
        if len(given) < n_given or not is_given(given) or not is_boundary(text, end):
            continue
        if needs_usual and not (is_usual(given) or SEX_NEXT.match(text, end)):
            if text[at] not in SAFE or not _SPEAKS.match(text, end):
                continue
        if SEX_NEXT.match(text, end):
            return end
        ends.append(end)
    return ends[0] if ends else None


_CLOSED = re.compile(rf"[^{CJK}]|$")


def any_surname_end(text: str, at: int, *, is_apart: bool = False) -> int | None:
    """A name of any surname behind a role: the given name is usual, and a sex, a verb of speech or a mark follows."""
    if (
        not "\u3400" <= text[at : at + 1] <= "\u9fff"
        or text[at] in NOT_GIVEN
        or is_word(text, at)
        or text[at] in _NO_SURNAME
    ):
        return None
    for n_given in (2, 1):
        end = at + 1 + n_given
        given = text[at + 1 : end]
        if len(given) < n_given or not (is_given(given) and is_usual(given)) or given in COMMON_PAIRS:
            continue
        if CLINICAL.search(text, at, end) or text[at:end] in COMMON_PAIRS:
            return None
        is_sexed = SEX_NEXT.match(text, end) is not None
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


def sound_end(text: str, at: int, *, needs_mark: bool = True) -> int | None:
    """The end of a transliterated name: three or more of its characters, one of its usual parts or a boundary."""
    match = TRANSLITERATED.match(text, at)
    if not match or NOT_SOUNDS.search(match.group()):
        return None
    has_mark = HAS_MARK.search(match.group()) is not None
    is_clear = not needs_mark and len(match.group()) >= 3 and is_boundary(text, match.end())
    return match.end() if has_mark or is_clear else None


def dotted_end(text: str, at: int) -> int | None:
    match = DOTTED.match(text, at)
    if not match:
        return None
    last = max(match.group().rfind(dot) for dot in "·•‧・∙˙") + at + 1
    return _part_end(text, last, match.end())


def _part_end(text: str, start: int, end: int) -> int:
    """Where the part behind the dot ends: its characters of sound, else up to a word that follows names."""
    stop = start
    while stop < end and text[stop] in SOUNDS:
        stop += 1
    if stop - start >= 2 and is_boundary(text, stop):
        return stop
    for at in range(start + 2, min(end, start + 8)):
        if _FOLLOWER.match(text, at):
            return at
    return end


TITLE = re.compile(one_of(TITLES))
LED = frozenset("请由经予与和向找让是及、嘱我你的给被叫跟同随从对为、，,。;；:：(（\n 即遵示科长问谢邀约陪见")
ROLE_END = re.compile(one_of((*PATIENTS, *(r for r in RELATIVES if len(r) > 1), "姓名", "名字")))
