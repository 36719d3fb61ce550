"""What the source's structured fields say of a patient, as patterns for the text: in every way people write it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from iimedgpt.records.deid.numbers import half_width
from iimedgpt.records.deid.roles import NOT_GIVEN
from iimedgpt.records.deid.words import CJK, COMMON_PAIRS, COMPOUND, NOT_NAMES
from iimedgpt.records.raw import Category
from iimedgpt.text import normalise
from iimedgpt.types import Language

NUMBERS: frozenset[Category] = frozenset(
    {"id_card", "passport", "phone", "medical_number", "bank_card", "account", "plate"}
)
_MIN_CHARS = 2
_MIN_DIGITS = 4  # "90" in a dictionary would take every 120/90mmHg with it
NUMERALS = {digit: f"[{digit}{chinese}]" for digit, chinese in zip(
    "0123456789", ("〇零○OoＯｏ", "一幺壹IiLl", "二贰两", "三叁", "四肆", "五伍", "六陆", "七柒", "八捌", "九玖"), strict=True
)}  # fmt: skip
_HAN = re.compile(f"[{CJK}]{{2,4}}")
# English names that are also words: matched only where they are capitalised
_WORDS = re.compile(
    "long|brown|white|black|green|gray|hill|young|may|will|mark|price|rose|grace|hope|joy|king|bill|rich|wood|cook|"
    "hunter|baker|bell|bush|day|dean|fields|ford|fox|frank|gene|grant|hall|head|home|lane|love|major|miles|moody|moon|"
    "pain|park|parks|pat|page|pace|reed|rivers|rob|rush|sky|snow|stone|stout|strong|sue|summer|trace|walker|ward|"
    "warren|waters|weeks|wells|west|winter|wise|worth|april|june|august|carry|chase|christian|earl|faith|ivy|jack|jean|"
    "lily|olive|penny|pearl|robin|ruby|sandy|victor|art|drew|guy|hardy|mason|miller|carpenter|turner|cooper|butler|"
    "carter|fisher|gardner|parker|porter|foreman|cruz|cross|case|branch|burns|banks|best|blue|bond|bright|chin|good|"
    "hand|short|small|son|han|li|an|he|she|ma|you|she|bin|can|do|man|sun|song|long|gong|wang|yang|pan|ho|so|see|low|sim|tan|teo|toe|lee|kay|may|di|de|la|van|von|den|al|el|st"
)


def dictionary_values(
    identifiers: Mapping[Category, tuple[str, ...]], language: Language
) -> list[tuple[Category, str]]:
    """The patient's own values and what of them identifies alone, longest value first."""
    values: list[tuple[Category, str]] = []
    for category, given in identifiers.items():
        if category == "age":
            continue
        for value in (half_width(normalise(raw)) for raw in given):
            values += ((category, part) for part in _parts(category, value, language))
    known = {item for item in values if len(item[1]) >= (_MIN_DIGITS if item[1].isdigit() else _MIN_CHARS)}
    return sorted(known, key=lambda item: (-len(item[1]), item))


def _parts(category: Category, value: str, language: Language) -> Iterator[str]:
    """The value and what of it identifies alone."""
    yield value
    if category == "name":
        yield from name_parts(value, language)
    elif category == "id_card" and len(re.sub(r"\W", "", value)) == 18:
        yield re.sub(r"\W", "", value)[-6:]
    elif category == "phone":
        for piece in re.split(r"[、/,;和或 ]{1,3}(?=[0-9+(])", value):
            yield piece
        if bare := re.fullmatch(r"\(?0[0-9]{2,3}\)?[ -]?([0-9]{3,4}[ -]?[0-9]{4})", value):
            yield bare.group(1)
        if bare := re.fullmatch(r"\+?(?:00)?86[ -]?(1[0-9 -]{10,13})", value):
            yield bare.group(1)
    elif category in ("address", "employer", "hospital") and language == "zh":
        for piece in re.split(r"[、,;/ ()]{1,3}", value):
            if len(piece) >= 4:
                yield piece
        if category == "address":
            yield from _address_parts(value)


