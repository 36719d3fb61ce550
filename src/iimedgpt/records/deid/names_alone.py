"""Names in Chinese text without a label: transliterated, familiar (小王), signatures, in prose."""

from __future__ import annotations

import re
from collections.abc import Iterator

from iimedgpt.records.deid.found import Found
from iimedgpt.records.deid.namelike import (
    CLINICAL,
    DOTTED,
    HAN,
    HAS_MARK,
    LED,
    NOT_SOUNDS,
    ROLE_END,
    SOUNDS,
    TITLE,
    TRANSLITERATED,
    a_name,
    dotted_end,
    is_boundary,
    is_given,
    is_usual,
    is_word,
    n_surname,
)
from iimedgpt.records.deid.words import (
    CJK,
    COMMON,
    COMMON_PAIRS,
    COMPOUND,
    GIVEN,
    NOT_NAMES,
    ONLY_SURNAMES,
    SAFE,
    one_of,
)

_AFTER_DOT = re.compile("综合征|综合症|病|征|氏|试验|手术|反射|分类|分级|评分|定律|法|线|体|型")


def foreign(text: str) -> Iterator[Found]:
    """Names with a dot inside, and transliterated ones of known parts."""
    if not any(dot in text for dot in "·•‧・∙˙"):
        dots: Iterator[re.Match[str]] = iter(())
    else:
        dots = DOTTED.finditer(text)
    for match in dots:
        start = match.start()
        first = next(i for i, char in enumerate(match.group()) if char in "·•‧・∙˙") + start
        begin = first
        while begin > start and text[begin - 1] in SOUNDS and first - begin < 10:
            begin -= 1
        if first - begin < 2:  # not written by sound: up to four characters, behind a role or a word that leads names
            begin = max(start, first - 4)
        for role in ROLE_END.finditer(text, begin, first):
            begin = role.end()
        while begin < first - 1 and text[begin] in "的由请与和及让给叫被是找向在于为嘱经名":
            begin += 1
        end = dotted_end(text, begin)
        if end is None or _AFTER_DOT.match(text, end) or _AFTER_DOT.search(text, first + 1, end) or begin == first:
            continue
        yield a_name(begin, end)
    for match in TRANSLITERATED.finditer(text):
        value = match.group()
        if NOT_SOUNDS.search(value):
            continue
        mark = HAS_MARK.search(value)
        if mark is None:
            continue
        before, after = text[max(0, match.start() - 1) : match.start()], match.end()
        if len(value) >= 4 or not ("\u3400" <= before <= "\u9fff") or before in LED or before in "者人儿属亲妇子女":
            if len(value) > 3 or is_boundary(text, after):
                yield a_name(match.start(), after)


_CALLED_SIMPLE = re.compile(
    rf"[小老阿][{''.join(sorted(COMMON))}](?!便|时|肠|脑|儿|关节|叶|梁|管|柴|苏打|米|腿|腹|结节|剂量|细胞|血管|气道|鱼际|姐|学|心|区|麦|茴|檗|子|女|先生)|[小阿][强明华芳珍娟英红兰梅丽军伟勇刚杰辉波斌玲燕霞萍敏静娇香莲凤桂花宝]"
)
_NOT_BEFORE_SMALL = frozenset("大中太最很较极微细狭幼弱矮变缩窄短瘦弄从越甚略稍偏减家古衰苍长养敬尊年")
_NICKNAMED = re.compile(
    rf"(?:小名|乳名|昵称|外号|绰号|人称|爱称|家人称其|叫他|叫她|别名|(?:孩子|宝宝|儿子|女儿|弟弟|妹妹|小孩|娃|他|她)名?叫)(?:叫|是|为|:|“|\"|「)?[“\"「]?({HAN}{{2,3}})(?=[^{CJK}]|$|[的于因在])"
)
_TWICE = re.compile(
    r"(?:([丽莉娜婷芳娟玲红燕强军亮磊涛鹏浩佳琳蕾薇菲萌雯倩颖洁媛媚嫣洋阳昊凯轩宇航辉豪晨圆虎龙琪欣楠])\1)(?![\1])"
)
_NOT_CALLED = re.compile(
    "小(?:叶|麦|金丹|马|白|黄|高|方|包|平|安|毛|康|温|石|田|江|于|时|关|单|文|成|常|易|管|简|解|房|路|车|盖|代|左|全|梅|兰|余|党|章|鱼)|老(?:年|白|石|高|万|路|房|车|黄|解)|阿(?:胶|姨|司|莫|奇|片|托|尔)|小(?:陈皮|孙子|孙女|许多|马驹|苏打|胡须|胡同|杜鹃|程度)|老(?:陈醋|孙子)"
)


def called(text: str) -> Iterator[Found]:
    """小王, 老李, 阿强."""
    for match in _CALLED_SIMPLE.finditer(text):
        start, end = match.span()
        if _NOT_CALLED.match(text, start) or (is_word(text, start + 1) and text[start] != "阿"):
            continue
        before = text[start - 1] if start else ""
        if before not in _NOT_BEFORE_SMALL and (is_boundary(text, end) or TITLE.match(text, end)):
            yield a_name(start, end, is_full=False)


