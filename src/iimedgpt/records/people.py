"""Invented patients with everything that identifies a person. Nobody here exists.

Numbers have the right shape and cannot be anyone's: identity cards carry a region code that is not
assigned, bank cards fail their check digit, e-mail stands under ``example.*`` (RFC 2606), mobile
numbers begin with segments that we know no operator of, towns are invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Literal, TypeVar

from iimedgpt.records.raw import Category

T = TypeVar("T")
Sex = Literal["male", "female"]

_SURNAMES = tuple(
    "王王李李张张刘陈杨赵黄周吴徐孙朱马胡郭林何高梁郑罗宋谢唐韩曹许邓冯彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
    "姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严武戴莫孔向汤褚祁冀"
)
_RARE_SURNAMES = ("欧阳", "上官", "司马", "诸葛", "慕容", "尉迟")
_GIVEN: Mapping[Sex, tuple[str, ...]] = {
    "male": (
        "伟", "强", "磊", "军", "勇", "杰", "涛", "明", "超", "刚", "平", "辉", "建国", "志强", "国栋", "海涛", "文博",
        "子轩", "俊杰", "宇航", "德胜", "永康", "长庚", "宝山", "天佑", "立新", "晓东", "思远", "浩然", "家骏",
    ),
    "female": (
        "芳", "娜", "敏", "静", "丽", "艳", "霞", "燕", "玲", "梅", "秀英", "桂兰", "玉珍", "淑芬", "美玲", "春花",
        "雨桐", "欣怡", "梓涵", "凤琴", "巧云", "月娥", "红梅", "思琪", "诗涵", "慧敏", "佳琪", "素华", "若兰", "雅婷",
    ),
}  # fmt: skip
_MINORITY_NAMES: Mapping[Sex, tuple[str, ...]] = {
    "male": ("艾力·买买提", "巴图·阿拉坦", "扎西·次仁"),
    "female": ("古丽·阿不都", "其其格·乌云", "卓玛·央金"),
}
_TOWNS = ("青禾", "临渚", "云溪", "江浔", "安岚", "柳湾", "白鹿", "南屏", "石桥", "清源", "东篱", "望川")
_PROVINCES = ("江苏省", "河南省", "四川省", "湖北省", "山东省", "辽宁省")
_PROVINCE_CODES = ("32", "41", "51", "42", "37", "21")
_ROADS = ("长宁路", "建设街", "文昌路", "滨河大道", "朝阳路", "解放西路", "桂花巷", "学府路", "中山北路", "槐树街")
_ESTATES = ("", "", "锦绣花园", "阳光小区", "翠竹苑", "和平新村")
_HOSPITALS = (
    *("市第一人民医院", "市第三人民医院", "市中心医院", "县人民医院", "县中医院"),
    *("区妇幼保健院", "医科大学附属医院", "镇卫生院"),
)
_INDUSTRIES = ("鸿达纺织", "恒源机械", "顺通物流", "康宁食品", "华茂建筑", "众信电子")
_COMPANIES = ("有限公司", "有限责任公司", "集团有限公司", "厂")
_JOBS = ("农民", "农民", "工人", "工人", "职员", "教师", "司机", "会计", "个体经营", "厨师", "公务员", "销售")
_EMPLOYED = frozenset({"工人", "职员", "教师", "司机", "会计", "厨师", "公务员", "销售"})
_MOBILE_SEGMENTS = ("154", "163", "168", "169")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"


@dataclass(frozen=True, slots=True)
class Person:
    """A patient. Empty strings where there is nothing of the kind (a child has no employer)."""

    key: str
    name: str
    sex: Sex
    birth: date
    job: str
    id_card: str
    phone: str
    address: str
    employer: str
    number: str  # 病案号, the same at every visit
    kin: str  # what the relative is to the patient: 妻子, 女儿, 母亲
    relative: str
    relative_phone: str
    is_contact_filed: bool  # the relative stands in the structured fields too
    last_visit: date

    def age_on(self, day: date) -> int:
        """Whole years."""
        return day.year - self.birth.year - ((day.month, day.day) < (self.birth.month, self.birth.day))

    def identifiers(self) -> Mapping[Category, tuple[str, ...]]:
        """What the hospital's structured fields hold of this patient."""
        contact = (self.relative,) if self.is_contact_filed else ()
        contact_phone = (self.relative_phone,) if self.is_contact_filed else ()
        fields: dict[Category, tuple[str, ...]] = {
            "name": (self.name, *contact),
            "phone": (self.phone, *contact_phone),
            "id_card": (self.id_card,),
            "medical_number": (self.number,),
            "address": (self.address,),
        }
        if self.employer:
            fields["employer"] = (self.employer,)
        return fields


def pick(items: Sequence[T], rng: Random) -> T:
    """One of the items, uniformly (``random.choice`` at half its price)."""
    return items[int(rng.random() * len(items))]


def digits(n: int, rng: Random) -> str:
    """``n`` decimal digits."""
    return f"{int(rng.random() * 10**n):0{n}d}"


def draw_person(key: str, sex: Sex, age: int, day: date, rng: Random) -> Person:
    """A patient who is ``age`` years old on ``day`` (not a 29th of February)."""
    birth = day.replace(year=day.year - age) - timedelta(days=int(rng.random() * 364))
    name = _name(sex, rng)
    kin, relative_sex = _kin(sex, age, rng)
    shares_surname = kin in ("父亲", "儿子", "女儿") and "·" not in name and len(name) < 4
    job = _job(sex, age, rng)
    return Person(
        key=key,
        name=name,
        sex=sex,
        birth=birth,
        job=job,
        id_card=_id_card(birth, sex, rng),
        phone=mobile(rng),
        address=_address(rng),
        employer=_employer(rng) if job in _EMPLOYED else "",
        number=pick(("", "", "ZY", "B"), rng) + digits(8, rng),
        kin=kin,
        relative=_name(relative_sex, rng, name[0] if shares_surname and (sex == "male" or age < 18) else ""),
        relative_phone=mobile(rng) if rng.random() < 0.8 else landline(rng),
        is_contact_filed=rng.random() < 0.5,
        last_visit=day,
    )


