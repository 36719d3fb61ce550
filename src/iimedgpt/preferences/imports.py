"""Preference pairs from elsewhere: TRL, LLaMA-Factory, scored completions, MedicalGPT, PULSE's judged answers.

A row that is no pair is a counted reason; a line that is no JSON object names file and line. Imports
have general prompts of their own and no record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from iimedgpt import io
from iimedgpt.config import PairImport, RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.preferences.filters import is_held_out, prompt_key
from iimedgpt.text import content_id, normalise
from iimedgpt.types import ROLES_ELSEWHERE, Message, PreferencePair

_SCORES = ("overall_score", "score", "fine-grained_score", "rating")  # of a completion, the first one that is there
_VERDICT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[ ,，]\s*(\d+(?:\.\d+)?)\s*(?:\n|$)")


@dataclass(frozen=True)
class Row:
    """One pair of a file, or the reason why there is none."""

    number: int  # line, from 1
    prompt: tuple[Message, ...] = ()
    chosen: str = ""
    rejected: str = ""
    gap: float | None = None
    reason: str | None = None


Rows = Iterator[Row]


def origin(source: PairImport) -> str:
    """What the pairs of a file are counted under."""
    return source.name or Path(source.path).stem


def files(config: RunConfig) -> dict[str, Path]:
    """Files of all imports, by a name of their own.

    Raises:
        ConfigError: two imports of one name, or judged answers without their verdicts.
    """
    found: dict[str, Path] = {}
    for source in config.pairs.imports:
        name = f"import:{origin(source)}"
        if name in found:
            raise ConfigError(f"pairs.imports: two are called '{origin(source)}'", hint='name = "…" tells them apart')
        found[name] = config.data_path(source.path)
        if source.format == "pulse":
            if source.verdicts is None:
                raise ConfigError(f"pairs.imports: '{origin(source)}' has no verdicts", hint='verdicts = "FILE"')
            found[f"{name}:verdicts"] = config.data_path(source.verdicts)
    return found


def read_import(source: PairImport, config: RunConfig) -> Iterator[PreferencePair | tuple[str, str]]:
    """Pairs of a file in its order, and ``(file:line, reason)`` of rows that are none.

    Raises:
        DataError: the file is missing or broken, or no row of it is a pair.
    """
    path = config.data_path(source.path)
    rows: Rows
    if source.format == "pulse":
        rows = _read_pulse(path, config.data_path(str(source.verdicts)), source.n_max)
    else:
        rows = (
            row
            for number, value in islice(io.read_json_lines(path), source.n_max)
            for row in _READERS[source.format](number, value)
        )
    is_usable = False
    for row in rows:
        reason = row.reason or _reason(row, source)
        if reason is not None:
            yield f"{origin(source)}:{row.number}", reason
            continue
        is_usable = True
        yield _pair(row, source, config)
    if not is_usable:
        raise DataError("no usable row", path=path, expected=f"preference pairs in the format '{source.format}'")


def _reason(row: Row, source: PairImport) -> str | None:
    if not row.prompt or row.prompt[-1].role != "user" or not row.prompt[-1].content:
        return "no_prompt"
    if not row.chosen or not row.rejected:
        return "empty_answer"
    if row.gap is not None and row.gap < source.min_score_gap:
        return "score_gap"
    if max(len(row.chosen), len(row.rejected), sum(len(m.content) for m in row.prompt)) > source.max_chars:
        return "too_long"
    return None


def _pair(row: Row, source: PairImport, config: RunConfig) -> PreferencePair:
    key = prompt_key(row.prompt)
    is_test = source.is_out_of_distribution or is_held_out(key, config.pairs.import_test_frac, config.seed)
    return PreferencePair(
        pair_id=content_id("pair", "import", key, row.chosen, row.rejected),
        prompt=row.prompt,
        chosen=row.chosen,
        rejected=row.rejected,
        source="import",
        group_id=f"prompt:{key}",
        split="test" if is_test else "train",
        from_ids=(f"{origin(source)}:{row.number}",),
        origin=origin(source),
        score_gap=row.gap,
        is_out_of_distribution=source.is_out_of_distribution,
    )


def _messages(value: Any, role: str = "role", content: str = "content") -> tuple[Message, ...]:
    """Chat messages; none where anything in them is not as it should be."""
    if isinstance(value, str):
        return (Message(role="user", content=normalise(value)),)
    if not isinstance(value, list):
        return ()
    messages = []
    for turn in value:
        name = ROLES_ELSEWHERE.get(str(turn.get(role))) if isinstance(turn, dict) else None
        if name is None or not isinstance(turn.get(content), str):
            return ()
        messages.append(Message(role=name, content=normalise(turn[content])))
    return tuple(messages)


def _answer(value: Any, content: str = "content") -> str:
    """An answer as text, as one message, or as a list that ends with one."""
    if isinstance(value, list) and value:
        value = value[-1]
    if isinstance(value, dict):
        value = value.get(content)
    return normalise(value) if isinstance(value, str) else ""


def _trl(number: int, row: Mapping[str, Any]) -> Rows:
    """prompt, chosen, rejected: plain, conversational, or with the prompt inside both answers."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    prompt = _messages(row.get("prompt"))
    if "prompt" not in row and isinstance(chosen, list) and isinstance(rejected, list):
        prompt = _messages(chosen[:-1])
        if prompt != _messages(rejected[:-1]):
            yield Row(number, reason="two_prompts")
            return
    yield Row(number, prompt, _answer(chosen), _answer(rejected))


