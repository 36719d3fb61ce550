"""De-identification: typed placeholders or surrogates for identifiers, dates shifted per patient.

What is found: the patient's own dictionary (the source's structured fields), numbers, dates, names, hospitals,
places, and what a tagger of the user's own adds; then once more every full name found, in all of the record's text. What overlaps is joined and the longest
finding names it, so that no piece of an identifier is left at an edge.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from iimedgpt.entities import EntityTagger
from iimedgpt.io import Secret
from iimedgpt.records.deid.dates import DateShifter, find_dates
from iimedgpt.records.deid.dictionary import dictionary_values, name_parts
from iimedgpt.records.deid.english import find_english
from iimedgpt.records.deid.hospitals import find_hospitals, find_short_hospitals
from iimedgpt.records.deid.names import find_names
from iimedgpt.records.deid.numbers import find_numbers, half_width
from iimedgpt.records.deid.places import find_places
from iimedgpt.records.deid.search import RecordText
from iimedgpt.records.deid.surrogates import Surrogates
from iimedgpt.records.deid.tagged import read_entities
from iimedgpt.records.deid.words import NOT_NAMES
from iimedgpt.records.raw import Category, RawRecord, Scrubbed, Span
from iimedgpt.text import normalise
from iimedgpt.types import Event, Language

MIN_SHIFT_DAYS, MAX_SHIFT_DAYS = 32, 364  # a month alone moves in any case, no day comes back to itself

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


@dataclass(frozen=True)
class _Finding:
    start: int
    end: int
    category: Category
    date: re.Match[str] | None = None
    is_full: bool = False

    @property
    def length(self) -> int:
        return self.end - self.start


class Deidentifier:
    """Removes what identifies a patient. The secret decides how far each patient's dates move."""

    def __init__(
        self,
        secret: Secret,
        surrogates: Literal["typed", "consistent"] = "typed",
        tagger: EntityTagger | None = None,
    ) -> None:
        self._secret, self._surrogates, self._tagger = secret, surrogates, tagger

    def deidentify(self, raw: RawRecord) -> Scrubbed:
        """Events without identifiers, normalised, with what was replaced and where.

        The text is normalised first: an invisible character inside a number must not hide it.
        Events that normalise to nothing are left out.
        """
        events = [(event, text) for event in raw.events if (text := normalise(event.text))]
        texts = [half_width(text) for _, text in events]
        record = RecordText(texts)
        known = _known(record, raw)
        findings = [list(_find(text, raw.language, known[number])) for number, text in enumerate(texts)]
        if self._tagger is not None:
            _add_entities(texts, findings, self._tagger)
        _add_repeated_names(texts, findings, raw.language, record)
        shifter = DateShifter(self.shift_days(raw.patient_key))
        surrogates = Surrogates(self._secret, raw.patient_key, raw.language)
        positions: list[Span] = []
        typed, written = [], []
        for number, ((event, text), found) in enumerate(zip(events, findings, strict=True)):
            replacements = list(_replacements(text, _join(found), raw.language, shifter))
            new_text, spans = _put(text, replacements)
            typed.append(_with_text(event, new_text))
            if self._surrogates == "consistent":
                replacements = [
                    new
                    if new.is_date
                    else new._replace(new=surrogates.of(new.category, text[new.start : new.end], new.new))
                    for new in replacements
                ]
                new_text, spans = _put(text, replacements)
            positions += (Span(number, start, end, category) for start, end, category in spans)
            written.append(_with_text(event, new_text))
        counts = Counter(position.category for position in positions)
        return Scrubbed(tuple(typed), tuple(written), counts, tuple(positions))

    def shift_days(self, patient_key: str) -> int:
        """Whole days in [-364, -32], the same for all dates of a patient."""
        return -MIN_SHIFT_DAYS - self._secret.number(
            "date_shift", patient_key, below=MAX_SHIFT_DAYS - MIN_SHIFT_DAYS + 1
        )


def _with_text(event: Event, text: str) -> Event:
    return event if event.text == text else event.model_copy(update={"text": text})


class _Replacement(NamedTuple):
    start: int
    end: int
    category: Category
    new: str
    is_date: bool  # a date that was shifted


