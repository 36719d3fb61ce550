"""The named workloads: which token sequences make up each optimiser step.

Everything is rendered by the project's own instruction builder and chat code; the records are
synthetic except in ``ai_hospital``. Both sides of a comparison read the very same token ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.composed import Pool, consultation, timeline
from iimedgpt.chain import stage_named
from iimedgpt.config import RecordSource, RunConfig
from iimedgpt.engine.chat import Chat
from iimedgpt.engine.trie import TokenSequence, build_trie, shared_prefix
from iimedgpt.instructions.build import InstructionMaker, Tally
from iimedgpt.preferences.errors import ErrorChooser
from iimedgpt.preferences.pairs import PairMaker
from iimedgpt.records.raw import RawRecord
from iimedgpt.records.readers import read_source
from iimedgpt.run import StageContext
from iimedgpt.types import Conversation, Instruction, Provenance, Record

Step = tuple[TokenSequence, ...]  # in DPO, sequences 2i and 2i + 1 are chosen and rejected of pair i

SIX = ("triage", "record", "examination", "diagnosis", "basis", "treatment")
N_SHORT_PROMPT, N_SHORT_ANSWER = 8, 12  # tokens of each sequence in the steps that are not timed
THREE = ("diagnosis", "basis", "treatment")


class UnavailableError(Exception):
    """A workload's data is not there; the message says what is missing."""


@dataclass(frozen=True)
class Workload:
    """Optimiser steps of token sequences, each with as many.

    ``warm`` is one step on another record before the clock starts. ``steps`` are the epoch that is timed.
    ``tail`` is not: short steps after it, so that losses can be compared over several steps.
    """

    name: str
    kind: str  # sft or dpo
    what: str
    warm: Step
    steps: tuple[Step, ...]
    tail: tuple[Step, ...]

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """In the order of training."""
        return (self.warm, *self.steps, *self.tail)

    def facts(self) -> dict[str, int | float]:
        """Counts over the measured steps."""
        tries = [build_trie(step) for step in self.steps]
        members = [sequence for step in self.steps for sequence in step]
        n_original = sum(len(sequence.ids) for sequence in members)
        n_trie = sum(trie.n_tokens for trie in tries)
        return {
            "n_steps": len(self.steps),
            "n_sequences": len(members),
            "n_original_tokens": n_original,
            "n_trie_tokens": n_trie,
            "n_scored_tokens": sum(sequence.n_scored for sequence in members),
            "n_scored_rows": sum(len(np.unique(trie.rows_S)) for trie in tries),
            "longest_sequence": max(len(sequence.ids) for sequence in members),
            "token_ratio": n_original / n_trie,
        }


