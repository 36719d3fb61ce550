"""Bad input: one line with file, line, field and what was expected; its exit code; nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Workplace

SECRET_TEXT = "张三丰腹痛"


def _errors(result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("error:")]


def _jsonl_run(workplace: Workplace, content: str | bytes | None) -> None:
    data = workplace.folder / "data"
    data.mkdir()
    if content is not None:
        raw = content if isinstance(content, bytes) else content.encode()
        (data / "records.jsonl").write_bytes(raw)
    (workplace.folder / "run.toml").write_text(
        'name = "tiny"\n[model]\nname = "tiny"\n[[records.sources]]\nreader = "jsonl"\npath = "records.jsonl"\n'
    )


GOOD = json.dumps({"patient_id": "p1", "sections": {"主诉": "腹痛3天", "现病史": "患者3天前腹痛"}}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, ["records.jsonl", "not found"]),
        ("", ["records.jsonl"]),
        (GOOD + "\n" + '{"patient_id": "p2", "sections"' + SECRET_TEXT, ["records.jsonl:2", "broken JSON"]),
        (GOOD + "\n" + json.dumps({"sections": {"主诉": SECRET_TEXT}}), ["records.jsonl:2", "patient_id"]),
        (
            GOOD + "\n" + json.dumps({"patient_id": "p", "events": [{"kind": "fax", "text": SECRET_TEXT}]}),
            ["records.jsonl:2", "kind"],
        ),
        (GOOD.encode() + b"\n\xff\xfe" + SECRET_TEXT.encode(), ["records.jsonl:2", "UTF-8"]),
    ],
    ids=["missing file", "empty", "broken line", "missing field", "unknown kind", "wrong encoding"],
)
def test_bad_records_are_named(
    content: str | bytes | None, expected: list[str], make_workplace: Callable[[], Workplace]
) -> None:
    workplace = make_workplace()
    _jsonl_run(workplace, content)
    result = workplace("run", "run.toml", "--data", "data")
    assert result.returncode == 3, result.stderr
    (line,) = _errors(result)
    for part in expected:
        assert part in line, line
    assert SECRET_TEXT not in result.stderr + result.stdout
    assert not list(workplace.folder.rglob("records/records.jsonl"))
    assert not list(workplace.folder.rglob("manifest.json"))


def test_an_unknown_key_is_named(make_workplace: Callable[[], Workplace]) -> None:
    workplace = make_workplace()
    result = workplace("run", "run.toml", "--set", "sft.lerning_rate=1e-4")
    assert result.returncode == 2
    assert "unknown key 'sft.lerning_rate'" in _errors(result)[0]
    assert not workplace.run_dir.exists()


def test_a_model_folder_without_weights_is_named_before_anything_runs(
    make_workplace: Callable[[], Workplace], tmp_path: Path
) -> None:
    workplace = make_workplace()
    folder = tmp_path / "model"
    folder.mkdir()
    for files, message in (((), "no config.json"), (("config.json",), "no weights in the model folder")):
        for file in files:
            (folder / file).write_text("{}")
        for verb in ("validate", "run"):
            result = workplace(verb, "run.toml", "--model", str(folder))
            assert result.returncode == 3, result.stderr
            assert message in _errors(result)[0]
    assert not workplace.run_dir.exists()


def test_a_stage_run_too_early_names_the_verb_to_run_first(make_workplace: Callable[[], Workplace]) -> None:
    result = make_workplace()("sft", "run.toml")
    assert result.returncode == 5
    assert "stage 'sft' needs stage 'mixture'" in result.stderr
    assert "iimedgpt mixture run.toml" in result.stderr


def test_a_csv_with_a_wrong_column_is_named(make_workplace: Callable[[], Workplace]) -> None:
    workplace = make_workplace()
    (workplace.folder / "other.csv").write_text("department,titel,ask,answer\n内科,a,b,c\n", encoding="gb18030")
    result = workplace("run", "run.toml", "--data", ".", "--set", 'mixture.other=[{reader="toyhom", path="other.csv"}]')
    assert result.returncode == 3, result.stderr
    line = _errors(result)[0]
    assert "other.csv" in line
    assert "title" in line


def test_a_broken_toml_is_named(make_workplace: Callable[[], Workplace]) -> None:
    workplace = make_workplace()
    (workplace.folder / "run.toml").write_text("name = ")
    result = workplace("run", "run.toml")
    assert result.returncode == 2
    assert "run.toml: not valid TOML" in _errors(result)[0]


def test_a_run_that_does_not_exist_is_named(make_workplace: Callable[[], Workplace]) -> None:
    result = make_workplace()("show", "runs/none")
    assert result.returncode == 3
    assert "runs/none: no such run" in _errors(result)[0]
