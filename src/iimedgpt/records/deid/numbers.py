"""Numbers that identify: ID cards, phones, accounts, medical numbers, plates, bank cards; ages of 90 and more.

Every pattern has bounded repeats and explicit look-arounds: ``\\b`` fails between a digit and a Chinese character.
Shapes decide, never checksums: a mistyped number is still an identifier. Categories follow GB/T 39725-2020.
The patterns read a copy of the text with half-width marks and with long runs of Chinese numerals as digits,
as long as the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from iimedgpt.records.deid.found import Found
from iimedgpt.records.deid.windows import find_windows
from iimedgpt.records.raw import Category
from iimedgpt.types import Language

_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(map(ord, "–‐‑−‒—"), "-")
_NUMERALS = str.maketrans("〇零○一二三四五六七八九幺壹贰叁肆伍陆柒捌玖弌弍弎两", "00012345678911234567891232")
_NUMERAL = "〇零○一二三四五六七八九幺壹贰叁肆伍陆柒捌玖"
_NUMERAL_RUN = re.compile(rf"[{_NUMERAL}](?:[ \n-]?[{_NUMERAL}0-9]){{5,30}}[Xx]?")

_START = r"(?<![0-9])(?<![0-9]\.)"  # not inside a number
_GAP = r"[ \n.·/-]{0,2}"
_IS = r"[\s:=是为|]{0,4}[(\[]?(?:登记为|记为|号为|显示|如下)?[:\s]{0,2}"  # between a label and its value
_OF = r"(?:号码|编号|卡号|证号|单号|条码号|账号|号|[Nn][Oo]\.?|ID|id|#)"
_PLATE_PLACES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领军警"
_UNIT = r"(?! ?(?:[uU]/|[uU]\b|IU|iu|[cC]opies|[cC]ps|拷贝|单位|/|个|m[gloLG]|ml|[gμ]|元|cfu|CFU|×|x10|\*|%|\^|RLU|pg|ng|万|次|kg|mm|cm|mmol|umol|步|ppm|bp|kb|~))"


def half_width(text: str) -> str:
    """Full-width forms and odd hyphens as ASCII, character for character."""
    return text.translate(_HALF_WIDTH)


def digits(text: str) -> str:
    """The text with runs of six or more Chinese numerals as digits, character for character."""
    return _NUMERAL_RUN.sub(lambda run: run.group().translate(_NUMERALS), text)


def _spread(count: int) -> str:
    """So many digits, perhaps with marks or line breaks between them."""
    return rf"[0-9](?:{_GAP}[0-9]){{{count - 1}}}"


_BIRTH = rf"(?:1{_GAP}[89]|2{_GAP}0){_GAP}[0-9]{_GAP}[0-9]{_GAP}[01]{_GAP}[0-9]{_GAP}[0-3]{_GAP}[0-9]"
_CARD_LIKE = r"(?:身份证|身份證|证件|居民证|ID ?card|身份号|公民身份|二代证|户口簿)"
_LOOSE = r"[0-9OoIlLXx*×＊]"

# (category, trigger, pattern); a rule is tried where one of the trigger's characters stands in the text.
# Where the pattern has a group, the first group is the identifier.
_Rule = tuple[Category, str, str]
_NUMBERS: list[_Rule] = [
    # region, date of birth, three digits and a check digit, whatever stands between them
    ("id_card", "", _START + rf"[1-9](?:{_GAP}[0-9]){{5}}{_GAP}{_BIRTH}(?:{_GAP}[0-9]){{3}}{_GAP}[0-9Xx](?![0-9])"),
    ("id_card", "", _START + r"[0-9]{6}[ -]?[0-9]{8}[ -]?[0-9]{3}[0-9Xx](?![0-9])"),
    ("id_card", "", _START + r"[1-9][0-9]{5}[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}(?![0-9])"),
    ("id_card", "", _START + r"[1-9][0-9]{5} ?\n? ?[0-9]{6} ?\n? ?[0-9]{3}(?![0-9])"),
    ("id_card", "*", _START + r"[1-9][0-9]{2,9}[*]{3,14}[0-9]{0,4}[0-9Xx]?(?![0-9])"),
    ("phone", "", _START + r"(?:(?:\+|00)?86[ -]?)?1[3-9][0-9]{9}(?![0-9])"),
    (
        "phone",
        "",
        _START + r"(?:(?:\+|00)?\(?86\)?[ -]?)?\(?1[3-9][0-9]\)?(?P<s>[ .·/\n-]{1,2})[0-9]{4}(?P=s)[0-9]{4}(?![0-9])",
    ),
    (
        "phone",
        "",
        _START
        + r"(?:\+?86[ -]?)?1[3-9](?=[0-9 .\n-]{9,14}(?![0-9.]))(?=(?:[0-9][ .\n-]?){9}(?![0-9]))[0-9]{1,9}(?:[ -][0-9]{2,8}){1,4}(?![0-9])",
    ),
    (
        "phone",
        "",
        _START + r"1[3-9](?=[0-9]{0,8} ?\n)(?=(?:[0-9] ?\n?){9}(?![0-9]))[0-9]{0,8} ?\n ?[0-9]{1,9}(?![0-9])",
    ),
    (
        "phone",
        "",
        _START
        + r"\(?0[1-9][0-9]{1,2}\)?[ -]{0,3}[2-9][0-9]{2,3}[ -]?[0-9]{4}(?:(?: ?(?:-|转|转分机|分机|[Ee]xt\.?|#)) ?[0-9]{1,6})?(?![0-9])",
    ),
    ("phone", "", _START + r"\+?(?:00)?86[ -]?\(?0?[1-9][0-9]{1,2}\)?[ -][0-9]{3,4}[ -]?[0-9]{4}(?![0-9])"),
    ("phone", "", _START + r"\+?(?:00)?(?:852|853|886)[ -]?[0-9]{4}[ -]?[0-9]{4,5}(?![0-9])"),
    (
        "phone",
        "",
        _START + r"[48]00[ -]?[0-9]{3}[ -]?[0-9]{4}(?![0-9])|" + _START + r"[48]00-?[0-9]-?[0-9]{3}-?[0-9]{3}(?![0-9])",
    ),
    ("phone", "*", _START + r"1[3-9][0-9][*]{3,5}[0-9]{3,4}(?![0-9])"),
    ("bank_card", "", _START + r"[3-6][0-9]{3}(?:[ \n-]{0,2}[0-9]{4}){3}(?:[ \n-]{0,2}[0-9]{1,3})?(?![0-9])"),
    ("passport", "(", r"(?<![A-Za-z0-9])[A-Z]{1,2}[0-9]{6}\([0-9A]\)"),
]

_BARE: list[_Rule] = [
    (
        "passport",
        "",
        r"(?<![A-Za-z0-9])(?<!准字)(?!QQ|qq|VX|vx|rs|NM|XP)(?:[A-Z] ?|[A-Za-z]{1,2})[0-9]{7,9}(?:\([0-9A]\))?(?![0-9A-Za-z])",
    ),
    # no laboratory value has eleven digits in a row
    ("medical_number", "", _START + r"(?<![A-Za-z])[0-9]{9,30}(?![0-9]|\.[0-9])" + _UNIT),
    ("medical_number", "", _START + r"(?<![A-Za-z≥>＜<=≤±~×^/.*+-])[0-9]{7,8}(?![0-9]|\.[0-9])" + _UNIT),
    (
        "medical_number",
        "",
        r"(?<![A-Za-z0-9.])(?<!准字)(?!(?:NCT|ISRCTN|PMID|ChiCTR|rs|NM)[^A-Za-z])(?!(?:DNA|RNA|WBC|RBC|PLT|BNP|CRP|ALT|AST|LDH|CK|HCG|hCG|AFP|CEA|CA|PSA|Ca|Fer|SF)[-_]?[0-9]{1,6}(?![0-9]))"
        r"[A-Za-z]{1,6}[-_]?(?:[0-9]{5,16}(?:[-_][A-Za-z0-9]{1,12}){0,3}|[0-9]{2,8}[-_][0-9]{3,12}(?:-[0-9]{1,6})?)(?![A-Za-z0-9.])"
        + _UNIT,
    ),
    ("medical_number", "-", _START + r"(?:19|20)[0-9]{2}-[0-9]{3,8}(?![0-9]|[-/.][0-9])" + _UNIT),
    ("medical_number", "-", _START + r"[0-9]{2,8}-[0-9]{5,12}(?:-[0-9]{1,6})?(?![0-9]|[-/.][0-9])" + _UNIT),
]

_MEDICAL = (
    "住院|门诊|门急诊|急诊|病案|病历|病例|病人|患者|病员|医保|医疗保险|社保|社会保障|社会保险|新农合|农合|合作医疗|医疗证|就诊|诊疗|就医|登记|检查|检验|标本|样本|条码|条形码|二维码|"
    "病理|影像|放射|超声|内镜|胃镜|肠镜|处方|申请|报告|流水|档案|健康卡|健康档案|一卡通|腕带|手环|X线|X光|CT|MRI|MR|DR|PET|B超|心电图?|切片|蜡块|穿刺|骨髓|血袋|献血|血液|挂号|预约|排队|发票|收据|结算|费用|缴费|订单|"
    "留观|观察|出院|入院|手术|麻醉|体检|透析|产科|分娩|出生|出生证|出生医学证明|死亡证明|疫苗|接种|保单|保险|理赔|案卷|公证|鉴定|器官|供体|受试者|随机|试验|筛选|入组|研究|资料|卷宗|电子病历|索引|主索引|唯一|系统|床旁|会诊|转诊|随访|快递|运单|物流|残疾证|老年证|优待证|学籍|工伤|低保|救助|居民健康|诊断证明|"
    "HIS|EMR|PACS|LIS|RIS|MRN|PID|EMPI|ICU|采血|采样|试管|器械包?|植入物|支架|起搏器|序列|产品序列|档|诊"
)
_ZH: list[_Rule] = [
    ("id_card", "", rf"{_CARD_LIKE}(?:件)?{_OF}?(?:码)?{_IS}({_LOOSE}(?:{_GAP}{_LOOSE}){{13,18}})(?![0-9])"),
    (
        "id_card",
        "证",
        rf"(?:军官|士兵|警官|文职|学员|离休|退休|退伍|残疾军人|士官|居留|居住|永居|永久居留|驾驶|驾|行驶|工作|学生|执业|资格)证{_OF}?{_IS}([{'A-Za-z0-9'}一-鿿]?[字第A-Za-z]{{0,4}}[0-9][A-Za-z0-9 -]{{3,22}}[0-9XxA-Z]号?)",
    ),
    (
        "passport",
        "字",
        r"(?<![一-鿿])?[军兵士文空海政后参联武陆火战广沈南成兰济北警学][字]第? ?[0-9]{5,10} ?号?|[军兵士文空海政后参联武陆火战广沈南成兰济北警学]字第[0-9 ]{4,12}号?",
    ),
    (
        "passport",
        "证照",
        rf"(?:护照|通行证|回乡证|台胞证|证件|居留许可|签证|证){_OF}?(?:码)?{_IS}([A-Za-z]{{0,3}} ?[0-9][0-9 ]{{4,14}}[0-9](?:\([0-9A-Z]\))?)",
    ),
    (
        "phone",
        "",
        r"(?:电话|手机|联系方式|联系|传真|座机|热线|[Tt][Ee][Ll]|[Pp]hone|致电|拨打|来电|宅电|固话|分机|短号|内线|总机|打|拨|呼|☎|小灵通|号码|机号|[Mm]obile)(?:号码|号|码)?"
        + _IS
        + r"(?:了|通|给|过)?(\+?[0-9(](?:[ ()\n./·-]{0,2}[0-9]){6,16}(?:(?:转分机|转|分机|-|[Ee]xt\.?) ?[0-9]{1,6})?)(?![0-9])",
    ),
    ("phone", "", r"(?:电话|手机|内线|短号|分机|宅电|座机|小号)(?:号码|号)?[:是为\s]{0,3}([0-9]{3,6})(?![0-9./:])"),
    ("phone", "", r"(?<![0-9.])([2-8][0-9]{2,3}-[0-9]{4})(?![0-9-])(?=(?: ?转[0-9]+)?[^0-9A-Za-z%]|$)" + _UNIT),
    (
        "bank_card",
        "卡账帐",
        rf"(?:银行卡|信用卡|储蓄卡|借记卡|银行账户|卡号|账号|账户|帐号|开户|工商银行|建设银行|农业银行|中国银行|工行|建行|农行|招行|医保卡|社保卡)(?:号码|号)?{_IS}([0-9](?:[ \n-]{{0,2}}[0-9]){{7,24}})",
    ),
    (
        "account",
        "",
        r"(?:微信|薇信|威信|微 信|V信|v信|(?<![A-Za-z])(?:[Ww]e[Cc]hat|[Ww]eixin|[Vv][Xx]|[Ww][Xx]|QQ|qq|Qq|[Ss]kype|[Ww]hats[Aa]pp|Telegram)|扣扣|企鹅|支付宝|微博|抖音|钉钉|快手|小红书|淘宝|陌陌|飞信|旺旺|公众号|用户名|账号|昵称|网名|登录名)"
        r"(?:群|号码|账号|名|号|ID|id|公众号|同号|同)?(?:[\s:：是为(\[「“\"'=/,、@+就叫]|我|吧|加|联系|也|的|搜|或|电话|手机|QQ|qq|微信|号){0,8}"
        r"([A-Za-z0-9](?:[A-Za-z0-9_.-]{4,30}))(?<![.])",
    ),
    (
        "account",
        "_",
        r"(?<![A-Za-z0-9_])[a-zA-Z](?=[A-Za-z0-9_]{4,40})[A-Za-z0-9]{2,15}(?:_[A-Za-z0-9]{2,16}){1,3}(?![A-Za-z0-9_])",
    ),
    (
        "account",
        "",
        r"(?<![A-Za-z0-9_-])([A-Za-z][A-Za-z0-9_-]{5,19}|[1-9][0-9]{5,10})(?=[^A-Za-z0-9\n]{0,6}(?:微信|QQ|qq|扣扣|[Vv][Xx](?![A-Za-z])))",
    ),
    (
        "medical_number",
        "",
        rf"(?:{_MEDICAL})[卡证单片袋册本簿]?(?:\([^()\n]{{1,8}}\))? ?{_OF}(?:码)?(?:\([^()\n]{{1,8}}\))?{_IS}((?=[A-Za-z_-]{{0,8}}[0-9])[A-Za-z0-9](?:[ ]?[A-Za-z0-9_./*-]){{1,30}}(?<![./-])"
        r"(?:[、,/]\s?[A-Za-z]{0,3}[0-9-]{3,20}){0,5})",  # one label may stand before several numbers
    ),
    (
        "medical_number",
        "",
        rf"(?:{_MEDICAL})[卡证单片袋册本簿]?(?:号码|编号)?[:=|] ?((?=[A-Za-z_-]{{0,8}}[0-9])[A-Za-z0-9][A-Za-z0-9_-]{{4,30}})(?![./:年月日岁])"
        + _UNIT,
    ),
    (
        "medical_number",
        "",
        rf"(?:编号|条码|条形码|单号|卡号|病历本|证号|流水号|工号|学号|档号|案号|编 号|号码|(?<![A-Za-z])(?:ID号?|No\.|NO\.|№|MRN)){_IS}#?((?=[A-Za-z_-]{{0,8}}[0-9])[A-Za-z0-9](?: ?[A-Za-z0-9_/-]){{3,30}})",
    ),
    ("medical_number", "〔[(", r"[\[(〔](?:19|20)[0-9]{2}[\])〕][^\n,。;0-9]{0,12}第? ?[0-9]{1,8}号"),
    (
        "plate",
        _PLATE_PLACES,
        rf"[{_PLATE_PLACES}] ?[A-HJ-NP-Za-hj-np-z] ?[ ·•.・-]?(?=[A-Za-z]{{0,4}}[ ·.-]?[0-9])"
        r"[A-HJ-NP-Z0-9a-hj-np-z](?:[ ·-]?[A-HJ-NP-Z0-9a-hj-np-z]){3,5}(?![A-Za-z0-9])[挂学警港澳领试]?",
    ),
    ("plate", _PLATE_PLACES, rf"[{_PLATE_PLACES}][A-Z][ ·•.・-]?[A-Z0-9]{{4}}[挂学警港澳领试]"),
    ("plate", "W", rf"WJ ?[{_PLATE_PLACES}0-9]{{1,2}}[ ·•-]?[A-Z0-9]{{4,5}}(?![A-Za-z0-9])"),
    (
        "plate",
        "车",
        rf"(?:车牌|车号|车辆号牌|牌照)(?:号码|号)?{_IS}([一-鿿]?[A-Za-z0-9](?:[ ·•.-]?[A-Za-z0-9]){{4,7}}[挂学警港澳领试]?)(?![A-Za-z0-9])",
    ),
    ("age", "岁", _START + r"(?:9[0-9]|1[0-4][0-9])(?:余|多|来)?\s?周?岁(?:高龄)?(?:以上|余|多)?"),
    (
        "age",
        "岁",
        r"(?:九十[一二三四五六七八九]?(?:余|多|来)?|九[一二三四五六七八九]|一?百[零〇一二三四五六七八九十]{0,3}(?:余|多)?|玖拾[壹贰叁肆伍陆柒捌玖]?)周?岁(?:以上|余|多)?",
    ),
    (
        "age",
        "龄",
        r"(?:年龄|高龄|享年|终年|寿)\s{0,2}[:为是]?\s{0,2}((?:9[0-9]|1[0-4][0-9])(?: ?[Yy岁])?|九十[一二三四五六七八九]?)(?![0-9.个天月日])",
    ),
    ("age", "", r"(?<=[男女][,、 /])((?:9[0-9]|1[0-4][0-9]) ?[Yy]?)(?=[,、 /。;)\n]|$)"),
]
_EN: list[_Rule] = [
    ("id_card", "", r"(?<![0-9-])[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}(?![0-9-])"),
    (
        "id_card",
        "",
        r"(?i:SSN|social security)(?i: number| no\.?)?[ :#]{0,3}(?i:is |ending in |ends in )?((?:[0-9Xx*]{1,4}[ -]?){1,4}[0-9]{4})",
    ),
    (
        "phone",
        "",
        r"(?<![0-9])(?:\+?1[ .-]?)?\(?[2-9][0-9]{2}\)?[ .-]{1,2}[0-9]{3}[ .-][0-9]{4}(?:,? ?(?:x|ext\.?|extension) ?[0-9]{1,6})?(?![0-9])",
    ),
    ("phone", "", r"(?<![0-9.])\+[0-9]{1,3}[ -](?:[0-9]{2,5}[ -]?){2,5}(?![0-9])"),
    (
        "phone",
        "",
        r"(?i:phone|tel|cell|fax|call|mobile|pager|beeper|ext|number|reached|contact)(?i:ephone|ular)?(?i: number| no\.?)?(?i: is| at| on)?[ :.#]{0,3}(\+?[0-9(][0-9 ().-]{5,18}[0-9])(?![0-9])",
    ),
    ("phone", "", r"(?i:pager|beeper|ext|extension)\.?[ :#]{1,3}([0-9]{3,6})(?![0-9])"),
    (
        "medical_number",
        "",
        r"(?i:MRN|med(?:ical)? rec(?:ord)?|account|acct|chart|accession|encounter|policy|insurance|member|medicare|medicaid|specimen|order|patient|case|hospital|unit|barcode|pathology|visit|record|serial|claim|admission|study|lab|sample|req(?:uisition)?|group|subscriber|beneficiary|license|certificate|device)(?i: number| no\.?| num| id| identifier)?(?i: is| was|,)?[ :#.]{1,4}"
        r"((?=[A-Za-z-]{0,6}[0-9])[A-Za-z0-9](?:[A-Za-z0-9-]){3,24})(?![A-Za-z0-9/%.])",
    ),
    (
        "medical_number",
        "",
        r"(?<![A-Za-z])(?:ID|No|NO|Number|number|#)[ :.#]{1,3}((?=[A-Za-z-]{0,6}[0-9])[A-Za-z0-9-]{5,24})",
    ),
    (
        "account",
        "",
        r"(?i:wechat|skype|whatsapp|telegram|facebook|twitter|instagram|username|user name|login|handle|QQ|weixin|screen name)(?i: id| account| number| name| handle)?(?i: is| as|,)?[ :@]{1,3}([A-Za-z0-9][A-Za-z0-9_.-]{3,30}[A-Za-z0-9])",
    ),
    ("account", "@", r"(?<![A-Za-z0-9.])@[A-Za-z][A-Za-z0-9_]{2,30}"),
    (
        "account",
        "_",
        r"(?<![A-Za-z0-9_])[a-zA-Z](?=[A-Za-z0-9_]{4,40})[A-Za-z0-9]{2,15}(?:_[A-Za-z0-9]{2,16}){1,3}(?![A-Za-z0-9_])",
    ),
    (
        "plate",
        "",
        r"(?i:plate|license|licence|registration|tag|vehicle|car)(?i: plate)?(?i: number| no\.?| reg)?(?i: is| was|,)?[ :#]{1,3}((?=[A-Z]{0,4}[ -]?[0-9]|[0-9]{1,4}[ -]?[A-Z])[A-Z0-9]{1,4}[ -]?[A-Z0-9]{2,5})(?![A-Za-z0-9])",
    ),
    ("plate", "", r"(?<![A-Za-z0-9])[A-Z]{2,3}[ -][0-9]{3,4}(?![A-Za-z0-9./%-])(?! ?(?:mg|ml|mcg|g|U|units))"),
    (
        "bank_card",
        "",
        r"(?i:card|account)(?i: number| no\.?| ending in)?(?i: is)?[ :#]{1,3}([0-9](?:[ -]?[0-9]){7,20})",
    ),
    (
        "passport",
        "",
        r"(?i:passport|visa|permit|driver'?s licen[sc]e|DL)(?i: number| no\.?)?(?i: is| was|,)?[ :#]{1,3}([A-Za-z]{0,3}[ -]?[0-9][A-Za-z0-9-]{4,14})",
    ),
    (
        "age",
        "",
        r"(?<![0-9.])(?:9[0-9]|1[0-4][0-9])(?=[ -]{0,2}(?:years?|yrs?|y/?o|YO|Y/O|y\.o\.)(?![a-z]))(?! ?years? (?:ago|before|earlier|later|history|of smoking))",
    ),
    (
        "age",
        "",
        r"(?i:aged?|age of|age is|age was|age:|turned|turning|turns|now|is|was)[ :]{1,2}((?:9[0-9]|1[0-4][0-9]))(?=[,.;) \n]|$)(?![0-9.%]|\.[0-9]| ?(?:%|mg|mm|bpm|kg|lb|degrees|beats|ml|on|per|/|over|and))",
    ),
    ("age", "", r"(?<![0-9])(?:9[0-9]|1[0-4][0-9])(?=[ -]?(?:[MF]\b|male|female|man|woman|gentleman|lady))"),
    (
        "age",
        "",
        r"(?i:(?:ninety|one hundred)(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?)(?=[ -](?:years?|yrs?|yo|y/o)(?![a-z]))",
    ),
    (
        "age",
        "",
        r"(?i:(?:aged?|turned|turning) (?:is |was )?)((?i:ninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?))",
    ),
    ("age", "", r"(?i:in (?:his|her|their) )((?i:9[0-9]s|90'?s|nineties))"),
]
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64} ?@ ?[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}")
_HAS_NUMBER = re.compile(r"[0-9*]{2}|[0-9][ \n.·/-]{1,2}[0-9]")


def _compile(rules: list[_Rule]) -> list[tuple[Category, frozenset[str], re.Pattern[str]]]:
    return [(category, frozenset(trigger), re.compile(pattern)) for category, trigger, pattern in rules]


_Compiled = list[tuple[Category, frozenset[str], re.Pattern[str]]]
_SHAPES = _compile(_NUMBERS)
_BARE_SHAPES = _compile(_BARE)
_LABELLED: dict[Language, _Compiled] = {"zh": _compile(_ZH), "en": _compile(_EN)}
_SEED = re.compile(r"[0-9A-Za-z+*](?:[ \n.·/()*_-]{0,2}[0-9A-Za-z*]){2,}")
_MIN_SHAPE_DIGITS = 5
_WIDE = frozenset("岁龄字")  # ages and certificates may be written in words


def find_numbers(text: str, language: Language) -> Iterator[Found]:
    """Every number of a known shape but dates, overlaps included; ``text`` is half-width."""
    present = set(text)
    if "@" in present:
        for match in _EMAIL.finditer(text):
            yield Found(match.start(), match.end(), "email")
    text = digits(text)
    if language == "en":
        yield from _apply((*_SHAPES, *_LABELLED["en"], *_BARE_SHAPES), text, 0, len(text), present)
        return
    for start, end in find_windows(text, _SEED, 32, 24):
        window = text[start:end]
        has_shape = sum(map(window.count, "0123456789*")) >= _MIN_SHAPE_DIGITS
        inside = set(window)
        if has_shape:
            yield from _apply(_SHAPES, text, start, end, inside)
        yield from _apply(_NEAR, text, start, end, inside)
        if has_shape:
            yield from _apply(_BARE_SHAPES, text, start, end, inside)
    yield from _apply(_ANYWHERE, text, 0, len(text), present)


def _apply(
    rules: Iterable[tuple[Category, frozenset[str], re.Pattern[str]]],
    text: str,
    start: int,
    end: int,
    present: set[str],
) -> Iterator[Found]:
    for category, trigger, pattern in rules:
        if trigger and trigger.isdisjoint(present):
            continue
        group = 1 if pattern.groups and "s" not in pattern.groupindex else 0
        for match in pattern.finditer(text, start, end):
            if match.end(group) > match.start(group):
                yield Found(match.start(group), match.end(group), category)


_NEAR = [rule for rule in _LABELLED["zh"] if not rule[1] & _WIDE]
_ANYWHERE = [rule for rule in _LABELLED["zh"] if rule[1] & _WIDE]
