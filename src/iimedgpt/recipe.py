"""A run's file: TOML in layers, what is said when a key is wrong, and an example with every option.

Layers, later wins: defaults → the file named by ``extends`` → the run's file → ``--set key=value``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, DataError

MAX_EXTENDS = 8


def load(path: Path, overrides: Sequence[str] = (), data_dir: Path | None = None) -> RunConfig:
    """Read, layer and validate a run's configuration.

    Args:
        path: the run's TOML file.
        overrides: ``section.key=value`` strings; the value is TOML, a bare word is a string.
        data_dir: replaces ``data_dir`` of the file.

    Raises:
        ConfigError: naming the file and the key.
    """
    tree = _read_layers(path)
    for override in overrides:
        _apply_override(tree, override)
    if data_dir is not None:
        tree["data_dir"] = str(data_dir)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, path) from None


def _read_layers(path: Path, depth: int = 0) -> dict[str, Any]:
    if depth > MAX_EXTENDS:
        raise ConfigError(f"{path}: 'extends' is more than {MAX_EXTENDS} files deep (a circle?)")
    try:
        tree = tomllib.loads(io.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except DataError as error:
        hint = "iimedgpt init NAME.toml writes a recipe to start from"
        raise ConfigError(str(error), hint=hint) from None
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: 'extends' must be a file name")
    return _merge(_read_layers(path.parent / parent, depth + 1), tree)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override}: expected section.key=value", hint="--set dpo.beta=0.2")
    try:
        value = tomllib.loads(f"v = {raw.strip()}")["v"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    *sections, leaf = key.strip().split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: '{section}' is a value, not a section")
    tree[leaf] = value


def _explain(error: ValidationError, path: Path) -> ConfigError:
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known_fields(place[:-1]))
        return ConfigError(f"{path}: unknown key '{key}'", hint=f"known here: {known}" if known else None)
    if first["type"] == "missing":
        return ConfigError(f"{path}: key '{key}' is missing")
    shown = repr(first["input"])
    return ConfigError(f"{path}: key '{key}' is {shown[:80]}: {first['msg']}")


def _known_fields(place: Sequence[str]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for part in place:
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation
        inner = getattr(annotation, "__args__", (annotation,))[0]
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)


def example(name: str) -> str:
    """A TOML file with every option, its default and its meaning (``iimedgpt init``)."""
    lines = [
        "# Every option with its default. Uncomment what you change.",
        f'name = "{name}"',
        "seed = 0",
        "",
        "# Your records: one [[records.sources]] block a source; paths start from --data.",
        "[[records.sources]]",
        'reader = "synthetic"',
        "n_max = 200",
        "",
    ]
    for section, field in RunConfig.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            continue
        lines.append(f"[{section}]")
        for key, option in field.annotation.model_fields.items():
            if key == "sources":
                continue
            value = "…  (unset)" if option.default is None else _toml(option.default)
            lines += [f"# {option.description}", f"# {key} = {value}"]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
