"""What can be configured of preferences: sampling, endpoint, ranking page, pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from iimedgpt.sources import Fraction, Section


class EndpointConfig(Section):
    """A model behind an OpenAI-compatible endpoint. Address and key never stand in a file."""

    model: str = Field(default="", description="name of the model at the endpoint")
    url_env: str = Field(
        default="IIMEDGPT_ENDPOINT_URL", description="environment variable with the base URL, ending in /v1"
    )
    key_env: str = Field(default="IIMEDGPT_ENDPOINT_KEY", description="environment variable with the key; may be unset")
    allow_host: str | None = Field(
        default=None,
        description="host that may be sent text of records although it is not this machine, by its exact name",
    )
    n_parallel: int = Field(default=4, ge=1, le=64, description="requests under way at once")
    max_tries: int = Field(default=4, ge=1, le=20, description="tries of one request: 429, 5xx, broken replies")
    timeout_s: float = Field(default=120.0, gt=0.0, description="longest silence of one request, in seconds")
    deadline_s: float = Field(default=300.0, gt=0.0, description="longest time for all tries of one request, seconds")


class SampleConfig(Section):
    """Answers sampled for preference pairs, from the SFT model or an endpoint."""

    generator: Literal["sft", "base", "endpoint"] = Field(
        default="sft", description="who answers: the SFT result, the base model, or the endpoint"
    )

    n_records: int = Field(default=24, gt=0, description="training records to sample for")
    n_test_records: int = Field(default=8, ge=0, description="held-out records to sample for (evaluation pairs)")
    n_samples: int = Field(default=1, gt=0, description="answers a prompt")
    temperature: float = Field(default=0.8, ge=0.0, le=4.0, description="0 is greedy")
    max_new_tokens: int = Field(default=48, gt=0, description="longest answer in tokens")
    tasks: tuple[str, ...] = Field(default=(), description="tasks to sample; empty takes all")
    n_next: int = Field(
        default=0,
        ge=0,
        description="prompts put forward for ranking: those between whose answers the SFT model decides least; "
        "needs n_samples of 2 or more",
    )


class PairImport(Section):
    """One file of preference pairs from elsewhere."""

    format: Literal["trl", "llamafactory", "ultrafeedback", "medicalgpt", "pulse"] = Field(
        description="format of the file"
    )
    path: str = Field(description="JSON lines file, relative to --data")
    verdicts: str | None = Field(default=None, description="pulse: the judge's replies, row by row beside path")
    name: str = Field(default="", description="what the pairs are counted under; empty takes the file's name")
    n_max: int | None = Field(default=None, gt=0, description="read at most so many rows")
    min_score_gap: float = Field(
        default=0.0, ge=0.0, description="smallest difference of scores, in the source's points; equal scores never do"
    )
    max_chars: int = Field(default=2_000, gt=0, description="longest prompt or answer, in characters")
    is_out_of_distribution: bool = Field(default=False, description="evaluate on it only, apart; never train on it")


class RankConfig(Section):
    """The page on which clinicians rank answers and compare models (`iimedgpt rank`)."""

    n_answers: int = Field(default=4, ge=2, le=6, description="most answers to a prompt, the reference included")
    use_reference: bool = Field(default=True, description="the reference answer stands among them, unnamed")
    tasks: tuple[str, ...] = Field(default=(), description="tasks to rank; empty takes all that were sampled")
    n_items: int | None = Field(default=None, gt=0, description="at most so many prompts, in the order sampled")
    annotators_per_item: int = Field(default=2, ge=1, le=20, description="clinicians who see the same prompt")
    compare: tuple[str, ...] = Field(
        default=(), description="two files of answers (as candidates.jsonl), one a model, to compare blind; from --data"
    )
    compare_items: str | None = Field(
        default=None, description="conversations answered there (JSONL); none takes the run's own test.jsonl"
    )
    database_url_env: str | None = Field(
        default=None, description="environment variable that holds a PostgreSQL URL; none takes SQLite in the run"
    )
    session_hours: float = Field(default=12.0, gt=0.0, le=168.0, description="a login lasts so many hours")


class PairsConfig(Section):
    """Preference pairs."""

    use_reference: bool = Field(default=True, description="reference answer over the model's own sample")
    use_rules: bool = Field(default=True, description="reference answer over one with a named clinical error")
    max_rules_per_answer: int = Field(default=1, ge=1, description="rule-made errors per correct answer")
    max_similarity: Fraction = Field(
        default=0.95,
        description="pairs whose answers are more alike (character LCS ratio) are dropped, rules exempt",
    )
    max_length_ratio: float = Field(
        default=4.0, ge=1.0, description="drop a pair when one answer is so many times longer than the other"
    )
    test_frac: Fraction = Field(
        default=1.0, description="share of held-out patients whose rule-made pairs are kept for evaluation"
    )
    rankings: str | None = Field(
        default=None, description="clinicians' rankings, a JSON lines file of the ranking page, relative to --data"
    )
    rankings_against: Literal["all", "best"] = Field(
        default="all", description="pairs of a ranking: every ordered pair of answers, or the first tier over the rest"
    )
    judgements: str | None = Field(
        default=None, description="folder with judgements.jsonl and answers.jsonl of a judge, relative to --data"
    )
    imports: tuple[PairImport, ...] = Field(default=(), description="pairs from elsewhere, with general prompts")
    import_test_frac: Fraction = Field(
        default=0.2, description="share of the imports' prompts held out for evaluation, all pairs of a prompt together"
    )
    max_mean_length_difference: float | None = Field(
        default=None,
        ge=0.0,
        description="bound on the mean log ratio of lengths (rejected to chosen) of each source; the most uneven "
        "pairs are dropped until it holds; unset reports it only",
    )
