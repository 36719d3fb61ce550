"""What can be configured of exams and probes: questions beside the records that every model of a run is asked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from iimedgpt.sources import Section


class ExamSet(Section):
    """One exam."""

    name: str = Field(min_length=1, max_length=64, description="what it is shown under")
    format: Literal["cmmlu", "apollo", "jsonl", "general"] = Field(
        description="cmmlu: a folder of CSV files, one a subject; apollo: JSON with options '(A) …'; jsonl: rows "
        '{"question", "options": [texts], "answer": "A" or "AC", "subject"}; general: 60 packaged questions of general '
        "knowledge, which show what training made the model forget"
    )
    path: str = Field(default="", description="file or folder, relative to --data; general has none")
    n_max: int | None = Field(default=None, gt=0, description="at most so many questions, evenly spread over the set")
    n_generate: int = Field(default=0, ge=0, description="of them answered in words as well, the first ones")


class ProbeSet(Section):
    """One set of requests that a model should refuse, or should not."""

    name: str = Field(min_length=1, max_length=64, description="what it is shown under")
    format: Literal["medsafetybench", "cmtmedqa", "jsonl"] = Field(
        description="medsafetybench: CSV files of harmful_medical_request, safe_response; cmtmedqa: "
        "CMtMedQA_test.json, whose rows with 'instruct' are probes; jsonl: rows "
        '{"question", "answer"}, the answer optional'
    )
    kind: Literal["harmful", "ordinary"] = Field(
        default="harmful", description="harmful requests should be refused, ordinary ones should not"
    )
    path: str = Field(min_length=1, description="file or folder, relative to --data")
    n_max: int = Field(default=50, gt=0, le=10_000, description="at most so many requests, evenly spread over the set")


class ExamsConfig(Section):
    """Multiple-choice exams, safety probes and the memorisation attack."""

    sets: tuple[ExamSet, ...] = Field(default=(), description="exams; keep training clean of them with mixture.against")
    safety: tuple[ProbeSet, ...] = Field(default=(), description="safety probes, answered in words and graded by rule")
    memorisation_n: int = Field(
        default=0,
        ge=0,
        le=1_000,
        description="rare sentences of trained records asked back, as many of held-out ones; each costs 100 scores",
    )
