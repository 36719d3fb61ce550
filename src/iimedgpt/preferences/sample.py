"""The sample stage: answers of the SFT model, to stand against the reference answers.

Training records are answered at a temperature; held-out records greedily, once, because two greedy
answers are the same. An interrupted run goes on behind the last finished chunk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iimedgpt import io, progress
from iimedgpt.config import SampleConfig
from iimedgpt.errors import GenerationError
from iimedgpt.run import StageContext
from iimedgpt.text import content_id, fold, is_chinese
from iimedgpt.types import Candidate, Conversation, LanguageModel, Split

CHUNK_PROMPTS = 48
REPEAT_N = 8  # characters of Chinese, words elsewhere


@dataclass(frozen=True)
class Job:
    """One call of the model: prompts that share temperature and seed."""

    split: Split
    sample: int  # which of a prompt's answers
    conversations: tuple[Conversation, ...]
    temperature: float
    seed: int


def run(ctx: StageContext, load_model: Callable[[str], LanguageModel]) -> None:
    """Sample answers for the first records of training and test.

    Args:
        load_model: gives the model named "sft"; asked only where a chunk is missing.

    Raises:
        GenerationError: the model gave another number of answers than prompts.
    """
    config = ctx.config.sample
    train = choose_conversations(ctx.read("mixture", "train.jsonl", Conversation), config.n_records, config.tasks)
    test = choose_conversations(ctx.read("mixture", "test.jsonl", Conversation), config.n_test_records, config.tasks)
    jobs = list(plan_jobs(train, test, config, ctx.config.seed))
    folder = io.make_private_dir(ctx.directory / "partial")
    chunks = [folder / f"chunk-{index:04d}.jsonl" for index in range(len(jobs))]
    _sample_missing(jobs, chunks, config, load_model)
    candidates = []
    for candidate in (row for chunk in chunks for row in io.read_jsonl(chunk, Candidate)):
        if candidate.text:
            candidates.append(candidate)
        else:
            ctx.drop(candidate.candidate_id, "empty_answer")
    ctx.keep(io.write_jsonl(ctx.output("candidates.jsonl"), candidates))
    shutil.rmtree(folder)
    in_test = {conversation.conversation_id for conversation in test}
    ctx.facts.update(
        n_prompts=len(train) + len(test),
        train=_facts([item for item in candidates if item.prompt_id not in in_test]),
        test=_facts([item for item in candidates if item.prompt_id in in_test]),
    )
    ctx.check_drops(1.0)


def choose_conversations(
    conversations: Iterable[Conversation], n_records: int, tasks: Sequence[str]
) -> list[Conversation]:
    """All (or the named) tasks of the first ``n_records`` records that have one, in file order."""
    chosen: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        record_id = conversation.record_id
        if record_id is None or (tasks and conversation.task not in tasks):
            continue
        if record_id in chosen or len(chosen) < n_records:
            chosen.setdefault(record_id, []).append(conversation)
    return [conversation for group in chosen.values() for conversation in group]


def plan_jobs(
    train: Sequence[Conversation], test: Sequence[Conversation], config: SampleConfig, seed: int
) -> Iterator[Job]:
    """Chunks of prompts; every chunk and every sample of a prompt has a seed of its own."""
    n_samples = config.n_samples if config.temperature > 0 else 1
    plans: tuple[tuple[Split, Sequence[Conversation], int, float], ...] = (
        ("train", train, n_samples, config.temperature),
        ("test", test, 1, 0.0),
    )
    for split, conversations, n, temperature in plans:
        for sample in range(n):
            for start in range(0, len(conversations), CHUNK_PROMPTS):
                chunk = tuple(conversations[start : start + CHUNK_PROMPTS])
                job_seed = int(content_id("sample", str(seed), split, str(sample), str(start))[:7], 16)
                yield Job(split, sample, chunk, temperature, job_seed)


def _sample_missing(
    jobs: Sequence[Job],
    chunks: Sequence[Path],
    config: SampleConfig,
    load_model: Callable[[str], LanguageModel],
) -> None:
    model: LanguageModel | None = None
    with progress.bar("sampling", sum(len(job.conversations) for job in jobs)) as bar:
        for job, chunk in zip(jobs, chunks, strict=True):
            if not chunk.exists():
                model = model if model is not None else load_model("sft")
                io.write_jsonl(chunk, _answer(job, model, config.max_new_tokens))
            bar.advance(len(job.conversations))


def _answer(job: Job, model: LanguageModel, max_new_tokens: int) -> list[Candidate]:
    generations = model.generate(
        [conversation.prompt for conversation in job.conversations],
        max_new_tokens=max_new_tokens,
        temperature=job.temperature,
        seed=job.seed,
    )
    if len(generations) != len(job.conversations):
        raise GenerationError(
            f"model '{model.model_id}' gave {len(generations)} answers to {len(job.conversations)} prompts"
        )
    return [
        Candidate(
            candidate_id=content_id(conversation.conversation_id, model.model_id, str(job.sample)),
            prompt_id=conversation.conversation_id,
            model_id=model.model_id,
            text=generation.text.strip(),
            temperature=job.temperature,
            max_new_tokens=max_new_tokens,
            seed=job.seed,
            is_finished=generation.is_finished,
        )
        for conversation, generation in zip(job.conversations, generations, strict=True)
    ]


def has_repetition(text: str, n: int = REPEAT_N) -> bool:
    """True where some run of ``n`` characters (words outside Chinese) stands there twice."""
    units: Sequence[str] = fold(text) if is_chinese(text) else text.lower().split()
    grams = [tuple(units[start : start + n]) for start in range(len(units) - n + 1)]
    return len(set(grams)) < len(grams)


def _facts(candidates: Sequence[Candidate]) -> dict[str, Any]:
    n = len(candidates)
    if n == 0:
        return {"n": 0}
    return {
        "n": n,
        "finished_frac": round(sum(item.is_finished for item in candidates) / n, 4),
        "mean_chars": round(sum(len(item.text) for item in candidates) / n, 1),
        "repetition_frac": round(sum(has_repetition(item.text) for item in candidates) / n, 4),
        "distinct_frac": round(len({fold(item.text) for item in candidates}) / n, 4),
    }
