"""Names of Chinese hospitals: what stands before 医院, less what every hospital may be called."""

from __future__ import annotations

import re
from collections.abc import Iterator

from iimedgpt.records.deid.found import Found
from iimedgpt.records.deid.words import CJK

_SUFFIX = re.compile(
    "医院|卫生院|卫生所|卫生室|门诊部|诊所|医疗中心|医学中心|卫生服务中心|卫生服务站|保健院|防治院|疗养院|体检中心|急救中心|"
    "康复中心|透析中心|妇幼保健|疾控中心|疾病预防控制中心|血液中心|中心血站|血站|医学院附院|养护院|护理院|妇幼"
)
_MAX_NAME = 24
_RUN = re.compile(rf"(?:[{CJK}]|第[0-9]{{1,3}}){{1,{_MAX_NAME}}}$|(?<![0-9])[0-9]{{3}}$")
# words that come before a name and are never inside one
_BEFORE = re.compile(
    "患者|病人|家属|家人|医生|大夫|医师|孩子|宝宝|就诊于|就诊|转诊|转入|转至|转院|转到|转往|送至|送到|送往|送入|收入|住入|入住|来到|来院|"
    "曾于|曾在|曾|遂|即|立即|急诊|建议|需要|可以|应该|应当|必须|尽快|尽早|及时|马上|最好|直接|先|再|又|还|已|被|就|要|能|会|想|"
    "前往|前来|去过|去了|去|往|赴|到|在|于|至|从|由|自|经|送|后|前|的|了|是|与|或|并|及|因|为|我|您|你|他|她|本|该|某|贵|此|外|"
    "当地|上级|下级|另一家|另一|一家|一所|几家|两家|多家|各大|各家|哪家|哪个|什么|这家|那家|每家|附近|邻近|就近|其他|其它|别的|多次|"
    "咱|们|联系|咨询|根据|选择|如果|接受|轻信|相关|复诊|专业|治疗|救治|求问|有|没|说|都|和|最近|一般|多数|一直|直属|感觉|确认|"
    "据说|续|转|比较|较|很|太|用|这|那|哪|啊|吧|呢|吗|述|生活|习惯|问|试|两个|几个|个别|"
    "所有|任何|许多|很多|一些|有些|不同|具体|住院|在外|月|日|天|年|时|分|小时|周|次|拟|予|行|查|找|看|上|下|来|回|出|进|住|让|叫|带|等"
)
_INSIDE = re.compile(
    "上海|海上|上饶|上虞|下关|天津|天坛|天水|天门|周口|日照|长春|本溪|行唐|进贤|出版|回民|自贡|自治|"
    "来宾|后海|外国语|为民|于都|协和|仁和|和平|和田|呼和|人和|泰和|太和|同和|兴和|成都|首都|江都|丰都|都匀|有色"
)
# what is left of "县人民医院" or "三甲综合医院" is nothing: no name
_GENERIC = re.compile(
    "人民|中心|中西医结合|中西医|中医药|中医|西医|附属|附院|儿童|妇女儿童|妇女|妇幼|妇产科?|妇科|儿科|产科|保健|肿瘤|口腔|牙科|眼科|胸科|皮肤病?|肛肠|骨科|"
    "癫痫|白癜风|痔疮|血管瘤|乳腺|泌尿|五官|推拿|胃肠|肠胃|甲状腺|不孕不育|肺科|耳鼻喉|神经|脑科|肝胆|疾病|[内外]科|生殖|体检|手术|学校|医科大学|大学|"
    "男科|传染病|结核病?|肝病|肾病|糖尿病|心血管病?|精神病?|精神卫生|心理|康复|老年病?|整形|美容|专科|专业|综合性?|三级甲等|二级甲等|三甲|二甲|三级|二级|一级|"
    "甲等|乙等|社区|乡镇|镇|乡|村|县级|市级|省级|县|市|省|区级|区|地区|地方|级|大型|大|小|好|正规|公立|私立|民营|私人|普通|基层|教学|公办|部队|军队|军区|国家|"
    "互联网|网上|线上|医保|定点|权威|知名|著名|有名|医大|院内|首诊|原|总|分|个|家|所|间|疗|卫|医|性|型"
)
_ORDINAL = re.compile("第[一二三四五六七八九十0-9]{1,3}|^[0-9]{3}$")


def find_hospitals(text: str) -> Iterator[Found]:
    """Named hospitals and clinics; 我院, 当地医院, 县人民医院, 三甲医院 are no names."""
    for suffix in _SUFFIX.finditer(text):
        run = _RUN.search(text, max(0, suffix.start() - _MAX_NAME), suffix.start())
        if run is None:
            continue
        start = _name_start(run.group()) + run.start()
        name = text[start : suffix.start()]
        if _is_name(name):
            yield Found(start, suffix.end(), "hospital")


def _name_start(run: str) -> int:
    """Where the name begins: after the last word that is never part of one."""
    shielded = _INSIDE.sub(lambda match: "□" * len(match.group()), run)
    start = 0
    for word in _BEFORE.finditer(shielded):
        start = word.end()
    return start


def _is_name(name: str) -> bool:
    if _ORDINAL.search(name):
        return True
    rest = _GENERIC.sub("", name)
    return len(re.sub(rf"[^{CJK}]", "", rest)) >= 2


_SHORT = re.compile(
    rf"(?:(?<![{CJK}])|(?<=[在于到至去从由往来赴经]))([{CJK}]{{2,4}}?(?:附[一二三四五六属]院?|[一二三四五六七八九]院|[一二三四五六七八九]附院|医大[一二三四]院?|[一二三四]附院|附院|中心院|省院|中医院|人民院|肿瘤院|儿院|妇院|总院|分院))(?![长内外校前后中线区落])"
)


def find_short_hospitals(text: str) -> Iterator[Found]:
    """市二院, 医大一院, 浙一附院."""
    for match in _SHORT.finditer(text):
        if not re.search(
            "我院|外院|本院|[于在到转往赴]|出院|入院|住院|转院|来院|两院|几院|同院|各院|该院|医院", match.group(1)
        ):
            yield Found(*match.span(1), "hospital")
    for match in re.finditer(r"(?<=[在于到至去从由往赴经])[省市县区][一二三四五六七八九]院(?![内外长])", text):
        yield Found(*match.span(), "hospital")
