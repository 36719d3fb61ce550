"""Files: private, atomic, and errors that name file, line and field."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from iimedgpt import io
from iimedgpt.errors import DataError
from iimedgpt.types import Message


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_private(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "x" / "rows.jsonl"
    io.write_jsonl(path, [Message(role="user", content="a")])
    assert _mode(path) == 0o600
    assert _mode(path.parent) == _mode(path.parent.parent) == 0o700


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    io.write_jsonl(path, [{"a": 1}])

    def rows():
        yield {"a": 2}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        io.write_jsonl(path, rows())
    assert path.read_text() == '{"a":1}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [Message(role="user", content="腹痛3天\n伴呕吐"), Message(role="assistant", content="")]
    io.write_jsonl(tmp_path / "a.jsonl", rows)
    assert list(io.read_jsonl(tmp_path / "a.jsonl", Message)) == rows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"role": "user"', r"a\.jsonl:2: broken JSON line \(expected one JSON object\)"),
        ('["user"]', r"a\.jsonl:2: not a JSON object"),
        ('{"role": "user"}', r"a\.jsonl:2: field 'content': invalid value \(expected Field required\)"),
        ('{"role": "nurse", "content": "x"}', r"a\.jsonl:2: field 'role'"),
        ('{"role": "user", "content": "x", "extra": 1}', r"a\.jsonl:2: field 'extra'"),
    ],
)
def test_a_bad_line_is_named_with_its_field_and_without_its_text(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"role": "user", "content": "ok"}\n' + line + "\n")
    with pytest.raises(DataError, match=message) as caught:
        list(io.read_jsonl(path, Message))
    assert "nurse" not in str(caught.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"role": "user", "content": "ok"}\n\xff\xfe\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: byte 0 is not UTF-8"):
        list(io.read_jsonl(path, Message))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: file not found"):
        list(io.read_jsonl(tmp_path / "none.jsonl", Message))


def test_the_secret_is_made_once_kept_private_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "config" / "secret"
    first, second = io.Secret.load(path), io.Secret.load(path)
    assert first.id("patient", "7") == second.id("patient", "7")
    assert _mode(path) == 0o600
    assert path.read_text() not in repr(first)


def test_ids_under_another_secret_differ(tmp_path: Path) -> None:
    a, b = io.Secret.load(tmp_path / "a"), io.Secret.load(tmp_path / "b")
    assert a.id("patient", "7") != b.id("patient", "7")


def test_the_parts_of_an_id_cannot_run_into_each_other(tmp_path: Path) -> None:
    secret = io.Secret.load(tmp_path / "a")
    assert secret.id("ab", "c") != secret.id("a", "bc")


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    io.Secret.load(path)
    path.chmod(0o644)
    with pytest.raises(DataError, match="readable by others") as caught:
        io.Secret.load(path)
    assert str(caught.value.hint).startswith("chmod 600")


def test_a_damaged_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("abc")
    path.chmod(0o600)
    with pytest.raises(DataError, match="damaged"):
        io.Secret.load(path)
