"""Synthetic records: facts told alike, identifiers planted where the spans say, equal seeds equal records."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest

from iimedgpt.errors import DataError
from iimedgpt.records.diseases import KNOWLEDGE, Disease, load_knowledge, read_knowledge
from iimedgpt.records.planting import TEMPLATES, Planter, Template
from iimedgpt.records.raw import RawRecord
from iimedgpt.records.synthetic import generate
from iimedgpt.types import Event, EventKind

KIND = EventKind
VISIBLE = {  # what the diagnosis task shows beside the dialogue
    KIND.DEMOGRAPHICS,
    KIND.CHIEF_COMPLAINT,
    KIND.PRESENT_ILLNESS,
    KIND.PAST_HISTORY,
    KIND.PERSONAL_HISTORY,
    KIND.FAMILY_HISTORY,
    KIND.PHYSICAL_EXAMINATION,
    KIND.AUXILIARY_EXAMINATION,
}
ALWAYS = VISIBLE - {KIND.PERSONAL_HISTORY, KIND.FAMILY_HISTORY} | {
    KIND.DEPARTMENT,
    KIND.EXAMINATION_ORDER,
    KIND.INITIAL_DIAGNOSIS,
    KIND.BASIS,
    KIND.DIFFERENTIAL,
    KIND.TREATMENT,
}
SHAPES = {
    "name": r"[\u4e00-\u9fff]{2,4}|[\u4e00-\u9fff]+·[\u4e00-\u9fff]+",
    "id_card": r"\d{17}[\dX]|\d{15}",
    "passport": r"[EG]\d{8}",
    "phone": r"1\d{10}|0\d{2,3}-\d{7}",
    "email": r"[a-z]\d{6}@example\.(com|cn|org)",
    "account": r"[a-z_-]+\d{6}",
    "address": r"[\u4e00-\u9fff\d]+[号室组]",
    "hospital": r"[\u4e00-\u9fff]+(医院|卫生院|保健院)",
    "medical_number": r"[A-Z]{0,2}\d{8,10}",
    "date": r"\d{4}(年|-\d\d)?(\d{1,2}月(\d{1,2}日)?)?|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}月\d{1,2}日",
    "age": r"9\d岁",
    "employer": r"[\u4e00-\u9fff]+(公司|厂)",
    "plate": r"[\u4e00-\u9fff][A-Z]\d{3}[A-Z]\d",
    "bank_card": r"\d{19}",
}


@pytest.fixture(scope="module")
def records() -> list[RawRecord]:
    return list(generate(1_000, seed=7))


@pytest.fixture(scope="module")
def diseases() -> dict[str, Disease]:
    return {disease.name: disease for disease in load_knowledge()}


def text_of(record: RawRecord, *kinds: EventKind) -> str:
    return "".join(event.text for event in record.events if event.kind in kinds)


def turns(record: RawRecord) -> list[Event]:
    return [event for event in record.events if event.kind is KIND.TURN]


def n_visible(record: RawRecord) -> int:
    return len(text_of(record, *VISIBLE))


def dump(records: list[RawRecord]) -> list[str]:
    return [
        "\n".join(
            [
                *(event.model_dump_json() for event in record.events),
                str((record.patient_key, record.encounter_key, record.row, dict(record.identifiers), record.spans)),
            ]
        )
        for record in records
    ]


# ---------------------------------------------------------------- determinism


def test_equal_seeds_give_equal_records_and_other_seeds_others() -> None:
    assert dump(list(generate(50, seed=3))) == dump(list(generate(50, seed=3)))
    assert dump(list(generate(50, seed=3))) != dump(list(generate(50, seed=4)))


def test_fewer_records_are_the_beginning_of_more() -> None:
    assert dump(list(generate(10, seed=1))) == dump(list(generate(100, seed=1)))[:10]


def test_records_come_one_by_one_and_none_for_zero() -> None:
    assert list(generate(0)) == []
    assert len(list(islice(generate(10**9), 3))) == 3


def test_every_disease_comes_once_before_any_comes_again(
    records: list[RawRecord], diseases: dict[str, Disease]
) -> None:
    n = len(diseases)
    for start in (0, n):
        names = [text_of(record, KIND.INITIAL_DIAGNOSIS) for record in records[start : start + n]]
        assert sorted(names) == sorted(diseases)


# ---------------------------------------------------------------- identifiers


def test_spans_hold_an_identifier_of_their_category(records: list[RawRecord]) -> None:
    for record in records:
        for span in record.spans:
            value = record.events[span.event].text[span.start : span.end]
            assert re.fullmatch(SHAPES[span.category], value), (span, value)


def test_every_record_holds_one_to_four_planted_identifiers_in_order(records: list[RawRecord]) -> None:
    for record in records:
        assert 1 <= len(record.spans) <= 4
        places = [(span.event, span.start, span.end) for span in record.spans]
        assert places == sorted(places)
        assert all(a[2] <= b[1] for a, b in pairwise(places) if a[0] == b[0])


def test_every_category_is_planted(records: list[RawRecord]) -> None:
    assert {span.category for record in records for span in record.spans} == set(SHAPES)


def test_no_structured_identifier_stands_outside_a_span(records: list[RawRecord]) -> None:
    for record in records:
        values = [value for given in record.identifiers.values() for value in given]
        for i, event in enumerate(record.events):
            covered = [(span.start, span.end) for span in record.spans if span.event == i]
            for value in values:
                for match in re.finditer(re.escape(value), event.text):
                    assert any(a <= match.start() and match.end() <= b for a, b in covered), (record.row, i)


def test_ages_of_ninety_and_more_are_identifiers(records: list[RawRecord]) -> None:
    aged = [record for record in records if re.search("9[0-9]岁", text_of(record, KIND.DEMOGRAPHICS))]
    assert aged
    for record in aged:
        assert [span.category for span in record.spans].count("age") == 1
        assert not re.search(r"9\d岁", "".join(e.text for e in record.events if e.kind is not KIND.DEMOGRAPHICS))


def test_every_record_has_structured_identifiers(records: list[RawRecord]) -> None:
    for record in records:
        assert {"name", "phone", "id_card", "medical_number", "address"} <= set(record.identifiers)


def test_identity_cards_are_mostly_valid_and_never_of_a_real_region(records: list[RawRecord]) -> None:
    weights = [2**place % 11 for place in range(17, 0, -1)]  # GB 11643: weight of a place is 2^place mod 11
    kinds: Counter[str] = Counter()
    for record in records:
        (card,) = record.identifiers["id_card"]
        is_male = text_of(record, KIND.DEMOGRAPHICS).count("男，") > 0
        assert card[2:4] == "99"
        assert int(card[14 if len(card) == 15 else 16]) % 2 == is_male
        if len(card) == 15:
            kinds["old"] += 1
            continue
        total = sum(int(digit) * weight for digit, weight in zip(card, weights, strict=False))
        total += 10 if card[17] == "X" else int(card[17])
        kinds["valid" if total % 11 == 1 else "wrong"] += 1
    assert kinds["valid"] > 850
    assert kinds["old"] > 5
    assert kinds["wrong"] > 5


def test_bank_cards_fail_luhn_and_so_are_nobodys(records: list[RawRecord]) -> None:
    cards = [
        record.events[span.event].text[span.start : span.end]
        for record in records
        for span in record.spans
        if span.category == "bank_card"
    ]
    for card in cards:
        total = sum(int(d) if i % 2 == 0 else sum(divmod(2 * int(d), 10)) for i, d in enumerate(reversed(card)))
        assert total % 10 != 0


def test_templates_can_be_held_out() -> None:
    only = [Template(KIND.DEMOGRAPHICS, "after", "，手机{phone}")]
    planted = {span.category for record in generate(100, seed=2, templates=only) for span in record.spans}
    assert planted <= {"phone", "age"}
    assert "phone" in planted


def test_every_template_can_be_rendered() -> None:
    seen = "\n".join(event.text for record in generate(4_000, seed=11) for event in record.events)
    for template in TEMPLATES:
        literals = [re.escape(part) for part in re.split(r"\{\w+\}", template.text)]
        assert re.search("[^\n]+?".join(literals), seen), template.text


def test_a_template_with_an_unknown_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="nickname"):
        Planter([Template(KIND.DEMOGRAPHICS, "after", "，小名{nickname}")])


# ---------------------------------------------------------------- patients and encounters


def test_about_a_tenth_are_later_encounters_of_the_same_patient(records: list[RawRecord]) -> None:
    first: dict[str, RawRecord] = {}
    n_later = 0
    for record in records:
        earlier = first.setdefault(record.patient_key, record)
        if earlier is record:
            assert record.patient_key == f"synthetic-{record.row}"
            continue
        n_later += 1
        assert dict(earlier.identifiers) == dict(record.identifiers)
        assert earlier.encounter_key != record.encounter_key
        ages = [int(re.search(r"(\d+)岁", text_of(r, KIND.DEMOGRAPHICS))[1]) for r in (earlier, record)]  # type: ignore[index]
        assert 0 <= ages[1] - ages[0] <= 1
        sexes = {re.search("男|女", text_of(r, KIND.DEMOGRAPHICS).split("岁")[0][-6:])[0] for r in (earlier, record)}  # type: ignore[index]
        assert len(sexes) == 1
    assert 70 <= n_later <= 130


def test_sex_and_age_fit_the_disease(records: list[RawRecord], diseases: dict[str, Disease]) -> None:
    for record in records:
        disease = diseases[text_of(record, KIND.INITIAL_DIAGNOSIS)]
        sex, age = re.search(r"([男女])，(\d+(?=岁)|(?=\d+个月))", text_of(record, KIND.DEMOGRAPHICS)).groups()  # type: ignore[union-attr]
        assert disease.sex in ("any", "male" if sex == "男" else "female")
        assert disease.ages[0] <= int(age or 0) <= disease.ages[1] or int(age) >= 90


def test_records_say_that_they_are_synthetic(records: list[RawRecord]) -> None:
    assert [record.row for record in records] == list(range(1, 1_001))
    for record in records:
        assert record.is_synthetic
        assert (record.language, record.license, record.caveats) == ("zh", "Apache-2.0", ("synthetic record",))


# ---------------------------------------------------------------- what a record says


def test_events_stand_in_the_order_of_time_and_of_kinds(records: list[RawRecord]) -> None:
    for record in records:
        times = [event.time for event in record.events]
        assert None not in times
        assert times == sorted(times)  # type: ignore[type-var]
        ranks = [event.kind.rank for event in record.events if not event.text.startswith("随访")]
        assert ranks == sorted(ranks)
        assert {event.kind for event in record.events} >= ALWAYS


def test_lengths_keep_to_the_budget(records: list[RawRecord]) -> None:
    for record in records[:300]:
        assert 100 <= n_visible(record) <= 240
        assert len(text_of(record, KIND.INITIAL_DIAGNOSIS)) <= 20
        assert 2 <= text_of(record, KIND.EXAMINATION_ORDER).count("、") + 1 <= 4
        assert len(text_of(record, KIND.BASIS)) <= 60
        assert len(text_of(record, KIND.DIFFERENTIAL)) <= 50
        assert len(text_of(record, KIND.TREATMENT)) <= 70
        if turns(record):
            assert 70 <= len(text_of(record, KIND.TURN)) <= 160
    assert 120 <= sorted(map(n_visible, records[:300]))[150] <= 230


def test_two_fifths_open_with_a_short_dialogue_that_ends_in_an_assertion(records: list[RawRecord]) -> None:
    with_dialogue = [record for record in records if turns(record)]
    assert 340 <= len(with_dialogue) <= 460
    for record in with_dialogue:
        speakers = [turn.speaker for turn in turns(record)]
        assert len(speakers) in (6, 8)
        assert speakers == ["patient", "doctor"] * (len(speakers) // 2)
        assert not turns(record)[-1].text.endswith("？")
        assert all(turn.text.endswith("？") for turn in turns(record)[1:-1:2])


def test_dialogue_and_present_illness_tell_the_same_findings_and_denials(
    records: list[RawRecord], diseases: dict[str, Disease]
) -> None:
    for record in records:
        if not turns(record):
            continue
        disease = diseases[text_of(record, KIND.INITIAL_DIAGNOSIS)]
        said, written = text_of(record, KIND.TURN), text_of(record, KIND.PRESENT_ILLNESS)
        complaint = text_of(record, KIND.CHIEF_COMPLAINT)
        assert complaint in said
        n_told = 0
        for finding in disease.findings:
            fact = finding.record.removeprefix("伴")
            is_written = fact in written and fact not in complaint
            assert not is_written or finding.patient in said, (record.row, finding)
            n_told += is_written
        for denial in disease.denied:  # asked in plain words or in the record's own
            asked = denial.question[:-1] in said or denial.record.lstrip("无否认").removeprefix("明显") in said
            assert denial.record not in written or asked, (record.row, denial)
        assert n_told >= 2


def test_every_number_of_the_basis_stands_in_an_earlier_event(records: list[RawRecord]) -> None:
    n_numbers = 0
    for record in records:
        place = next(i for i, event in enumerate(record.events) if event.kind is KIND.BASIS)
        earlier = set(re.findall(r"\d+(?:\.\d+)?", " ".join(event.text for event in record.events[:place])))
        numbers = re.findall(r"\d+(?:\.\d+)?", record.events[place].text)
        assert set(numbers) <= earlier
        n_numbers += len(numbers)
    assert n_numbers > 500


def test_the_results_are_those_of_the_examinations_ordered(records: list[RawRecord]) -> None:
    for record in records:
        results = text_of(record, KIND.AUXILIARY_EXAMINATION)
        for name in text_of(record, KIND.EXAMINATION_ORDER).split("、"):
            assert f"{name}：" in results


def test_a_plan_tells_no_outcome(records: list[RawRecord]) -> None:
    for record in records:
        assert not re.search("好转|痊愈|出院|缓解", text_of(record, KIND.TREATMENT))


def test_the_number_of_an_item_never_runs_into_a_dose(records: list[RawRecord]) -> None:
    for record in records:
        items = re.split("[；。]", text_of(record, KIND.TREATMENT))
        assert not any(re.match(r"[123]\.\d", item) for item in items) or not items[0].startswith("1.")


def test_no_slot_is_left_open(records: list[RawRecord]) -> None:
    for record in records:
        for event in record.events:
            assert not re.search(r"[{}]|，，|。。|，。|：。|示见|None", event.text), event.text


def test_only_inpatients_have_a_course_and_its_times_are_days_later(
    records: list[RawRecord], diseases: dict[str, Disease]
) -> None:
    settings: Counter[bool] = Counter()
    for record in records:
        setting = diseases[text_of(record, KIND.INITIAL_DIAGNOSIS)].setting
        late = [event.time for event in record.events if event.kind in (KIND.COURSE, KIND.DISCHARGE_SUMMARY)]
        assert late == [] or text_of(record, KIND.FINAL_DIAGNOSIS)
        settings[bool(late)] += 1
        assert len(late) == (2 if setting == "inpatient" else 0) or setting == "either"
        assert all(time is not None and time > 2 * 24 * 60 for time in late)
    assert min(settings.values()) > 50


# ---------------------------------------------------------------- knowledge


def test_the_packaged_knowledge_covers_a_hospital() -> None:
    diseases = load_knowledge()
    assert len(diseases) >= 60
    assert len({disease.department for disease in diseases}) >= 12


@pytest.mark.parametrize("path", sorted(KNOWLEDGE.glob("*.toml")), ids=lambda path: path.stem)
def test_every_knowledge_file_is_sound(path: Path) -> None:
    assert read_knowledge(path)
    assert "medical advice" in path.read_text(encoding="utf-8").split("department", 1)[0]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("key_examination = 1", "key_examination = 7", "diseases.0'.*not an index"),
        ("ages = [20, 60]", "ages = [60, 20]", "'ages' is not"),
        ("ages = [20, 60]", "age = [60, 20]", "diseases.0.age"),
        ("{118-145}", "{118-}", "diseases.0.examinations.0"),
        ("上腹部隐痛{duration}", "上腹部隐痛", "diseases.0.complaints.0"),
        ("有没有吐血或者拉黑便？", "有没有吐血", "diseases.0.denied.0.question"),
        ("规律饮食，戒烟酒", "好转后停药", "tells an outcome"),
        ("[[diseases]]", "[[diseases", "not valid TOML"),
    ],
)
def test_a_broken_knowledge_file_is_named_with_its_field(tmp_path: Path, old: str, new: str, problem: str) -> None:
    sound = (KNOWLEDGE / "gastroenterology.toml").read_text(encoding="utf-8")
    assert old in sound
    broken = tmp_path / "broken.toml"
    broken.write_text(sound.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=f"broken.toml.*{problem}"):
        read_knowledge(broken)
