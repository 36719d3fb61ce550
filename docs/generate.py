"""Writes the reference pages that follow from the code: docs/configuration.md and docs/cli.md.

python docs/generate.py            writes both pages
python docs/generate.py --check    exits 1 and names each page that no longer follows from the code
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
COMMAND = "python docs/generate.py"
HEADER = f"<!-- written by {COMMAND}; edit the code, not this page -->"
WIDTH = 96
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

Schema = dict[str, Any]  # a part of the JSON schema that pydantic derives from the configuration

# JSON schema's bounds, and how they are shown
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {} item",
    "pattern": "matches `{}`",
}

CONFIGURATION = f"""# Configuration

{HEADER}

One TOML file describes a run; every option has a default, so a run states only what it changes.
Layers, later wins: the defaults below → the file named by `extends = "other.toml"` → the run's
file → `--set section.key=value` on the command line. An unknown key is refused, so a misspelt
option never passes for a default. `iimedgpt init NAME.toml` writes a file with every option.

A stage runs again only where something that decides its result has changed: its sections of this
file, `seed`, its input files, or the version of the program. Under each section stand the stages
that it decides directly; the stages that read their results follow.
"""

CLI = f"""# Command line

{HEADER}

Results go to stdout, the log to stderr. An error is one line and a hint, without text of any
record; `--debug` adds the places in the code where an internal error happened.

| exit code | meaning |
|---|---|
"""


def main(arguments: list[str]) -> int:
    """Write the pages, or check them. Returns the exit code."""
    pages = {DOCS / "configuration.md": configuration_page(), DOCS / "cli.md": cli_page()}
    if "--check" not in arguments:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"docs/{path.name} is out of date; write it again with: {COMMAND}")
    return 1 if stale else 0


def configuration_page() -> str:
    """Every section and field with type, default, bounds and meaning.

    Raises:
        KeyError: a field or a section without a description.
    """
    from iimedgpt.config import RunConfig

    schema = RunConfig.model_json_schema()
    definitions: Schema = schema["$defs"]
    fields: Schema = schema["properties"]
    plain = {name: field for name, field in fields.items() if "$ref" not in field}
    parts = [CONFIGURATION, "## Top level\n", _table(plain)]
    for name in (name for name in fields if name not in plain):
        definition: Schema = definitions[_target(fields[name])]
        parts.append(_section(f"[{name}]", definition, _decides(name)))
        for key, item in _items(definition):
            parts.append(_section(f"[[{name}.{key}]]", definitions[item], None))
    return "\n".join(parts)


def _section(title: str, definition: Schema, decides: str | None) -> str:
    lines = [f"## `{title}`", "", definition["description"]]
    lines += ["", f"Decides: {decides}."] if decides else []
    return "\n".join([*lines, "", _table(definition["properties"])])


def _decides(section: str) -> str:
    from iimedgpt import chain

    return ", ".join(f"`{stage.name}`" for stage in chain.stages() if section in stage.sections)


def _items(definition: Schema) -> list[tuple[str, str]]:
    """(field, definition of its items) of the fields that are lists of tables."""
    fields: Schema = definition["properties"]
    return [(key, _target(field["items"])) for key, field in fields.items() if "$ref" in field.get("items", {})]


def _target(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _table(fields: Schema) -> str:
    lines = ["| field | type | default | bounds | meaning |", "|---|---|---|---|---|"]
    for key, field in fields.items():
        variants = [variant for variant in field.get("anyOf", [field]) if variant.get("type") != "null"]
        main_variant: Schema = variants[0]
        default = _value(field["default"]) if "default" in field else "required"
        cells = (f"`{key}`", _type(main_variant), default, _bounds(main_variant), field["description"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _type(field: Schema) -> str:
    if "$ref" in field:
        return "table"
    if "enum" in field:
        return " or ".join(f'`"{value}"`' for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}s"
    return str(field["type"])


def _bounds(field: Schema) -> str:
    return ", ".join(shown.format(field[key]) for key, shown in BOUNDS.items() if key in field)


def _value(value: Any) -> str:
    return "unset" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items() if item is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def cli_page() -> str:
    """The ``--help`` of every verb, as a terminal of a fixed width without colours shows it."""
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):  # typer would force colours under these
        os.environ.pop(name, None)
    os.environ.update(TERMINAL_WIDTH=str(WIDTH), COLUMNS=str(WIDTH), NO_COLOR="1", TERM="dumb")
    from typer.main import get_command_name  # reads the terminal's width when first imported

    from iimedgpt.cli import app
    from iimedgpt.errors import IIMedGPTError

    parts = [CLI + _exit_codes(IIMedGPTError), _help([])]
    for command in app.registered_commands:
        name = command.name or get_command_name(getattr(command.callback, "__name__", ""))
        parts += [f"## {name}\n", _help([name])]
    return "\n".join(parts)


def _exit_codes(root: type[Any]) -> str:
    rows = [(0, "Done, or nothing to do."), (1, "Any other error of the program.")]
    rows += [(kind.exit_code, str(kind.__doc__).strip().splitlines()[0]) for kind in root.__subclasses__()]
    rows += [(2, "Wrong use of the command line."), (70, "An internal error: its type and place only.")]
    rows += [(130, "Interrupted (Ctrl-C); finished stages and checkpoints are kept.")]
    rows += [(143, "Terminated (SIGTERM); the same.")]
    return "".join(f"| {code} | {meaning} |\n" for code, meaning in sorted(rows))


def _help(arguments: list[str]) -> str:
    from typer.testing import CliRunner

    from iimedgpt.cli import app

    text = CliRunner().invoke(app, [*arguments, "--help"], prog_name="iimedgpt").output
    lines = [line.rstrip() for line in ANSI.sub("", text).strip().splitlines()]
    return "\n".join(["```text", *lines, "```", ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
