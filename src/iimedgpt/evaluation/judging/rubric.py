"""What a judge reads, and what is read out of its reply. The wording stands in ``rubrics/*.txt``.

The nine abilities are those of Zhongjing (arXiv 2308.03549: safety, professionalism, fluency, three
abilities each), in our words. A change of any wording is another ``VERSION``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from iimedgpt.text import content_id
from iimedgpt.types import Language, Message, Verdict

VERSION = "1"
LABELS = {"A": Verdict.WIN, "B": Verdict.LOSS, "C": Verdict.TIE}

_VERDICT = re.compile(r"\[\[\s*([ABCＡＢＣ])\s*\]\]")
_NARROW = str.maketrans("ＡＢＣ", "ABC")
_SPEAKERS: dict[Language, dict[str, str]] = {
    "zh": {"system": "说明", "user": "患者", "assistant": "医生"},
    "en": {"system": "Instructions", "user": "Patient", "assistant": "Doctor"},
}


@cache
def wording(name: str, language: Language) -> str:
    """One text of the folder, e.g. ``safety`` in ``zh``."""
    return (resources.files(__package__) / "rubrics" / f"{name}.{language}.txt").read_text(encoding="utf-8").strip()


@cache
def digest(criterion: str, language: Language) -> str:
    """Identifies the wording: a verdict given under another one is never taken from a cache."""
    return content_id(VERSION, *(wording(name, language) for name in ("frame", criterion, "reasoned", "verdict_only")))


def request(
    criterion: str,
    language: Language,
    prompt: Sequence[Message],
    first: str,
    second: str,
    nonce: str,
    closing: str = "reasoned",
) -> tuple[Message, ...]:
    """The judge's prompt. ``nonce`` must stand neither in the question nor in an answer;
    ``closing`` asks for a reason and a verdict, or with ``verdict_only`` for the verdict."""
    fields = {
        "nonce": nonce,
        "rubric": wording(criterion, language),
        "question": question_text(prompt, language),
        "first": first.strip(),
        "second": second.strip(),
        "closing": wording(closing, language),
    }
    # Not str.format: a second pass would take a brace in an answer for a field.
    text = re.sub(r"\{(\w+)\}", lambda match: fields[match[1]], wording("frame", language))
    return (Message(role="user", content=text),)


def question_text(prompt: Sequence[Message], language: Language) -> str:
    """A single question as it is; a conversation with its speakers named. System prompts are left out."""
    spoken = [message for message in prompt if message.role != "system"]
    if len(spoken) == 1:
        return spoken[0].content.strip()
    names = _SPEAKERS[language]
    return "\n".join(f"{names[message.role]}: {message.content.strip()}" for message in spoken)


def parse_verdict(reply: str) -> Verdict:
    """Verdict for the answer shown first: the last one in the reply counts, none is INVALID."""
    found = _VERDICT.findall(reply)
    return LABELS[found[-1].translate(_NARROW)] if found else Verdict.INVALID
