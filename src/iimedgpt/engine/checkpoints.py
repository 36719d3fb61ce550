"""Checkpoints: sealed by hashes, used whole or not at all, and only by the training that wrote them.

``complete.json`` is written last. It holds size and SHA-256 of every file of its checkpoint and the
fingerprint of the training, and is itself sealed by a hash: a checkpoint that was cut short, damaged
or belongs to another training never goes unnoticed. ``remembered`` keeps costly results between runs
under the same seal.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from iimedgpt import io
from iimedgpt.config import TrainConfig
from iimedgpt.engine.distributed import from_first, is_first
from iimedgpt.engine.models import LoadedModel
from iimedgpt.errors import DataError, TrainingError
from iimedgpt.text import content_id

log = logging.getLogger(__name__)

COMPLETE = "complete.json"
SEAL = "sha256"
N_SAMPLED = 2**16  # at least so many values of a large weight decide its digest

Value = TypeVar("Value")


def last_good(checkpoints: Path, fingerprint: str) -> Path | None:
    """The newest checkpoint that is whole; damaged ones are named in the log and removed.

    Raises:
        TrainingError: it belongs to another training.
    """
    found = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in checkpoints.glob("checkpoint-*")}
    steps = {path: int(match[1]) for path, match in found.items() if match}
    for folder in sorted(steps, key=lambda path: steps[path], reverse=True):
        problem = _problem(folder)
        if problem is None:
            _check_fingerprint(folder, fingerprint)
            return folder
        log.warning("%s is not used: %s", folder.name, problem)
        shutil.rmtree(folder)
    if steps:
        log.warning("no good checkpoint is left: training starts again at step 0")
    return None


def mark_complete(folder: Path, step: int, fingerprint: str) -> None:
    """Seal a checkpoint whose files are all written."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, SEAL: io.sha256_file(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != COMPLETE
    }
    write_sealed(folder / COMPLETE, {"step": step, "fingerprint": fingerprint, "files": files})


def _problem(folder: Path) -> str | None:
    """What is wrong with a checkpoint, None where nothing is."""
    if not (folder / COMPLETE).is_file():
        return "its saving was cut short"
    mark = read_sealed(folder / COMPLETE)
    if mark is None:
        return f"{COMPLETE} is damaged"
    for name, expected in mark["files"].items():
        path = folder / name
        try:
            n_bytes = path.stat().st_size
            if n_bytes != expected["bytes"]:
                return f"{name} has {n_bytes} bytes instead of {expected['bytes']}"
            if io.sha256_file(path) != expected[SEAL]:
                return f"{name} is damaged (its SHA-256 is another)"
        except OSError as error:
            return f"{name} is missing or cannot be read ({type(error).__name__})"
    return None


def _check_fingerprint(folder: Path, fingerprint: str) -> None:
    mark = read_sealed(folder / COMPLETE)
    if mark is None or mark["fingerprint"] != fingerprint:
        raise TrainingError(
            f"{folder.name} comes from another training: its data, model, seed or configuration differ from today's",
            hint="take back what changed to go on with it, or start anew with --force",
        )


def training_fingerprint(
    loaded: LoadedModel, packs: Sequence[dict[str, Tensor]], packs_per_step: int, config: TrainConfig, seed: int
) -> str:
    """Hash of all that decides a training: data in order, configuration, seed, and the model as it starts.

    Of the trained tensors names and shapes count, of the frozen ones the values too (see ``weights_digest``).
    """
    trained = [(name, list(p.shape)) for name, p in loaded.model.named_parameters() if p.requires_grad]
    frozen = ((name, p) for name, p in loaded.model.named_parameters() if not p.requires_grad)
    decisive = [type(config).__name__, config.model_dump(mode="json"), seed, packs_per_step, loaded.name, trained]
    text = json.dumps(decisive, sort_keys=True)
    return content_id(text, tensors_digest(_tensors_of(packs)), tensors_digest(frozen, N_SAMPLED))


def packs_digest(packs: Sequence[dict[str, Tensor]]) -> str:
    """Hash of packs in order, every value counted."""
    return tensors_digest(_tensors_of(packs))


def weights_digest(loaded: LoadedModel) -> str:
    """Hash of the model's name, arithmetic and weights (adapters too); of large ones, evenly spread values.

    Two runs with the same digest compute the same numbers, up to the library's and the machine's rounding.
    """
    arithmetic = (str(loaded.compute), loaded.device.type, str(loaded.model.config._attn_implementation))
    return content_id(
        loaded.name, *arithmetic, torch.__version__, tensors_digest(loaded.model.named_parameters(), N_SAMPLED)
    )


def _tensors_of(packs: Sequence[dict[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
    return chain.from_iterable(((f"{i}:{key}", pack[key]) for key in sorted(pack)) for i, pack in enumerate(packs))


def tensors_digest(named: Iterable[tuple[str, Tensor]], n_sampled: int | None = None) -> str:
    """SHA-256 over names, shapes, types and values.

    Args:
        n_sampled: of a tensor with more than twice so many values, evenly spread ones count, at least so many.
    """
    digest = hashlib.sha256()
    for name, tensor in named:
        stride = max(1, tensor.numel() // n_sampled) if n_sampled else 1
        values = tensor.detach().reshape(-1)[::stride].contiguous().view(torch.uint8).cpu()
        digest.update(f"{name}:{list(tensor.shape)}:{tensor.dtype}:".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def remembered(path: Path, key: str, compute: Callable[[], Value]) -> Value:
    """What ``compute`` gives (a JSON value), kept in a private file for the next call with the same key."""
    kept = from_first(lambda: read_sealed(path))
    if kept is not None and kept["key"] == key:
        value: Value = kept["value"]
        return value
    value = compute()
    if is_first():
        write_sealed(path, {"key": key, "value": value})
    return value


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Atomic JSON that carries a hash of itself."""
    io.write_json(path, {**content, SEAL: _seal(content)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What ``write_sealed`` wrote; None where it is absent or not what was written."""
    try:
        content = io.read_json(path)
    except (DataError, OSError):
        return None
    if not isinstance(content, dict) or content.pop(SEAL, None) != _seal(content):
        return None
    return content


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
