"""What flows between the stages: frozen, closed pydantic models, one JSON line each.

Ids of patients, records and encounters are HMACs under a secret outside the run (``io.Secret``);
every other id is a hash of what the thing holds (``text.content_id``).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Language = Literal["zh", "en"]
Role = Literal["system", "user", "assistant"]
ROLES_ELSEWHERE: dict[str, Role] = {  # speakers as sharegpt and OpenAI files name them
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
Speaker = Literal["patient", "doctor", "reporter"]
Split = Literal["train", "validation", "test"]


class Frozen(BaseModel):
    """Immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EventKind(StrEnum):
    """Kinds of events in their canonical order in time (the order of definition)."""

    DEMOGRAPHICS = "demographics"
    CHIEF_COMPLAINT = "chief_complaint"
    DEPARTMENT = "department"
    TURN = "turn"
    PRESENT_ILLNESS = "present_illness"
    PAST_HISTORY = "past_history"
    PERSONAL_HISTORY = "personal_history"
    FAMILY_HISTORY = "family_history"
    PHYSICAL_EXAMINATION = "physical_examination"
    EXAMINATION_ORDER = "examination_order"
    AUXILIARY_EXAMINATION = "auxiliary_examination"
    INITIAL_DIAGNOSIS = "initial_diagnosis"
    BASIS = "basis"
    DIFFERENTIAL = "differential"
    TREATMENT = "treatment"
    NOTE = "note"
    COURSE = "course"
    FINAL_DIAGNOSIS = "final_diagnosis"
    DISCHARGE_SUMMARY = "discharge_summary"

    @property
    def rank(self) -> int:
        """Place in the canonical order, 0 = earliest."""
        return _RANK[self]


_RANK = {kind: rank for rank, kind in enumerate(EventKind)}


class Event(Frozen):
    """One thing that happened to a patient: a section, a dialogue turn, a result, a note.

    ``time`` is minutes since the start of the encounter where the source knows it (never a
    calendar date); ``None`` leaves the place to the canonical order of the kinds.
    """

    kind: EventKind
    text: str = Field(min_length=1)
    speaker: Speaker | None = None
    time: int | None = Field(default=None, ge=0)


class Provenance(Frozen):
    """Where a record came from, without any text of it."""

    reader: str
    file: str
    file_sha256: str
    row: int = Field(ge=0)
    is_synthetic: bool = False
    caveats: tuple[str, ...] = ()  # e.g. "dialogue simulated by a language model"
    license: str = "unstated"


class Record(Frozen):
    """One encounter of one patient as a timeline of events, de-identified."""

    record_id: str
    patient_id: str
    encounter_id: str
    source: str
    language: Language
    events: tuple[Event, ...] = Field(min_length=1)
    provenance: Provenance
    started: str | None = None  # start of the encounter, ISO 8601, moved by the patient's own date shift
    diagnosis_codes: tuple[str, ...] = ()  # ICD, from a structured field


class Message(Frozen):
    """One chat message."""

    role: Role
    content: str


class Instruction(Frozen):
    """One clinical task asked at one point of one record's timeline."""

    instruction_id: str
    task: str
    record_id: str
    patient_id: str
    source: str
    language: Language
    prompt: tuple[Message, ...]
    response: str = Field(min_length=1)
    template_id: str
    disease: str | None = None  # normalised main diagnosis: the second hold-out key
    is_stated: bool = False  # the answer already stands in the visible record
    instruction_first: bool = False
    unsupported: tuple[str, ...] = ()  # kinds of reference facts not in the visible record
    is_synthetic: bool = False


class Conversation(Frozen):
    """A training or evaluation item: messages that end with the assistant's answer."""

    conversation_id: str
    messages: tuple[Message, ...] = Field(min_length=2)
    group_id: str  # the patient, or the row of another source: never on two sides of a split
    source: str
    license: str
    split: Split
    task: str | None = None  # one of the clinical tasks, None for other data
    record_id: str | None = None
    disease: str | None = None
    is_stated: bool = False
    is_synthetic: bool = False

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All messages but the last."""
        return self.messages[:-1]

    @property
    def response(self) -> str:
        """The last message's text: the answer to learn or to compare with."""
        return self.messages[-1].content


class Candidate(Frozen):
    """One answer of one model to one prompt."""

    candidate_id: str
    prompt_id: str  # the conversation_id it answers
    model_id: str
    text: str
    temperature: float = Field(ge=0.0)
    max_new_tokens: int = Field(gt=0)
    seed: int
    is_finished: bool  # ended by itself, not by the token limit


