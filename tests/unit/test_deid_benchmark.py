"""The de-identification benchmark: its material is sound, and its scorer sees what is left and what is spoilt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import pytest

from benchmarks.deid import judge, measure_passages
from benchmarks.deid_alignment import score
from benchmarks.deid_people import chinese_digits
from benchmarks.deid_records import Gold, fill, templates, traps
from benchmarks.deid_scoring import f2, measure, summarise
from iimedgpt.records.raw import RawRecord, Scrubbed
from iimedgpt.types import Event


def _gold(text: str, value: str, category: str, parts: tuple[str, ...] | None = None) -> Gold:
    start = text.index(value)
    return Gold(0, start, start + len(value), category, "", "bare", (value,) if parts is None else parts)


def _is_leaked(text: str, output: str, value: str, category: str, parts: tuple[str, ...] | None = None) -> bool:
    return score(text, output, [_gold(text, value, category, parts)], ()).leaked[0]


def test_material_has_the_promised_size_and_covers_every_category() -> None:
    languages = Counter(template.language for template in templates())
    assert languages["zh"] >= 120
    assert languages["en"] >= 10
    assert len({template.id for template in templates()}) == len(templates())
    assert len({(trap.group, trap.expression) for trap in traps()}) >= 240
    seen = {gold.category for template in templates() for gold in fill(template, 0).golds}
    assert seen >= {
        "name", "id_card", "passport", "phone", "email", "account", "address", "hospital", "medical_number",
        "date", "age", "employer", "plate", "bank_card", "ward", "occupation", "date_relative",
    }  # fmt: skip


def test_every_gold_span_holds_its_value_and_no_two_overlap() -> None:
    for template in templates():
        filled = fill(template, 1)
        for event, text in enumerate(event.text for event in filled.raw.events):
            spans = sorted((gold.start, gold.end) for gold in filled.golds if gold.event == event)
            assert all(0 <= start < end <= len(text) for start, end in spans), template.id
            assert all(left[1] <= right[0] for left, right in pairwise(spans)), template.id
            assert "{" not in text, template.id
        for gold in filled.golds:
            if gold.category == "name" and gold.kind not in ("spaced", "surname", "nick"):
                assert filled.raw.events[gold.event].text[gold.start : gold.end] == gold.parts[0]


def test_a_value_counts_as_in_the_dictionary_only_if_a_column_holds_it() -> None:
    for template in templates():
        filled = fill(template, 2)
        held = {value for values in filled.raw.identifiers.values() for value in values}
        names = [gold for gold in filled.golds if gold.category == "name"]
        assert all((gold.parts[0] in held) >= (gold.stratum == "dictionary") for gold in names), template.id


def test_equal_seeds_give_equal_records_and_other_numbers_other_records() -> None:
    template = templates()[0]
    assert fill(template, 3) == fill(template, 3)
    assert fill(template, 3).raw.events != fill(template, 4).raw.events


@pytest.mark.parametrize(
    ("text", "output", "value", "category", "parts", "leaked"),
    [
        ("找王医生看", "找王医生看", "王", "name", None, True),
        ("找王医生看", "找[姓名]医生看", "王", "name", None, False),
        ("家属买买提·吐尔逊签字", "家属[姓名]·吐尔逊签字", "买买提·吐尔逊", "name", None, True),
        ("患者王建国入院", "患者李建军入院", "王建国", "name", None, False),  # one shared character is chance
        ("患者王建国入院", "患者李建国入院", "王建国", "name", None, True),
        ("证331082\n199001011234止", "证[证件号]\n199001011234止", "331082\n199001011234", "id_card", None, True),
        ("号一三八一二三四五六七八", "号一三八一二三四五六七八", "一三八一二三四五六七八", "phone", ("138123",), True),
        ("电１３８１２３４５６７８止", "电13812345678止", "１３８１２３４５６７８", "phone", ("13812345678",), True),
        ("电13812345678止", "电15598760912止", "13812345678", "phone", None, False),
        ("于2023年5月6日入院", "于2023年6月1日入院", "2023年5月6日", "date", ("5", "6"), False),
        ("于2023年5月6日入院", "于[日期]6日入院", "2023年5月6日", "date", ("5", "6"), True),
        ("于二〇二三年五月六日入院", "于2023-05-06入院", "二〇二三年五月六日", "date", ("5", "6"), True),
        ("于20230506入院", "于20230511入院", "20230506", "date", ("5", "6"), False),
        ("患者九十二岁，", "患者92岁，", "九十二岁", "age", ("92",), True),
        ("患者九十二岁，", "患者≥90岁，", "九十二岁", "age", ("92",), False),
        ("住枫桥路88号，", "住[地址]88号，", "枫桥路88号", "address", ("枫桥", "88"), True),
        ("住枫桥路88号，", "住[地址]，", "枫桥路88号", "address", ("枫桥", "88"), False),
        ("送县医院，", "送[医院]，", "县医院", "hospital", None, False),  # a placeholder's own words are no remnant
    ],
)  # fmt: skip
def test_an_identifier_is_found_only_if_nothing_of_it_can_be_read(
    text: str, output: str, value: str, category: str, parts: tuple[str, ...] | None, leaked: bool
) -> None:
    assert _is_leaked(text, output, value, category, parts) is leaked


def test_changes_elsewhere_and_swallowed_neighbours_are_false_replacements_and_respelling_is_not() -> None:
    text = "患者王建国，服用王不留行10g，　BP 140/90"
    gold = [_gold(text, "王建国", "name")]
    clean = score(text, "患者[姓名],服用王不留行10g, BP 140/90", gold, ())
    assert (clean.leaked, clean.changes) == ((False,), ())
    spoilt = score(text, "患者[姓名]，服用[姓名]10g，　BP 140/90", gold, ())
    assert [change.category for change in spoilt.changes] == [""]
    swallowed = score(text, "患者[姓名]王不留行10g，　BP 140/90", gold, ())
    assert [change.category for change in swallowed.changes] == ["name"]
    assert not score(text, text.replace("140", "[电话]"), (), [(text.index("140"), len(text))]).changes


def _scrubbed(events: Iterable[Event]) -> Scrubbed:
    written = tuple(events)
    return Scrubbed(written, written, Counter(), ())


def _unchanged(raw: RawRecord) -> Scrubbed:
    return _scrubbed(raw.events)


def _hide_patient_names(raw: RawRecord) -> Scrubbed:
    def hide(text: str) -> str:
        for name in raw.identifiers.get("name", ()):
            text = text.replace(name, "[姓名]")
        return text

    return _scrubbed([event.model_copy(update={"text": hide(event.text)}) for event in raw.events])


def test_text_returned_as_it_was_leaks_every_identifier_of_every_template() -> None:
    records = [fill(template, number) for template in templates() for number in range(2)]
    outcomes = measure(records, [_unchanged])
    assert sum(outcomes.n_missed.values()) == sum(len(record.golds) for record in records)
    assert not outcomes.n_found
    assert not outcomes.n_false


def test_a_deidentifier_that_does_nothing_scores_nothing_and_one_that_knows_names_scores_names() -> None:
    records = [fill(template, 0) for template in templates()[:20]]
    nothing = summarise(measure(records, [_unchanged]))
    assert {row["recall"] for row in nothing.values()} == {0.0}
    assert {row["n_false"] for row in nothing.values()} == {0}
    names = summarise(measure(records, [_hide_patient_names]))["name"]
    spaced = sum(cell["n"] for kind, cell in names["kinds"].items() if kind == "spaced, dictionary")
    in_dictionary = names["strata"]["dictionary"]
    assert in_dictionary["recall"] == pytest.approx(1 - spaced / in_dictionary["n"])
    assert names["strata"]["bare"]["recall"] == 0.0
    low, high = names["f2_interval"]
    assert low < names["f2"] < high


def test_a_record_whose_deidentification_raises_is_counted_as_quarantined() -> None:
    def broken(raw: RawRecord) -> Scrubbed:
        raise RecursionError

    outcomes = measure([fill(templates()[0], 0)], [broken])
    assert (outcomes.n_failed, outcomes.rows) == (1, [])


def test_what_one_secret_leaves_by_chance_is_no_leak() -> None:
    record = fill(templates()[0], 0)
    same = measure([record], [_unchanged])
    differing = measure([record], [_unchanged, _hide_all])
    assert sum(same.n_missed.values()) == len(record.golds)
    assert sum(differing.n_missed.values()) == 0


def _hide_all(raw: RawRecord) -> Scrubbed:
    events = []
    for number, event in enumerate(raw.events):
        text = event.text
        for gold in sorted(fill(templates()[0], 0).golds, key=lambda gold: -gold.start):
            if gold.event == number:
                text = f"{text[: gold.start]}[x]{text[gold.end :]}"
        events.append(event.model_copy(update={"text": text}))
    return _scrubbed(events)


def test_f2_weighs_recall_twice() -> None:
    assert f2(8, 2, 4) == pytest.approx(40 / 52)  # P 2/3, R 4/5: 5 PR / (4 P + R)
    assert f2(0, 0, 3) is None


def test_targets_without_a_measurement_are_not_met() -> None:
    verdicts = judge({}, {"n_changed": 0}, {"skipped": "no data"})
    assert [verdict["met"] for verdict in verdicts].count(True) == 1
    assert verdicts[-2]["met"] is None


def test_passages_are_skipped_with_a_reason_where_the_data_is_absent() -> None:
    assert "IIMEDGPT_DATA" in measure_passages(_unchanged, None)["skipped"]


def test_numerals_are_spelled_digit_by_digit() -> None:
    assert chinese_digits("2023") == "二〇二三"
