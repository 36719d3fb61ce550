"""Surrogates: values that read like the ones they replace and are nobody's.

Each is derived from the run's secret, the patient and the value: the same value of a patient always becomes the same
surrogate, in whatever spelling it stands, and no mapping exists anywhere. Phones, ID cards and bank cards lie in
ranges that are not assigned: mobiles begin with 100 (subscribers' begin with 13 to 19), landlines with the area
011 and a local number that begins with 1, ID cards with the region 99, US phones are 555-01xx, US social security
numbers begin with 000, bank cards with 0, plates have the letter I, e-mail is at example.com (RFC 2606).
"""

from __future__ import annotations

import re

from iimedgpt.io import Secret
from iimedgpt.records.deid.numbers import half_width
from iimedgpt.records.deid.words import COMMON, COMPOUND
from iimedgpt.records.raw import Category
from iimedgpt.types import Language

_SURNAMES = "王李张刘陈杨赵吴徐孙朱胡郭罗郑宋许邓冯彭袁蔡蒋吕沈卢姜崔谭邹"
_COMPOUNDS = ("欧阳", "司马", "上官", "诸葛", "皇甫", "慕容", "令狐", "宇文")
_GIVEN = "安博晨达帆光涵嘉凯岚明宁鹏琪然思涛维欣雅毅泽卓清远和文书佳敏"
_SOUNDS = "阿巴达尔古哈吉卡拉玛娜帕萨塔乌西雅扎"
_LATIN = (
    "Avery",
    "Blake",
    "Carden",
    "Dalton",
    "Ellery",
    "Farrow",
    "Garner",
    "Hollis",
    "Ingram",
    "Jarvis",
    "Keller",
    "Lowell",
    "Marlow",
    "Norris",
    "Orwell",
    "Pruitt",
)
_PLACES = ("云溪", "东岭", "清河口", "石桥", "南浦", "松原坡", "白鹭", "金沙岗")
_NAMES = ("康宁", "明德", "仁安", "同和", "瑞和", "惠民", "广济", "安泰")
_NUMERALS = "零一二三四五六七八九"
_VALUES = {char: i % 10 for row in ("零一二三四五六七八九", "〇壹贰叁肆伍陆柒捌玖") for i, char in enumerate(row)} | {
    "○": 0,
    "幺": 1,
}


class Surrogates:
    """Surrogates of one patient."""

    def __init__(self, secret: Secret, patient_key: str, language: Language) -> None:
        self._secret, self._patient, self._language = secret, patient_key, language

    def of(self, category: Category, value: str, placeholder: str) -> str:
        """The surrogate; the placeholder for what has none (ages, dates that are none of the calendar)."""
        if category == "name":
            return self._name(value)
        if category in ("age", "date"):
            return placeholder
        if category in ("hospital", "employer", "address"):
            return self._place(category, value)
        if category == "email":
            return f"{self._letters(value)}@example.com"
        return self._number(category, value)

    def _pick(self, kind: str, value: str, below: int) -> int:
        return self._secret.number("surrogate", self._patient, kind, value, below=below)

    def _other(self, kind: str, value: str, among: str) -> str:
        """One of the characters that is not the value itself."""
        left = among.replace(value, "")
        return left[self._pick(kind, value, len(left))]

    def _name(self, value: str) -> str:
        if re.search("[A-Za-z]", value):
            return re.sub("[A-Za-z'’-]+", lambda word: self._latin(word.group()), value)
        if re.search("[·•‧・.]", value):
            return re.sub("[\\u3400-\\u9fff]", lambda char: self._other("sound", char.group(), _SOUNDS), value)
        head = value[0] if len(value) == 2 and value[0] in "小老阿大" else ""
        rest = value[len(head) :]
        if rest[:2] in COMPOUND:
            new = _COMPOUNDS[self._pick("compound", rest[:2], len(_COMPOUNDS))]
            return head + new + self._given(rest[2:])
        if head or len(rest) != 2 or rest[0] in COMMON:
            return head + self._other("surname", rest[0], _SURNAMES) + self._given(rest[1:])
        return self._given(rest)

    def _given(self, given: str) -> str:
        # character by character, so that a given name alone becomes what it becomes behind the surname
        return "".join(
            self._other("given", char, _GIVEN) if "\u3400" <= char <= "\u9fff" and char != "某" else char
            for char in given
        )

    def _latin(self, word: str) -> str:
        new = _LATIN[self._pick("latin", word.lower(), len(_LATIN))]
        if len(word) == 1:
            return new[0]
        return new.upper() if word.isupper() else new

    def _place(self, category: Category, value: str) -> str:
        key = re.sub(r"\W", "", half_width(value)).lower()
        place = _PLACES[self._pick("place", key, len(_PLACES))]
        name = _NAMES[self._pick("organisation", key, len(_NAMES))]
        number = 1 + self._pick("number", key, 199)
        if self._language == "en":
            latin = _LATIN[self._pick("place", key, len(_LATIN))]
            return {"hospital": f"{latin} Hospital", "employer": f"{latin} Company"}.get(
                category, f"{number} {latin} Street"
            )
        return {"hospital": f"{place}{name}医院", "employer": f"{place}{name}公司"}.get(
            category, f"{place}市{name}路{number}号"
        )

    def _letters(self, value: str) -> str:
        key = value.lower().replace(" ", "")
        return "".join("abcdefghijkmnpqrstuvwxyz"[self._pick(f"letter {i}", key, 24)] for i in range(8))

    def _number(self, category: Category, value: str) -> str:
        """New digits (and letters, for accounts) where the old ones stand; marks and numerals stay as written."""
        old = [
            str(_VALUES[char]) if char in _VALUES else char.lower()
            for char in half_width(value)
            if char.isalnum() or char in _VALUES
        ]
        key = "".join(old)
        digits = [str(self._pick(f"digit {i}", key, 10)) for i in range(len(old))]
        head = self._unassigned(category, key)
        digits[: len(head)] = head
        new, at = [], 0
        for char in value:
            plain = half_width(char)
            if plain in _VALUES:
                new.append(_NUMERALS[int(digits[at])])
            elif plain.isdigit():
                new.append(digits[at])
            elif category == "account" and plain.isascii() and plain.isalpha():
                new.append("abcdefghijkmnpqrstuvwxyz"[self._pick(f"letter {at}", key, 24)])
            elif category == "plate" and plain.isascii() and plain.isalpha():
                new.append("I")
            else:
                new.append(char)
            at += plain.isalnum() or plain in _VALUES
        return "".join(new)

    def _unassigned(self, category: Category, key: str) -> str:
        """The digits that put a number out of what is assigned."""
        if category == "bank_card":
            return "0"
        if category == "id_card":
            return "000" if self._language == "en" else "99"
        if category != "phone":
            return ""
        if self._language == "en" and len(key) in (10, 11):
            return ("1" if len(key) == 11 else "") + "55555501"
        if re.fullmatch("(?:0?0?86)?1[3-9][0-9]{9}", key):
            return key[:-11] + "100"
        if key.startswith("0"):
            n_area = 3 if key[1] in "12" else 4
            return "0111"[:n_area] + "1"
        return "1"
