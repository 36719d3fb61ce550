"""What is visible at a task's branch point: the events before it, and nothing at or after it.

Order: by time where every event has one, by the canonical order of the kinds otherwise; kinds told
after the fact (course, final diagnosis, discharge summary) always last. A task's branch point is
the first event that holds its answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from iimedgpt.instructions.dialogue import Turn, read_dialogue
from iimedgpt.instructions.tasks import LATE_KINDS, Task
from iimedgpt.types import Event, EventKind, Language, Record

# any of these beside a dialogue: the record is written, the dialogue serves `record` only
_WRITTEN = frozenset({EventKind.PRESENT_ILLNESS, EventKind.PHYSICAL_EXAMINATION, EventKind.AUXILIARY_EXAMINATION})
NAMES: dict[Language, dict[EventKind, str]] = {
    "zh": {
        EventKind.DEMOGRAPHICS: "一般资料",
        EventKind.CHIEF_COMPLAINT: "主诉",
        EventKind.DEPARTMENT: "就诊科室",
        EventKind.TURN: "对话",
        EventKind.PRESENT_ILLNESS: "现病史",
        EventKind.PAST_HISTORY: "既往史",
        EventKind.PERSONAL_HISTORY: "个人史",
        EventKind.FAMILY_HISTORY: "家族史",
        EventKind.PHYSICAL_EXAMINATION: "体格检查",
        EventKind.EXAMINATION_ORDER: "检查项目",
        EventKind.AUXILIARY_EXAMINATION: "辅助检查",
        EventKind.INITIAL_DIAGNOSIS: "初步诊断",
        EventKind.BASIS: "诊断依据",
        EventKind.DIFFERENTIAL: "鉴别诊断",
        EventKind.TREATMENT: "治疗方案",
        EventKind.NOTE: "备注",
        EventKind.COURSE: "诊疗经过",
        EventKind.FINAL_DIAGNOSIS: "最后诊断",
        EventKind.DISCHARGE_SUMMARY: "出院小结",
    },
    "en": {
        EventKind.PRESENT_ILLNESS: "History of present illness",
        **{kind: kind.value.replace("_", " ").capitalize() for kind in EventKind if kind != "present_illness"},
    },
}
_SPEAKERS: dict[Language, dict[str, str]] = {
    "zh": {"patient": "患者", "doctor": "医生", "reporter": "检查"},
    "en": {"patient": "Patient", "doctor": "Doctor", "reporter": "Tests"},
}
_REFERRAL = re.compile(
    r"(?P<lead>拟(?:诊)?|(?<![可予加足所难])以|诊断为)\s*"
    r"(?:[\"“'‘](?P<quoted>[^\"“”'‘’\n。]{1,80})[\"”'’](?:诊断|为诊断)?[：:]?(?P<in>收[住入治](?:院|入院)?|住院|入院)"
    r"|[\"“'‘]?(?P<bare>[^\"“”'‘’\n。；;，,]{1,60}?)[：:]?(?P<verb>收[住入治](?:院|入院)?))"
)
_REFERRAL_EN = re.compile(
    r"(?P<lead>(?:admitted|referred|sent)\b[^.\n]{0,30}?\bwith an? "
    r"(?:(?:presumptive|provisional|working|suspected) )?diagnosis of )(?P<what>[^.,;\n]{1,60})",
    re.IGNORECASE,
)
_COMPLAINT = re.compile(r"[\d一二两三四五六七八九十半]+\s*[余多来几]?个?(?:年|月|周|天|日|小时|分钟)")


@dataclass(frozen=True)
class Item:
    """One event in its place; ``turn`` for the turns of a dialogue."""

    event: Event
    turn: Turn | None = None


@dataclass(frozen=True)
class Trunk:
    """A record in order of time, with everything that no task may see cut or masked."""

    language: Language
    items: tuple[Item, ...]
    n_cut: Counter[str]  # turns by why they were cut
    n_masked: int  # referral phrases that name the diagnosis

    @property
    def is_written(self) -> bool:
        """True where sections serve the tasks, not the dialogue."""
        kinds = {item.event.kind for item in self.items}
        return bool(kinds & _WRITTEN) or EventKind.TURN not in kinds

    def without_oldest_turns(self, n: int) -> Trunk:
        """The trunk with its first n visible turns gone."""
        places = [i for i, item in enumerate(self.items) if item.turn][:n]
        return replace(self, items=tuple(item for i, item in enumerate(self.items) if i not in places))


def order_events(events: Sequence[Event]) -> list[Event]:
    """Events in order of time; the late kinds last."""
    is_timed = all(event.time is not None for event in events)
    first_words = set() if is_timed else _first_words(events)

    def key(place: int) -> tuple[bool, int, int, bool, int]:
        event, kind = events[place], events[place].kind
        is_turn = kind is EventKind.TURN
        if is_turn and not is_timed:  # what is known of a patient stands before the rest of a dialogue
            kind = EventKind.CHIEF_COMPLAINT if place in first_words else EventKind.FAMILY_HISTORY
        return (event.kind in LATE_KINDS, (event.time or 0) if is_timed else 0, kind.rank, is_turn, place)

    return [events[place] for place in sorted(range(len(events)), key=key)]


def _first_words(events: Sequence[Event]) -> set[int]:
    """Places of the turns up to the patient's first words: a complaint, though nobody wrote it down."""
    places: set[int] = set()
    has_spoken = False
    for place, event in enumerate(events):
        if event.kind is EventKind.TURN:
            if event.speaker == "reporter" or (has_spoken and event.speaker != "patient"):
                break
            has_spoken |= event.speaker == "patient"
            places.add(place)
    return places


