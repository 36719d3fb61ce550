"""Synthetic records of given lengths, composed from sentences of the project's own generator.

The generator writes short records. Here its sentences are pooled by kind of event and drawn until a
section is as long as it should be: right in vocabulary, length and layout, meaningless as medicine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from iimedgpt.records.synthetic import generate
from iimedgpt.text import sentences
from iimedgpt.types import Event, EventKind, Provenance, Record

N_POOLED = 150  # generated records that the sentences come from
K = EventKind

# Characters a section in the eleven full records of `ai_hospital_records` (LibertFan/AI_Hospital, MIT); of
# the treatment and of the dialogue, what the project's rules leave of them. Lengths only, nothing copied.
TIMELINE_KINDS = (
    K.CHIEF_COMPLAINT,
    K.PRESENT_ILLNESS,
    K.PAST_HISTORY,
    K.PHYSICAL_EXAMINATION,
    K.AUXILIARY_EXAMINATION,
    K.BASIS,
    K.DIFFERENTIAL,
    K.TREATMENT,
)
TIMELINE_CHARS = (
    # complaint, illness, past, physical, auxiliary, basis, differential, treatment, dialogue
    (25, 182, 80, 160, 101, 221, 113, 180, 350),
    (15, 205, 36, 137, 100, 164, 168, 20, 225),
    (20, 201, 86, 172, 202, 192, 85, 60, 170),
    (9, 120, 135, 187, 125, 286, 156, 36, 480),
    (18, 96, 78, 80, 138, 340, 300, 95, 570),
    (26, 305, 31, 148, 317, 162, 191, 98, 470),
    (4, 158, 78, 209, 43, 45, 128, 70, 300),
    (29, 222, 68, 489, 365, 232, 153, 26, 325),
    (16, 175, 89, 601, 47, 158, 69, 385, 175),
    (11, 207, 156, 908, 74, 137, 140, 212, 240),
    (15, 295, 150, 647, 459, 198, 169, 60, 335),
)


class Pool:
    """Sentences of generated records, by kind of event, and the exchanges of their dialogues."""

    def __init__(self) -> None:
        self._sentences: dict[EventKind, list[str]] = defaultdict(list)
        self._exchanges: list[tuple[str, str]] = []
        for raw in generate(N_POOLED, seed=17):
            turns = [event for event in raw.events if event.kind is K.TURN]
            for asked, told in zip(turns[1::2], turns[2::2], strict=False):  # the patient opens
                self._exchanges.append((asked.text, told.text))
            for event in raw.events:
                if event.kind is not K.TURN:
                    self._sentences[event.kind] += sentences(event.text)

    def text(self, kind: EventKind, n_chars: int, rng: Random) -> str:
        """Sentences of a kind, none twice, until ``n_chars`` characters stand there; the last one is cut."""
        chosen = ""
        for sentence in rng.sample(self._sentences[kind], len(self._sentences[kind])):
            if len(chosen) >= n_chars:
                break
            chosen += sentence.strip()
        return chosen[: max(n_chars - 1, 1)].rstrip("，；、。 ") + "。"

    def sentence(self, kind: EventKind, max_chars: int, rng: Random) -> str:
        """One whole sentence of a kind, of at most ``max_chars`` characters."""
        return rng.choice([text for text in self._sentences[kind] if 3 <= len(text) <= max_chars]).strip()

    def exchanges(self, n_chars: int, rng: Random) -> Iterator[Event]:
        """Questions and answers by turns, until ``n_chars`` characters stand there."""
        n = 0
        for asked, told in rng.sample(self._exchanges, len(self._exchanges)):
            if n >= n_chars:
                return
            yield Event(kind=K.TURN, text=asked, speaker="doctor")
            yield Event(kind=K.TURN, text=told, speaker="patient")
            n += len(asked) + len(told)


def consultation(pool: Pool, number: int, n_chars: int = 500) -> Record:
    """An online consultation: the patient's long account, some questions, and six short answers.

    A dialogue record: nothing is written but what the tasks answer with, and that comes after the
    dialogue, so that all six tasks read the same account.
    """
    rng = Random(f"consultation:{number}")
    account = Event(kind=K.TURN, text=pool.text(K.PRESENT_ILLNESS, n_chars - 60, rng), speaker="patient")
    short: Mapping[EventKind, int] = {
        K.CHIEF_COMPLAINT: 14,
        K.EXAMINATION_ORDER: 16,
        K.INITIAL_DIAGNOSIS: 9,
        K.BASIS: 24,
        K.TREATMENT: 24,
    }
    late = [Event(kind=kind, text=pool.sentence(kind, length, rng)) for kind, length in short.items()]
    events = [
        Event(kind=K.DEMOGRAPHICS, text=pool.sentence(K.DEMOGRAPHICS, 40, rng)),
        account,
        Event(kind=K.DEPARTMENT, text=pool.sentence(K.DEPARTMENT, 8, rng)),
        *pool.exchanges(60, rng),
        *late,
    ]
    return _record("consultation", number, [event.model_copy(update={"time": i}) for i, event in enumerate(events)])


def timeline(pool: Pool, number: int, size: float = 1.0) -> Record:
    """A full record with its dialogue, as long as one of the eleven real ones (times ``size``)."""
    rng = Random(f"timeline:{number}")
    *lengths, n_dialogue = (round(n * size) for n in TIMELINE_CHARS[number % len(TIMELINE_CHARS)])
    written = [Event(kind=kind, text=pool.text(kind, n, rng)) for kind, n in zip(TIMELINE_KINDS, lengths, strict=True)]
    one_line = [
        Event(kind=kind, text=pool.sentence(kind, 40, rng))
        for kind in (K.DEMOGRAPHICS, K.DEPARTMENT, K.EXAMINATION_ORDER, K.INITIAL_DIAGNOSIS)
    ]
    opening = Event(kind=K.TURN, text=pool.text(K.CHIEF_COMPLAINT, 40, rng), speaker="patient")
    return _record("timeline", number, [*one_line, opening, *pool.exchanges(n_dialogue, rng), *written])


def _record(source: str, number: int, events: Sequence[Event]) -> Record:
    return Record(
        record_id=f"{source}-{number}",
        patient_id=f"{source}-{number}",
        encounter_id=f"{source}-{number}",
        source=source,
        language="zh",
        events=tuple(events),
        provenance=Provenance(reader=source, file="", file_sha256="", row=number, is_synthetic=True),
    )
