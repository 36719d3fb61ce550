"""Exports and the data card: each trainer's documented format, read back as its documentation says.

TRL: huggingface.co/docs/trl/dataset_formats. LLaMA-Factory: data/README.md of hiyouga/LLaMA-Factory.
ms-swift: docs/source_en/Customization/Custom-dataset.md of modelscope/ms-swift.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import gate, io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, StageNotReadyError
from iimedgpt.export import LAYOUTS, alpaca_prompt, dataset_info, export, read_index, swift_pair, trl_pair
from iimedgpt.report.card import _departments, _quantiles
from iimedgpt.report.lengths import EDGES, Panel, histogram, lengths
from iimedgpt.types import Conversation, Message, PreferencePair


def conversation(*turns: str, system: str = "sys") -> Conversation:
    """Turns of user and assistant after the system prompt; none where it is empty."""
    said = [Message(role=("user", "assistant")[i % 2], content=turn) for i, turn in enumerate(turns)]
    messages = ([Message(role="system", content=system)] if system else []) + said
    return Conversation(
        conversation_id="c" + "".join(turns), messages=messages, group_id="p", source="s", license="l", split="train"
    )


PAIR = PreferencePair(
    pair_id="p1",
    prompt=(Message(role="system", content="sys"), Message(role="user", content="问")),
    chosen="好",
    rejected="坏",
    source="rule",
    group_id="p",
    split="train",
)
CONVERSATIONS = (
    conversation("问", "答"),
    conversation("问1", "答1", "问2", "答2"),
    conversation("问", "答", system=""),
    conversation("问1", "答1", "问2", "答2", "问3", "答3"),
)


def said(messages: Any) -> list[tuple[str, str]]:
    """(role, text) of our own messages."""
    return [(message.role, message.content) for message in messages]


def read_as_llamafactory(row: dict[str, Any], described: dict[str, Any]) -> list[tuple[str, str]]:
    """(role, text) as LLaMA-Factory's documentation reads a row by its description in dataset_info.json."""
    columns = described["columns"]
    system = [("system", row[columns["system"]])] if row[columns["system"]] else []
    if described["formatting"] == "sharegpt":
        names = {"human": "user", "gpt": "assistant"}
        turns = [(names[turn["from"]], turn["value"]) for turn in row[columns["messages"]]]
    else:
        turns = []
        for asked, answered in row[columns["history"]]:
            turns += [("user", asked), ("assistant", answered)]
        parts = [row[columns[name]] for name in ("prompt", "query")]
        turns.append(("user", "\n".join(part for part in parts if part)))
        turns += [("assistant", row[columns["response"]])] if "response" in columns else []
    return system + turns


@pytest.mark.parametrize("layout", LAYOUTS["llamafactory"], ids=lambda layout: layout.suffix)
@pytest.mark.parametrize("item", CONVERSATIONS, ids=lambda item: str(len(item.messages)))
def test_llamafactory_reads_every_conversation_back(layout: Any, item: Conversation) -> None:
    described = dataset_info("run", {f"train{layout.suffix}.jsonl": 1})[f"run_train{layout.suffix}"]
    assert described.get("ranking", False) is False
    assert read_as_llamafactory(layout.conversation(item), described) == said(item.messages)


@pytest.mark.parametrize("layout", LAYOUTS["llamafactory"], ids=lambda layout: layout.suffix)
def test_llamafactory_reads_every_pair_back(layout: Any) -> None:
    described = dataset_info("run", {f"preference_train{layout.suffix}.jsonl": 1})
    described = described[f"run_preference_train{layout.suffix}"]
    row = layout.pair(PAIR)
    assert described["ranking"] is True
    assert read_as_llamafactory(row, described) == said(PAIR.prompt)
    answers = [row[described["columns"][name]] for name in ("chosen", "rejected")]
    if described["formatting"] == "sharegpt":
        assert answers == [{"from": "gpt", "value": "好"}, {"from": "gpt", "value": "坏"}]
    else:
        assert answers == ["好", "坏"]


def test_alpaca_puts_earlier_turns_into_the_history() -> None:
    assert alpaca_prompt(CONVERSATIONS[3].prompt) == {
        "system": "sys",
        "history": [["问1", "答1"], ["问2", "答2"]],
        "instruction": "问3",
        "input": "",
    }