def build_trunk(record: Record) -> Trunk:
    """The record in order, referral phrases masked, the dialogue reduced to what may be seen."""
    ordered = order_events(record.events)
    dialogue = read_dialogue([(i, event) for i, event in enumerate(ordered) if event.kind is EventKind.TURN])
    items, n_masked = [], 0
    for i, event in enumerate(ordered):
        turn = dialogue.turns.get(i)
        if event.kind is EventKind.TURN and turn is None:
            continue
        shown = turn.event if turn else event
        text, n = mask_referrals(shown.text)
        n_masked += n
        items.append(Item(shown.model_copy(update={"text": text}) if n else shown, turn))
    return Trunk(record.language, tuple(items), dialogue.n_cut, n_masked)


def visible(trunk: Trunk, task: Task) -> tuple[Event, ...]:
    """The events that the task's prompt holds, in order."""
    branch, branch_time = _branch(trunk, task)
    has_sections = trunk.is_written and not task.is_from_dialogue
    return tuple(
        item.event
        for item in trunk.items[:branch]
        if item.event.kind in task.sees
        and not (item.turn and (has_sections or not _is_in_scope(item.turn, task)))
        and not (branch_time is not None and item.event.time is not None and item.event.time > branch_time)
    )


def _branch(trunk: Trunk, task: Task) -> tuple[int, int | None]:
    """(number of events before the branch point, its time where known)."""
    if task.branch == "before_answer":
        for place, item in enumerate(trunk.items):
            if item.event.kind in task.answers:
                return place, item.event.time
    return len(trunk.items), None


def _is_in_scope(turn: Turn, task: Task) -> bool:
    if task.turns == "opening":
        return turn.is_opening
    return turn.is_before_tests if task.turns == "before_tests" else True


def mask_referrals(text: str) -> tuple[str, int]:
    """(text, how many): 拟"…"收住入院 becomes 拟[诊断]收住入院; a complaint with its duration stays."""
    count = 0

    def replace_zh(match: re.Match[str]) -> str:
        nonlocal count
        if _COMPLAINT.search(match["quoted"] or match["bare"]):
            return match[0]
        count += 1
        return f"{match['lead']}[诊断]{match['in'] or match['verb']}"

    def replace_en(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"{match['lead']}[diagnosis]"

    text = _REFERRAL.sub(replace_zh, text)
    return _REFERRAL_EN.sub(replace_en, text), count


def render(events: Sequence[Event], language: Language) -> str:
    """One block a line: 【主诉】…, or 患者：… for a turn; "Chief complaint: …" in English."""
    return "\n".join(_block(event, language) for event in events)


def _block(event: Event, language: Language) -> str:
    name = NAMES[language][event.kind]
    if event.kind is EventKind.TURN:
        name = _SPEAKERS[language][event.speaker or "patient"]
        return f"{name}：{event.text}" if language == "zh" else f"{name}: {event.text}"
    return f"【{name}】{event.text}" if language == "zh" else f"{name}: {event.text}"