def _replacements(
    text: str, findings: Sequence[_Finding], language: Language, shifter: DateShifter
) -> Iterator[_Replacement]:
    shifter.start_text()
    for finding in findings:
        placeholder = PLACEHOLDERS[language][finding.category]
        new = shifter.shift(finding.date, placeholder) if finding.date else placeholder
        if new is not None:
            is_date = finding.date is not None and new != placeholder
            yield _Replacement(finding.start, finding.end, finding.category, new, is_date)


def _put(text: str, replacements: Sequence[_Replacement]) -> tuple[str, list[tuple[int, int, Category]]]:
    """The text with the replacements in it, and where they stand there."""
    parts: list[str] = []
    spans: list[tuple[int, int, Category]] = []
    done = n_written = 0
    for old_start, old_end, category, new, _ in replacements:
        start = n_written + old_start - done
        parts += [text[done:old_start], new]
        done, n_written = old_end, start + len(new)
        spans.append((start, n_written, category))
    return "".join((*parts, text[done:])), spans


def _known(record: RecordText, raw: RawRecord) -> defaultdict[int, list[_Finding]]:
    """The patient's own values, by text."""
    found: defaultdict[int, list[_Finding]] = defaultdict(list)
    for category, value in dictionary_values(raw.identifiers, raw.language):
        for number, start, end in record.find(category, value, raw.language):
            found[number].append(_Finding(start, end, category))
    return found


def _find(text: str, language: Language, known: Iterable[_Finding]) -> Iterator[_Finding]:
    """Findings, those that win a tie of length first."""
    for date in find_dates(text, language):
        yield _Finding(date.start(), date.end(), "date", date)
    yield from known
    for found in find_numbers(text, language):
        yield _Finding(found.start, found.end, found.category)
    if language == "zh":
        for finder in (find_names, find_hospitals, find_short_hospitals, find_places):
            for found in finder(text):
                yield _Finding(found.start, found.end, found.category, is_full=found.is_full)
    else:
        for found in find_english(text):
            yield _Finding(found.start, found.end, found.category, is_full=found.is_full)


def _add_entities(texts: Sequence[str], findings: Sequence[list[_Finding]], tagger: EntityTagger) -> None:
    for text, found, entities in zip(texts, findings, tagger(texts), strict=True):
        found += (_Finding(*place[:3], is_full=place.is_full) for place in read_entities(text, entities))


def _add_repeated_names(
    texts: Sequence[str], findings: Sequence[list[_Finding]], language: Language, record: RecordText
) -> None:
    """Every full name found once is looked for in all of the record's text, its given name as well."""
    names = {
        text[finding.start : finding.end].strip()
        for text, found in zip(texts, findings, strict=True)
        for finding in found
        if finding.is_full and finding.category == "name" and finding.length <= 30
    }
    values = {part for name in names for part in (name, *name_parts(name, language))} - NOT_NAMES
    for value in sorted(value for value in values if len(value) >= 2 and record.is_repeated(value, language)):
        for number, start, end in record.find("name", value, language):
            findings[number].append(_Finding(start, end, "name"))


def _join(findings: Iterable[_Finding]) -> list[_Finding]:
    """Findings in order, overlapping ones joined under the longest (the first of equals)."""
    joined: list[tuple[_Finding, _Finding]] = []  # the joined stretch, the longest finding in it
    for finding in sorted(findings, key=lambda finding: finding.start):
        if joined and finding.start < joined[-1][0].end:
            stretch, longest = joined[-1]
            longest = finding if finding.length > longest.length else longest
            end = max(stretch.end, finding.end)
            joined[-1] = (_Finding(stretch.start, end, longest.category), longest)
        elif joined and finding.start == joined[-1][0].end and finding.category == "address" == joined[-1][0].category:
            joined[-1] = (_Finding(joined[-1][0].start, finding.end, "address"), joined[-1][1])
        else:
            joined.append((finding, finding))
    # only a date that covers the whole stretch can be shifted
    return [
        _Finding(
            stretch.start, stretch.end, longest.category, longest.date if longest.length == stretch.length else None
        )
        for stretch, longest in joined
    ]
