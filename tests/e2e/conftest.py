"""A finished run of the real command line on the tiny model, shared by the tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

RECIPE = """
name = "tiny"
[model]
name = "tiny"
compute = "float32"
[[records.sources]]
reader = "synthetic"
n_max = 30
[mixture]
other = [{ reader = "conversations", n_max = 4 }]
n_max_train_records = 4
test_frac = 0.3
[sft]
groups_per_step = 2
save_every = 1
epochs = 1.0
[sample]
n_records = 2
n_test_records = 1
max_new_tokens = 8
[dpo]
groups_per_step = 1
save_every = 1
[evaluate]
n_records = 4
n_generate = 1
n_options = 2
n_shots = 0
max_new_tokens = 8
n_bootstrap = 200
"""


@dataclass(frozen=True)
class Workplace:
    """A folder with a recipe, a secret of its own, and the real command."""

    folder: Path

    @property
    def run_dir(self) -> Path:
        return self.folder / "runs" / "tiny"

    @property
    def environment(self) -> dict[str, str]:
        home = {"HOME": str(self.folder), "IIMEDGPT_SECRET_FILE": str(self.folder / "secret"), "COLUMNS": "120"}
        # waiting threads sleep: where tests share their cores with other work, spinning costs more than the work
        return {**os.environ, **home, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "iimedgpt", *arguments]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture
def make_workplace(tmp_path: Path) -> Callable[[], Workplace]:
    def make() -> Workplace:
        (tmp_path / "run.toml").write_text(RECIPE)
        return Workplace(tmp_path)

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "run.toml").write_text(RECIPE)
    workplace = Workplace(folder)
    return workplace, workplace("run", "run.toml")
