"""Promises about the project itself: what imports what, what validates, what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from iimedgpt import chain, config, errors
from iimedgpt import recipe as recipes
from iimedgpt.cli import app

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
LIGHT = (
    "iimedgpt.cli",
    "iimedgpt.evaluation.evaluate",
    "iimedgpt.preferences.pairs",
    "iimedgpt.report.table",
    "iimedgpt.web.serve",
)


@pytest.mark.parametrize("module", LIGHT)
def test_no_torch_is_loaded_by(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipe_is_valid(recipe: Path) -> None:
    assert recipes.load(recipe).name


def test_there_are_recipes() -> None:
    assert {"demo.toml", "ai_hospital.toml"} <= {path.name for path in RECIPES}


def test_every_stage_reads_only_stages_before_it() -> None:
    seen: set[str] = set()
    for stage in chain.stages():
        assert set(stage.needs) <= seen, stage.name
        seen.add(stage.name)


def test_every_section_of_the_configuration_decides_some_stage() -> None:
    used = {section for stage in chain.stages() for section in stage.sections}
    sections = set(config.RunConfig.model_fields) - {"seed", "runs_dir", "data_dir", "workers"}
    assert sections - {"rank", "ablation"} <= used  # a page that people use, and an app above the stages


def test_every_verb_has_help_that_ends_with_an_example() -> None:
    for command in app.registered_commands:
        text = (command.callback.__doc__ or "").strip()
        assert re.search(rf"Example: `iimedgpt {command.name or command.callback.__name__} \S+.*`$", text), command.name


def test_exit_codes_are_distinct() -> None:
    kinds = [errors.IIMedGPTError, *errors.IIMedGPTError.__subclasses__()]
    assert len({kind.exit_code for kind in kinds}) == len(kinds)


def test_the_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^make ([a-z-]+)", text, re.M))
    assert {"demo", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"iimedgpt ([a-z]+) ", text)) <= verbs


def test_the_reference_pages_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_file_is_too_large_to_read() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert [(str(p.relative_to(ROOT)), n) for p, n in sizes.items() if n > 400] == []
