"""Export: a run's mixture and preference pairs in the formats that other trainers read.

An app beside the chain. The formats are pure functions from one row to one row; every exported row
keeps its ``id``, by which ``iimedgpt show RUN --instruction ID`` finds the record it came from.
``docs/exports.md`` says how each trainer is started on them, and where the formats are documented.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from iimedgpt import chain, gate, io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, StageNotReadyError
from iimedgpt.report.card import write_card
from iimedgpt.run import is_complete
from iimedgpt.types import Conversation, Message, PreferencePair, Role

FormatName = Literal["trl", "llamafactory", "ms-swift"]
INDEX = "exports.json"  # in the run's folder: which copies were made, and where they lie
Row = dict[str, Any]

_SHAREGPT: dict[Role, str] = {"system": "system", "user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class Layout:
    """One file a split: its name's ending, and how a conversation and a pair are written in it."""

    suffix: str
    conversation: Callable[[Conversation], Row]
    pair: Callable[[PreferencePair], Row]


def messages_of(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as Hugging Face, TRL and ms-swift write them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def messages_row(item: Conversation) -> Row:
    """TRL's conversational language modelling, and ms-swift's standard format."""
    return {"id": item.conversation_id, "messages": messages_of(item.messages)}


def trl_pair(pair: PreferencePair) -> Row:
    """TRL's conversational preference format with an explicit prompt."""
    return {
        "id": pair.pair_id,
        "prompt": messages_of(pair.prompt),
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
    }


def swift_pair(pair: PreferencePair) -> Row:
    """ms-swift's preference format: the chosen answer ends the messages."""
    chosen = {"role": "assistant", "content": pair.chosen}
    return {"id": pair.pair_id, "messages": [*messages_of(pair.prompt), chosen], "rejected_response": pair.rejected}


def alpaca_prompt(prompt: Sequence[Message]) -> Row:
    """LLaMA-Factory's alpaca columns for a prompt that ends with the user's message."""
    said = [message.content for message in prompt if message.role != "system"]
    turns = [list(turn) for turn in zip(said[:-1:2], said[1:-1:2], strict=True)]
    return {"system": _system(prompt), "history": turns, "instruction": said[-1], "input": ""}


def alpaca_row(item: Conversation) -> Row:
    return {"id": item.conversation_id, **alpaca_prompt(item.prompt), "output": item.response}


def alpaca_pair(pair: PreferencePair) -> Row:
    return {"id": pair.pair_id, **alpaca_prompt(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected}


def sharegpt_turns(messages: Sequence[Message]) -> Row:
    """LLaMA-Factory's sharegpt columns; the system prompt has a column of its own."""
    turns = [_turn(message) for message in messages if message.role != "system"]
    return {"system": _system(messages), "conversations": turns}


def sharegpt_row(item: Conversation) -> Row:
    return {"id": item.conversation_id, **sharegpt_turns(item.messages)}


def sharegpt_pair(pair: PreferencePair) -> Row:
    chosen, rejected = (_turn(Message(role="assistant", content=text)) for text in (pair.chosen, pair.rejected))
    return {"id": pair.pair_id, **sharegpt_turns(pair.prompt), "chosen": chosen, "rejected": rejected}


def _turn(message: Message) -> dict[str, str]:
    return {"from": _SHAREGPT[message.role], "value": message.content}


def _system(messages: Sequence[Message]) -> str:
    return next((message.content for message in messages if message.role == "system"), "")


LAYOUTS: Mapping[FormatName, tuple[Layout, ...]] = {
    "trl": (Layout("", messages_row, trl_pair),),
    "llamafactory": (Layout("_alpaca", alpaca_row, alpaca_pair), Layout("_sharegpt", sharegpt_row, sharegpt_pair)),
    "ms-swift": (Layout("", messages_row, swift_pair),),
}
SPLITS = ("train", "validation", "test")
PAIR_SPLITS = ("train", "test")


def dataset_info(run_name: str, files: Mapping[str, int]) -> Row:
    """LLaMA-Factory's ``dataset_info.json`` for the files that were written."""
    info: Row = {}
    for file in files:
        stem = file.removesuffix(".jsonl")
        is_pair, is_sharegpt = stem.startswith("preference_"), stem.endswith("_sharegpt")
        prompt = {"messages": "conversations"} if is_sharegpt else {"prompt": "instruction", "query": "input"}
        columns = {**prompt, "system": "system"}
        if not is_sharegpt:
            columns |= {"history": "history"} if is_pair else {"history": "history", "response": "output"}
        if is_pair:
            columns |= {"chosen": "chosen", "rejected": "rejected"}
        info[f"{run_name}_{stem}"] = {
            "file_name": file,
            "formatting": "sharegpt" if is_sharegpt else "alpaca",
            "columns": columns,
            **({"ranking": True} if is_pair else {}),
        }
    return info


def export(config: RunConfig, format_name: FormatName, folder: Path) -> dict[str, int]:
    """Write all splits, the pairs where there are any, and the data card; returns file → rows.

    Splits without a row get no file. What an earlier export of the same format left is replaced.

    Raises:
        StageNotReadyError: the mixture is not complete, or is not of this configuration.
        ConfigError: the folder is the run's own, or one of its stages'.
        LeakGateError: the records have not passed the leak gate.
    """
    _check_folder(config, folder)
    if not is_complete(chain.stage_named("mixture"), config):
        raise StageNotReadyError("export", "mixture")
    gate.check(config)
    has_pairs = is_complete(chain.stage_named("pairs"), config)
    _note(config, format_name, folder)  # first: a copy that was cut short is a copy too
    io.make_private_dir(folder)
    written: dict[str, int] = {}
    for layout in LAYOUTS[format_name]:
        for split in SPLITS:
            rows = map(layout.conversation, io.read_jsonl(config.run_dir / f"mixture/{split}.jsonl", Conversation))
            _write(folder / f"{split}{layout.suffix}.jsonl", rows, written)
        for split in PAIR_SPLITS:
            pairs = io.read_jsonl(config.run_dir / f"pairs/{split}.jsonl", PreferencePair) if has_pairs else iter(())
            _write(folder / f"preference_{split}{layout.suffix}.jsonl", map(layout.pair, pairs), written)
    if format_name == "llamafactory":
        io.write_json(folder / "dataset_info.json", dataset_info(config.name, written))
    write_card(config, config.run_dir, folder)
    return written


def _check_folder(config: RunConfig, folder: Path) -> None:
    stages = [(config.run_dir / stage.name).resolve() for stage in chain.stages()]
    place = folder.resolve()
    if place == config.run_dir.resolve() or any(place.is_relative_to(stage) for stage in stages):
        raise ConfigError("--out is a folder of the run's own", hint="--out DIR: a new folder")


def _write(path: Path, rows: Iterator[Row], written: dict[str, int]) -> None:
    n_rows = io.write_jsonl(path, rows)
    if n_rows:
        written[path.name] = n_rows
    else:
        path.unlink()  # loaders refuse an empty file


def _note(config: RunConfig, format_name: FormatName, folder: Path) -> None:
    """Remember where the copy lies, so that forgetting a patient can name it."""
    copies = [copy for copy in read_index(config.run_dir) if copy["folder"] != str(folder.resolve())]
    made = {"folder": str(folder.resolve()), "format": format_name, "exported_at": _now()}
    io.write_json(config.run_dir / INDEX, [*copies, made])


def read_index(run_dir: Path) -> list[dict[str, str]]:
    """The copies that were made of a run, oldest first."""
    path = run_dir / INDEX
    return list(io.read_json(path)) if path.exists() else []


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
