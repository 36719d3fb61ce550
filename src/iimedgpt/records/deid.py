"""De-identification: typed placeholders for identifiers, dates shifted per patient.

What is found: the patient's own dictionary (the source's structured fields), shapes
(``recognisers``), hospitals and dates. What overlaps is joined and the longest finding names it,
so that no piece of an identifier is left at an edge.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from iimedgpt.io import Secret
from iimedgpt.records.dates import DateShifter, find_dates
from iimedgpt.records.hospitals import find_hospitals
from iimedgpt.records.raw import Category, RawRecord, Scrubbed, Span
from iimedgpt.records.recognisers import find_identifiers, half_width
from iimedgpt.text import normalise
from iimedgpt.types import Event, Language

MAX_SHIFT_DAYS = 365

PLACEHOLDERS: Mapping[Language, Mapping[Category, str]] = {
    "zh": {
        "name": "[姓名]",
        "id_card": "[证件号]",
        "passport": "[证件号]",
        "phone": "[电话]",
        "email": "[邮箱]",
        "account": "[账号]",
        "address": "[地址]",
        "hospital": "[医院]",
        "medical_number": "[编号]",
        "date": "[日期]",
        "age": "90岁以上",
        "employer": "[单位]",
        "plate": "[车牌]",
        "bank_card": "[银行卡]",
    },
    "en": {
        "name": "[NAME]",
        "id_card": "[ID]",
        "passport": "[ID]",
        "phone": "[PHONE]",
        "email": "[EMAIL]",
        "account": "[ACCOUNT]",
        "address": "[ADDRESS]",
        "hospital": "[HOSPITAL]",
        "medical_number": "[NUMBER]",
        "date": "[DATE]",
        "age": "90-plus",
        "employer": "[EMPLOYER]",
        "plate": "[PLATE]",
        "bank_card": "[BANK CARD]",
    },
}
_NUMBERS: frozenset[Category] = frozenset(
    {"id_card", "passport", "phone", "medical_number", "bank_card", "account", "plate"}
)
_MIN_CHARS = 2
_MIN_DIGITS = 4  # "90" in a dictionary would take every 120/90mmHg with it
# English names that are also words: matched only where they are capitalised
_WORDS = re.compile(
    "long|brown|white|black|green|gray|hill|young|may|will|mark|price|rose|grace|hope|joy|king|bill|rich|wood|cook|"
    "hunter|baker|bell|bush|day|dean|fields|ford|fox|frank|gene|grant|hall|head|home|lane|love|major|miles|moody|moon|"
    "pain|park|parks|pat|page|pace|reed|rivers|rob|rush|sky|snow|stone|stout|strong|sue|summer|trace|walker|ward|"
    "warren|waters|weeks|wells|west|winter|wise|worth|april|june|august|carry|chase|christian|earl|faith|ivy|jack|jean|"
    "lily|olive|penny|pearl|robin|ruby|sandy|victor|art|drew|guy|hardy|mason|miller|carpenter|turner|cooper|butler|"
    "carter|fisher|gardner|parker|porter|foreman|cruz|cross|case|branch|burns|banks|best|blue|bond|bright|chin|good|"
    "hand|short|small|son"
)


@dataclass(frozen=True)
class _Finding:
    start: int
    end: int
    category: Category
    date: re.Match[str] | None = None

    @property
    def length(self) -> int:
        return self.end - self.start


class Deidentifier:
    """Removes what identifies a patient. The secret decides how far each patient's dates move."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def deidentify(self, raw: RawRecord) -> Scrubbed:
        """Events without identifiers, normalised, with what was replaced and where.

        The text is normalised first: an invisible character inside a number must not hide it.
        Events that normalise to nothing are left out.
        """
        shifter = DateShifter(self.shift_days(raw.patient_key))
        dictionary = _compile_dictionary(raw.identifiers, raw.language)
        positions: list[Span] = []
        events: list[Event] = []
        for event in raw.events:
            text = self._scrub(normalise(event.text), raw.language, dictionary, shifter, len(events), positions)
            if text:
                events.append(event.model_copy(update={"text": text}))
        counts = Counter(position.category for position in positions)
        return Scrubbed(tuple(events), tuple(events), counts, tuple(positions))

    def shift_days(self, patient_key: str) -> int:
        """Whole days in [-365, -1], the same for all dates of a patient."""
        return -1 - self._secret.number("date_shift", patient_key, below=MAX_SHIFT_DAYS)

    def _scrub(
        self,
        text: str,
        language: Language,
        dictionary: list[tuple[Category, re.Pattern[str]]],
        shifter: DateShifter,
        event: int,
        positions: list[Span],
    ) -> str:
        shifter.start_text()
        parts: list[str] = []
        done = n_written = 0
        for finding in _join(_find(half_width(text), language, dictionary)):
            placeholder = PLACEHOLDERS[language][finding.category]
            new = shifter.shift(finding.date, placeholder) if finding.date else placeholder
            start = n_written + finding.start - done
            parts += [text[done : finding.start], new]
            done, n_written = finding.end, start + len(new)
            positions.append(Span(event, start, n_written, finding.category))
        return "".join((*parts, text[done:]))


