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
        (GOOD + "\n" + json.dumps({"sections": {"主诉": SECRET_TEXT}}), ["records.jsonl:2", "patient_id"]),
        (
            GOOD + "\n" + json.dumps({"patient_id": "p", "events": [{"kind": "fax", "text": SECRET_TEXT}]}),
            ["records.jsonl:2", "kind"],
        ),
    ],
    ids=["missing file", "empty", "missing field", "unknown kind"],
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


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"patient_id": "p2", "sections"' + SECRET_TEXT.encode(), "broken_json"),
        (b"\xff\xfe" + SECRET_TEXT.encode(), "wrong_encoding"),
    ],
)
def test_a_line_that_cannot_be_read_is_quarantined_and_located(
    line: bytes, reason: str, make_workplace: Callable[[], Workplace]
) -> None:
    workplace = make_workplace()
    _jsonl_run(workplace, GOOD.encode() + b"\n" + line)
    result = workplace("records", "run.toml", "--data", "data")
    assert result.returncode == 0, result.stderr
    folder = workplace.run_dir / "records"
    ledger = json.loads((folder / "dropped.jsonl").read_text())
    assert ledger == {"id": "jsonl:records.jsonl:2", "reason": reason}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["n_in"], manifest["n_kept"]) == (2, 1)
    assert SECRET_TEXT not in result.stderr + result.stdout


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
