"""People, places and organisations of the de-identification benchmark, drawn from its own lists."""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from iimedgpt.records.raw import Category

MATERIAL = Path(__file__).parent / "deid_material"


@dataclass(frozen=True)
class Value:
    """One identifier as it stands in a note.

    ``parts`` are its identifying pieces: any of them left in the output is a leak. ``column`` is
    how a structured field holds the value, empty where the text gives less than the field does.
    """

    text: str
    category: Category
    kind: str
    parts: tuple[str, ...]
    column: str = ""


@dataclass(frozen=True)
class Person:
    """A name and its two halves; ``kind`` says which list it came from."""

    full: str
    surname: str
    given: str
    kind: str


HAN = ("common", "rare", "compound")
_KINDS = {"common": 45, "rare": 20, "compound": 10, "minority": 15, "double": 4, "foreign": 3, "latin": 3}
SHORT_FORMS = frozenset({"surname", "given", "nick", "nick_of", "aunt", "title"})
_DIGITS = "〇一二三四五六七八九"


@cache
def lists(file: str) -> dict[str, tuple[str, ...]]:
    """Every list of one material file, split at | where it holds one, else at white space."""
    loaded = tomllib.loads((MATERIAL / file).read_text(encoding="utf-8"))
    return {
        key: tuple(part.strip() for part in (text.split("|") if "|" in text else text.split()) if part.strip())
        for key, text in loaded.items()
    }


def draw_person(rng: random.Random, language: str, forms: frozenset[str] = frozenset()) -> Person:
    """A person whose name can be written in all of the forms: a short form needs a surname of its own."""
    is_han, is_called = bool(forms & (SHORT_FORMS | {"spaced"})), "given" in forms
    names = lists("names.toml")
    if language == "en":
        first, last = rng.choice(names["english_first"]), rng.choice(names["english_last"]).replace("-", " ")
        last = last.replace("St.Clair", "St. Clair")
        return Person(f"{first} {last}", last, first, "english")
    kind = "latin" if "latin" in forms else rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    if is_han and kind not in HAN:
        kind = rng.choice(HAN)
    if kind in HAN:
        surname = rng.choice(names[f"{kind}_surnames"])
        given = rng.choice(names["given_one"] if not is_called and rng.random() < 0.4 else names["given_two"])
        return Person(surname + given, surname, given, kind)
    full = rng.choice({"minority": names["minority"], "double": names["double_surname_names"],
                       "foreign": names["transliterated"], "latin": names["latin"]}[kind])  # fmt: skip
    if kind == "minority" and "·" in full:
        full = full.replace("·", rng.choice(names["minority_dots"]))
    return Person(full, full, full, kind)


def name_value(rng: random.Random, person: Person, form: str) -> Value:
    """How a note writes the name: in full, or in one of ``SHORT_FORMS``, or ``spaced``."""
    if form in ("surname", "nick_of", "aunt"):
        return Value(person.surname, "name", "surname", (person.surname,))
    if form == "given":
        return Value(person.given, "name", "given", (person.given,))
    if form == "title":
        return Value(f"{rng.choice(('Mr.', 'Ms.', 'Mrs.'))} {person.surname}", "name", "surname", (person.surname,))
    if form == "nick":
        text = person.surname if person.kind == "compound" else rng.choice("小老阿") + person.surname
        return Value(text, "name", "nick", (person.surname,))
    if form == "spaced":
        gap = rng.choice((" ", "　"))
        return Value(gap.join(person.full), "name", "spaced", (person.full,), person.full)
    return Value(person.full, "name", person.kind, (person.full,), person.full)


def _parts_of_place(city: str) -> list[str]:
    pieces = re.findall(r"[^省市区县旗州盟]+?(?:特别行政区|自治区|自治州|地区|省|市|区|县|旗|镇)", city)
    return [re.sub(r"(特别行政区|自治区|自治州|地区|省|市|区|县|旗|镇)$", "", piece) for piece in pieces]