def _address_parts(value: str) -> Iterator[str]:
    """What remains where the province, then the city, then the county is left out."""
    rest = value
    for _ in range(4):
        head = re.match(f"[{CJK}]{{2,8}}?(?:自治区|自治州|省|市|区|县|旗|镇|乡|街道)", rest)
        if head is None:
            break
        if (
            len(re.sub("自治区|自治州|省|市|区|县|旗|镇|乡|街道", "", head.group())) >= 2
            and head.group()[-1] in "镇乡道"
        ):
            yield head.group()
        rest = rest[head.end() :]
        if len(rest) >= 4:
            yield rest
    if road := re.search(f"[{CJK}]{{2,6}}(?:路|街|大道|巷|胡同|小区|花园|公寓|村|苑|新村|家园)", rest):
        yield road.group()


def name_parts(value: str, language: Language) -> Iterator[str]:
    """Given name alone, the parts of a name with a dot, the words of a Latin one."""
    if re.search("[A-Za-z]", value):
        for word in re.split(r"[ ,.]{1,3}", value):
            if len(word) >= 3:
                yield word
        return
    if any(dot in value for dot in "·•‧・"):
        for part in re.split("[·•‧・]", value):
            if len(part) >= 2:
                yield part
        yield re.sub("[·•‧・]", "", value)
        return
    bare = value.replace(" ", "")
    if language == "zh" and _HAN.fullmatch(bare):
        n = 2 if bare[:2] in COMPOUND and len(bare) > 2 else 1
        given = bare[n:]
        if len(given) == 2 and given not in NOT_NAMES and not set(given) & NOT_GIVEN and given not in COMMON_PAIRS:
            yield given


def compile_value(category: Category, value: str, language: Language) -> re.Pattern[str]:
    """One value with the marks, line breaks, numerals and masks that people write into names and numbers."""
    is_number = category in NUMBERS
    if is_number:
        body = _number_pattern(value)
    elif language == "zh" and not value.isascii():
        gap = r"[ \n]{0,3}" if category == "name" else r"[ \n-]{0,2}"
        body = gap.join(re.escape(char) for char in value if char not in " -·•‧・\n")
        if any(dot in value for dot in "·•‧・"):
            body = gap.join(
                r"[·•‧・. ]?" if char in "·•‧・" else re.escape(char) for char in value if char not in " -\n"
            )
        if category == "name" and _HAN.fullmatch(value):
            body += "|" + _masked_name(value)
        body = f"(?:{body})"
    else:
        body = r"[ \n]{1,2}".join(re.escape(word) for word in value.split())
    if value[0].isascii() and value[0].isalnum():
        body = ("(?<![0-9])" if value[0].isdigit() else "(?<![A-Za-z])") + body
    if value[-1].isascii() and value[-1].isalnum():
        body += "(?![0-9])" if value[-1].isdigit() else "(?![A-Za-z])"
    is_cased = value.lower() != value.upper() and not (category == "name" and _WORDS.fullmatch(value.lower()))
    return re.compile(body, re.IGNORECASE if is_cased else 0)  # to compile it so takes three times as long


def _number_pattern(value: str) -> str:
    chars = [char for char in value if char.isalnum()]
    plain = r"[ \n.·/()-]{0,2}".join(NUMERALS.get(char, re.escape(char)) for char in chars)
    if len(chars) >= 7 and all(char.isdigit() or char in "xX" for char in chars):
        head, tail = "".join(chars[:3]), "".join(chars[-2:])
        middle = r"[0-9]{0,9}[*×✱＊xX]{2,14}[0-9]{0,4}"
        return f"(?:{plain}|{re.escape(head)}{middle}{re.escape(tail)})"
    return f"(?:{plain})"


def _masked_name(value: str) -> str:
    """张某某, 张*, 张××."""
    surname = value[:2] if value[:2] in COMPOUND and len(value) > 2 else value[0]
    return rf"{re.escape(surname)}(?:某{{1,2}}|[*×＊○Xx]{{1,2}}(?![A-Za-z0-9*×]))"
