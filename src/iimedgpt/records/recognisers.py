"""Shapes of identifiers in Chinese and English clinical text.

Every pattern has bounded repeats and explicit look-arounds: ``\\b`` fails between a digit and a
Chinese character. Shapes decide, never checksums: a mistyped number is still an identifier.
Categories follow GB/T 39725-2020. The patterns read a copy of the text with half-width
punctuation (``half_width``), as long as the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from iimedgpt.records.raw import Category
from iimedgpt.types import Language

_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(map(ord, "–‐‑−‒"), "-")

CJK = "\u4e00-\u9fff"
_START = r"(?<![0-9])(?<![0-9]\.)"  # not inside a number
_IS = r"\s{0,2}[:是为]?\s{0,2}"  # between a label and its value
_ANY_NUMBER = r"(?:号码|编号|卡号|证号|单号|号|ID|id)"

# Common surnames that are not also the first characters of common words in clinical text.
SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙朱马胡郭林罗郑梁谢宋唐许邓韩冯曹彭曾肖田董袁潘蔡蒋余于杜叶程苏魏吕丁任沈姚卢姜崔"
    "钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤何高梅"
    "褚樊祝裴翁耿聂柳鲍葛焦温施艾殷庄牛倪骆曲岳兰路俞齐欧华关阮时安常于邢康左"
)
_SAFE_SURNAMES = (
    "王李张刘陈杨赵吴徐孙朱胡郭罗郑梁谢宋唐许邓韩冯曹彭肖袁潘蔡蒋杜吕沈姚卢姜崔谭汪廖贾邹秦邱薛闫侯郝龚邵覃戴陆孟钱魏丁尹贺"
    "褚樊裴翁耿聂柳鲍葛倪骆阮邢俞"
)
# second characters with which these surnames begin words, not names: 张口, 陈旧, 孙女, 许久, 胡言; 感谢医生
_NO_NAME = (
    r"(?<![感谢多拜答道])(?!张口|张力|张嘴|陈旧|陈述|孙女|孙子|许久|许多|许可|胡言|王室|陆续|"
    r"谢谢|潘氏|唐氏|蒋氏|杨梅|胡须|汪汪|沈默|贾第)"
)
_FUNCTION = "的了在到和与找看问请见是有去来经让被给叫对向跟同及或等位名些科外内急门产儿妇骨眼口皮肤因诉于自否无未不"
_GIVEN_SAFE = rf"[^\W0-9A-Za-z_{_FUNCTION}]"
_PEOPLE = (
    "患者|病人|病员|患儿|患婴|产妇|孕妇|伤者|死者|家属|其父|其母|其妻|其夫|其子|其女|"
    "丈夫|妻子|儿子|女儿|父亲|母亲|爱人|配偶|陪同人"
)
_NAME_LABELS = (
    "姓名|患者姓名|病人姓名|家属姓名|联系人|紧急联系人|监护人|法定代理人|委托人|陪护人|供史者|病史陈述者|病史提供者|陈述者|"
    "签名|签字|签章|主治医师|主任医师|住院医师|经治医师|接诊医师|接诊医生|首诊医师|主管医师|主管医生|责任医师|责任护士|值班医师|"
    "值班医生|手术医师|麻醉医师|麻醉师|报告医师|审核医师|检查医师|申请医师|记录医师|医师|主刀|术者|一助|二助|助手|记录者|记录人|"
    "审核者|审核人|检验者|报告人|核对人|操作者|责任人|查体者|接诊者|诊察者|检诊者|阅片者|诊断者|管床医生|管床医师|书写者"
)
_NOBODY = (
    "本人|患者|病人|家属|父母|父亲|母亲|配偶|妻子|丈夫|儿子|女儿|子女|亲属|"
    "医师|医生|护士|未填|不详|未知|无名|同上|您好|你好|好的|请"
)
_NOT_NAMED = (
    "中年|老年|中老|青年|少年|青少|成年|高龄|婴|幼|学龄|新生|育龄|"
    "已婚|未婚|绝经|为|系|是|均|多|以|既往|性别|一名|年轻|足月|早产|我|小孩|孩子|宝宝|儿子|女儿|男|女"
)
_SEX = r"[,、 (]{0,2}(?:男|女)(?:性|孩|童|婴)?[,、 )0-9]"
_TITLES = (
    "副?主任医师|主治医师|住院医师|副?主任|医师|医生|大夫|护士长|护士|"
    "副?教授|院长|先生|女士|小姐|阿姨|大爷|大妈|大叔|老师|同志"
)
_PLATE_PLACES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"


class Found(NamedTuple):
    """One identifier in a text, end exclusive, in characters."""

    start: int
    end: int
    category: Category


def half_width(text: str) -> str:
    """Full-width forms and odd hyphens as ASCII, character for character."""
    return text.translate(_HALF_WIDTH)


# (category, pattern); where the pattern has a group, the first group is the identifier
_SHARED: list[tuple[Category, str]] = [
    ("email", r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}"),
    # 18 digits or 17 and X, the groups perhaps apart; 15 digits of before 1999
    ("id_card", _START + r"[0-9]{6}[ -]?[0-9]{8}[ -]?[0-9]{3}[0-9Xx](?![0-9])"),
    ("id_card", _START + r"[1-9][0-9]{5}[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}(?![0-9])"),
    ("phone", _START + r"(?:(?:\+|00)?86[ -]?)?1[3-9][0-9][ .-]?[0-9]{4}[ .-]?[0-9]{4}(?![0-9])"),
    ("phone", _START + r"1[3-9][0-9]{2}[ -][0-9]{4}[ -][0-9]{3}(?![0-9])"),
    ("phone", _START + r"\(?0[1-9][0-9]{1,2}\)?[ -]?[0-9]{7,8}(?:(?:-|转|转分机)[0-9]{1,5})?(?![0-9])"),
    ("phone", _START + r"[48]00[ -]?[0-9]{3}[ -]?[0-9]{4}(?![0-9])"),
    ("bank_card", _START + r"[3-6][0-9]{3}(?:[ -]?[0-9]{4}){3}(?:[ -]?[0-9]{1,3})?(?![0-9])"),
    ("passport", r"(?<![A-Za-z0-9])[CDEGHMPSWcdeghmpsw][A-Za-z]?[0-9]{7,8}(?![0-9A-Za-z])"),
    # no laboratory value has eleven digits in a row
    ("medical_number", _START + r"[0-9]{11,30}(?![0-9])"),
]

_ZH: list[tuple[Category, str]] = [
    ("id_card", rf"(?:身份证|证件|军官证|士兵证|护照){_ANY_NUMBER}?{_IS}([A-Za-z0-9][A-Za-z0-9 -]{{4,22}}[0-9Xx])"),
    ("passport", rf"(?:护照|通行证|回乡证|台胞证){_ANY_NUMBER}?{_IS}([A-Za-z]{{0,2}}[0-9]{{6,10}})"),
    (
        "phone",
        r"(?:电话|手机|联系方式|传真|座机|热线|[Tt][Ee][Ll])(?:号码|号)?"
        + _IS
        + r"(\+?[0-9(][0-9 ()-]{5,18}[0-9](?:转[0-9]{1,5})?)",
    ),
    ("bank_card", rf"(?:银行卡|信用卡|储蓄卡|银行账户|卡号|账号|账户)(?:号码|号)?{_IS}([0-9][0-9 -]{{7,25}}[0-9])"),
    (
        "account",
        r"(?:微信|(?<![A-Za-z])(?:[Ww]e[Cc]hat|weixin|[Vv][Xx]|QQ|qq)|扣扣|支付宝|微博|抖音|钉钉)(?:号码|账号|号|ID|id)?\s{0,2}[:是为(]{0,2}\s{0,2}"
        r"([A-Za-z0-9_-]{5,30})",
    ),
    (
        "medical_number",
        r"(?:住院|门诊|门急诊|急诊|病案|病历|病例|病人|患者|医保|社保|新农合|农合|医疗证|就诊|诊疗|登记|检查|检验|标本|样本|条码|条形码|"
        r"病理|影像|放射|超声|内镜|处方|申请|报告|流水|档案|健康卡|一卡通|腕带|X线|CT|MRI|MR|DR)[卡证单片]?"
        rf"{_ANY_NUMBER}{_IS}((?=[A-Za-z_-]{{0,8}}[0-9])[A-Za-z0-9][A-Za-z0-9_.-]{{1,29}}[A-Za-z0-9]"
        r"(?:[、,/]\s?[A-Za-z]{0,3}[0-9]{5,20}){0,5})",  # one label may stand before several numbers
    ),
    (
        "medical_number",
        rf"(?:编号|条码|条形码|(?<![A-Za-z])(?:ID号?|No\.?)){_IS}((?=[A-Za-z_-]{{0,8}}[0-9])[A-Za-z0-9][A-Za-z0-9_-]{{4,30}})",
    ),
    (
        "plate",
        rf"[{_PLATE_PLACES}][A-HJ-NP-Z][ ·•-]?(?=[A-Z]{{0,4}}[0-9])"
        r"[A-HJ-NP-Z0-9]{4,5}[A-HJ-NP-Z0-9挂学警港澳](?![A-Za-z0-9])",
    ),
    (
        "address",
        r"(?:家庭住址|家庭地址|现住址|现住地址|住址|地址|户籍所在地|户籍地|户口所在地|户籍|户口|籍贯|出生地|居住地|通讯地址|联系地址|住所)"
        r"\s{0,2}[:是为]\s{0,2}([^\n,。;]{2,60})",
    ),
    (
        "address",
        rf"(?:家住|现住|现居|居住于|居住在|住在|暂住)\s?:?((?=[^\n,。;]{{0,40}}[省市县区镇乡路街号楼室村])[{CJK}0-9A-Za-z-]{{4,50}})",
    ),
    (
        "address",
        rf"(?:(?<![{CJK}])|(?<=[住在于址为是至到自]))[{CJK}]{{2,3}}(?:省|市|自治区)[{CJK}]{{1,6}}?(?:市|区|县|旗|镇)[{CJK}0-9A-Za-z-]{{1,30}}?(?:[0-9]{{1,5}}(?:号|室|栋|幢|组|弄|楼)|村)"
        r"(?:[0-9A-Za-z-]{1,6}(?:号|室|栋|幢|组|单元|楼|层)){0,4}",
    ),
    (
        "address",
        rf"[{CJK}]{{2,8}}(?:路|街|大道|巷|胡同|弄)[0-9]{{1,5}}号(?:院)?(?:[{CJK}]{{0,8}}?[0-9A-Za-z-]{{1,6}}(?:号楼|号|室|栋|幢|组|单元|楼|层)){{0,4}}",
    ),
    ("employer", r"(?:工作单位|单位名称|工作单位及职业|用人单位|就读学校)\s{0,2}[:是为]\s{0,2}([^\n,。;]{2,40})"),
    ("employer", rf"(?:就职于|供职于|任职于|就读于|受雇于|工作于)([{CJK}A-Za-z0-9()]{{2,40}})"),
    ("employer", rf"(?:在|系|为|是)([{CJK}]{{2,20}}?(?:有限责任公司|股份有限公司|有限公司|集团))"),
    ("age", _START + r"(?:9[0-9]|1[0-4][0-9])(?:余|多)?\s?周?岁(?:以上|余|多)?"),
    ("age", r"(?:九十[一二三四五六七八九]?(?:余|多)?|一?百[零〇一二三四五六七八九十]{0,3})岁(?:以上|余|多)?"),
    ("age", r"年龄\s{0,2}:?\s{0,2}((?:9[0-9]|1[0-4][0-9]))(?![0-9.岁个天月日])"),
    # a labelled name: till the next field, else two to four characters
    (
        "name",
        rf"(?:{_NAME_LABELS})\s{{0,2}}(?:\([^()\n]{{1,6}}\))?\s{{0,2}}:\s{{0,3}}(?!{_NOBODY})"
        rf"([{CJK}]{{1,3}}[·•][{CJK}]{{1,6}}|[{CJK}]{{2,4}}?(?=性别|年龄|男|女|科室|住院|日期|电话|签|医师|护士|[^{CJK}]|$)"
        rf"|[{SURNAMES}]\s[{CJK}](?![{CJK}])|[{SURNAMES}][{CJK}]{{1,2}})",
    ),
    ("name", rf"(?:签名|签字|签章)\s{{0,3}}(?!{_NOBODY})([{SURNAMES}][{CJK}]{{1,2}})(?![{CJK}])"),
    # 患者张三,男 and a text that begins 张三,男,45岁
    (
        "name",
        rf"(?:{_PEOPLE})[,:]?\s?(?!{_NOBODY}|{_NOT_NAMED})([{SURNAMES}][{CJK}]{{1,2}}?(?={_SEX})"
        rf"|[{CJK}]{{2,4}}?(?=[,、 (]{{1,2}}{_SEX}))",
    ),
    ("name", rf"(?:^|\n)([{SURNAMES}][{CJK}]{{1,3}}?)[,、 ]{{1,2}}(?={_SEX})"),
    (
        "name",
        rf"(?:{_PEOPLE})(?:姓名|名叫|叫)?{_NO_NAME}([{_SAFE_SURNAMES}]{_GIVEN_SAFE}{{1,2}}?)"
        r"(?=[,、。;: )(\n]|因|诉|于|自|系|入院|来院|来我|代|陪|述|签|之|的|$)",
    ),
    ("name", rf"{_NO_NAME}([{_SAFE_SURNAMES}]{_GIVEN_SAFE}{{0,2}}?)(?={_TITLES})"),
    # a whole word before a doctor's title: any surname, and names with a dot
    (
        "name",
        rf"(?<![{CJK}])(?!高年资|高级|全科|安排|常规|关注|时任|左右){_NO_NAME}"
        rf"([{SURNAMES}]{_GIVEN_SAFE}{{1,2}}|[{CJK}]{{1,5}}[·•][{CJK}]{{1,6}})"
        r"(?=副?主任医师|主治医师|住院医师|副?主任|医师|医生|大夫|护士|副?教授|院长)",
    ),
    ("name", rf"(?<![{CJK}])([{SURNAMES}])(?=(?:医师|医生|大夫|主任|护士|先生|女士|小姐|阿姨)(?![{CJK}]))"),
    (
        "name",
        rf"(?:我叫|名叫|我是)(?!{_NOBODY}){_NO_NAME}([{_SAFE_SURNAMES}]{_GIVEN_SAFE}{{1,2}}?)(?=[,、。;: \n!?]|$)",
    ),
]

_EN_NAME = r"[A-Z][A-Za-z-]*(?:['’][A-Z][a-z]+)?"
_NOT_A_NAME = (
    r"(?!(?:I|The|He|She|You|It|Yes|No|And|But|So|My|Your|We|They|"
    r"This|That|Okay|Thank|What|How|Is|Are|Do|Has)(?![A-Za-z]))"
)
_EN: list[tuple[Category, str]] = [
    ("id_card", r"(?<![0-9-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![0-9-])"),
    ("phone", r"(?<![0-9])(?:\+?1[ .-]?)?\(?[2-9][0-9]{2}\)?[ .-]{1,2}[0-9]{3}[ .-][0-9]{4}(?![0-9])"),
    (
        "phone",
        r"(?i:phone|tel|cell|fax|call)(?i:ephone| number)?(?: is| at)?[ :.#]{1,3}([0-9]{3}[ -][0-9]{4})(?![0-9])",
    ),
    (
        "medical_number",
        r"(?i:MRN|medical record|account|chart|accession|encounter|policy|insurance)(?i: number| no\.?| id)?[ :#]{1,4}"
        r"((?=[A-Za-z-]{0,6}[0-9])[A-Za-z0-9-]{4,20})",
    ),
    ("name", rf"(?<![A-Za-z])(?:Dr|Mr|Mrs|Ms|Prof)\.? {{1,2}}{_NOT_A_NAME}({_EN_NAME}(?: {_EN_NAME})?)"),
    ("name", rf"(?<![A-Za-z])(?:Doctor|Miss|Nurse|Professor|Mister) {_NOT_A_NAME}({_EN_NAME}(?: {_EN_NAME})?)"),
    ("name", rf"(?i:patient name|name|signed by|attending|dictated by) ?: ?({_EN_NAME}(?:,? {_EN_NAME}){{0,2}})"),
    (
        "hospital",
        r"(?<![A-Za-z])(?!(?:The|This|Our|A|An|Local|General|Community|Regional|Outpatient|Pain) )"
        r"((?:[A-Z][A-Za-z.'’-]+ ){1,4}(?:Hospital|Medical Center|Clinic|Health Center|Infirmary))(?![A-Za-z])",
    ),
    (
        "address",
        r"(?<![0-9A-Za-z])[0-9]{1,5} (?:[A-Z][a-z]+ ){1,3}"
        r"(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Boulevard|Blvd|Court|Ct)(?![a-z])"
        r"(?:,? [A-Z][a-z]+){0,2}(?:,? [A-Z]{2})?(?: [0-9]{5}(?:-[0-9]{4})?)?",
    ),
    ("age", r"(?<![0-9.])(?:9[0-9]|1[0-4][0-9])(?=[ -]years?[ -](?:old|of age))"),
    ("age", r"(?i:aged?|age of|age is)[ :]{1,2}((?:9[0-9]|1[0-4][0-9]))(?![0-9.%])"),
]


def _compile(rules: list[tuple[Category, str]]) -> list[tuple[Category, re.Pattern[str]]]:
    return [(category, re.compile(pattern)) for category, pattern in rules]


_RULES: dict[Language, list[tuple[Category, re.Pattern[str]]]] = {
    "zh": _compile(_SHARED + _ZH),
    "en": _compile(_SHARED + _EN),
}


def find_identifiers(text: str, language: Language) -> Iterator[Found]:
    """Every identifier of a known shape but dates and Chinese hospitals, overlaps included."""
    for category, pattern in _RULES[language]:
        group = 1 if pattern.groups else 0
        for match in pattern.finditer(text):
            if match.end(group) > match.start(group):
                yield Found(match.start(group), match.end(group), category)
