"""Addresses, birthplaces and employers in Chinese text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from iimedgpt.records.deid.found import Found
from iimedgpt.records.deid.windows import find_windows
from iimedgpt.records.deid.words import CJK, one_of

_C = f"[{CJK}]"
_PROVINCES = (
    "北京 天津 上海 重庆 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 河南 湖北 湖南 广东 海南 四川 贵州 云南 陕西 甘肃 青海 台湾 内蒙古 广西 西藏 宁夏 新疆 香港 澳门"
).split()
_CITIES = (
    "石家庄 唐山 秦皇岛 邯郸 邢台 保定 张家口 承德 沧州 廊坊 衡水 太原 大同 阳泉 长治 晋城 朔州 晋中 运城 忻州 临汾 吕梁 呼和浩特 包头 乌海 赤峰 通辽 鄂尔多斯 呼伦贝尔 巴彦淖尔 乌兰察布 "
    "沈阳 大连 鞍山 抚顺 本溪 丹东 锦州 营口 阜新 辽阳 盘锦 铁岭 朝阳 葫芦岛 长春 吉林 四平 辽源 通化 白山 松原 白城 延边 哈尔滨 齐齐哈尔 鸡西 鹤岗 双鸭山 大庆 伊春 佳木斯 七台河 牡丹江 "
    "黑河 绥化 南京 无锡 徐州 常州 苏州 南通 连云港 淮安 盐城 扬州 镇江 泰州 宿迁 杭州 宁波 温州 嘉兴 湖州 绍兴 金华 衢州 舟山 台州 丽水 合肥 芜湖 蚌埠 淮南 马鞍山 淮北 铜陵 安庆 黄山 "
    "滁州 阜阳 宿州 六安 亳州 池州 宣城 福州 厦门 莆田 三明 泉州 漳州 南平 龙岩 宁德 南昌 景德镇 萍乡 九江 新余 鹰潭 赣州 吉安 宜春 抚州 上饶 济南 青岛 淄博 枣庄 东营 烟台 潍坊 济宁 "
    "泰安 威海 日照 临沂 德州 聊城 滨州 菏泽 郑州 开封 洛阳 平顶山 安阳 鹤壁 新乡 焦作 濮阳 许昌 漯河 三门峡 南阳 商丘 信阳 周口 驻马店 武汉 黄石 十堰 宜昌 襄阳 鄂州 荆门 孝感 荆州 黄冈 "
    "咸宁 随州 恩施 长沙 株洲 湘潭 衡阳 邵阳 岳阳 常德 张家界 益阳 郴州 永州 怀化 娄底 湘西 广州 韶关 深圳 珠海 汕头 佛山 江门 湛江 茂名 肇庆 惠州 梅州 汕尾 河源 阳江 清远 东莞 中山 "
    "潮州 揭阳 云浮 南宁 柳州 桂林 梧州 北海 防城港 钦州 贵港 玉林 百色 贺州 河池 来宾 崇左 海口 三亚 成都 自贡 攀枝花 泸州 德阳 绵阳 广元 遂宁 内江 乐山 南充 眉山 宜宾 广安 达州 雅安 "
    "巴中 资阳 阿坝 甘孜 凉山 贵阳 六盘水 遵义 安顺 毕节 铜仁 黔东南 昆明 曲靖 玉溪 保山 昭通 丽江 普洱 临沧 楚雄 红河 文山 西双版纳 大理 德宏 拉萨 日喀则 昌都 林芝 山南 那曲 西安 铜川 "
    "宝鸡 咸阳 渭南 延安 汉中 榆林 安康 商洛 兰州 嘉峪关 金昌 白银 天水 武威 张掖 平凉 酒泉 庆阳 定西 陇南 临夏 西宁 海东 银川 石嘴山 吴忠 固原 中卫 乌鲁木齐 克拉玛依 吐鲁番 哈密 喀什 "
    "和田 伊犁 塔城 阿勒泰 库尔勒 阿克苏 昌吉 石河子 义乌 昆山 江阴 常熟 慈溪"
).split()
_PLACE = one_of([*_PROVINCES, *_CITIES])
_STOP = r"\n,。;!?"
_LABEL = re.compile(
    r"(?:(?:家庭|现|常|居|户籍|户口|通讯|通信|联系|单位|邮寄|收件|收货|详细|身份证|寄件|工作|学校|暂|原|家属|患者|病人|联系人|监护人|出生|现居|常住|经常居住|注册|快递|发病|事故|送货|家|本人|目前|实际|长期)?(?:住址|地址|住地|居住地|居住地址|住所|所在地|地点|居住址)|"
    r"现住|家住|住 {0,4}址|地 {0,4}址|籍 {0,4}贯|详址|家址|现址|户籍所在地|户籍地|户籍地址|户口所在地|户口地址|户籍|户口|籍贯|出生地|生源地|祖籍|原籍|居住地|来源地|住处|贯籍|[Aa]ddress)"
    r"(?:\([^()\n]{1,10}\))?[】\]》]?(?P<mark>\s{0,3}[:=|为是在]\s{0,4}|[ \t]{1,6}|\n)"
)
_VALUE = re.compile(rf"[^{_STOP}|]{{2,60}}")
_NO_PLACE = re.compile(
    r"(?:同上|同前|不详|未知|无|未填|本地|当地|本市|本县|本省|外地|外省|农村|城市|城镇|乡村|见|略|待|同户|保密|原籍|本村|此|空|国内|国外|境内|原址|病房|家中|家里|医院|科|清洁|潮湿|环境|疫区|牧区|林区|矿区|非|条件|良好|尚可|较)"
)
_NEXT_FIELD = re.compile(
    r"\s{1,6}(?=[\u4e00-\u9fff]{2,8}[:=|])|(?:邮编|邮政编码|电话|手机|联系|职业|民族|婚姻|性别|年龄|入院|住院号|门诊号|科室|床号|身份证|工作单位|单位[:：]|病史|供史|主诉|出生日期|联系人|户籍|现住|记录|就诊)"
)
_TAIL = r"(?:[ ,]?[0-9A-Za-z一二三四五六七八九十甲乙丙丁东西南北]{1,6}(?: ?- ?[0-9A-Za-z]{1,5}){0,3} ?(?:号楼|号院|号|室|栋|幢|组|单元|楼|层|座|弄|支弄|队|户|房|期|区|社|巷|门|院|村|屯|街|铺|档|棟|座)(?:之[一二三0-9])?){1,7}(?:[0-9]{1,5}(?:-[0-9]{1,5}){0,3})?(?![0-9])"
_UNITS = "自治区|自治州|自治县|特别行政区|地区|街道办?|社区|小区|新区|开发区|省|市|区|县|旗|州|盟|镇|乡|村|屯|路|街|大街|大道|巷|胡同|弄|里|苑|园|花园|公寓|大厦|家园|新村|新城|广场|庄|寨|堡|坊|湾|组|队|林场|农场|牧场|公社|苏木|嘎查|团|连|厂区|院"
_CHAIN = re.compile(rf"(?:{_C}{{1,6}}?(?:{_UNITS})){{2,7}}(?:[ ]?{_TAIL})?")
_ADMIN_CHAIN = re.compile(
    rf"(?:{_PLACE}(?:省|市|自治区|回族自治区|壮族自治区|维吾尔自治区|地区|州)?[ ]?)(?:{_C}{{1,6}}?(?:{_UNITS})){{0,7}}(?:[ ]?{_TAIL})?"
)
_NUMBERED = re.compile(
    rf"{_C}{{2,10}}?(?:路|街|大道|大街|巷|胡同|弄|里|村|小区|花园|公寓|家园|新村|苑|园|大厦|广场|城|社区|庄|府|湾|镇|乡|墅|庭|居|轩|坊|屯|组|队|宿舍|家属院|家属楼|院|楼)[ ]?{_TAIL}"
)
_LIVES = re.compile(
    one_of(
        (
            "家住 现住 现居 居住于 居住在 居住地 住在 暂住于 暂住在 暂住 久居于 租住于 租住在 租住 寄居 家在 家是 定居于 定居在 定居 迁居至 迁居 移居 搬至 搬到 搬家到 出生于 出生在 生于 祖籍 原籍 "
            "老家是 老家在 老家 籍贯 来自于 来自 生长于 生长在 成长于 自幼生活于 长期生活于 生活在 生活于 户籍在 户口在 老家为 原籍为 祖籍为 寄到 邮寄至 寄往 长居 住于 久居 送货到"
        ).split()
    )
    + "[:是为]?"
)
_WEAK_LIVES = re.compile("返回|途经|经过|路过|途径|行至|走到|位于|地处|前往|抵达|[在从于到至去沿往赴由回经]")
_LIVED_VALUE = re.compile(rf"[{CJK}0-9A-Za-z()·-]{{2,40}}")
_LIVED_STOP = re.compile(
    "，|的|长大|生活|居住|居|工作|打工|务农|就读|上学|读书|无|否认|未|有|曾|至今|长期|后|现|与|和|独|期间|人(?!民)|出生|疫区|疫水|父母|家中|家里|附近|上班|经商|自幼|并|因|时|已|多年|[0-9]{1,2}年|近|退休|从事|职|行|就诊|入院|求|来我|旅|出差|务工|避|探|乘|坐|晨|散|摔|跌|被|遛|骑|逛|买|跳|跑|锻|途|发|突"
)
_SPOT = re.compile(
    rf"{_C}{{1,6}}?(?:路|大街|街道|街|大道|胡同|巷|弄|村|庄|屯|寨|镇|乡|小区|花园|公寓|家园|新村|苑|社区|大厦|广场|公园|菜市场|市场|商场|超市|地铁站|火车站|汽车站|车站|桥|新城|别墅|山庄|林场|农场|矿|工地|里弄)(?:口|交叉口|附近|旁|边|中段|东段|西段|南段|北段|路口)?(?:与{_C}{{2,5}}(?:路|街|大道)(?:交叉口|交汇处|路口|口)?)?"
)
_GENERIC_SPOT = re.compile(
    r"^(?:我|该|本|此|某|外|邻|同|全|各|这|那|每|一|两|几|城|农|乡|山|渔|自|当|附近|旁边|对面|门口|小|大|老|新|家|街|马|公|铁|道|楼|院|社|菜|超|商|工|上|下|左|右|前|后|内|中|外|东|西|南|北|本地|外地|多个|哪个|什么|其他|邻近|周边|自家|村|镇|乡|县|市|省|区|路|街|国道|高速|乡间|马路|公路|出口|入口|路口|门|伤|切|创|瘘|胃|肠|肛|尿|静脉|动脉|瘘口|疫|牧|林|矿|病|疼|痛|肿|患|术|骶|胸|腹|腰|头|颈|面|上腹|下腹|中腹|左下|右下|手术|穿刺|切开|造|开|裂|破|窦|盆|会阴|背|腋|肩|足|手|骨|关节|皮|粘|口|膜|心|肺|肝|肾|胆|脾|脑|肋|剑突|脐|麦氏|结|输|阴道|宫|子宫|膀胱|食管|气管|声门|幽门|贲门|回|横|升|降|乙|直|盲|阑|十二|空|低|高|急|慢)+(?:路|大街|街道|街|大道|胡同|巷|弄|村|庄|屯|寨|镇|乡|小区|花园|公寓|家园|新村|苑|社区|大厦|广场|公园|菜市场|市场|商场|超市|地铁站|火车站|汽车站|车站|桥|新城|别墅|山庄|林场|农场|矿|工地|里弄|里|湾|县|市|区|州|旗|省|口)"
    r"|旁路|通路|尿路|气路|电路|回路|环路|思路|出路|血路|套路|走路|铁路|线路|管路|网路|道路|术路|入路|近路|迷路|远路|赶路|引路|半路|同路|后路|门路|区域|部位|地区$|疫区|灶区|病区|时区|城区|郊区|山区|农区|市区|辖区|片区|景区|校区|厂区|禁区|盲区|导联|海马区|功能区|感区|皮区|结区|心前区|髓区|肾区|肝区|脾区|胃区|胸区|腰区|颈区|口区|叩"
)
_FROM = re.compile(rf"({_PLACE}(?:省|市)?{_C}{{0,6}}?)(?:人(?![民体群口均工员才流])|籍)")

_EMPLOYER_LABEL = re.compile(
    r"(?:工作单位及地址|工作单位及职业|工作单位|单位名称|用人单位|就读学校|所在单位|所属单位|单位及职业|所在学校|就职单位|任职单位|学校名称|学校班级|单位|学校|公司|雇主|就读单位|就读院校|服务单位|原单位|企业名称|毕业院校|[Ee]mployer)(?:\([^()\n]{1,10}\))?\s{0,3}[:=|为是]\s{0,4}"
)
_EMPLOYED = re.compile(
    r"(?:就职于|供职于|任职于|就读于|受雇于|工作于|毕业于|服务于|服役于|退休于|执教于|任教于|就业于|退休前在|退休前于|受聘于|打工于|务工于|下岗于|在职于|入职|任职|供职|就职|就读)(?:过)?"
)
_ORGANISATION = re.compile(
    "有限责任公司|股份有限公司|有限公司|分公司|子公司|总公司|公司|集团|工厂|制品厂|机械厂|加工厂|中学|小学|高中|初中|大学|学院|学校|幼儿园|职高|中专|技校|党校|一中|二中|三中|四中|五中|六中|七中|八中|九中|附中|实验小学|中心小学|银行|信用社|支行|分行|营业部|证券|"
    "派出所|公安局|公安分局|法院|检察院|税务局|财政局|教育局|卫生局|工商局|民政局|交通局|建设局|农业局|林业局|水利局|邮政局|邮电局|供电局|供电所|电力局|铁路局|环保局|规划局|气象局|地税局|国税局|卫健委|政府|街道办事处|街道办|居委会|村委会|委员会|事务所|研究所|研究院|设计院|出版社|报社|电视台|"
    "电台|剧团|歌舞团|部队|消防队|支队|大队|中队|酒店|宾馆|饭店|餐厅|酒楼|饭馆|火锅店|超市|商场|商店|百货|大厦|专卖店|药店|药房|煤矿|矿业|矿山|油田|电厂|钢厂|林场|农场|牧场|物流|快递|速运|建筑队|工程队|施工队|项目部|合作社|养殖场|屠宰场|车队|客运站|货运站|汽修厂|修理厂|修配厂|纺织厂|服装厂|制衣厂|鞋厂|电子厂|化工厂|造纸厂|水泥厂|砖厂|食品厂|家具厂|敬老院|养老院|福利院|托儿所|培训中心|体育馆|图书馆|博物馆|文化馆|美容院|理发店|网吧|服务社|商行|工作室|厂|局(?!部|限|灶|麻|面|势|促|外)"
)
_MAX_NAME = 20
_RUN = re.compile(rf"[{CJK}A-Za-z0-9()]{{1,{_MAX_NAME}}}$")
_BEFORE = re.compile(
    "患者|病人|家属|丈夫|妻子|儿子|女儿|父亲|母亲|爱人|孩子|其父|其母|其妻|其夫|其子|其女|退休前|曾在|现在|就职于|供职于|任职于|就读于|毕业于|受雇于|服务于|工作于|打工|上班|工作|就读|退休|送至|送到|来自|位于|前往|单位是|单位为|单位|职业|系|为|是|在|于|从|到|至|去|由|自|往|赴|某|该|本|我|他|她|其|的|了|一家|一所|一个|家|这|那|附近|"
    "当地|同|一|各|经|被|曾|现|原|有|和|与|及|或|并|后|前|时|因|等|进|回|来|出|入|叫|给|找|开|多家|几家|个|所|间|任|当|做|[0-9]{1,2}年|月|日|[,，]"
)
_INSIDE = re.compile(
    "现代|原野|自强|自来水|中国|一中|一汽|一建|一小|二小|为民|来福|进步|和平|协和|本田|本溪|同仁|同济|同方|回民|时代|时尚|开发|开元|前进|前程|天后|后勤|后海|出版|出租|出口|入口|进出口|任丘|同心|家具|家乐|家家|国家|家电|月星|日立|日化|日用|到家|各界|家纺|万家|当代|原子|人和|仁和|中和|泰和|共和|成人|因特|经济|经贸|做工|开滦|有色|有机|个体"
)
_GENERIC_ORGANISATION = re.compile(
    "某|私营|私人|私企|国企|国营|国有|外企|外资|合资|民营|个体|事业|企业|工厂|公司|单位|学校|集团|部队|大学|中学|小学|高中|初中|幼儿园|学院|银行|酒店|饭店|超市|商场|工地|建筑|电子|服装|食品|纺织|化工|机械|家具|制衣|玩具|五金|塑料|印刷|印染|砖|鞋|水泥|保险|物流|快递|房地产|互联网|科技|软件|贸易|装修|装饰|广告|保安|保洁|家政|物业|农业|大型|小型|中型|乡镇|镇|乡|村|县|市|省|区|街道|政府|机关|重点|普通|公立|私立|民办|实验|中心|附属|特殊|聋哑|职业|技术|技工|师范|医学|医科|卫生|人民|公安|派出所|法院|税务|财政|教育|建设|工程|项目|施工|有限责任|股份|有限|分|总|子|厂|局|店|院|所|社|队|矿|场|部|馆|站|台|大|小|外地|当地|本地|国家|两|几|多|家|个|所|名|药|零食|连锁|生产|加工|制造|制药|医药|医疗|器械|汽车|钢铁|煤炭|石油|化学|电力|运输|客运|货运|出租|出租车|环卫|装卸|外贸|投资|网络|通信|通讯|信息|文化|传媒|教育培训|培训|美容|理发|餐饮|火锅|养殖|屠宰|种植"
)


def find_places(text: str) -> Iterator[Found]:
    """Addresses and employers in one text (half-width), overlaps included."""
    yield from _labelled(text)
    for begin, stop in find_windows(text, _SEED, _BEFORE_UNIT, _AFTER_UNIT):
        yield from _chains(text, begin, stop)
        yield from _spots(text, begin, stop)
    yield from _lived_in(text)
    yield from _employers(text)


def _labelled(text: str) -> Iterator[Found]:
    for label in _LABEL.finditer(text):
        value = _VALUE.match(text, label.end())
        if value is None or _NO_PLACE.match(value.group()):
            continue
        end = value.end()
        if field := _NEXT_FIELD.search(text, label.end() + 2, end):
            end = field.start()
        is_marked = label["mark"].strip() in (":", "=", "|")
        if is_marked or _SPOT.search(text, label.end(), end) or _ADMIN_CHAIN.match(text, label.end()):
            # a comma may stand inside: 某市某区某路1号,2单元
            while end < len(text) and text[end] in ",， " and (more := re.compile(rf" ?{_TAIL}").match(text, end + 1)):
                end = more.end()
            end = label.end() + len(text[label.end() : end].rstrip(" ,，、"))
            yield Found(label.end(), end, "address")


_FUNCTION = re.compile(
    "患者|病人|家属|家住|现住|住址|地址|居住|住在|出生于|来自|前往|位于|因|于|在|到|从|至|去|由|往|沿|的|了|是|为|及|与|和|我|该|本|某|被|回|返|经|诉|述|自|家|系|住|昨|今|天|日|后"
)
_SEED = re.compile(
    "[省市县镇乡村路街巷弄州旗屯寨庄]|大道|胡同|小区|社区|花园|公寓|家园|大厦|广场|公园|市场|商场|超市|车站|火车站|地铁站|新城|别墅|山庄|林场|农场|工地|号楼|单元|[0-9]号|[0-9]室|自治区|组|宿舍|家属院|家属楼|[苑里庭府墅轩湾][0-9]"
)
_BEFORE_UNIT, _AFTER_UNIT = 22, 44


def _chains(text: str, begin: int, stop: int) -> Iterator[Found]:
    for match in _ADMIN_CHAIN.finditer(text, begin, stop):
        # a city's name alone is no address; with a street, a county or a number behind it, it is
        value = match.group()
        if re.search(rf"(?:{_UNITS})$|[0-9号室栋楼组户]$", value) and re.search("[省市县区镇乡村路街州旗]", value):
            if len(value) >= 4 and not re.match("(?:医院|院)", text[match.end() :]):
                yield Found(match.start(), match.end(), "address")
    for match in _NUMBERED.finditer(text, begin, stop):
        start = match.start()
        for word in _FUNCTION.finditer(text, match.start(), match.end() - 3):
            if not _INSIDE.match(text, word.start()):
                start = word.end()
        value = text[start : match.end()]
        if (
            len(re.findall(_C, value)) >= 3
            and re.search("[0-9一二三四五六七八九十]", value)
            and not _NOT_ADDRESS.search(value)
        ):
            yield Found(start, match.end(), "address")
    for match in _CHAIN.finditer(text, begin, stop):
        start = match.start()
        first_unit = re.compile(_UNITS).search(text, start + 1, match.end())
        for word in _FUNCTION.finditer(text, start, (first_unit.start() if first_unit else match.end()) - 1):
            start = word.end()
        value = text[start : match.end()]
        n_admin = len(re.findall("[省市县镇乡村路街]", value)) + len(re.findall("自治区|小区|街道|社区|新区|号", value))
        if n_admin >= 2 and len(value) >= 5 and not _NOT_ADDRESS.search(value) and not _GENERIC_SPOT.match(value):
            yield Found(start, match.end(), "address")


_NOT_ADDRESS = re.compile(
    "医院|病区|卫生院|医科|门诊|住院|诊室|病房|床|科|手术|疫区|牧区|部|入路|旁路|尿路|通路|术|肝|肺|胃|肾|骨|疼|痛|脑|灶|节|脊|腔|膜|腺|腰|叶|胸|腹|区域|神经|血管|静脉|动脉|咽|喉|鼻|眼|齿|皮|细胞|试验|治疗|市售|一级|二级|三级|各省|全市|全县|全省|导联"
)


def _spots(text: str, begin: int, stop: int) -> Iterator[Found]:
    for lead in _WEAK_LIVES.finditer(text, begin, stop):
        spot = _SPOT.match(text, lead.end(), stop)
        if spot is None or len(spot.group()) < 3 or text[spot.end() : spot.end() + 1] in tuple("人医院卫生诊"):
            continue
        value = spot.group()
        is_road = re.search("(?:路|街|大道|胡同|巷)$", value) and not _NO_ROAD.search(value)
        is_generic = any(pattern.search(value) for pattern in (_NOT_ADDRESS, _NOT_SPOT)) or (
            not is_road and _GENERIC_SPOT.search(value)
        )
        if not is_generic:
            yield Found(lead.end(), spot.end(), "address")


_NO_ROAD = re.compile(
    "[旁通尿气电回环思出血套走铁线管网道术入近迷远赶引半同后门马公水岔一两几这那每该本此各]路|(?:乡|林|小|大)间小?路|[上大小]街$|街道$|高速|国道|[内外胃肠]"
)


def _lived_in(text: str) -> Iterator[Found]:
    for lead in _LIVES.finditer(text):
        at = lead.end()
        value = _LIVED_VALUE.match(text, at)
        if value is None or _NO_PLACE.match(value.group()):
            continue
        end = value.end()
        stop = _LIVED_STOP.search(text, at + 2, end)
        end = stop.start() if stop else end
        part = text[at:end]
        is_place = re.search(rf"(?:{_UNITS})|[0-9]", part) or _KNOWN_PLACE.match(part)
        if is_place and not _GENERIC_SPOT.match(part) and len(part) >= 2:
            yield Found(at, end, "address")
    for match in _FROM.finditer(text):
        yield Found(match.start(1), match.end(1), "address")


_KNOWN_PLACE = re.compile(_PLACE)
_NOT_SPOT = re.compile(
    r"[0-9患诉予行见示无有未不可约等及后前时因]|现|感|检|查|诊|发|出现|期间|伤口|切口|创口|瘘口|开口|出口|入口|窗口|门口|接口|进口|路口$|胃|我|你|他|她|家|自己|当地|本|外地|附近|医|院|旁边|北京|上海|天津|重庆|一个|个|小时|上午|下午|晚上|早上|饭|班|夜"
)


def _employers(text: str) -> Iterator[Found]:
    for label in _EMPLOYER_LABEL.finditer(text):
        value = re.compile(r"[^\n,。;|]{2,40}").match(text, label.end())
        if value and not re.match(
            r"(?:无|不详|未|退休|农民|务农|自由|个体|待业|同上|mm|cm|g/|mg|ml|U|国际|kg|mmol|%|[0-9.×]+$)",
            value.group(),
        ):
            end = value.end()
            if field := _NEXT_FIELD.search(text, label.end() + 2, end):
                end = field.start()
            if label.group()[:2] != "单位" or re.match(_C, value.group()):
                yield Found(label.end(), end, "employer")
    for lead in _EMPLOYED.finditer(text):
        value = re.compile(rf"[{CJK}A-Za-z0-9()]{{2,40}}").match(text, lead.end())
        if value:
            stop = re.compile(
                "从事|担任|工作|任|的|,|期间|时|后|已|退休|多年|[0-9一二三四五六七八九]年级|并|做"
            ).search(text, lead.end() + 2, value.end())
            end = stop.start() if stop else value.end()
            if _name_left(text[lead.end() : end]):
                yield Found(lead.end(), end, "employer")
    for suffix in _ORGANISATION.finditer(text):
        run = _RUN.search(
            text,
            max(0, suffix.start() - _MAX_NAME),
            suffix.start() + (len(suffix.group()) == 2 and suffix.group()[1] == "厂"),
        )
        if run is None:
            continue
        shielded = _INSIDE.sub(lambda match: "□" * len(match.group()), run.group())
        start = run.start()
        for word in _BEFORE.finditer(shielded):
            start = run.start() + word.end()
        name = text[start : suffix.start() + (suffix.group()[-1] == "厂" and len(suffix.group()) == 2)]
        if _name_left(name) and not _NOT_ORGANISATION.search(text[start : suffix.end()]):
            yield Found(start, suffix.end(), "employer")


_NOT_ORGANISATION = re.compile(
    "医院|医科大学附属|附属|药业有|药房$|药店$|食管|[痛炎症癌瘤]|学院派|结局|格局|布局|邮局|当局|骗局|全局|定局|僵局|大局|法局|制药|药厂|大学生|中学生|小学生|生物制品|患|局部|局灶|局限|局麻|[0-9]{4,}|医学院附|生产厂|国药|药监局|卫生局规定"
)


def _name_left(name: str) -> bool:
    rest = _GENERIC_ORGANISATION.sub("", re.sub(rf"{_PLACE}", "□□", name))
    return len(re.sub(rf"[^{CJK}A-Za-z□]", "", rest)) >= 2
