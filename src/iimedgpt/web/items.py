"""What is shown: a prompt taken apart into record and task, and its answers in a blind order."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, StageNotReadyError
from iimedgpt.instructions.timeline import NAMES
from iimedgpt.manifest import read_manifest
from iimedgpt.text import content_id, fold, is_chinese, unique
from iimedgpt.types import Candidate, Conversation, Language, Message

LETTERS = "ABCDEF"
NEXT = "next.jsonl"
_HEADS = "|".join(sorted({*NAMES["en"].values()}, key=len, reverse=True))
_SECTION = re.compile(rf"^(?:【(?P<zh>[^】\n]{{1,20}})】|(?P<en>{_HEADS}): )", re.M)
_TURN = re.compile(r"^(患者|医生|检查|Patient|Doctor|Tests)(?:：|: )", re.M)


@dataclass(frozen=True)
class Section:
    """One foldable part of a record; ``turns`` where it is a dialogue."""

    title: str  # empty: a dialogue
    text: str
    turns: tuple[tuple[str, str], ...] = ()  # speaker, words


@dataclass(frozen=True)
class Item:
    """One prompt with its answers. Its id hangs on all that is shown: other answers, other item."""

    item_id: str
    prompt_id: str
    group_id: str
    task: str | None
    prompt: tuple[Message, ...]
    answers: tuple[tuple[str, str], ...]  # id, text; of a comparison, the model's id

    @property
    def language(self) -> Language:
        return "zh" if is_chinese(self.prompt[-1].content) else "en"

    @property
    def visible(self) -> str:
        return "\n".join(message.content for message in self.prompt if message.role != "system")

    def shown(self, annotator_id: str, seed: int) -> tuple[tuple[str, str], ...]:
        """The answers in this clinician's own order: blind, and the same on every device."""
        order = list(self.answers)
        random.Random(f"{seed}:{annotator_id}:{self.item_id}").shuffle(order)
        return tuple(order)


def record_and_task(prompt: tuple[Message, ...]) -> tuple[tuple[Section, ...], str]:
    """(sections of the record in their order in time, the question asked).

    A prompt is the record, a blank line and the task, or the other way round; a conversation is
    its turns and, last, the question. Without a record all of it is the question.
    """
    *before, last = [message for message in prompt if message.role != "system"]
    parts = last.content.split("\n\n")
    of_record = [part for part in parts if _SECTION.match(part) or _TURN.match(part)]
    task = "\n\n".join(part for part in parts if part not in of_record)
    names = {"user": "Q", "assistant": "A"}
    turns = tuple((names[message.role], message.content) for message in before)
    spoken = (Section("", "", turns),) if turns else ()
    return (*spoken, *(section for part in of_record for section in _sections(part))), task


def _sections(text: str) -> Iterator[Section]:
    heads = list(_SECTION.finditer(text))
    yield from _dialogue(text[: heads[0].start()] if heads else text)
    for place, head in enumerate(heads):
        end = heads[place + 1].start() if place + 1 < len(heads) else len(text)
        body = text[head.end() : end].strip()
        first = _TURN.search(body)
        words, talk = (body[: first.start()], body[first.start() :]) if first else (body, "")
        if words.strip():
            yield Section(head["zh"] or head["en"], words.strip())
        yield from _dialogue(talk)


def _dialogue(text: str) -> Iterator[Section]:
    marks = list(_TURN.finditer(text))
    if not marks:
        if text.strip():
            yield Section("", text.strip())
        return
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    turns = tuple((mark[1], text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True))
    yield Section("", "", turns)


def ranking_items(config: RunConfig) -> list[Item]:
    """Prompts of the sample stage with two to six different answers.

    Prompts that the stage put forward (``sample.n_next``) stand first, the least decided first, each with
    the two answers between which the model decides least; then the others in the order sampled.

    Raises:
        StageNotReadyError: the sample stage is not complete.
    """
    for stage in ("mixture", "sample"):
        if read_manifest(config.run_dir / stage) is None:
            raise StageNotReadyError("rank", stage)
    candidates: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for candidate in io.read_jsonl(config.run_dir / "sample" / "candidates.jsonl", Candidate):
        candidates[candidate.prompt_id].append((candidate.candidate_id, candidate.text))
    files = [config.run_dir / "mixture" / f"{side}.jsonl" for side in ("train", "test")]
    asked = _conversations(files, candidates, config.rank.tasks)
    wanted = _put_forward(config.run_dir / "sample" / NEXT)
    items = []
    for prompt_id in unique([*wanted, *candidates]):
        if prompt_id in asked:
            closest = wanted.get(prompt_id, ())
            answers = sorted(candidates[prompt_id], key=lambda answer: answer[0] not in closest)
            reference = [(prompt_id, asked[prompt_id].response)] if config.rank.use_reference else []
            first, others = answers[: len(closest)], answers[len(closest) :]
            different = _different([*first, *reference, *others])[: config.rank.n_answers]
            if len(different) > 1:
                items.append(_item("rank", asked[prompt_id], different))
    return items[: config.rank.n_items]


def _put_forward(path: Path) -> dict[str, tuple[str, ...]]:
    """Prompts that active selection chose, in its order → the candidates it decides least between."""
    if not path.exists():
        return {}
    return {row["prompt_id"]: tuple(row["candidate_ids"]) for _, row in io.read_json_lines(path)}


def comparison_items(config: RunConfig) -> list[Item]:
    """Prompts that both of two models answered differently.

    Raises:
        ConfigError: not two files, or the two hold the same model.
    """
    if not config.rank.compare:
        return []
    if len(config.rank.compare) != 2:
        raise ConfigError("rank.compare names one file", hint="name two files of answers, one a model")
    answers = [
        {row.prompt_id: (row.model_id, row.text) for row in io.read_jsonl(config.data_path(file), Candidate)}
        for file in config.rank.compare
    ]
    models = [{model for model, _ in side.values()} for side in answers]
    if any(len(names) != 1 for names in models) or models[0] == models[1]:
        raise ConfigError("rank.compare: each file must hold one model's answers, and not the same one's")
    given = config.rank.compare_items
    file = config.data_path(given) if given else config.run_dir / "mixture" / "test.jsonl"
    asked = _conversations([file], answers[0], ())
    return [
        _item("compare", asked[prompt_id], [first, answers[1][prompt_id]])
        for prompt_id, first in answers[0].items()
        if prompt_id in asked and prompt_id in answers[1] and fold(first[1]) != fold(answers[1][prompt_id][1])
    ]


def _conversations(files: Iterable[Path], wanted: Iterable[str], tasks: tuple[str, ...]) -> dict[str, Conversation]:
    names = set(wanted)
    return {
        row.conversation_id: row
        for file in files
        for row in io.read_jsonl(file, Conversation)
        if row.conversation_id in names and (not tasks or row.task in tasks)
    }


def _different(answers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Answers that say the same but for punctuation are one; the first keeps its id."""
    by_text: dict[str, tuple[str, str]] = {}
    for answer_id, text in answers:
        if fold(text):
            by_text.setdefault(fold(text), (answer_id, text))
    return list(by_text.values())


def _item(kind: str, asked: Conversation, answers: list[tuple[str, str]]) -> Item:
    parts = [part for answer in answers for part in answer]
    return Item(
        item_id=content_id(kind, asked.conversation_id, *parts),
        prompt_id=asked.conversation_id,
        group_id=asked.group_id,
        task=asked.task,
        prompt=asked.prompt,
        answers=tuple(answers),
    )
