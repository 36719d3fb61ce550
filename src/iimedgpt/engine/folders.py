"""Model folders on this machine, checked before anything is loaded. No torch."""

from __future__ import annotations

from pathlib import Path

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
