"""Surnames, characters of given names and words that only look like names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources

from iimedgpt.text import unique

CJK = "\u3007\u3400-\u9fff"  # 〇 and the ideographs


def _read(name: str) -> list[str]:
    text = resources.files("iimedgpt.records.deid").joinpath(name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def one_of(words: Iterable[str]) -> str:
    """A pattern of alternatives as a tree of their beginnings: the longest is taken, and few are tried."""
    tree: dict[str, dict] = {}  # type: ignore[type-arg]
    for word in unique(words):
        node = tree
        for char in word:
            node = node.setdefault(char, {})
        node[""] = {}
    return _pattern(tree)


def _pattern(tree: dict[str, dict]) -> str:  # type: ignore[type-arg]
    branches = [(char, _pattern(below) if set(below) != {""} else "") for char, below in tree.items() if char]
    single = [re.escape(char) for char, below in branches if not below]
    alternatives = [re.escape(char) + below for char, below in branches if below]
    if single:
        alternatives.append(single[0] if len(single) == 1 else "[" + "".join(single) + "]")
    return "(?:" + "|".join(alternatives) + ")" + ("?" if "" in tree else "")


_GROUPS = {line[0]: line[2:] for line in _read("surnames.txt")}
SAFE = frozenset(_GROUPS["+"])
COMMON = SAFE | frozenset(_GROUPS["="])
RARE = frozenset(_GROUPS["-"]) - COMMON
COMPOUND = frozenset(_GROUPS["*"].split())
GIVEN = frozenset("".join(_read("given.txt")))
# characters that are hardly ever anything but a surname: two characters behind a role are a name
ONLY_SURNAMES = frozenset(
    "俞岑滕郝邬卞臧茅闵郗骆昝嵇邢裴荀甄芮羿靳邴宓郇隗鄂逯郏睢乜綦禚苌郯贠禤侴邝阚郤酆祁狄裘钭邸戚喻谌佘佟缪晏阎瞿亓仝逄冼邰郜蔺郦璩濮扈佴笪谯缑郄鄢闫闾翦隽鄞眭郐俎妫彧鄷萃"
)
NOT_NAMES = frozenset(word for line in _read("not_names.txt") for word in line.split())
# given names that are words of everyday or clinical text
COMMON_PAIRS = frozenset(
    (
        "洛尔 平安 健康 建国 和平 光明 明白 明显 清楚 安静 文明 平静 新生 长生 正常 良好 发明 发达 永久 长久 长远 美丽 美好 高兴 高大 海洋 海上 中山 中华 国庆 春天 大海 大同 天天 小小 自然 "
        "自立 成功 成长 成立 生长 家庭 家长 学生 学习 先生 云南 海南 江南 河南 湖南 平凡 思考 思想 意思 意志 志愿 正直 直立 金黄 红色 白云 千万 一百 一一 二月 三月 五月 六月 七月 十月 十一 "
        "国内 东方 南方 北方 西方 胜利 顺利 顺畅 安心 放心 开心 关心 用心 细心 有力 无力 立方 平方 常见 多见 可见 少见 可能 如果 如何 维生 素养 体育 精神 精力 心理 心电 心力 心平 月经 经济 "
        "水平 平面 正面 方向 向上 向前 金属 石英 玉米 大米 小米 玉兰 百合 红花 菊花 桂花 桂枝 杏仁 桃仁 连翘 当归 子宫 子女 儿子 女儿 爱人 同意 主任 主治 护士 医生 医师 大夫 手术 治疗 检查 "
        "入院 出院 住院 复查 明天 今天 昨天 早上 晚上 上午 下午 中午 半年 一年 两年 多年 常年 青年 少年 老年 中年 成年"
    ).split()
)
