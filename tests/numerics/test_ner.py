"""A named-entity model from a folder: its labels at their places in the text, whatever the length."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from iimedgpt import chain, io, workers
from iimedgpt.config import RecordsConfig, RecordSource, RunConfig
from iimedgpt.engine import ner
from iimedgpt.engine.ner import load_tagger
from iimedgpt.entities import Entity
from iimedgpt.errors import DataError
from iimedgpt.run import execute
from iimedgpt.types import Record

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG"]
MEANS = {"仉": 1, "督": 2, "样": 3, "沟": 4, "厂": 5}  # character → label; all others are O
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *MEANS, *"咳嗽三天来自的，。"]
N_POSITIONS = 32


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])]
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)


def write_model(folder: Path, is_headless: bool = False) -> Path:
    """A random encoder of no layers: each token's label follows from its embedding alone, by least squares."""
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=N_POSITIONS,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    model: Any = BertForTokenClassification(config)
    embeddings = model.bert.embeddings
    with torch.no_grad():
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.zero_()
        hidden_VH = embeddings.LayerNorm(embeddings.word_embeddings.weight)
        target_VK = torch.zeros(len(VOCABULARY), len(LABELS))
        for number, word in enumerate(VOCABULARY):
            target_VK[number, MEANS.get(word, 0)] = 1.0
        model.classifier.weight.copy_(torch.linalg.lstsq(hidden_VH, target_VK).solution.T)
        model.classifier.bias.zero_()
    (model.bert if is_headless else model).save_pretrained(folder)
    if is_headless:
        config.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("ner"))


def test_entities_stand_at_the_characters_of_the_text(folder: Path) -> None:
    found = load_tagger(folder)(["仉督咳嗽 三天", "", "来自样沟的仉督，厂"])
    assert found == [
        [Entity(0, 2, "person")],
        [],
        [Entity(2, 4, "location"), Entity(5, 7, "person"), Entity(8, 9, "organisation")],
    ]


def test_a_new_beginning_is_a_new_entity_and_a_gap_ends_one(folder: Path) -> None:
    assert load_tagger(folder)(["仉督仉督，督"]) == [
        [Entity(0, 2, "person"), Entity(2, 4, "person"), Entity(5, 6, "person")]
    ]


@pytest.mark.parametrize("n_before", range(0, 200, 7))
def test_a_text_longer_than_the_model_is_read_to_its_end(folder: Path, n_before: int) -> None:
    text = "咳" * n_before + "仉督" + "嗽" * 100
    found = load_tagger(folder)([text])[0]
    assert Entity(n_before, n_before + 2, "person") in found
    assert all(n_before <= entity.start < entity.end <= n_before + 2 for entity in found)


def test_a_text_tokenised_in_pieces_keeps_its_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ner, "MAX_CHARS", 150)
    tagger = load_tagger(folder)
    for n_before in (84, 85, 86, 149, 150, 400):
        text = "咳" * n_before + "仉督" + "嗽" * 300
        assert Entity(n_before, n_before + 2, "person") in tagger([text])[0]


def test_the_batch_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["咳嗽仉督" * number for number in range(1, 30)]
    together = load_tagger(folder)(texts)
    monkeypatch.setattr(ner, "BATCH", 1)
    assert load_tagger(folder)(texts) == together


def test_nothing_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*where: object, **_: object) -> None:
        reached.append(where)
        raise OSError("no network")

    reached: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_tagger(folder)(["仉督"])
    assert reached == []


def test_no_code_of_the_folder_runs(tmp_path: Path) -> None:
    write_model(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForTokenClassification": "own.M"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(DataError, match="does not load"):
        load_tagger(tmp_path)


def test_a_model_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lack"):
        load_tagger(write_model(tmp_path, is_headless=True))


@pytest.mark.parametrize("damaged", ["model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_file_is_one_line(tmp_path: Path, damaged: str) -> None:
    file = write_model(tmp_path) / damaged
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="does not load"):
        load_tagger(tmp_path)


@pytest.mark.parametrize("n_alone", [10, 2])  # in this process, and in two others
def test_the_records_stage_removes_what_the_model_finds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_alone: int
) -> None:
    monkeypatch.setenv("IIMEDGPT_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setattr(workers, "N_ALONE", n_alone)
    n_rows = 6
    rows = [
        {"patient_id": f"p{number}", "sections": {"主诉": f"咳嗽{number}天", "现病史": f"仉督来，自样沟，{number}天"}}
        for number in range(1, n_rows + 1)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")

    def records(ner_folder: Path | None) -> list[Record]:
        config = RunConfig(
            name="t",
            workers=2,
            runs_dir=str(tmp_path / "runs"),
            data_dir=str(tmp_path),
            records=RecordsConfig(
                sources=(RecordSource(reader="jsonl", path="a.jsonl"),), ner=str(ner_folder) if ner_folder else None
            ),
        )
        execute(chain.stage_named("records"), config)
        return list(io.read_jsonl(config.run_dir / "records" / "records.jsonl", Record))

    plain, tagged = records(None), records(folder)
    assert len(plain) == len(tagged) == n_rows
    assert all("仉督" in record.events[-1].text for record in plain)
    assert [record.events[-1].text for record in tagged] == [
        f"[姓名]来，自[地址]，{number}天" for number in range(1, n_rows + 1)
    ]
