"""Model folders on this machine, checked before anything is loaded. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from iimedgpt.entities import kind_of
from iimedgpt.errors import DataError


def local_model(name: str) -> Path | None:
    """The folder that a model's name means, None where it is the name of a built-in or hub model.

    Raises:
        DataError: the folder is missing, or holds no model or no weights.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if name.startswith(("/", ".", "~")):
            raise DataError("no such model folder", path=folder, expected="a folder with a Hugging Face model")
        return None
    if not (folder / "config.json").is_file():
        raise DataError("no config.json in the model folder", path=folder, expected="a Hugging Face model")
    if not any(folder.glob("*.safetensors")):
        raise DataError("no weights in the model folder", path=folder, expected="*.safetensors")
    return folder


def tagger_folder(name: str) -> Path:
    """The folder of a token-classification model.

    Raises:
        DataError: it is missing or incomplete, or no label of its is a person, a place or an organisation.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise DataError("no such folder", path=folder, field="records.ner", expected="a Hugging Face model")
    for pattern in ("config.json", "tokenizer.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise DataError(f"no {pattern} in the model folder", path=folder, field="records.ner")
    entity_labels(folder)
    return folder


def entity_labels(folder: Path) -> list[str]:
    """The labels of a token-classification model by index.

    Raises:
        DataError: there are none, or none is a person, a place or an organisation.
    """
    try:
        labels = json.loads((folder / "config.json").read_text("utf-8"))["id2label"]
        names = [str(labels[str(index)]) for index in range(len(labels))]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    if not any(kind_of(name) for name in names):
        raise DataError(
            "no label of the model is a person, a place or an organisation",
            path=folder / "config.json",
            field="id2label",
            expected="labels such as B-PER, I-LOC, ORG or person",
        )
    return names