class Renderer:
    """Records to instructions to token sequences, with the project's own code."""

    def __init__(self, chat: Chat, folder: Path, tasks: Sequence[str], max_record_chars: int = 4_000) -> None:
        config = RunConfig.model_validate(
            {
                "name": "benchmark",
                "runs_dir": str(folder),
                "instructions": {
                    "tasks": tasks,
                    "instruction_first_frac": 0.0,
                    "max_record_chars": max_record_chars,
                    "max_unsupported": 1_000,  # composed answers do not fit their records
                },
                "pairs": {"max_rules_per_answer": 2},
            }
        )
        self.config, self.chat = config, chat
        self._maker = InstructionMaker(config.instructions, config.seed)
        self._pairs = StageContext(stage_named("pairs"), config, folder)

    def instructions(self, record: Record) -> list[Instruction]:
        """The instructions of a record, where it gives one for every task; else none."""
        found = list(self._maker.instructions(record, 0, Tally(), []))
        return found if len(found) == len(self._maker.tasks) else []

    def sft(self, records: Iterator[Record]) -> Iterator[Step]:
        """One record a step: an answer for every task."""
        for record in records:
            found = self.instructions(record)
            if found:
                yield tuple(self.chat.sequence(item.prompt, item.response) for item in found)

    def pairs(self, records: Sequence[Record], n_per_record: int) -> Iterator[Step]:
        """One record a step: pairs with a rule-made error, so many a record, tasks by turns."""
        conversations = [_conversation(item) for record in records for item in self.instructions(record)]
        maker = PairMaker(self._pairs, conversations, ErrorChooser("benchmark"), 2)
        by_record: dict[str, list[Step]] = {}
        for item in conversations:
            made = by_record.setdefault(str(item.record_id), [])
            for pair in maker.rule_pairs(item):
                chosen, rejected = (self.chat.sequence(pair.prompt, text) for text in (pair.chosen, pair.rejected))
                made.append((chosen, rejected))
        for made in by_record.values():
            if len(made) >= n_per_record:
                spread = [made[i * len(made) // n_per_record] for i in range(n_per_record)]
                yield tuple(sequence for pair in spread for sequence in pair)


def _conversation(item: Instruction) -> Conversation:
    return Conversation.model_validate(
        {
            "conversation_id": item.instruction_id,
            "messages": (*item.prompt, {"role": "assistant", "content": item.response}),
            "group_id": item.patient_id,
            "source": item.source,
            "license": "Apache-2.0",
            "split": "train",
            "task": item.task,
            "record_id": item.record_id,
            "disease": item.disease,
        }
    )


@dataclass(frozen=True)
class Source:
    """What a workload is made from."""

    chat: Chat
    folder: Path
    data: Path | None
    n_steps: int
    n_tail: int
    size: float  # 1 for the lengths that the workload promises; less makes shorter records, for a quick look

    def chars(self, n: int) -> int:
        """A length in characters, scaled."""
        return round(n * self.size)

    def renderer(self, tasks: Sequence[str], max_record_chars: int = 4_000) -> Renderer:
        return Renderer(self.chat, self.folder, tasks, max_record_chars)


def _cut(source: Source, name: str, kind: str, what: str, steps: Iterator[Step]) -> Workload:
    """The steps that are measured come first; another record's warms up, and the ends of more follow."""
    n_steps = source.n_steps
    found = list(islice(steps, n_steps + 1 + source.n_tail))
    if len(found) <= n_steps + source.n_tail:
        raise UnavailableError(f"only {len(found)} records give every task")
    tail = tuple(tuple(map(end_of, step)) for step in found[n_steps + 1 :])
    return Workload(name, kind, what, warm_of(found[n_steps], kind), tuple(found[:n_steps]), tail)


def warm_of(step: Step, kind: str = "sft") -> Step:
    """Whole sequences (pairs) where a record begins, the ends of those that share most of their prompt.

    The first step of a full size pays once a process for memory that it touches first (0.25 s of 2 s here); an
    epoch of real length does not see that. Every side warms up on the same tokens.
    """
    size = 2 if kind == "dpo" else 1
    warm: list[TokenSequence] = []
    whole: TokenSequence | None = None
    for unit in (step[i : i + size] for i in range(0, len(step), size)):
        if whole is None or 2 * shared_prefix(whole.ids, unit[0].ids) < unit[0].start:
            whole = unit[0]
            warm += unit
        else:
            warm += map(end_of, unit)
    return tuple(warm)


def end_of(sequence: TokenSequence) -> TokenSequence:
    """The end of the prompt and the start of the answer; two answers to one prompt keep it in common."""
    start = max(sequence.start - N_SHORT_PROMPT, 0)
    return TokenSequence(sequence.ids[start : sequence.start + N_SHORT_ANSWER], sequence.start - start)


def _six_short(source: Source) -> Workload:
    what = "synthetic online consultations: the patient's long account, some questions, six short answers"
    pool = Pool()
    records = (consultation(pool, number, source.chars(500)) for number in range(100))
    return _cut(source, "six-short", "sft", what, source.renderer(SIX).sft(records))


def _timeline(source: Source) -> Workload:
    what = "synthetic full records with dialogue, as long as those of ai_hospital_records; six tasks"
    pool = Pool()
    records = (timeline(pool, number, source.size) for number in range(100))
    return _cut(source, "timeline", "sft", what, source.renderer(SIX).sft(records))


def _ai_hospital(source: Source) -> Workload:
    if source.data is None or not (source.data / "ai_hospital").is_dir():
        raise UnavailableError("no folder ai_hospital under --data or $IIMEDGPT_DATA")
    what = "cases of AI Hospital (dialogue simulated by a language model); three long answers, two cases a step"
    reader = RecordSource(reader="ai_hospital", path=str(source.data.resolve() / "ai_hospital"))
    config = RunConfig.model_validate({"name": "benchmark"})
    raw = (row.item for row in read_source(reader, config, Counter()) if isinstance(row.item, RawRecord))
    steps = source.renderer(THREE).sft(map(_as_record, raw))
    if source.size >= 1:
        steps = (first + second for first, second in zip(steps, steps, strict=False))
    return _cut(source, "ai_hospital", "sft", what, steps)


def _as_record(raw: RawRecord) -> Record:
    """Straight from the reader: published cases, and nothing of them but token ids goes anywhere."""
    return Record(
        record_id=raw.patient_key,
        patient_id=raw.patient_key,
        encounter_id=raw.patient_key,
        source="ai_hospital",
        language=raw.language,
        events=raw.events,
        provenance=Provenance(reader="ai_hospital", file="", file_sha256="", row=raw.row),
    )


def _dpo(source: Source) -> Workload:
    what = "all rule-made pairs of a synthetic consultation in one trie, three pairs a record"
    pool = Pool()
    records = [consultation(pool, number, source.chars(250)) for number in range(8 * source.n_steps + 40)]
    return _cut(source, "dpo", "dpo", what, source.renderer(SIX).pairs(records, 3))


def _dpo_lone(source: Source) -> Workload:
    what = "lone rule-made pairs with prompts of about 600 tokens, one pair a record"
    pool = Pool()
    records = [consultation(pool, number, source.chars(540)) for number in range(source.n_steps + 40)]
    pairs = source.renderer(("treatment",)).pairs(records, 1)
    return _cut(source, "dpo-lone", "dpo", what, pairs)


WORKLOADS: dict[str, Callable[[Source], Workload]] = {
    "six-short": _six_short,
    "timeline": _timeline,
    "ai_hospital": _ai_hospital,
    "dpo": _dpo,
    "dpo-lone": _dpo_lone,
}


def make(name: str, chat: Chat, data: Path | None, n_steps: int = 1, n_tail: int = 2, size: float = 1.0) -> Workload:
    """A workload by name, the same for the same arguments.

    Raises:
        UnavailableError: its data is not there.
    """
    with TemporaryDirectory() as folder:
        return WORKLOADS[name](Source(chat, Path(folder), data, n_steps, n_tail, size))
