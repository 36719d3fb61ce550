"""What of a dialogue may be seen: the patient's and the reporter's turns and the doctor's questions.

A doctor who asserts (a diagnosis, advice, a treatment) tells the future, and so does a patient who
repeats it. Rules, applied turn by turn:

- of a doctor's turn only its questions stay; greetings and remarks carry nothing and go;
- a closing summary goes whole;
- after the first assertion, a patient's turn that acknowledges it ("谢谢医生的建议") goes;
- after the first *diagnosing* assertion, a patient's turn stays only where it answers a question
  and shares no four characters with what was asserted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from iimedgpt.clinical import drugs
from iimedgpt.text import fold, is_chinese, ngrams, sentences
from iimedgpt.types import Event

_NGRAM = {True: 4, False: 14}  # characters: by language, a phrase rather than a word

_SUMMARY = re.compile(
    r"#\s*(?:症状|诊断结果|诊断依据|治疗方案)\s*#|以下是.{0,16}总结|总结如下|finali[sz]e the note|"
    r"\bin summary\b|\bto summari[sz]e\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"[?？]|吗|(?<!没)什么|多久|几(?:天|次|年|岁|个)|哪|有没有|有无|是不是|是否|怎么样|如何|多少|"
    r"(?:请|麻烦)(?:您|你)?(?:先|再|详细|具体)*(?:描述|说|讲|告诉|介绍|回答)|描述一下|说一下|说说|"
    r"^\W*(?:and |so |okay |,)*(?:do|does|did|is|are|was|were|have|has|any|what|when|where|how|why|who|which|"
    r"tell me|describe)\b",
    re.IGNORECASE,
)
_DIAGNOSING = re.compile(
    r"诊断|确诊|疑似|怀疑|考虑|可能(?:是|为|患|有|得|存在|属于|由|还是)|患有|属于|符合|应该是|初步判断|引起的|"
    r"[炎癌瘤症]|综合征|溃疡|骨折|感染|出血|结石|梗死|过敏|"
    r"治疗|手术|服用|口服|吃点|用点|[吃用开]药|给[您你]开|处方|方案|住院|休息|避免|\[MASK\]|"
    r"\byou (?:may |might |probably |likely )?have\b|\blooks? like\b|\bi (?:think|believe|suspect)\b|"
    r"diagnos|consistent with|assessment|\bprescrib|\bstart (?:you|on)|\brecommend|\bmy plan\b|\btreat",
    re.IGNORECASE,
)
_ADVISING = re.compile(
    r"建议|需要|应该|最好|尽快|进行.{0,12}检查|做.{0,8}检查|检查一下|拍个?片|化验|注意|"
    r"\bwe(?:'ll| will| are going to)\b|\bi(?:'d like| would like| want) (?:you )?to\b|\border\b|\bshould\b",
    re.IGNORECASE,
)
# a question that asserts on the way; asking after the past is no assertion
_LEADING = re.compile(
    r"可能(?:是|为|患|得)|考虑(?!过)|诊断为|诊断是|疑似|怀疑|建议|需要(?:做|进行|手术|住院|治疗)|给[您你]开|应该是|"
    r"符合|\byou (?:may|might|probably) have\b|\bi (?:think|suspect)\b|\brecommend",
    re.IGNORECASE,
)
_PAST = re.compile(r"以前|之前|曾|既往|过[吗没?？]|过敏史|外院|当地|\bever\b|\bbefore\b|\bhistory of\b", re.IGNORECASE)
_ECHO = re.compile(
    r"医生.{0,3}(?:建议|说|让|要求|诊断|告诉)|检查员|谢谢|感谢|(?:按照?|遵[循从照]?)(?:[您你]|医)|医嘱|"
    r"[您你]的(?:建议|诊断|方案)|"
    r"我会.{0,12}(?:治疗|服|吃药|用药|检查|复查|手术|休息|注意|避免|配合|考虑|尽快|遵)|"
    r"\bthank|\bi(?:'ll| will) (?:follow|take|schedule|get|do)|\byou (?:said|recommended)",
    re.IGNORECASE,
)


class Stance(StrEnum):
    """What a doctor's sentence does."""

    QUESTION = "question"
    REMARK = "remark"
    ADVISING = "advising"
    DIAGNOSING = "diagnosing"


