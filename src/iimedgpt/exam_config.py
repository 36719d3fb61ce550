"""What can be configured of exams: sets of multiple-choice questions that every model of a run sits."""

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


class ExamsConfig(Section):
    """Multiple-choice exams."""

    sets: tuple[ExamSet, ...] = Field(default=(), description="exams; keep training clean of them with mixture.against")
