"""Question sets: public evaluation sets as published, a file of one's own, or the held-out records.

Conversations are asked turn by turn: every turn of the doctor is one question whose prompt holds the turns before
it as they were, which is how serving renders it. The answers of other models saved in a set come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.evaluation.judging.duels import Question
from iimedgpt.evaluation.judging.local_judges import REFERENCE_MODEL
from iimedgpt.judging_config import QuestionSet
from iimedgpt.text import content_id, normalise
from iimedgpt.types import ROLES_ELSEWHERE, Message

Rows = Sequence[Any]


@dataclass
class Asked:
    """A question set with the answers saved in it."""

    questions: list[Question] = field(default_factory=list)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)  # model → question_id → answer
    n_skipped: int = 0  # rows that are no question

    def add_answer(self, model: str, question_id: str, text: object) -> None:
        if isinstance(text, str) and text.strip():
            self.answers.setdefault(model, {}).setdefault(question_id, normalise(text))


def files(config: RunConfig) -> dict[str, Path]:
    """Files of all question sets, by a name of their own.

    Raises:
        ConfigError: two sets of one name, or one without its path.
    """
    found: dict[str, Path] = {}
    names = [source.name for source in config.judging.questions]
    if len(set(names)) != len(names):
        raise ConfigError("judging.questions: two sets have one name")
    for source in config.judging.questions:
        if source.format == "held_out":
            continue
        if source.path is None:
            raise ConfigError(f"judging.questions: '{source.name}' has no path", hint='path = "FILE"')
        path = config.data_path(source.path)
        paths = sorted(path.glob("*.json")) if path.is_dir() else [path]
        found |= {f"questions:{source.name}:{file.name}": file for file in paths}
    return found


def read_set(source: QuestionSet, config: RunConfig) -> Asked:
    """One set, at most ``n_max`` questions (of conversations: so many conversations), evenly spread.

    Raises:
        DataError: a file is missing or broken, or holds no question.
    """
    path = config.data_path(str(source.path))
    asked = _READERS[source.format](source, path)
    if not asked.questions:
        raise DataError("no question", path=path, expected=f"rows in the format '{source.format}'")
    groups = list(dict.fromkeys(question.group_id for question in asked.questions))
    kept = set(spread(groups, source.n_max))
    asked.questions = [question for question in asked.questions if question.group_id in kept]
    if source.use_reference:
        for question in asked.questions:
            asked.add_answer(REFERENCE_MODEL, question.question_id, question.reference)
    return asked


def spread(items: Sequence[str], n: int | None) -> list[str]:
    """So many items at even distances, in their order."""
    if n is None or n >= len(items):
        return list(items)
    return [items[place * len(items) // n] for place in range(n)]


def _question(source: QuestionSet, prompt: Sequence[Message], reference: object = "", group: str = "") -> Question:
    spoken = tuple(prompt)
    said = (part for message in spoken for part in (message.role, message.content))
    key = content_id("question", source.name, group, *said)
    return Question(
        question_id=key,
        question_set=source.name,
        group_id=group or f"question:{key}",
        prompt=spoken,
        reference=normalise(reference) if isinstance(reference, str) else "",
    )


def _user(text: str) -> Message:
    return Message(role="user", content=normalise(text))


def _pulse(source: QuestionSet, path: Path) -> Asked:
    """Pairs of answers: each question once, with every model's answer to it."""
    asked, seen = Asked(), dict[str, Question]()
    for _, row in io.read_json_lines(path):
        text = row.get("question")
        if not isinstance(text, str) or not text.strip():
            asked.n_skipped += 1
            continue
        question = _question(source, [_user(text)], row.get("reference_answer"))
        if question.question_id not in seen:
            seen[question.question_id] = question
            asked.questions.append(question)
        for side in ("a", "b"):
            if isinstance(name := row.get(f"model_{side}"), str) and name:
                asked.add_answer(name, question.question_id, row.get(f"model_{side}_predict_answer"))
    return asked


