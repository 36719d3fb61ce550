"""A tagger of the user's own: what it finds joins what the rules find."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from iimedgpt import chain
from iimedgpt.config import RecordsConfig, RunConfig
from iimedgpt.engine.folders import entity_labels, tagger_folder
from iimedgpt.entities import Entity, EntityKind, is_begin, kind_of
from iimedgpt.errors import DataError
from iimedgpt.io import Secret
from iimedgpt.records.convert import Converter, SourceRow
from iimedgpt.records.deid import Deidentifier
from iimedgpt.records.raw import RawRecord, Scrubbed
from iimedgpt.types import Event, EventKind

SECRET = Secret(b"unit tests only, no real secret!")


class ScriptedTagger:
    """Tags the words it is given, wherever they stand."""

    def __init__(self, **words: EntityKind) -> None:
        self.words = words
        self.n_calls = 0

    def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
        self.n_calls += 1
        return [
            [Entity(m.start(), m.end(), kind) for word, kind in self.words.items() for m in re.finditer(word, text)]
            for text in texts
        ]


def scrub(*texts: str, tagger: ScriptedTagger | None = None) -> Scrubbed:
    events = tuple(Event(kind=EventKind.NOTE, text=text) for text in texts)
    return Deidentifier(SECRET, tagger=tagger).deidentify(RawRecord("p", "e", 1, "zh", events))


def written(text: str, **words: EntityKind) -> str:
    return scrub(text, tagger=ScriptedTagger(**words)).events[0].text


def test_a_name_that_no_rule_finds_is_replaced_by_the_taggers_word() -> None:
    text = "昨晚仉督澹台陪着来的"
    assert scrub(text).events[0].text == text
    assert written(text, 仉督澹台="person") == "昨晚[姓名]陪着来的"


@pytest.mark.parametrize(
    ("text", "word", "kind", "expected"),
    [
        ("从样例沟来", "样例沟", "location", "从[地址]来"),
        ("在样例坊上班", "样例坊", "organisation", "在[单位]上班"),
        ("转自样例和睦医院的", "样例和睦医院", "organisation", "转自[医院]的"),
    ],
)
def test_each_kind_has_its_placeholder(text: str, word: str, kind: EntityKind, expected: str) -> None:
    assert written(text, **{word: kind}) == expected


def test_a_person_found_once_is_taken_out_of_the_whole_record() -> None:
    class First(ScriptedTagger):
        def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
            return [found if number == 0 else [] for number, found in enumerate(super().__call__(texts))]

    scrubbed = scrub("仉督澹台陪着", "问过仉督澹台了", tagger=First(仉督澹台="person"))
    assert [event.text for event in scrubbed.events] == ["[姓名]陪着", "问过[姓名]了"]
    assert scrubbed.counts == {"name": 2}


def test_a_piece_of_a_latin_word_takes_the_whole_word() -> None:
    assert written("由McAllister陪同", Mc="person") == "由[姓名]陪同"


def test_overlaps_with_a_rule_leave_no_piece() -> None:
    words: dict[str, EntityKind] = {"00样例沟": "location"}
    assert written("电话13800000000样例沟", **words) == "电话[电话]"


@pytest.mark.parametrize("word", ["120/80", "患者", " ", "，"])
def test_what_is_no_name_stays_whatever_the_tagger_says(word: str) -> None:
    text = "患者 血压120/80，平稳"
    words: dict[str, EntityKind] = {word: "person"}
    assert written(text, **words) == text


def test_a_tagger_is_called_once_a_record_and_sees_every_text() -> None:
    tagger = ScriptedTagger()
    scrub("甲乙", "丙丁", tagger=tagger)
    assert tagger.n_calls == 1


class FailingTagger:
    def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
        raise RuntimeError(texts[0])


def test_a_tagger_that_fails_quarantines_the_record_without_its_text() -> None:
    raw = RawRecord("p", "e", 1, "zh", (Event(kind=EventKind.NOTE, text="仉督澹台陪着"),))
    outcome = Converter(RecordsConfig(), SECRET, (), FailingTagger)(SourceRow("jsonl", "a.jsonl", "", raw))
    assert (outcome.reason, outcome.line) == ("deid_failed", "")


def test_the_tagger_is_made_where_it_is_used_and_once() -> None:
    made: list[ScriptedTagger] = []

    def make() -> ScriptedTagger:
        made.append(ScriptedTagger(仉督澹台="person"))
        return made[-1]

    converter = Converter(RecordsConfig(), SECRET, (), make)
    assert made == []
    raw = RawRecord("p", "e", 1, "zh", (Event(kind=EventKind.NOTE, text="仉督澹台陪着"),))
    lines = [converter(SourceRow("jsonl", "a.jsonl", "", raw)).line for _ in range(2)]
    assert len(made) == 1
    assert all("[姓名]陪着" in line for line in lines)


def test_a_model_that_does_not_load_stops_the_stage_instead_of_dropping_records() -> None:
    def broken() -> ScriptedTagger:
        raise DataError("the model does not load")

    raw = RawRecord("p", "e", 1, "zh", (Event(kind=EventKind.NOTE, text="咳嗽"),))
    with pytest.raises(DataError):
        Converter(RecordsConfig(), SECRET, (), broken)(SourceRow("jsonl", "a.jsonl", "", raw))


@pytest.mark.parametrize(
    ("label", "kind", "begins"),
    [
        ("B-PER", "person", True),
        ("I-PERSON", "person", False),
        ("S-LOC", "location", True),
        ("E-GPE", "location", False),
        ("ORG", "organisation", False),
        ("B_company", "organisation", True),
        ("name", "person", False),
        ("O", None, False),
        ("LABEL_0", None, False),
        ("B-DISEASE", None, True),
    ],
)
def test_labels_are_read_in_their_usual_spellings(label: str, kind: EntityKind | None, begins: bool) -> None:
    assert (kind_of(label), is_begin(label)) == (kind, begins)


def folder_with(tmp_path: Path, labels: dict[str, str], *without: str) -> Path:
    files = {"config.json": json.dumps({"id2label": labels}), "tokenizer.json": "{}", "model.safetensors": ""}
    for name, text in files.items():
        if name not in without:
            (tmp_path / name).write_text(text)
    return tmp_path


def test_labels_come_in_the_order_of_the_models_head(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"1": "B-PER", "0": "O", "2": "I-PER"})
    assert entity_labels(tagger_folder(str(folder))) == ["O", "B-PER", "I-PER"]


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused_before_the_stage_runs(tmp_path: Path, missing: str) -> None:
    folder = folder_with(tmp_path, {"0": "B-PER"}, missing)
    config = RunConfig(name="t", records=RecordsConfig(ner=str(folder)))
    with pytest.raises(DataError, match=r"records\.ner"):
        chain.stage_named("records").inputs(config)


@pytest.mark.parametrize("labels", [{"0": "O", "1": "B-DISEASE"}, {"0": "LABEL_0"}, {}])
def test_a_model_that_tags_no_persons_places_or_organisations_is_refused(
    tmp_path: Path, labels: dict[str, str]
) -> None:
    with pytest.raises(DataError, match="no label"):
        tagger_folder(str(folder_with(tmp_path, labels)))


def test_the_models_files_decide_the_stages_result(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"0": "B-PER"})
    inputs = chain.stage_named("records").inputs
    with_model = inputs(RunConfig(name="t", records=RecordsConfig(ner=str(folder))))
    without = inputs(RunConfig(name="t"))
    assert set(with_model) - set(without) == {"ner:config.json", "ner:tokenizer.json", "ner:model.safetensors"}


def test_there_is_no_tagger_by_default() -> None:
    assert chain.tagger_loader(RunConfig(name="t")) is None