def test_trl_and_swift_pairs_are_as_documented() -> None:
    prompt = [{"role": "system", "content": "sys"}, {"role": "user", "content": "问"}]
    chosen = {"role": "assistant", "content": "好"}
    assert trl_pair(PAIR) == {
        "id": "p1",
        "prompt": prompt,
        "chosen": [chosen],
        "rejected": [{"role": "assistant", "content": "坏"}],
    }
    assert swift_pair(PAIR) == {"id": "p1", "messages": [*prompt, chosen], "rejected_response": "坏"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run whose mixture and pairs are complete, and whose validation split is empty."""
    config = RunConfig(name="tiny", runs_dir=str(tmp_path / "runs"))
    rows = {"train": CONVERSATIONS, "validation": (), "test": CONVERSATIONS[:1]}
    for split, items in rows.items():
        io.write_jsonl(config.run_dir / f"mixture/{split}.jsonl", items)
    for split in ("train", "test"):
        io.write_jsonl(config.run_dir / f"pairs/{split}.jsonl", [PAIR])
    io.write_json(config.run_dir / "records" / gate.REPORT, {"gate": {"state": "passed"}})
    monkeypatch.setattr("iimedgpt.export.is_complete", lambda stage, _: stage.name in ("mixture", "pairs"))
    return config


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_export_holds_every_row_once_in_private_files(run: RunConfig, tmp_path: Path, name: Any) -> None:
    folder = tmp_path / "out"
    written = export(run, name, folder)
    for suffix in [layout.suffix for layout in LAYOUTS[name]]:
        assert written[f"train{suffix}.jsonl"] == 4
        assert written[f"test{suffix}.jsonl"] == written[f"preference_train{suffix}.jsonl"] == 1
        assert not (folder / f"validation{suffix}.jsonl").exists()  # loaders refuse an empty file
        ids = [row["id"] for _, row in io.read_json_lines(folder / f"train{suffix}.jsonl")]
        assert ids == [item.conversation_id for item in CONVERSATIONS]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    if name == "llamafactory":
        described = io.read_json(folder / "dataset_info.json")
        assert {entry["file_name"] for entry in described.values()} == set(written)
    assert [copy["folder"] for copy in read_index(run.run_dir)] == [str(folder)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_hugging_face_loads_every_file(run: RunConfig, tmp_path: Path, name: Any) -> None:
    datasets = pytest.importorskip("datasets", reason="comes with trl, of the extra 'dev'")
    written = export(run, name, tmp_path / "out")
    for file, n_rows in written.items():
        loaded = datasets.load_dataset(
            "json", data_files=str(tmp_path / "out" / file), split="train", cache_dir=str(tmp_path / "cache")
        )
        rows = [row for _, row in io.read_json_lines(tmp_path / "out" / file)]
        assert len(loaded) == n_rows
        assert [dict(row) for row in loaded] == rows


def test_an_export_of_an_unfinished_mixture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageNotReadyError):
        export(RunConfig(name="tiny", runs_dir=str(tmp_path)), "trl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_never_overwrites_a_stage(run: RunConfig) -> None:
    for folder in (run.run_dir, run.run_dir / "mixture", run.run_dir / "mixture" / "x"):
        with pytest.raises(ConfigError):
            export(run, "trl", folder)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_card_travels_with_the_export_and_holds_no_text_of_a_row(
    run: RunConfig, tmp_path: Path, language: str
) -> None:
    run = run.model_copy(update={"report": run.report.model_copy(update={"language": language})})
    export(run, "trl", tmp_path / "out")
    card = (tmp_path / "out" / "card.md").read_text()
    assert {"en": "# Data card: tiny", "zh": "# 数据卡: tiny"}[language] in card
    assert "![" in card
    assert "](lengths.svg)" in card
    figure = (tmp_path / "out" / "lengths.svg").read_text()
    assert all(text not in card + figure for text in ("问1", "答1"))


def test_departments_of_few_patients_are_not_told_apart() -> None:
    from collections import Counter

    counted: Counter[str | None] = Counter({"内科": 5, "眼科": 4, "外科": 9, None: 2})
    assert _departments(counted, "few", "unnamed") == [("外科", "9"), ("内科", "5"), ("1 × few", "—"), ("unnamed", "2")]


def test_quantiles_are_lengths_that_occur() -> None:
    assert _quantiles(list(range(100, 0, -1))) == "6 / 51 / 96 / 100"
    assert _quantiles([7]) == "7 / 7 / 7 / 7"


def test_the_figure_says_in_words_what_it_shows() -> None:
    assert EDGES[:3] == (0, 16, 32)
    assert histogram([0, 15, 16, 10_000])[:2] == [2, 1]
    assert histogram([0, 15, 16, 10_000])[-1] == 1
    figure = lengths("Lengths", [Panel("<Prompt>", [3, 20, 21])], "characters")
    assert "&lt;Prompt&gt;: 0–15 characters: 1; 16–31 characters: 2." in figure
    assert 'role="img" aria-labelledby="t d"' in figure
    assert json.dumps(figure)
