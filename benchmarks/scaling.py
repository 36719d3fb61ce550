"""How time and memory grow: with the tasks a record, the record's length, and the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.compare import three_runners
from benchmarks.composed import Pool, consultation
from benchmarks.runner import Runner, RunnerError
from benchmarks.trials import DEFAULT
from benchmarks.workloads import SIX, Renderer, Step, Workload, warm_of
from iimedgpt.engine.chat import Chat

N_TASKS = (1, 2, 4, 6)
N_TOKENS = (256, 512, 1024, 2048, 4096)
VOCABULARIES = (32_768, 262_144)
LIMIT_S = {"ours": 120.0, "unshared": 60.0, "trl": 40.0}  # a point that would take longer is left out
OVERHEAD_TOKENS, CHARS_PER_TOKEN = 75, 1.15  # of a prompt beside the record; of composed text


def run(chat: Chat, model: str, precision: str, peer_settings: dict[str, Any], say: Callable[[str], None]) -> Any:
    """The three tables: a row a point, each with the sides that were fast enough."""
    pool = Pool()
    found: dict[str, list[dict[str, Any]]] = {}
    with TemporaryDirectory() as folder:
        renderer = Renderer(chat, Path(folder), SIX, max_record_chars=100_000)
        record, short = _six(renderer, pool, 512), _six(renderer, pool, 256)
        points = {
            "tasks": [(n, _workload(f"{n} tasks", record[-n:]), model) for n in N_TASKS],
            "record_tokens": [(n, _workload(f"{n} tokens", _six(renderer, pool, n)), model) for n in N_TOKENS],
            "vocabulary": [
                (
                    n,
                    _workload(f"vocabulary {n}", _modulo(short, n)),
                    _cut_vocabulary(model, n, folder),
                )
                for n in VOCABULARIES
            ],
        }
        for axis, rows in points.items():
            with three_runners() as runners:
                found[axis] = _axis(axis, rows, runners, precision, peer_settings, say)
    return found


def _axis(
    axis: str,
    points: list[tuple[int, Workload, str]],
    runners: dict[str, Runner],
    precision: str,
    peer_settings: dict[str, Any],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """One row a point, smallest first, so that the peak of each is its own."""
    rows: list[dict[str, Any]] = []
    rates: dict[str, float] = {}  # original tokens a second of the last point
    for value, workload, model in points:
        facts = workload.facts()
        row: dict[str, Any] = {axis: value} | {
            key: facts[key] for key in ("n_original_tokens", "n_trie_tokens", "token_ratio", "n_scored_tokens")
        }
        for side, runner in runners.items():
            layout = {"ours": "shared", "unshared": "beside"}.get(side)
            settings = {"layout": layout} if layout else DEFAULT | peer_settings
            if side in rates and facts["n_original_tokens"] / rates[side] > LIMIT_S[side]:
                row[side] = None
                continue
            try:
                taken = runner.measure(workload, settings | {"model": model, "precision": precision})
            except RunnerError as error:
                row[side] = {"failed": str(error)}
                continue
            row[side] = {key: taken[key] for key in ("seconds", "peak_gib", "loaded_gib")}
            rates[side] = facts["n_original_tokens"] / taken["seconds"]
        rows.append(row)
        say(f"scaling {axis} {value}: " + ", ".join(f"{side} {_seconds(row[side])}" for side in runners))
    return rows


def _seconds(cell: dict[str, Any] | None) -> str:
    return "left out" if cell is None else f"{cell['seconds']:.1f} s" if "seconds" in cell else "failed"


def _workload(name: str, step: Step) -> Workload:
    """One timed step after one that touches as much memory and reads each record once."""
    return Workload(name, "sft", "scaling", warm_of(step), (step,), ())


def _six(renderer: Renderer, pool: Pool, n_tokens: int) -> Step:
    """Six short answers on one record, so that the longest prompt has about ``n_tokens``."""
    n_chars = round((n_tokens - OVERHEAD_TOKENS) * CHARS_PER_TOKEN)
    records = (consultation(pool, number, n_chars) for number in range(50))
    return next(renderer.sft(records))


def _modulo(step: Step, vocabulary: int) -> Step:
    return tuple(replace(s, ids=tuple(i % vocabulary for i in s.ids)) for s in step)


def _cut_vocabulary(model: str, n: int, folder: str) -> str:
    """The model with the first ``n`` rows of its embedding and a byte tokenizer, in a folder of its own.

    Arithmetic only: the token ids mean nothing any more.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    from benchmarks.settings import model_path

    path = Path(folder) / f"vocabulary-{n}"
    loaded: Any = AutoModelForCausalLM.from_pretrained(model_path(model), dtype=torch.float32)
    loaded.resize_token_embeddings(n)
    loaded.save_pretrained(path)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {text: i for i, text in enumerate(["<pad>", "<eos>", "<bos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>").save_pretrained(path)
    return str(path)
