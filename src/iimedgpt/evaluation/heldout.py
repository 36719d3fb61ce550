"""Held-out records, chosen and put into blocks, where one record's answers are the others' options."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iimedgpt.run import StageContext
from iimedgpt.text import fold
from iimedgpt.types import Conversation


@dataclass(frozen=True)
class HeldOutRecord:
    """One held-out record with its items, task → conversation, in the order of the file."""

    record_id: str
    group_id: str
    disease: str | None
    department: str | None  # folded reference answer of triage
    items: dict[str, Conversation]
    compared: frozenset[str] | None = None  # tasks whose answers are put beside other records'; None takes all

    def peers(self, task: str, block: Block) -> list[Conversation]:
        """The block's items of a task that is compared, else the record's own alone."""
        if self.compared is not None and task not in self.compared:
            return [self.items[task]]
        return [other.items[task] for other in block if task in other.items]


Block = tuple[HeldOutRecord, ...]


def read_records(
    ctx: StageContext, conversations: Iterable[Conversation], compared: Sequence[str] = ()
) -> list[HeldOutRecord]:
    """Group conversations by record, in order of appearance; what is no clinical item is dropped."""
    items: dict[str, dict[str, Conversation]] = {}
    for conversation in conversations:
        if conversation.record_id is None or conversation.task is None:
            ctx.drop(conversation.conversation_id, "not_a_clinical_task")
            continue
        of_record = items.setdefault(conversation.record_id, {})
        if conversation.task in of_record:
            ctx.drop(conversation.conversation_id, "second_item_of_a_task")
            continue
        of_record[conversation.task] = conversation
    tasks = frozenset(compared) or None
    return [_record(record_id, of_record, tasks) for record_id, of_record in items.items()]


def select_records(records: Sequence[HeldOutRecord], n: int | None) -> list[HeldOutRecord]:
    """At most n records, round-robin over diseases in order of appearance: no disease dominates.

    A patient's further records come after every patient's first: n records are n patients where there
    are as many.
    """
    by_disease: defaultdict[str | None, list[HeldOutRecord]] = defaultdict(list)
    for record in records:
        by_disease[record.disease].append(record)
    longest = max((len(group) for group in by_disease.values()), default=0)
    rounds = [group[i] for i in range(longest) for group in by_disease.values() if i < len(group)]
    first_of = {record.group_id: record.record_id for record in reversed(rounds)}
    rounds.sort(key=lambda record: first_of[record.group_id] != record.record_id)
    return rounds if n is None else rounds[:n]


def build_blocks(records: Sequence[HeldOutRecord], n_options: int, seed: int) -> list[Block]:
    """Blocks of up to n_options records: never two of one patient, different diseases and departments
    as far as possible. Depends on the order of the records and the seed, never on ids.
    """
    order = list(records)
    random.Random(f"{seed}:blocks").shuffle(order)
    n_of_patient = Counter(record.group_id for record in order)
    n_of_disease = Counter(record.disease for record in order)
    # The commonest have the fewest places to go: they choose first.
    order.sort(key=lambda record: (-n_of_patient[record.group_id], -n_of_disease[record.disease]))
    blocks: list[list[HeldOutRecord]] = [[] for _ in range(math.ceil(len(order) / n_options))]
    for record in order:
        free = [block for block in blocks if len(block) < n_options and not _holds_patient(block, record)]
        if not free:
            free = [[]]
            blocks.append(free[0])
        min(free, key=lambda block: _likeness(block, record)).append(record)
    return [tuple(block) for block in blocks]


def n_repeated_diseases(blocks: Iterable[Block]) -> int:
    """Records that share a block with another record of the same known disease."""
    n = 0
    for block in blocks:
        diseases = Counter(record.disease for record in block if record.disease is not None)
        n += sum(count for count in diseases.values() if count > 1)
    return n


def _record(record_id: str, items: dict[str, Conversation], compared: frozenset[str] | None) -> HeldOutRecord:
    first = next(iter(items.values()))
    disease = next((item.disease for item in items.values() if item.disease is not None), None)
    department = fold(items["triage"].response) if "triage" in items else None
    return HeldOutRecord(record_id, first.group_id, disease, department, items, compared)


def _holds_patient(block: Sequence[HeldOutRecord], record: HeldOutRecord) -> bool:
    return any(other.group_id == record.group_id for other in block)


def _likeness(block: Sequence[HeldOutRecord], record: HeldOutRecord) -> tuple[int, int, int]:
    return (
        sum(record.disease is not None and other.disease == record.disease for other in block),
        sum(record.department is not None and other.department == record.department for other in block),
        len(block),
    )