def _name(sex: Sex, rng: Random, surname: str = "") -> str:
    chance = rng.random()
    if not surname:
        if chance < 0.01:
            return pick(_MINORITY_NAMES[sex], rng)
        surname = pick(_RARE_SURNAMES if chance < 0.03 else _SURNAMES, rng)
    return surname + pick(_GIVEN[sex], rng)


def _kin(sex: Sex, age: int, rng: Random) -> tuple[str, Sex]:
    parents: tuple[tuple[str, Sex], ...] = (("母亲", "female"), ("父亲", "male"))
    children: tuple[tuple[str, Sex], ...] = (("女儿", "female"), ("儿子", "male"))
    spouse: tuple[str, Sex] = ("丈夫", "male") if sex == "female" else ("妻子", "female")
    if age < 28:
        return pick(parents, rng)
    return spouse if age < 50 else pick((spouse, *children), rng)


def _job(sex: Sex, age: int, rng: Random) -> str:
    if age < 7:
        return "散居儿童" if age < 3 else "学龄前儿童"
    if age < 19:
        return "学生"
    if age >= (60 if sex == "male" else 55):
        return pick(("退休", "退休", "农民"), rng)
    return pick(_JOBS, rng)


def _id_card(birth: date, sex: Sex, rng: Random) -> str:
    """18 digits with the right checksum; one in twenty has 15 (born before 2000), one in thirty a wrong one."""
    region = pick(_PROVINCE_CODES, rng) + "99" + digits(2, rng)  # no such prefecture
    serial = digits(2, rng) + str(2 * int(rng.random() * 5) + (sex == "male"))
    chance = rng.random()
    if chance < 0.05 and birth.year < 2000:
        return f"{region}{birth:%y%m%d}{serial}"
    body = f"{region}{birth:%Y%m%d}{serial}"
    check = sum(int(digit) * weight for digit, weight in zip(body, _ID_WEIGHTS, strict=True))
    return body + _ID_CHECKS[(check + (chance > 0.967)) % 11]


def mobile(rng: Random) -> str:
    """Eleven digits."""
    return pick(_MOBILE_SEGMENTS, rng) + digits(8, rng)


def landline(rng: Random) -> str:
    """Area code and number."""
    return f"0{pick(('25', '371', '28', '27', '532', '24'), rng)}-{pick('2345678', rng)}{digits(6, rng)}"


def _address(rng: Random) -> str:
    province = pick(_PROVINCES, rng) if rng.random() < 0.4 else ""
    place = f"{province}{pick(_TOWNS, rng)}市{pick(_TOWNS, rng)}区" if rng.random() < 0.7 else ""
    if not place:
        return f"{province}{pick(_TOWNS, rng)}县{pick(_TOWNS, rng)}镇{pick(_TOWNS, rng)}村{1 + int(rng.random() * 9)}组"
    house = f"{1 + int(rng.random() * 300)}号"
    estate = pick(_ESTATES, rng)
    flat = f"{estate}{1 + int(rng.random() * 20)}栋{101 + int(rng.random() * 1800)}室" if estate else ""
    return f"{place}{pick(_ROADS, rng)}{house}{flat}"


def _employer(rng: Random) -> str:
    return pick(_TOWNS, rng) + pick(_INDUSTRIES, rng) + pick(_COMPANIES, rng)


def draw_value(slot: str, person: Person, rng: Random) -> str:
    """The value of a slot that is no fixed field of the patient.

    Raises:
        KeyError: unknown slot.
    """
    if slot == "doctor":
        return _name("male" if rng.random() < 0.5 else "female", rng)
    if slot == "hospital":
        return pick(_TOWNS, rng) + pick(_HOSPITALS, rng)
    if slot == "report":
        return pick(("US", "CT", "", "P"), rng) + digits(9, rng)
    if slot == "insurance":
        return pick(("", "A"), rng) + digits(10, rng)
    if slot == "email":
        return f"{pick('abcdefghjklmnpqrstwxyz', rng)}{digits(6, rng)}@example.{pick(('com', 'cn', 'org'), rng)}"
    if slot == "account":
        return pick(("wx_", "lucky", "qq", "ayun-", "health"), rng) + digits(6, rng)
    if slot == "passport":
        return pick("EG", rng) + digits(8, rng)
    if slot == "plate":
        return (
            f"{pick('苏豫川鄂鲁辽', rng)}{pick('ABCDEFGH', rng)}{digits(3, rng)}{pick(_LETTERS, rng)}{digits(1, rng)}"
        )
    if slot == "bank_card":
        return _bank_card(rng)
    raise KeyError(slot)


def _bank_card(rng: Random) -> str:
    """Nineteen digits whose last one is wrong by Luhn's rule."""
    body = pick(("6222", "6217", "6228"), rng) + digits(14, rng)
    doubled = (sum(divmod(int(digit) * (2 - i % 2), 10)) for i, digit in enumerate(reversed(body)))
    right = -sum(doubled) % 10
    return body + str((right + 1 + int(rng.random() * 9)) % 10)