Mark = Literal["unsafe", "unsupported", "wrong"]  # unsupported: says what the record does not hold


class EditedAnswer(Frozen):
    """An answer that a clinician wrote over another one, de-identified again."""

    candidate_id: str
    from_id: str  # the answer it was edited from
    text: str = Field(min_length=1)


class Ranking(Frozen):
    """One clinician's order of the answers to one prompt.

    Ids are those of ``Candidate``; the reference answer goes by its ``conversation_id``. An edited
    answer is a candidate of its own, alone in the first tier.
    """

    ranking_id: str
    prompt_id: str  # the conversation_id that was answered
    annotator_id: str
    tiers: tuple[tuple[str, ...], ...] = Field(min_length=1)  # best first; within a tier none is better
    shown_order: tuple[str, ...]
    marks: dict[str, tuple[Mark, ...]] = {}  # candidate id → what is wrong with it
    edited: EditedAnswer | None = None
    seconds: float = Field(ge=0.0)  # the page was in front


PairSource = Literal["clinician", "judge", "reference", "rule", "import"]


class PreferencePair(Frozen):
    """One prompt, a chosen and a rejected answer, and where the preference came from."""

    pair_id: str
    prompt: tuple[Message, ...]
    chosen: str = Field(min_length=1)
    rejected: str = Field(min_length=1)
    source: PairSource
    group_id: str
    split: Split
    task: str | None = None
    record_id: str | None = None
    error: str | None = None  # the named clinical error of a rule-made rejected answer
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    from_ids: tuple[str, ...] = ()
    is_synthetic: bool = False
    n_annotators: int = Field(default=0, ge=0)  # people or judges who voted; 0 for references and rules
    origin: str = ""  # data set that an import comes from
    score_gap: float | None = Field(default=None, ge=0.0)  # in the points of an import's own scale
    is_out_of_distribution: bool = False  # of a source that is never trained on
    caveat: str = ""  # goes wherever the pair goes: "not reviewed by a clinician"


class Verdict(StrEnum):
    """Outcome for the first of two models. Never a number, never NaN."""

    WIN = "win"
    TIE = "tie"
    LOSS = "loss"
    INVALID = "invalid"


class Judgement(Frozen):
    """One comparison of two answers to one prompt by one judge on one criterion."""

    prompt_id: str
    task: str | None
    model_a: str
    model_b: str
    criterion: str
    judge_id: str
    verdict_ab: Verdict
    verdict_ba: Verdict  # already turned round: the verdict for model_a
    verdict: Verdict  # folded: agreement decides, disagreement is a tie
    group_id: str
    question_set: str = "held_out"


class Score(Frozen):
    """One number with everything needed to believe or doubt it."""

    name: str
    value: float
    unit: str
    n: int = Field(ge=0)
    n_invalid: int = Field(default=0, ge=0)
    ci_low: float | None = None
    ci_high: float | None = None
    method: str
    task: str | None = None
    model: str | None = None


class AnswerScore(Frozen):
    """Log-likelihood of one answer (with its end token) after one prompt."""

    logp: float  # natural log, summed over the answer's tokens
    n_tokens: int = Field(gt=0)

    @property
    def logp_per_token(self) -> float:
        return self.logp / self.n_tokens


class Generation(Frozen):
    """One generated answer."""

    text: str
    is_finished: bool
    n_tokens_in: int | None = None  # as an endpoint counts them
    n_tokens_out: int | None = None


class Generator(Protocol):
    """Whatever answers prompts: a local model, or an endpoint on the network."""

    @property
    def model_id(self) -> str: ...

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int | Sequence[int],
    ) -> list[Generation]:
        """One answer per prompt, in the order given. ``temperature = 0`` is greedy.

        With one seed for each prompt, an answer depends on its prompt and its seed only; one seed for
        all gives each place in the list a stream of its own.

        Raises:
            GenerationError: there is no answer to be had.
        """
        ...


class LanguageModel(Generator, Protocol):
    """What a stage may ask of a model. Stages are handed one and never load it themselves."""

    def score(self, items: Sequence[tuple[Sequence[Message], str]]) -> list[AnswerScore]:
        """Likelihood of each answer after its prompt, in the order given.

        Prompts that share a beginning are read once; put them side by side.
        """
        ...
