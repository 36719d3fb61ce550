"""Dialogues: text with speakers' labels, or lists of turns (sharegpt, messages) → turns."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from iimedgpt.records.readers.cells import to_text
from iimedgpt.records.readers.rows import build_event
from iimedgpt.types import Event, EventKind, Speaker

# fmt: off
_SPEAKERS: Mapping[Speaker, tuple[str, ...]] = {
    "doctor": (
        "医生", "医师", "大夫", "主治医生", "主治医师", "住院医师", "接诊医生", "门诊医生", "医", "医生回复",
        "医生回答",        "doctor", "physician", "dr", "assistant", "gpt", "bot", "model",
    ),
    "patient": (
        "患者", "病人", "患儿", "患者本人", "患儿家长", "患者家属", "病人家属", "家属", "家长", "患", "用户",
        "患者提问",        "patient", "pt", "user", "human", "guest", "family",
    ),
    "reporter": ("检查员", "检验科", "检查结果", "报告", "reporter"),
}
# fmt: on
_SPEAKER_OF: dict[str, Speaker] = {label: speaker for speaker, labels in _SPEAKERS.items() for label in labels}
_LABEL = "|".join(sorted(map(re.escape, _SPEAKER_OF), key=len, reverse=True))
# 医生： at the start of a line, or after the end of the turn before it
_TURN = re.compile(
    rf"(?:(?:^|(?<=\n)|(?<=[。！？!?；;…~～\s]))[ \t\u3000]*)"
    rf"[\[【(（]?({_LABEL})(?:_?\d{{1,2}})?[\]】)）]?[ \t\u3000]*[:：]",
    re.IGNORECASE,
)
_SPEAKER_KEYS = ("from", "role", "speaker", "sender")
_TEXT_KEYS = ("value", "content", "text", "message", "utterance")


def parse_turns(value: object, counts: Counter[str]) -> list[Event]:
    """Turns in order; what has no known speaker is left out and counted."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, list | tuple):
        return [event for turn in value for event in _listed_turn(turn, counts)]
    return _labelled_turns(to_text(value), counts)


def _listed_turn(turn: object, counts: Counter[str]) -> list[Event]:
    if not isinstance(turn, Mapping):
        counts["malformed_turns"] += 1
        return []
    label = next((turn[key] for key in _SPEAKER_KEYS if key in turn), None)
    text = to_text(next((turn[key] for key in _TEXT_KEYS if key in turn), None))
    if label == "system":
        counts["system_turns"] += 1
        return []
    speaker = _SPEAKER_OF.get(label.strip().lower()) if isinstance(label, str) else None
    if speaker is None or not text:
        counts["malformed_turns"] += 1
        return []
    return build_event(EventKind.TURN, text, speaker)


def _labelled_turns(text: str, counts: Counter[str]) -> list[Event]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    marks = list(_TURN.finditer(text))
    counts["malformed_turns"] += bool(text[: marks[0].start()].strip() if marks else text)
    ends = [*(mark.start() for mark in marks[1:]), len(text)][: len(marks)]
    events: list[Event] = []
    for mark, end in zip(marks, ends, strict=True):
        said = text[mark.end() : end].strip()
        counts["empty_turns"] += not said
        events += build_event(EventKind.TURN, said, _SPEAKER_OF[mark[1].lower()])
    return events