@dataclass(frozen=True)
class Turn:
    """A turn that may be seen and how early it is."""

    event: Event
    is_opening: bool  # up to the end of the patient's first words
    is_before_tests: bool  # before any assertion and any result


@dataclass
class Dialogue:
    """The visible turns, by the position of their events, and what was cut."""

    turns: dict[int, Turn] = field(default_factory=dict)
    n_cut: Counter[str] = field(default_factory=Counter)  # asserting, summary, echo, remark


def stance(sentence: str) -> Stance:
    """What one sentence of a doctor does; in doubt it asserts."""
    if _QUESTION.search(sentence):
        is_leading = _LEADING.search(sentence) and not _PAST.search(sentence)
        return Stance.DIAGNOSING if is_leading else Stance.QUESTION
    if _DIAGNOSING.search(sentence) or drugs(sentence):
        is_test_only = _ADVISING.search(sentence) and re.search(r"检查|化验|复查|以确认|以排除", sentence)
        strong = re.search(r"可能|考虑|诊断[为是]|患有|属于|符合|治疗|服用|手术|怀疑|疑似", sentence)
        return Stance.ADVISING if is_test_only and not strong else Stance.DIAGNOSING
    return Stance.ADVISING if _ADVISING.search(sentence) else Stance.REMARK


def is_summary(text: str) -> bool:
    """True for a closing summary of the visit."""
    return _SUMMARY.search(text) is not None


def read_dialogue(events: Sequence[tuple[int, Event]]) -> Dialogue:
    """The visible part of a dialogue.

    Args:
        events: (position in the record, turn) in order of time.
    """
    reader = _Reader()
    for position, event in events:
        reader.take(position, event)
    return reader.dialogue


class _Reader:
    """Reads a dialogue turn by turn and remembers what the doctor has given away."""

    def __init__(self) -> None:
        self.dialogue = Dialogue()
        self.asserted: set[str] = set()
        self.own_words: set[str] = set()
        self.has_asserted = self.has_diagnosed = self.has_results = False
        self.is_asked = True
        self.patient_turns, self.is_opening = 0, True

    def take(self, position: int, event: Event) -> None:
        if event.speaker == "doctor":
            self._doctor(position, event)
        elif event.speaker == "reporter":
            self.has_results = True
            self.is_opening = False
            self._show(position, event)
        else:
            self._patient(position, event)

    def _doctor(self, position: int, event: Event) -> None:
        self.is_opening = self.is_opening and self.patient_turns == 0
        self.is_asked = False
        if is_summary(event.text):
            self.has_asserted = self.has_diagnosed = True
            self._cut("summary", event.text)
            return
        parts = [(part, stance(part)) for part in sentences(event.text)]
        told = [part for part, kind in parts if kind in (Stance.ADVISING, Stance.DIAGNOSING)]
        asked = "".join(part for part, kind in parts if kind is Stance.QUESTION).strip()
        if told:
            self.has_asserted = True
            self.has_diagnosed |= any(kind is Stance.DIAGNOSING for _, kind in parts)
            self._cut("asserting", *told)
        elif not asked:
            self._cut("remark")
        if asked:
            self.is_asked = True
            self._show(position, event.model_copy(update={"text": asked}))

    def _patient(self, position: int, event: Event) -> None:
        grams = _phrases(event.text)
        is_echo = self.has_asserted and _ECHO.search(event.text) is not None
        if self.has_diagnosed:
            is_echo |= not self.is_asked or bool((grams - self.own_words) & self.asserted)
        if is_echo:
            self._cut("echo")
            return
        self.patient_turns += 1
        self.own_words |= grams
        self._show(position, event)

    def _show(self, position: int, event: Event) -> None:
        is_early = not (self.has_asserted or self.has_results)
        self.dialogue.turns[position] = Turn(event, self.is_opening and is_early, is_early)

    def _cut(self, kind: str, *texts: str) -> None:
        self.dialogue.n_cut[kind] += 1
        for text in texts:
            self.asserted |= _phrases(text)


def _phrases(text: str) -> set[str]:
    folded = fold(text)
    n = _NGRAM[is_chinese(text)]
    return ngrams(folded, n) if len(folded) >= n else set()
