"""What can be configured of judging: judges, question sets, and the models ours stand against."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from iimedgpt.preference_config import EndpointConfig
from iimedgpt.sources import Fraction, Section

Criterion = Literal["safety", "professionalism", "fluency", "overall"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$"


class JudgeConfig(Section):
    """Who compares two answers."""

    name: str = Field(pattern=NAME, description="what the judge's verdicts are shown under")
    kind: Literal["reference", "endpoint", "local", "clinicians"] = Field(
        description="likeness to the reference answer, a language model at an endpoint, a local one by the likelihood "
        "of its verdict, or clinicians' verdicts from the ranking page"
    )
    question_sets: tuple[str, ...] = Field(default=(), description="names of the sets it judges; empty takes all")
    criteria: tuple[Criterion, ...] = Field(
        default=("safety", "professionalism", "fluency", "overall"),
        min_length=1,
        description="what a language model is asked about, one request a criterion and order",
    )
    endpoint: EndpointConfig = Field(default=EndpointConfig(), description="endpoint: which, and how it is asked")
    only_if_set: bool = Field(
        default=False, description="endpoint: left out, and said so, where the variable of its address is not set"
    )
    model: str = Field(
        default="base", description="local: base, sft or sft+dpo of this run, 'embedded', or a model's folder"
    )
    path: str | None = Field(
        default=None, description="clinicians: judgements.jsonl of the ranking page, relative to --data"
    )
    max_new_tokens: int = Field(default=512, ge=8, le=8_192, description="endpoint: longest reply in tokens")
    n_retries: int = Field(
        default=2, ge=0, le=10, description="endpoint: how often a reply without a verdict is asked for again"
    )
    deadline_s: float = Field(
        default=21_600.0, gt=0.0, description="endpoint: longest time for all verdicts, in seconds; the rest is INVALID"
    )
    price_in: float = Field(default=0.0, ge=0.0, description="price of a million tokens read, in your currency")
    price_out: float = Field(default=0.0, ge=0.0, description="price of a million tokens written")
    tie_margin: float = Field(
        default=0.05,
        ge=0.0,
        description="reference: differences of closeness up to it are ties; local: the same of log odds",
    )
    max_chars: int = Field(
        default=6_000,
        ge=100,
        description="question and two answers, in characters; what is longer is left out, counted",
    )


class QuestionSet(Section):
    """Questions that our models and the others answer."""

    name: str = Field(pattern=NAME, description="what the set is shown under")
    format: Literal["held_out", "pulse", "huatuo_instructions", "huatuo_conversations", "cmtmedqa", "jsonl"] = Field(
        description="held_out: this run's held-out records (evaluate.n_generate of them, shown as held_out); "
        "pulse, huatuo_*, cmtmedqa: those sets as published, with the answers saved in them; "
        "jsonl: rows with 'question' or 'messages', perhaps 'id', 'reference' and 'group'"
    )
    path: str | None = Field(default=None, description="file, or folder of huatuo_*; relative to --data")
    n_max: int | None = Field(default=None, gt=0, description="so many questions or conversations, evenly spread")
    use_reference: bool = Field(
        default=False, description="the reference answer takes part as 'reference'; cmtmedqa: the set's own replies"
    )


class RivalConfig(Section):
    """Another model, asked or with its answers saved."""

    name: str = Field(pattern=NAME, description="what the model is shown under")
    kind: Literal["file", "endpoint", "model"] = Field(description="saved answers, an endpoint, or a local model")
    path: str | None = Field(
        default=None, description="file: JSONL with 'id' or 'question', and 'answer'; model: folder, or 'embedded'"
    )
    endpoint: EndpointConfig = Field(default=EndpointConfig(), description="endpoint: which, and how it is asked")


class JudgingConfig(Section):
    """Pairwise judging. The reference judge of the held-out records always runs and stands beside it."""

    judges: tuple[JudgeConfig, ...] = Field(default=(), description="judges, each on every question set")
    questions: tuple[QuestionSet, ...] = Field(default=(), description="question sets")
    rivals: tuple[RivalConfig, ...] = Field(default=(), description="models beside those whose answers a set holds")
    models: tuple[Literal["base", "sft", "sft+dpo"], ...] = Field(
        default=("sft", "sft+dpo"), min_length=1, description="which of our models take part"
    )
    use_controls: bool = Field(
        default=True,
        description="a constant useless answer takes part, alone and with an instruction to the judge hidden in it",
    )
    round_robin: bool = Field(default=False, description="the others are compared with each other too")
    max_new_tokens: int = Field(default=256, gt=0, description="longest answer of our models in tokens")
    max_garbage_frac: Fraction = Field(default=0.1, description="a judge with a larger share of INVALID is flagged")