def draw_address(rng: random.Random, slot: str, language: str) -> Value:
    """An address of the granularity the slot's name asks for."""
    if language == "en":
        return _draw_english_address(rng, slot)
    places = lists("places.toml")
    city, road, community = (rng.choice(places[key]) for key in ("cities", "roads", "communities"))
    town, village = rng.choice(places["towns"]), rng.choice(places["villages"])
    number, block, unit, room = rng.randint(2, 399), rng.randint(1, 38), rng.randint(1, 4), rng.randint(101, 2604)
    home, home_parts = rng.choice((
        (f"{community}{block}幢{unit}单元{room}室", [community[:2], f"{room}"]),
        (f"{community}{block}号楼{room}", [community[:2], f"{room}"]),
        (f"{community}{block}-{unit}-{room}", [community[:2], f"{room}"]),
    ))  # fmt: skip
    street = f"{road}{number}号"
    group = rng.randint(1, 15)
    rural = rng.choice((f"{town}{village}{group}组", f"{town}{village}", f"{town}{village}{number}号"))
    rural_parts = [town[:2], village[:2]]
    if slot in ("address", "address2"):
        shape = rng.choice(("road", "home", "village", "street", "local", "no province"))
        full = {
            "road": (city + street + home, [*_parts_of_place(city), road[:2], f"{number}", *home_parts]),
            "home": (city + home, [*_parts_of_place(city), *home_parts]),
            "village": (city + rural, [*_parts_of_place(city), *rural_parts]),
            "street": (city + street, [*_parts_of_place(city), road[:2], f"{number}"]),
            "local": (street + home, [road[:2], f"{number}", *home_parts]),
            "no province": (
                re.sub(r"^.+?(省|自治区)", "", city) + street,
                [*_parts_of_place(re.sub(r"^.+?(省|自治区)", "", city)), road[:2], f"{number}"],
            ),
        }[shape]
        return Value(full[0], "address", shape, tuple(full[1]), full[0])
    short_city = re.sub(r"(维吾尔|回族|壮族)?(自治区|省)", "", city) if rng.random() < 0.4 else city
    other = rng.choice([name for name in places["roads"] if name != road])
    text, parts = {
        "address_home": (home, home_parts),
        "address_street": (street, [road[:2], f"{number}"]),
        "place_road": (f"{road}与{other}交叉口", [road[:2], other[:2]]),
        "community": (community, [community[:2]]),
        "village": (rng.choice((village, town + village)), [village[:2]]),
        "town": (town, [town[:2]]),
        "hometown": (short_city, _parts_of_place(short_city)),
    }[slot]
    return Value(text, "address", slot, tuple(parts), text)


def _draw_english_address(rng: random.Random, slot: str) -> Value:
    places = lists("places.toml")
    street, city = rng.choice(places["english_streets"]), rng.choice(places["english_cities"])
    number = str(rng.randint(11, 9899))
    town = re.split(r",| CV", city)[0]
    if slot == "hometown":
        return Value(town, "address", slot, (town,), town)
    text = f"{number} {street}"
    if slot == "address_street":
        return Value(text, "address", slot, (number, street), text)
    text = f"{text}, Apt {rng.randint(1, 40)}, {city}" if rng.random() < 0.4 else f"{text}, {city}"
    return Value(text, "address", "english", (number, street, town), text)


_GENERIC = re.compile(
    r"(?:社区)?卫生服务(?:中心|站)|(?:人民|中心|总|中|附属|妇幼保健|骨科|康复|眼科|口腔|儿童|友谊)*医院|医科大学|大学|附属"
    r"|第[一二三四五六七八九十]+|卫生院|卫生室|门诊部|血站|疾控中心|院区|诊所"
    r"|(?:股份)?有限公司|支公司|公司|支行|小学|中学|幼儿园|学院|供电|税务局|政府|酒店|饭店|车间|工程队|站点|超市|电视台|家政"
)
_STOP = frozenset({"St.", "Medical", "Center", "General", "Hospital", "Clinic", "of", "Community", "LLC", "&", "Works",
                   "Public", "Schools", "Union", "Credit", "Sons", "Children's", "West", "VA", "Plumbing"})  # fmt: skip


def draw_organisation(rng: random.Random, slot: str, language: str) -> Value:
    """A hospital, ward, bed, employer or occupation."""
    places = lists("places.toml")
    if slot.startswith("bed"):
        number = f"{rng.randint(2, 68):02d}" if rng.random() < 0.2 else str(rng.randint(2, 68))
        text = rng.choice((f"{number}床", f"{number}床", f"加{number}床", f"{number}号床"))
        return Value(text, "hospital", "bed", (text,), text)
    key = {"hospital": "hospitals", "ward": "wards", "employer": "employers", "occupation": "occupations"}[
        slot.rstrip("23")
    ]
    text = rng.choice(places[f"english_{key}" if language == "en" else key])
    kind = "ward" if slot == "ward" else "occupation" if slot == "occupation" else "organisation"
    category: Category = "hospital" if key in ("hospitals", "wards") else "employer"
    if kind != "organisation":
        parts = [text]
    elif language == "en":
        parts = [word for word in text.split() if word not in _STOP]
    else:
        parts = [piece for piece in _GENERIC.split(text) if len(piece) >= 2] or [text]
    return Value(text, category, kind, tuple(parts), text)


def full_width(text: str) -> str:
    """ASCII digits, letters and signs in their full-width forms."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def chinese_digits(text: str, zero: str = "〇", one: str = "一") -> str:
    """Digits spelled one by one, as in 二〇二三 or 幺三八."""
    table = {str(number): char for number, char in enumerate(_DIGITS)} | {"0": zero, "1": one}
    return "".join(table.get(char, char) for char in text)