def _find(text: str, language: Language, dictionary: list[tuple[Category, re.Pattern[str]]]) -> Iterator[_Finding]:
    """Findings, those that win a tie of length first."""
    for date in find_dates(text, language):
        yield _Finding(date.start(), date.end(), "date", date)
    for category, pattern in dictionary:
        for match in pattern.finditer(text):
            yield _Finding(match.start(), match.end(), category)
    for found in find_identifiers(text, language):
        yield _Finding(*found)
    if language == "zh":
        for found in find_hospitals(text):
            yield _Finding(*found)


def _join(findings: Iterator[_Finding]) -> list[_Finding]:
    """Findings in order, overlapping ones joined under the longest (the first of equals)."""
    joined: list[tuple[_Finding, _Finding]] = []  # the joined stretch, the longest finding in it
    for finding in sorted(findings, key=lambda finding: finding.start):
        if joined and finding.start < joined[-1][0].end:
            stretch, longest = joined[-1]
            longest = finding if finding.length > longest.length else longest
            end = max(stretch.end, finding.end)
            joined[-1] = (_Finding(stretch.start, end, longest.category), longest)
        else:
            joined.append((finding, finding))
    # only a date that covers the whole stretch can be shifted
    return [
        _Finding(
            stretch.start, stretch.end, longest.category, longest.date if longest.length == stretch.length else None
        )
        for stretch, longest in joined
    ]


def _compile_dictionary(
    identifiers: Mapping[Category, tuple[str, ...]], language: Language
) -> list[tuple[Category, re.Pattern[str]]]:
    """Patterns of the patient's own values, longest first."""
    values = [
        (category, value)
        for category, given in identifiers.items()
        for value in (half_width(normalise(raw)) for raw in given)
        if category != "age" and len(value) >= (_MIN_DIGITS if value.isdigit() else _MIN_CHARS)
    ]
    values.sort(key=lambda item: -len(item[1]))
    return [(category, _compile_value(category, value, language)) for category, value in values]


def _compile_value(category: Category, value: str, language: Language) -> re.Pattern[str]:
    """One value, with the spaces and hyphens that people put into names and numbers."""
    gap = "[ -]?" if category in _NUMBERS else " ?"
    pattern = gap.join(re.escape(char) for char in value if char not in " -") if language == "zh" else re.escape(value)
    if value[0].isascii() and value[0].isalnum():
        pattern = ("(?<![0-9])" if value[0].isdigit() else "(?<![A-Za-z])") + pattern
    if value[-1].isascii() and value[-1].isalnum():
        pattern += "(?![0-9])" if value[-1].isdigit() else "(?![A-Za-z])"
    is_word = _WORDS.fullmatch(value.lower())
    return re.compile(pattern, 0 if is_word else re.IGNORECASE)
