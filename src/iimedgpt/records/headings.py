"""Where the sections of a Chinese free-text note begin.

A heading is taken where it stands as one: in brackets, alone on its line, or at the start of a line
or sentence before a colon; with or without a number, spaces inside, a remark in brackets. In the
middle of a sentence (详见现病史, 否认家族史) it is a word like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from iimedgpt.records.sections import parse_heading, zh_headings
from iimedgpt.text import fold
from iimedgpt.types import EventKind, Language

# "诊断 明确", "治疗 后好转": everyday words are headings only before a colon, in brackets or alone
_WEAK = frozenset(
    [
        "诊断",
        "治疗",
        "处理",
        "体检",
        "查体",
        "印象",
        "总结",
        "病史",
        "病程",
        "用药",
        "处方",
        "化验",
        "鉴别",
        "医嘱",
        "随访",
        "备注",
        "其他",
        "科室",
        "科别",
        "附记",
        "辅检",
        "生命体征",
        "一般情况",
    ]
)
# what goes on with a sentence, after a heading of histories and after any other
_NOT_AFTER_HISTORY = "的中及与和或、，,。；;：:同如可里内"
_NOT_AFTER = _NOT_AFTER_HISTORY + "为是示提发见后前时未无异正已经以由对进需应不明确考符支结所上下有较尚均"

_GAP = r"[ \t\u3000]*"
_OPEN, _CLOSE = r"[【\[［〖〔『「<＜《]", r"[】\]］〗〕』」>＞》]"
_NUMBER = (
    rf"(?:[（(]{_GAP}(?:[一二三四五六七八九十]{{1,3}}|[0-9０-９]{{1,2}}){_GAP}[）)]{_GAP}[、.．:：]?"
    rf"|(?:[一二三四五六七八九十]{{1,3}}|[0-9０-９]{{1,2}}){_GAP}(?:[、.．)）]|[:：](?!\d))"
    rf"|[①-⑳⑴-⒇⒈-⒛㈠-㈩Ⅰ-Ⅻ]{_GAP}[、.．]?|[#＃*●■◆▪•·\-—]{{1,3}}){_GAP}"
)


def _spaced(heading: str) -> str:
    return _GAP.join(map(re.escape, heading))


_KNOWN = "|".join(_spaced(heading) for heading in sorted(zh_headings(), key=len, reverse=True))
_STRONG = "|".join(
    _spaced(heading) for heading in sorted(zh_headings() - _WEAK, key=len, reverse=True) if len(heading) > 1
)
_REMARK = rf"(?:{_GAP}[（(][^（）()\n:：。]{{1,16}}[）)])?"
# headings put together: 既往史、个人史、家族史：… and 诊断依据及鉴别诊断：…
_JOINED = rf"(?:{_KNOWN})(?:{_GAP}(?:[、/及和与]){_GAP}(?:{_KNOWN}))*"
_LINE = r"(?:(?<=\n)|\A)[ \t\u3000]*"
_AFTER_SENTENCE = r"(?<=[。；;！!？?])[ \t\u3000]*"
_AFTER_SPACE = r"(?<![见同如参照认及和与或按据][ \t\u3000])(?<=[^\s,，、：:][ \t\u3000])(?<![,，、：:][ \t\u3000])"

_HEADING = re.compile(
    "|".join(
        (
            # 【现病史】 anywhere; an unknown one in brackets at the start of a line ends the section before it
            rf"(?:{_LINE}(?:{_NUMBER})?)?{_OPEN}{_GAP}(?P<bracketed>{_JOINED}){_REMARK}{_GAP}[:：]?{_GAP}{_CLOSE}{_GAP}[:：]?",
            rf"{_LINE}(?:{_NUMBER})?[【〖]{_GAP}(?P<unknown>[^【】〖〗\n，。：:]{{2,15}}?){_GAP}[:：]?[】〗]{_GAP}[:：]?",
            rf"(?:{_LINE}|{_AFTER_SENTENCE}|{_AFTER_SPACE})(?:{_NUMBER})?(?P<colon>{_JOINED}){_REMARK}{_GAP}[:：]",
            rf"{_LINE}(?:{_NUMBER})?(?P<alone>{_JOINED}){_REMARK}[ \t\u3000]*(?=\n|\Z)",
            rf"{_LINE}{_NUMBER}(?P<numbered>{_STRONG})(?={_GAP}[^\s{_NOT_AFTER}])",
            rf"{_LINE}(?P<spaced>{_STRONG})(?=[ \t\u3000]+[^\s{_NOT_AFTER}])",
            rf"{_LINE}(?P<bare>(?:{_STRONG})(?<=史))(?=[^\s{_NOT_AFTER_HISTORY}])",
            rf"{_LINE}(?P<plain>(?:{_STRONG})(?<!史))(?=[^\s{_NOT_AFTER}])",
        )
    )
)
_BASIS = EventKind.BASIS.rank
_GIVEN_REMARK = re.compile(r"[（(][^（）()]*[)）]")


class Part(NamedTuple):
    """A heading as written, without number, brackets and colon (empty before the first), and its text."""

    heading: str
    text: str


def split_note(note: str, language: Language) -> list[Part]:
    """Parts of a note in order, none of them blank."""
    note = note.replace("\r\n", "\n").replace("\r", "\n")
    parts = _split_zh(note) if language == "zh" else _split_en(note)
    return [part for part in parts if part.text]


def _split_zh(note: str) -> Iterator[Part]:
    heading, remark, begin = "", "", 0
    for match in _HEADING.finditer(note):
        if _is_argument(heading, match):
            continue
        yield Part(heading, (remark + note[begin : match.start()]).strip())
        written = match[match.lastgroup or 0]
        after = match.string[match.end(match.lastgroup or 0) : match.end()]
        given = _GIVEN_REMARK.search(after)  # 辅助检查（2024-03-05）：the day belongs to the text
        heading, remark, begin = re.sub(r"\s+", "", written), given[0] if given else "", match.end()
    yield Part(heading, (remark + note[begin:]).strip())


def _is_argument(heading: str, match: re.Match[str]) -> bool:
    """True within a diagnosis' basis (1.病史：… 2.查体：… 4.辅助检查：…): what it rests on is no new section."""
    section = parse_heading(heading, "zh") if heading else None
    if section is None or section.kind not in (EventKind.BASIS, EventKind.DIFFERENTIAL):
        return False
    prefix = match.string[match.start() : match.start(match.lastgroup or 0)]
    is_inside = match.start() > 0 and match.string[match.start() - 1] != "\n"
    return (is_inside or any(char.isdecimal() for char in prefix)) and _rank(match[match.lastgroup or 0]) < _BASIS


def _split_en(note: str) -> Iterator[Part]:
    """A heading is a line of its own, in capitals or before a colon, that ``sections`` knows."""
    heading, lines = "", list[str]()
    for line in note.split("\n"):
        bare = line.strip()
        if bare and (bare == bare.upper() or bare.endswith(":")) and parse_heading(bare, "en"):
            yield Part(heading, "\n".join(lines).strip())
            heading, lines = bare.strip(" :").capitalize(), []
        else:
            lines.append(line)
    yield Part(heading, "\n".join(lines).strip())


def known_heading(heading: str) -> str:
    """The heading itself, or of several put together the one that is latest in the canonical order.

    诊断依据及鉴别诊断 is known as its later half: nothing is shown earlier than its latest part.
    """
    if parse_heading(heading, "zh"):
        return heading
    known = [part for part in _split_joined(heading) if parse_heading(part, "zh")]
    return max(known, key=_rank) if known else heading


def _split_joined(heading: str) -> Iterator[str]:
    return (part for part in re.split("[、/及和与]", heading) if fold(part))


def _rank(heading: str) -> int:
    section = parse_heading(heading, "zh")
    return section.kind.rank if section else -1
