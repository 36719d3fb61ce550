"""Layers of configuration, and errors that name the key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from iimedgpt import config, recipe
from iimedgpt.errors import ConfigError


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_later_layers_win_value_by_value(tmp_path: Path) -> None:
    _write(tmp_path, "base.toml", 'name = "a"\n[dpo]\nbeta = 0.3\nrank = 4\n')
    path = _write(tmp_path, "run.toml", 'extends = "base.toml"\n[dpo]\nbeta = 0.2\n')
    loaded = recipe.load(path, ["dpo.rank=8", "name=b"], data_dir=Path("/data"))
    assert (loaded.name, loaded.dpo.beta, loaded.dpo.rank, loaded.data_dir) == ("b", 0.2, 8, "/data")


def test_a_small_number_in_exponent_form_is_a_number(tmp_path: Path) -> None:
    path = _write(tmp_path, "run.toml", 'name = "a"\n[dpo]\nlearning_rate = 5e-7\n')
    assert recipe.load(path).dpo.learning_rate == 5e-7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "a"\n[dpo]\nbetta = 0.1\n', "unknown key 'dpo.betta'"),
        ('name = "a"\n[dpo]\nbeta = 0\n', "key 'dpo.beta' is 0"),
        ('name = "a"\n[dpo]\nloss = "hinge"\n', "key 'dpo.loss' is 'hinge'"),
        ('name = "../a"\n', "key 'name' is '../a'"),
        ("seed = 1\n", "key 'name' is missing"),
        ("name = ", "not valid TOML"),
        ('name = "a"\n[[records.sources]]\nreader = "fax"\n', "key 'records.sources.0.reader' is 'fax'"),
        ('name = "a"\nextends = "run.toml"\n', "a circle"),
        ('name = "a"\nextends = 3\n', "'extends' must be a file name"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe.load(_write(tmp_path, "run.toml", text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unknown_key_comes_with_the_known_ones(tmp_path: Path) -> None:
    path = _write(tmp_path, "run.toml", 'name = "a"\n[[records.sources]]\nreader = "jsonl"\npth = "x"\n')
    with pytest.raises(ConfigError) as caught:
        recipe.load(path)
    known = str(caught.value.hint).removeprefix("known here: ").split(", ")
    assert known == sorted(known)
    assert {"language", "n_max", "path", "reader", "mapping"} <= set(known)


@pytest.mark.parametrize("override", ["dpo.beta", "=3", "name.x=1"])
def test_a_bad_override_is_refused(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--set"):
        recipe.load(_write(tmp_path, "run.toml", 'name = "a"\n'), [override])


def test_a_missing_file_tells_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe.load(tmp_path / "none.toml")
    assert "iimedgpt init" in str(caught.value.hint)


def test_the_example_is_a_valid_configuration_also_with_every_line_uncommented(tmp_path: Path) -> None:
    text = recipe.example("mine")
    assert recipe.load(_write(tmp_path, "a.toml", text)).name == "mine"
    options = [line[2:] for line in text.splitlines() if line.startswith("# ") and " = " in line]
    set_options = [line for line in options if "(unset)" not in line]
    assert len(set_options) > 50
    for line in set_options:
        tomllib.loads(line)


def test_every_field_says_what_it_is() -> None:
    for section in config.RunConfig.model_fields.values():
        for field in getattr(section.annotation, "model_fields", {}).values():
            assert field.description