def _llamafactory(number: int, row: Mapping[str, Any]) -> Rows:
    """sharegpt: conversations with chosen and rejected; alpaca: instruction and input."""
    if "conversations" in row:
        prompt = _messages(row["conversations"], "from", "value")
        if isinstance(row.get("system"), str) and row["system"]:
            prompt = (Message(role="system", content=normalise(row["system"])), *prompt)
    else:
        prompt = _messages("\n".join(str(row[key]) for key in ("instruction", "input") if row.get(key)))
    yield Row(number, prompt, _answer(row.get("chosen"), "value"), _answer(row.get("rejected"), "value"))


def _medicalgpt(number: int, row: Mapping[str, Any]) -> Rows:
    chosen, rejected = _answer(row.get("response_chosen")), _answer(row.get("response_rejected"))
    yield Row(number, _messages(row.get("question")), chosen, rejected)


def _ultrafeedback(number: int, row: Mapping[str, Any]) -> Rows:
    """Completions with scores: the best one over each that is strictly below; equal scores give nothing."""
    completions = row.get("completions")
    scored = [_scored(item) for item in completions] if isinstance(completions, list) else []
    known = [item for item in scored if item is not None]
    if len(known) < 2:
        yield Row(number, reason="no_scores")
        return
    prompt = _messages(row.get("instruction", row.get("prompt")))
    best_score, best = max(known, key=lambda item: item[0])
    for score, text in known:
        if score < best_score:
            yield Row(number, prompt, best, text, best_score - score)
        elif text != best:
            yield Row(number, reason="tie")


def _scored(completion: Any) -> tuple[float, str] | None:
    if not isinstance(completion, dict):
        return None
    for name in _SCORES:
        score = completion.get(name)
        if isinstance(score, int | float) and not isinstance(score, bool):
            return float(score), _answer(completion.get("response", completion.get("content")))
    return None


_READERS: Mapping[str, Callable[[int, Mapping[str, Any]], Rows]] = {
    "trl": _trl,
    "llamafactory": _llamafactory,
    "ultrafeedback": _ultrafeedback,
    "medicalgpt": _medicalgpt,
}


def _read_pulse(path: Path, verdicts: Path, n_max: int | None) -> Rows:
    """Two answers a row, and row by row beside them a judge's reply that starts with two scores.

    Raises:
        DataError: the files are not of one length, or a reply is about another question.
    """
    rows, replies = list(io.read_json_lines(path)), list(io.read_json_lines(verdicts))
    if len(rows) != len(replies):
        raise DataError(f"{len(replies)} verdicts for {len(rows)} rows", path=verdicts, expected="one a row")
    for (number, row), (line, reply) in islice(zip(rows, replies, strict=True), n_max):
        question = row.get("question")
        if isinstance(question, str) and json.dumps(question, ensure_ascii=False)[1:-1] not in _unescaped(reply):
            raise DataError("verdict on another question", path=verdicts, line=line, expected=f"that of row {number}")
        yield _pulse_row(number, row, _scores(reply))


def _unescaped(reply: Mapping[str, Any]) -> str:
    """The judge's request as JSON text without ASCII escapes."""
    try:
        return json.dumps(json.loads(str(reply.get("input"))), ensure_ascii=False)
    except json.JSONDecodeError:
        return ""


def _scores(reply: Mapping[str, Any]) -> Sequence[float]:
    try:
        content = str(json.loads(str(reply.get("output")))["content"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return ()
    found = _VERDICT.match(content)
    return (float(found[1]), float(found[2])) if found else ()


def _pulse_row(number: int, row: Mapping[str, Any], scores: Sequence[float]) -> Row:
    if not scores:
        return Row(number, reason="verdict_not_parsed")
    first, second = (_answer(row.get(f"model_{side}_predict_answer")) for side in "ab")
    if scores[0] == scores[1]:
        return Row(number, reason="tie")
    better, worse = (first, second) if scores[0] > scores[1] else (second, first)
    return Row(number, _messages(row.get("question")), better, worse, abs(scores[0] - scores[1]))
