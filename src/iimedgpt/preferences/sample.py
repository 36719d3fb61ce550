"""The sample stage: answers of the SFT model (or an endpoint), to be ranked or to stand against the references.

Training records are answered at a temperature; held-out records greedily, once, because two greedy
answers are the same. Every answer has a seed of its own that depends on its prompt, and is kept in a
journal as it comes: an interrupted run asks only what is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from iimedgpt import io, progress
from iimedgpt.config import RunConfig, SampleConfig
from iimedgpt.endpoint import EndpointModel, UnansweredError
from iimedgpt.errors import GenerationError
from iimedgpt.preferences.selection import choose_next
from iimedgpt.run import StageContext
from iimedgpt.text import content_id, fold, is_chinese
from iimedgpt.types import Candidate, Conversation, Generator, LanguageModel, Split

CHUNK_ANSWERS = 48  # asked of a local model in one call: what it reads in common it reads once
MAX_FAILURES = 8  # in a row: then the endpoint is not there
REPEAT_N = 8  # characters of Chinese, words elsewhere
JOURNAL = "answers.jsonl"


@dataclass(frozen=True)
class Ask:
    """One answer to get."""

    conversation: Conversation
    split: Split
    sample: int  # which of the prompt's answers
    temperature: float
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        return self.conversation.conversation_id, self.seed


def run(ctx: StageContext, load_model: Callable[[str], LanguageModel]) -> None:
    """Sample answers for the first records of training and test; put prompts forward for ranking.

    Args:
        load_model: gives the model named "sft" or "base"; asked only where an answer is missing, or
            prompts have to be put in order.

    Raises:
        GenerationError: the model gave another number of answers than prompts, or does not answer at all.
    """
    config = ctx.config.sample
    train = choose_conversations(ctx.read("mixture", "train.jsonl", Conversation), config.n_records, config.tasks)
    test = choose_conversations(ctx.read("mixture", "test.jsonl", Conversation), config.n_test_records, config.tasks)
    asks = list(plan_asks(train, test, config, ctx.config.seed))
    folder = io.make_private_dir(ctx.directory / "partial")
    found, failed = _answer_missing(asks, folder / JOURNAL, ctx.config, load_model)
    candidates = []
    for ask in asks:
        candidate = found.get(ask.key)
        if candidate is None:
            ctx.drop(ask.conversation.conversation_id, f"unanswered_{failed[ask.key]}")
        elif candidate.text:
            candidates.append(candidate)
        else:
            ctx.drop(candidate.candidate_id, "empty_answer")
    ctx.keep(io.write_jsonl(ctx.output("candidates.jsonl"), candidates))
    if config.n_next:
        chosen = choose_next(train, candidates, load_model("sft"), config.n_next)
        io.write_jsonl(ctx.output("next.jsonl"), chosen)
        ctx.facts["n_next"] = len(chosen)
    shutil.rmtree(folder)
    in_test = {conversation.conversation_id for conversation in test}
    ctx.facts.update(
        n_prompts=len(train) + len(test),
        model_ids=sorted({item.model_id for item in candidates}),
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


def plan_asks(
    train: Sequence[Conversation], test: Sequence[Conversation], config: SampleConfig, seed: int
) -> Iterator[Ask]:
    """All answers of a prompt, and all prompts of a record, side by side."""
    n_samples = config.n_samples if config.temperature > 0 else 1
    plans: tuple[tuple[Split, Sequence[Conversation], int, float], ...] = (
        ("train", train, n_samples, config.temperature),
        ("test", test, 1, 0.0),
    )
    for split, conversations, n, temperature in plans:
        for conversation in conversations:
            for sample in range(n):
                identity = content_id("sample", str(seed), conversation.conversation_id, str(sample))
                yield Ask(conversation, split, sample, temperature, int(identity[:7], 16))


def _answer_missing(
    asks: Sequence[Ask], journal: Path, config: RunConfig, load_model: Callable[[str], LanguageModel]
) -> tuple[dict[tuple[str, int], Candidate], dict[tuple[str, int], str]]:
    """(answers, reasons why there is none), by prompt and seed."""
    found = {(item.prompt_id, item.seed): item for item in _read_journal(journal)}
    failed: dict[tuple[str, int], str] = {}
    missing = [ask for ask in asks if ask.key not in found]
    with progress.bar("sampling", len(asks)) as bar, _append(journal) as out:
        bar.advance(len(asks) - len(missing))
        if not missing:
            return found, failed
        is_remote = config.sample.generator == "endpoint"
        generator: Generator = EndpointModel(config.endpoint) if is_remote else load_model(config.sample.generator)
        chunks = list(_chunks(missing, 1 if is_remote else CHUNK_ANSWERS))
        n_parallel = config.endpoint.n_parallel if is_remote else 1
        n_failures = 0
        for chunk, result in _answers(generator, chunks, config.sample.max_new_tokens, n_parallel):
            if isinstance(result, UnansweredError):
                failed |= {ask.key: result.reason for ask in chunk}
                n_failures += 1
                if n_failures == MAX_FAILURES:
                    raise GenerationError(
                        f"{n_failures} prompts in a row got no answer: {result.reason}",
                        hint=f"{len(found)} answers are kept; the same command asks for the rest",
                    )
            else:
                n_failures = 0
                out.writelines(candidate.model_dump_json() + "\n" for candidate in result)
                out.flush()
                found |= {(item.prompt_id, item.seed): item for item in result}
            bar.advance(len(chunk))
    return found, failed


def _answers(
    generator: Generator, chunks: Sequence[Sequence[Ask]], max_new_tokens: int, n_parallel: int
) -> Iterator[tuple[Sequence[Ask], list[Candidate] | UnansweredError]]:
    """Chunks with their answers, as they come."""

    def answer(chunk: Sequence[Ask]) -> list[Candidate] | UnansweredError:
        try:
            return _answer(chunk, generator, max_new_tokens)
        except UnansweredError as error:
            return error

    if n_parallel == 1:
        yield from ((chunk, answer(chunk)) for chunk in chunks)
        return
    pool = ThreadPoolExecutor(n_parallel)
    try:
        waiting = {pool.submit(answer, chunk): chunk for chunk in chunks}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(generator, EndpointModel):
            generator.close()


def _chunks(asks: Sequence[Ask], size: int) -> Iterator[list[Ask]]:
    """Runs of asks with one temperature."""
    for split in ("train", "test"):
        of_split = [ask for ask in asks if ask.split == split]
        yield from (of_split[start : start + size] for start in range(0, len(of_split), size))


def _answer(chunk: Sequence[Ask], model: Generator, max_new_tokens: int) -> list[Candidate]:
    generations = model.generate(
        [ask.conversation.prompt for ask in chunk],
        max_new_tokens=max_new_tokens,
        temperature=chunk[0].temperature,
        seed=[ask.seed for ask in chunk],
    )
    if len(generations) != len(chunk):
        raise GenerationError(f"model '{model.model_id}' gave {len(generations)} answers to {len(chunk)} prompts")
    return [
        Candidate(
            candidate_id=content_id(ask.conversation.conversation_id, model.model_id, str(ask.sample)),
            prompt_id=ask.conversation.conversation_id,
            model_id=model.model_id,
            text=generation.text.strip(),
            temperature=ask.temperature,
            max_new_tokens=max_new_tokens,
            seed=ask.seed,
            is_finished=generation.is_finished,
        )
        for ask, generation in zip(chunk, generations, strict=True)
    ]


def _append(path: Path) -> TextIO:
    """The journal, opened behind its last whole line."""
    text = path.read_bytes() if path.exists() else b""
    io.write_bytes(path, text[: text.rfind(b"\n") + 1])
    return path.open("a", encoding="utf-8")


def _read_journal(path: Path) -> Iterator[Candidate]:
    """Answers of an interrupted run; a line that the interruption tore is left out."""
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            yield Candidate.model_validate_json(line)
        except ValidationError:
            continue


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