def _huatuo_instructions(source: QuestionSet, path: Path) -> Asked:
    """One file a model, the same questions in each."""
    asked, seen = Asked(), set[str]()
    for name, row in _rows_by_model(path):
        text = row.get("query")
        if not isinstance(text, str) or not text.strip():
            asked.n_skipped += 1
            continue
        question = _question(source, [_user(text)])
        if question.question_id not in seen:
            seen.add(question.question_id)
            asked.questions.append(question)
        asked.add_answer(name, question.question_id, row.get("model_output"))
    return asked


def _huatuo_conversations(source: QuestionSet, path: Path) -> Asked:
    """One file a model. The simulated patient spoke with each model in other words, so a model's
    conversation is a prompt of its own, on which only that model and those we ask can be compared."""
    asked = Asked()
    for name, row in _rows_by_model(path):
        _add_turns(asked, source, row.get("model_output"), f"{name}:{row.get('id')}", name)
    return asked


def _cmtmedqa(source: QuestionSet, path: Path) -> Asked:
    """Conversations with a doctor's reply to every turn; single questions (the safety probes) among them."""
    asked = Asked()
    for number, row in enumerate(_list(path)):
        text = row.get("instruction", row.get("instruct"))
        turns = [*(row.get("history") or []), [text, row.get("output")]]
        _add_turns(asked, source, turns, f"{number}", None)
    return asked


def _add_turns(asked: Asked, source: QuestionSet, turns: Any, group: str, model: str | None) -> None:
    """Every turn a question; what the doctor said is the reference, or the answer of the model named."""
    if not isinstance(turns, list) or not all(_is_turn(turn) for turn in turns):
        asked.n_skipped += 1
        return
    before: list[Message] = []
    for said, replied in turns:
        question = _question(source, [*before, _user(said)], replied if model is None else "", f"{source.name}:{group}")
        asked.questions.append(question)
        if model is not None:
            asked.add_answer(model, question.question_id, replied)
        before += [_user(said), Message(role="assistant", content=normalise(replied))]


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) and text.strip() for text in turn)


def _jsonl(source: QuestionSet, path: Path) -> Asked:
    """``question`` or ``messages``; perhaps ``reference``, ``group``, and ``id`` by which answers are found."""
    asked, seen = Asked(), set[str]()
    for _, row in io.read_json_lines(path):
        prompt = _messages(row.get("messages")) if "messages" in row else ()
        if isinstance(row.get("question"), str) and row["question"].strip():
            prompt = (_user(row["question"]),)
        if not prompt:
            asked.n_skipped += 1
            continue
        group = f"{source.name}:{row['group']}" if "group" in row else ""
        question = _question(source, prompt, row.get("reference"), group)
        if "id" in row:
            question = Question(
                str(row["id"]), source.name, group or str(row["id"]), question.prompt, question.reference
            )
        if question.question_id in seen:  # the same row twice
            asked.n_skipped += 1
            continue
        seen.add(question.question_id)
        asked.questions.append(question)
    return asked


def _messages(value: Any) -> tuple[Message, ...]:
    """Chat messages that end with the user's; none where anything in them is not as it should be."""
    messages = []
    for turn in value if isinstance(value, list) else ():
        role = ROLES_ELSEWHERE.get(str(turn.get("role"))) if isinstance(turn, dict) else None
        if role is None or not isinstance(turn.get("content"), str):
            return ()
        messages.append(Message(role=role, content=normalise(turn["content"])))
    return tuple(messages) if messages and messages[-1].role == "user" else ()


def _rows_by_model(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(the file's name, row) of every row of every file of a folder."""
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        yield from ((file.stem, row) for row in _list(file))


def _list(path: Path) -> list[Mapping[str, Any]]:
    rows = io.read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError("no list of objects", path=path, expected="a JSON list")
    return rows


_READERS: Mapping[str, Callable[[QuestionSet, Path], Asked]] = {
    "pulse": _pulse,
    "huatuo_instructions": _huatuo_instructions,
    "huatuo_conversations": _huatuo_conversations,
    "cmtmedqa": _cmtmedqa,
    "jsonl": _jsonl,
}
