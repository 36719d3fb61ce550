"""Numbers of the de-identification benchmark, in the spellings hospitals use, and values that identify nobody."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable
from datetime import date, timedelta

from benchmarks.deid_people import Value, chinese_digits, full_width
from iimedgpt.records.raw import Category

_AREAS = ("0576", "0571", "010", "021", "0755", "0538", "0913", "0898", "0991")
_PROVINCES = "浙苏鲁豫川湘鄂皖赣闽粤贵云陕甘冀晋辽吉黑青琼桂蒙新藏宁京沪津渝"


def _digits(rng: random.Random, n: int) -> str:
    return "".join(rng.choices("0123456789", k=n))


def draw_id_card(rng: random.Random, language: str) -> Value:
    """Resident identity numbers: right and wrong checksums, 15 digits, and the ways they are mangled in text."""
    if language == "en" and rng.random() < 0.5:
        ssn = f"{rng.randint(101, 699)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"
        return Value(ssn, "id_card", "ssn", (ssn,), ssn)
    born = date(1932, 1, 1) + timedelta(days=rng.randrange(30000))
    region = f"{rng.choice((11, 31, 33, 37, 41, 43, 51, 62, 65))}{rng.randint(1, 29):02d}{rng.randint(1, 29):02d}"
    body = region + born.strftime("%Y%m%d") + _digits(rng, 3)
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]
    right = body + check
    kind = "plain" if language == "en" else rng.choice(
        ("plain", "plain", "x", "wrong", "15", "spaced", "full-width", "broken", "Chinese numerals", "hyphens")
    )  # fmt: skip
    column = right
    text = right
    if kind == "x":
        text = column = body + rng.choice("Xx")
    elif kind == "wrong":
        text = column = body + rng.choice([d for d in "0123456789" if d != check])
    elif kind == "15":
        text = column = region + body[8:]
    elif kind == "spaced":
        text = f"{right[:6]} {right[6:14]} {right[14:]}"
    elif kind == "hyphens":
        text = f"{right[:6]}-{right[6:14]}-{right[14:]}"
    elif kind == "full-width":
        text = full_width(right)
    elif kind == "broken":
        cut = rng.randint(5, 13)
        text = f"{right[:cut]}\n{right[cut:]}"
    elif kind == "Chinese numerals":
        text = chinese_digits(right, rng.choice("〇零"))
    return Value(text, "id_card", kind, (column,), column)


def draw_phone(rng: random.Random, slot: str, language: str) -> Value:
    """Mobiles and landlines."""
    if language == "en":
        a, b, c = rng.randint(201, 989), rng.randint(200, 989), _digits(rng, 4)
        text = rng.choice((f"({a}) {b}-{c}", f"{a}-{b}-{c}", f"+1 {a} {b} {c}", f"{a}.{b}.{c}"))
        return Value(text, "phone", "us", (f"{a}{b}{c}",), text)
    if slot == "phone":
        slot = "mobile" if rng.random() < 0.6 else "landline"
    if slot == "phone_hk":
        number = rng.choice("569") + _digits(rng, 7)
        text = rng.choice((f"+852 {number[:4]} {number[4:]}", f"00852-{number}", f"852-{number}"))
        return Value(text, "phone", "Hong Kong", (number,), number)
    if slot == "landline":
        area, number = rng.choice(_AREAS), rng.choice("2345678") + _digits(rng, 7)
        extension = str(rng.randint(100, 8999))
        kind, text = rng.choice((
            ("area code", f"{area}-{number}"), ("area code", f"（{area}）{number}"), ("area code", f"{area} {number}"),
            ("area code", f"{area}{number}"), ("extension", f"{area}-{number}转{extension}"),
            ("extension", f"{area}-{number}-{extension}"), ("no area code", number),
            ("no area code", f"{number[:4]}-{number[4:]}"), ("full-width", full_width(f"{area}-{number}")),
        ))  # fmt: skip
        return Value(text, "phone", f"landline, {kind}", (number,), f"{area}-{number}")
    number = "1" + rng.choice("3456789") + _digits(rng, 9)
    grouped = f"{number[:3]} {number[3:7]} {number[7:]}"
    kind, text = rng.choice((
        ("plain", number), ("plain", number), ("hyphens", grouped.replace(" ", "-")), ("spaced", grouped),
        ("full-width", full_width(number)), ("+86", f"+86{number}"), ("+86", f"+86 {grouped}"),
        ("+86", f"+86-{number}"), ("+86", f"0086{number}"), ("+86", f"(86){number}"),
    ))  # fmt: skip
    if slot == "mobile_full_width":
        kind, text = "full-width", full_width(number)
    if slot == "mobile_cn":
        kind, text = "Chinese numerals", chinese_digits(number, "零", rng.choice("幺一"))
    return Value(text, "phone", f"mobile, {kind}", (number,), number)


def draw_number(rng: random.Random, slot: str, language: str) -> Value:
    """Every other number or address on a network that stands for one person."""
    category, kind, texts = _NUMBERS[slot.rstrip("2")](rng, language)
    text = rng.choice(texts)
    column = unicodedata.normalize("NFKC", text)
    if category in ("plate", "bank_card"):
        column = re.sub(r"[ ·-]", "", column).upper()
    return Value(text, category, kind, (column,), column)


_Drawn = tuple[Category, str, tuple[str, ...]]


def _email(rng: random.Random, language: str) -> _Drawn:
    user = rng.choice(("lanhua1987", "wei.zheng", "Q_sunny-77", "office", "a.k.lindqvist", "1394820571", "chenmm+hosp"))
    at = f"{user}{rng.randint(1, 99)}@" + rng.choice(
        ("163.com", "qq.com", "mail.hospital.org.cn", "Outlook.COM", "126.com")
    )
    return "email", "plain", (at, at, at, at if language == "en" else at.replace("@", "＠"))


def _wechat(rng: random.Random, language: str) -> _Drawn:
    n = _digits(rng, 10)
    shapes = (f"wxid_{n[:4]}k{n[4:7]}q", f"lanhua_{n[:4]}", f"ZhaoW-{n[:5]}", f"a1{n}", f"xiaoyu{n[:3]}tt")
    return "account", "WeChat", (rng.choice(shapes),)


def _qq(rng: random.Random, language: str) -> _Drawn:
    return "account", "QQ", (rng.choice("123456789") + _digits(rng, rng.randint(5, 9)),)


def _passport(rng: random.Random, language: str) -> _Drawn:
    eight = _digits(rng, 8)
    if language == "en":
        return "passport", "passport", (f"C{eight}", f"56{_digits(rng, 7)}")
    return "passport", "passport", (f"E{eight}", f"G{eight}", f"EA{eight[1:]}", f"EJ{eight[1:]}", f"E {eight}")


def _permit(kind: str, *shapes: str) -> Callable[[random.Random, str], _Drawn]:
    """Each 9 in a shape stands for a random digit."""
    return lambda rng, language: (
        "passport", kind, tuple("".join(rng.choice("0123456789") if c == "9" else c for c in shape) for shape in shapes)
    )  # fmt: skip


def _medical(kind: str, *shapes: str) -> Callable[[random.Random, str], _Drawn]:
    return lambda rng, language: (
        "medical_number", kind,
        tuple("".join(rng.choice("0123456789") if c == "9" else c for c in shape) for shape in shapes),
    )  # fmt: skip


def _plate(rng: random.Random, language: str) -> _Drawn:
    if language == "en":
        return "plate", "plate", (f"7KLM{_digits(rng, 3)}", f"RTX-{_digits(rng, 4)}")
    head, tail = rng.choice(_PROVINCES) + rng.choice("ABCDEFGHJK"), rng.choice("ABCDEQRT123456") + _digits(rng, 4)
    return "plate", "plate", (head + tail, f"{head}·{tail}", f"{head} {tail}", f"{head}D{_digits(rng, 5)}",
                              f"{head}{tail[:4]}学", full_width(head + tail), head + tail.lower())  # fmt: skip


def _bank_card(rng: random.Random, language: str) -> _Drawn:
    body = rng.choice(("622848", "621700", "622202", "625965", "436742")) + _digits(rng, rng.choice((9, 12)))
    total = sum(n if i % 2 else (n * 2 - 9 if n > 4 else n * 2) for i, n in enumerate(map(int, reversed(body))))
    check = -total % 10
    card, wrong = f"{body}{check}", f"{body}{(check + 3) % 10}"
    fours = " ".join(card[i : i + 4] for i in range(0, len(card), 4))
    return "bank_card", "bank card", (card, wrong, fours, fours.replace(" ", "-"),
                                      card if language == "en" else full_width(card))  # fmt: skip


_NUMBERS: dict[str, Callable[[random.Random, str], _Drawn]] = {
    "email": _email,
    "wechat": _wechat,
    "qq": _qq,
    "passport": _passport,
    "permit_home": _permit("回乡证", "H99999999", "M9999999999", "H9999999901"),
    "permit_taiwan": _permit("台胞证", "99999999", "0999999999"),
    "permit_hk": _permit("港澳通行证", "C99999999", "CA9999999", "W99999999"),
    "permit_foreign": _permit("foreigner's residence", "USA110199099999", "911124199909999999", "CAN310199999999"),
    "officer": _permit("officer", "南字第99999999号", "军字第9999999号", "海字9999999"),
    "inpatient_no": _medical("住院号", "0999999", "ZY202399999999", "202399999", "D-999999", "B0099999", "99999999-2"),
    "outpatient_no": _medical("门诊号", "MZ239999999", "00999999999", "239999999999", "M-99999999"),
    "record_no": _medical("病案号", "M9999999", "999999", "00999999", "HD-99999", "999999-1"),
    "insurance_no": _medical("医保号", "A99999999X", "339999999999", "JS0009999999", "99999999999"),
    "barcode": _medical("条码", "9999999999", "1099999999999", "GTN99999999", "=W0000239999999", "2399 9999 9999"),
    "exam_no": _medical("检查号", "CT2023999999", "US-2399-9999", "X9999999", "9999999", "MR0099999"),
    "specimen_no": _medical("标本号", "2023SYX9999", "S9999999", "230599999999", "NGS-99-99999"),
    "path_no": _medical("病理号", "2023-99999", "B23-99999", "202399999", "S99-9999"),
    "plate": _plate,
    "bankcard": _bank_card,
}


FILLERS: dict[str, Callable[[random.Random], str]] = {
    "age": lambda rng: str(rng.randint(19, 88)),
    "bp": lambda rng: f"{rng.randint(98, 178)}/{rng.randint(58, 104)}",
    "hr": lambda rng: str(rng.randint(52, 138)),
    "temp": lambda rng: f"{rng.uniform(36.1, 39.9):.1f}",
    "wbc": lambda rng: f"{rng.uniform(2.1, 19.8):.2f}",
    "n1": lambda rng: f"{rng.uniform(4.1, 9.9):.1f}",
    "n2": lambda rng: f"{rng.uniform(10.1, 88.0):.1f}",
    "n3": lambda rng: str(rng.randint(112, 987)),
    "time": lambda rng: f"{rng.randrange(7, 22)}:{rng.randrange(10, 60)}",
}
