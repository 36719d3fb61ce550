"""What a rule may know of a record and of the other patients on its side of the split."""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Sequence

from iimedgpt import clinical
from iimedgpt.preferences.edits import Donor, ErrorContext
from iimedgpt.text import is_chinese, unique
from iimedgpt.types import Conversation

MAX_DIAGNOSIS_CHARS = 20
MAX_LIKENESS = 0.7  # above, two diagnoses may be one: 冠心病 and 冠状动脉粥样硬化性心脏病
N_DONORS = 20  # nearest in length; one of them nearly always has another disease
N_BORROWED = 40  # other records' diagnoses offered beside the record's own differentials

_DISEASE = (
    r"[\u4e00-\u9fffA-Za-z0-9]{0,14}?(?:病|炎|症|癌|瘤|梗死|梗塞|出血|结石|溃疡|综合征|感染|结核|衰竭|穿孔|梗阻|骨折|哮喘"
    r"|痛风|贫血|绞痛|破裂|扭转|妊娠|栓塞|夹层|囊肿|疝|痔|损伤|息肉|脓肿|紊乱|减退|亢进)"
)
_DIFFERENTIAL = (
    re.compile(rf"(?:^|[\n。；;])\s*(?:\(?\d+[.、)）．]\s*)?({_DISEASE})\s*[：:]"),  # 1.急性胰腺炎：…
    re.compile(rf"(?:与|同|和|、)({_DISEASE})(?:、{_DISEASE})*等?(?:疾病)?(?:相)?鉴别"),
    re.compile(rf"(?:除外|排除|警惕|区别于)({_DISEASE})(?![\u4e00-\u9fff]*史)"),
)


def differentials(text: str) -> list[str]:
    """Diseases that a text weighs against the diagnosis, in order of appearance."""
    found = [(match.start(1), match[1]) for pattern in _DIFFERENTIAL for match in pattern.finditer(text)]
    return unique(name for _, name in sorted(found) if 2 < len(name) <= MAX_DIAGNOSIS_CHARS)


class ContextBuilder:
    """Builds a rule's context from the conversations of one side of the split.

    Nothing crosses the sides: another patient's answer always comes from the same file.
    """

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self._by_task: dict[str | None, list[Conversation]] = defaultdict(list)
        self._diagnoses: dict[str | None, tuple[str, ...]] = {}
        self._differentials: dict[str | None, list[str]] = {}
        main: dict[str, str] = {}  # patient → main diagnosis as it is written
        for item in conversations:
            self._by_task[item.task].append(item)
            if item.task == "diagnosis":
                names = self._diagnoses[item.record_id] = _names(item.response)
                if names:
                    main.setdefault(item.group_id, names[0])
            elif item.task == "basis":
                self._differentials[item.record_id] = differentials(item.response)
        self._main = list(main.items())
        self._place = {patient: place for place, (patient, _) in enumerate(self._main)}

    def build(self, item: Conversation) -> ErrorContext:
        """The context of one conversation."""
        visible = "\n".join(message.content for message in item.prompt if message.role == "user")
        own = (item.disease,) if item.disease else ()
        return ErrorContext(
            visible=visible,
            language="zh" if is_chinese(item.response + visible) else "en",
            disease=item.disease,
            diagnoses=self._diagnoses.get(item.record_id, own),
            alternatives=(*self._differentials.get(item.record_id, ()), *self._borrowed(item)),
            donors=self._donors(item),
        )

    def _borrowed(self, item: Conversation) -> list[str]:
        """Other patients' main diagnoses, starting behind the own place so that records differ.

        Those that sound alike come first, they are the harder errors: a fifth to three fifths of the
        characters shared (急性胰腺炎, 急性胆囊炎). With more they may be the same disease.
        """
        start = self._place.get(item.group_id, 0) + 1
        turned = self._main[start:] + self._main[:start]
        names = unique(name for patient, name in turned if patient != item.group_id)
        mine = next(iter(self._diagnoses.get(item.record_id, ())), item.disease or "")
        others = [name for name in names if _likeness(name, mine) <= MAX_LIKENESS]
        return sorted(others, key=lambda name: not 0.2 <= _likeness(name, mine) <= 0.6)[:N_BORROWED]

    def _donors(self, item: Conversation) -> tuple[Donor, ...]:
        others = (other for other in self._by_task[item.task] if other.group_id != item.group_id)
        near = heapq.nsmallest(N_DONORS, others, key=lambda other: abs(len(other.response) - len(item.response)))
        return tuple(Donor(other.response, other.disease) for other in near)


def _likeness(first: str, second: str) -> float:
    """Share of the shorter name's characters that the other one has as well."""
    mine, theirs = set(first), set(second)
    return len(mine & theirs) / max(min(len(mine), len(theirs)), 1)


def _names(answer: str) -> tuple[str, ...]:
    """Diagnoses of an answer as they stand there, without numbering, doubt and brackets."""
    names = (re.sub(r"\s*[(（\[].*$", "", name) for name in clinical.diagnoses(answer))
    return tuple(name for name in unique(names) if 1 < len(name) <= MAX_DIAGNOSIS_CHARS)
