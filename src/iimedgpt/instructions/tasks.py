"""The clinical tasks as data: one TOML file a task, checked when loaded.

A hospital adds a task, or replaces one by its name, with files of its own in
``instructions.tasks_dir``; no code is touched.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from iimedgpt import io
from iimedgpt.errors import ConfigError
from iimedgpt.types import EventKind, Frozen, Language

PACKAGED = Path(__file__).parent / "tasks"

# told after the fact: no task ever sees them, whatever its file says
LATE_KINDS = frozenset({EventKind.COURSE, EventKind.FINAL_DIAGNOSIS, EventKind.DISCHARGE_SUMMARY})

How = Literal["department", "sections", "examination_names", "diagnosis", "basis", "plan"]
Paraphrases = Annotated[tuple[str, ...], Field(min_length=4)]


class Title(Frozen):
    """The task's name for people."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)


class Wordings(Frozen):
    """Ways to ask for the same thing, at least four a language."""

    zh: Paraphrases
    en: Paraphrases


class Task(Frozen):
    """One question that a clinician faces at one point of a record's timeline."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: Title
    docs: str = Field(min_length=1)
    sees: tuple[EventKind, ...] = Field(min_length=1)  # kinds a prompt may hold, if early enough
    answers: tuple[EventKind, ...] = Field(min_length=1)  # kinds that hold the answer, preferred first
    how: How  # how the answer is made from them
    forbids: tuple[EventKind, ...] = ()  # kinds named as never visible, checked against `sees`
    turns: Literal["all", "opening", "before_tests"] = "all"  # which part of a dialogue
    branch: Literal["before_answer", "after_dialogue"] = "before_answer"
    may_add: tuple[Literal["drug", "dose"], ...] = ()  # new facts that are the point of the answer
    instructions: Wordings

    @model_validator(mode="after")
    def _sees_no_future(self) -> Self:
        hidden = LATE_KINDS | set(self.forbids) | set(self.answers)
        both = [kind.value for kind in self.sees if kind in hidden]
        if both:
            raise ValueError(f"'sees' holds what must not be visible: {', '.join(both)}")
        if EventKind.TURN in self.answers:
            raise ValueError("a dialogue turn cannot be an answer")
        return self

    def wordings(self, language: Language) -> tuple[str, ...]:
        """The instructions in a language."""
        return self.instructions.zh if language == "zh" else self.instructions.en

    @property
    def is_from_dialogue(self) -> bool:
        """True where the dialogue is all it can see, even beside written sections."""
        return set(self.sees) <= {EventKind.DEMOGRAPHICS, EventKind.TURN}


def task_files(tasks_dir: str | None) -> list[Path]:
    """Packaged task files, then those of ``tasks_dir``, each in the order of their names.

    Raises:
        ConfigError: the folder is not there or holds no task file.
    """
    files = sorted(PACKAGED.glob("*.toml"))
    if tasks_dir is None:
        return files
    folder = Path(tasks_dir).expanduser()
    own = sorted(folder.glob("*.toml"))
    if not own:
        raise ConfigError(f"instructions.tasks_dir: no task file (*.toml) in {folder}")
    return files + own


def load_tasks(names: Sequence[str], tasks_dir: str | None = None) -> list[Task]:
    """The named tasks in the order asked for; a later file replaces an earlier one of the same name.

    Raises:
        ConfigError: an unknown task, or a file with a missing, unknown or wrong key, by file and key.
    """
    tasks = {task.name: task for task in map(parse_task, task_files(tasks_dir))}
    unknown = [name for name in names if name not in tasks]
    if unknown:
        raise ConfigError(f"instructions.tasks: unknown task '{unknown[0]}'", hint=f"known: {', '.join(sorted(tasks))}")
    return [tasks[name] for name in dict.fromkeys(names)]


def parse_task(path: Path) -> Task:
    """One task file.

    Raises:
        ConfigError: not TOML, or a key that is missing, unknown or wrong.
    """
    try:
        return Task.model_validate(tomllib.loads(io.read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(Task.model_fields))
            raise ConfigError(f"{path}: unknown key '{key}'", hint=f"known: {known}") from None
        what = f"key '{key}': " if key else ""
        raise ConfigError(f"{path}: {what}{first['msg']}") from None