def nicknames(text: str) -> Iterator[Found]:
    for match in _NICKNAMED.finditer(text):
        yield a_name(*match.span(1), is_full=False)
    for match in _TWICE.finditer(text):
        start, end = match.span()
        before = text[start - 1] if start else ""
        if (not ("\u3400" <= before <= "\u9fff") or before in LED or before in "子女儿妹弟孙友学") and is_boundary(
            text, end
        ):
            yield a_name(start, end, is_full=False)
    for match in _FAMILY_NAMED.finditer(text):
        yield a_name(*match.span(1), is_full=False)


_FAMILY_NAMED = re.compile(
    rf"(?<![百同异外贵免])([{''.join(sorted(COMMON))}])姓(?:患者|病人|男子|女子|男性|女性|患儿|产妇|老人|司机|伤者|先生|女士|,|家属|医生|护士)"
)


_SIGNED = re.compile(
    rf"(?:^|(?<=\n)|(?<=[。;！!.] )|(?<=[。;])|(?<= )|(?<=[/、]))({HAN}{{2,4}}|{HAN} {HAN}{{1,2}})"
    rf"(?=(?: ?[/、,] ?{HAN}{{2,4}}){{0,3}} ?(?:$|\n|[( ]?\d{{4}} ?[-/.年]|\d{{1,2}}:\d\d|\d{{1,2}}月|\((?:签名|签字|签章|手签)))"
)


def signed(text: str) -> Iterator[Found]:
    """A name alone at the end of a line or before a date."""
    for match in _SIGNED.finditer(text):
        start, end = match.span(1)
        value = match.group(1).replace(" ", "")
        n = n_surname(text, start, COMMON | ONLY_SURNAMES)
        if n and not is_word(value, 0) and len(value) > n and len(value) - n <= 2:
            given = value[n:]
            if is_given(given) and not CLINICAL.search(value) and (is_usual(given)):
                yield a_name(start, end)


_INSIDE_WORDS = frozenset(
    (
        "扩张 紧张 主张 夸张 舒张 开张 慌张 女王 大王 霸王 行李 桃李 张罗 包罗 感谢 代谢 多谢 答谢 道谢 谢谢 也许 或许 允许 少许 容许 不许 特许 准许 几许 何曾 未曾 不曾 荒唐 复苏 流苏 紫苏 "
        "生姜 干姜 炮姜 高良姜 古董 过程 病程 流程 疗程 里程 全程 课程 日程 行程 工程 进程 教程 路程 旅程 规程 章程 产程 单程 前程 次程 其余 剩余 多余 年余 月余 天余 周余 岁余 粉葛 二胡 "
        "价钱 子孙 外孙 儿孙 森林 园林 耳郭 胸郭 轮郭 城郭 富翁 面庞 新郑 大宋 萌萌 京沪 汉唐 高唐 南宋 北魏 后汉 门冯 杏林 桃林 农林 竹林 百许 尺许 年许 许许 良姜 萧萧 杨杨 徐徐 荷杜 青杜"
    ).split()
)
# not in the given name of a name that nothing sets off from the words around it
_OPEN_NOT = frozenset(
    "一二三四五六七八九十百千万大小多少可能会有在来去行为以要起和与及从对向同上中下前后先再又已经常平时年月日天明显发作成开放生长正全单双新"
)
_LEAD = frozenset("请由经与和同向让给被叫找是及、即跟为对随")
_PROSE = re.compile(
    rf"[{''.join(sorted(SAFE | ONLY_SURNAMES))}][{''.join(sorted(GIVEN))}]{{1,2}}|{one_of(COMPOUND)}[{''.join(sorted(GIVEN))}]{{1,2}}"
)
_VERBS = re.compile(
    "诉|自述|自诉|述|说|称|表示|反映|签字|签名|来诊|来院|来电|入院|出院|住院|要求|拒绝|同意|陪同|陪护|送来|代诉|代述|代签|查房|会诊|汇报|指示|看过|主刀|执刀|值班|接诊|记录|医|主任|护|教授|于|因|今|昨|男|女|突|既往|平素|近|被|主诉|与|和|及|的|在|等|已|曾|患|已于|现|经|自"
)


def in_prose(text: str) -> Iterator[Found]:
    """Usual surname and given name with marks or words on both sides that stand beside names."""
    for match in _PROSE.finditer(text):
        start = match.start()
        before = text[start - 1] if start else ""
        is_led = not ("\u3400" <= before <= "\u9fff") or before in _LEAD
        if is_word(text, start) or (not is_led and text[start - 1 : start + 1] in _INSIDE_WORDS):
            continue
        n = 2 if text[start : start + 2] in COMPOUND else 1
        for n_given in (2, 1):
            end = start + n + n_given
            given = text[start + n : end]
            if len(given) < n_given or not (is_given(given) and is_usual(given)):
                continue
            is_closed = end == len(text) or not ("\u3400" <= text[end] <= "\u9fff")
            if given in NOT_NAMES or given in COMMON_PAIRS:
                continue
            is_sure = n == 2 or n_given == 2
            is_open = is_sure and n_given == 2 and not set(given) & _OPEN_NOT
            if (_VERBS.match(text, end) and (is_led or is_sure)) or (is_closed and is_sure) or is_open:
                yield a_name(start, end)
                break
