"""SQL sources: SQLite embedded, PostgreSQL against a real server on loopback."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iimedgpt.errors import ConfigError, DataError
from tests.postgres import PostgresServer
from tests.unit.tables import read, shown

pytest.importorskip("sqlalchemy")

MAPPING = {"patient": "pid", "encounter": "vid", "time": "at", "kind": "section", "text": "body"}
QUERY = "SELECT pid, vid, at, section, body FROM notes"
ROWS = [
    ("P1", "A", "2024-03-05 09:00:00", "主诉", "咳嗽3天"),
    ("P2", "B", "2024-03-06 09:00:00", "主诉", "腹痛"),
    ("P1", "A", "2024-03-05 10:30:00", "现病史", "三天前受凉"),
]
EXPECTED = {
    "P1": [("chief_complaint", "咳嗽3天", 0), ("present_illness", "三天前受凉", 90)],
    "P2": [("chief_complaint", "腹痛", 0)],
}


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "his.db") as database:
        database.execute("CREATE TABLE notes (pid TEXT, vid TEXT, at TEXT, section TEXT, body TEXT)")
        database.executemany("INSERT INTO notes VALUES (?, ?, ?, ?, ?)", ROWS)
    database.close()
    return f"sqlite:///{tmp_path / 'his.db'}"


def query(tmp_path: Path, **source: Any) -> Any:
    return read(tmp_path, None, MAPPING, format="sql", **{"query": QUERY, **source})


def test_rows_of_a_query_are_merged_by_encounter(tmp_path: Path, sqlite_url: str) -> None:
    records, rejected, _ = query(tmp_path, url=sqlite_url)
    assert {record.patient_key: shown(record) for record in records} == EXPECTED
    assert rejected == []


def test_the_file_of_an_embedded_database_is_an_input(tmp_path: Path, sqlite_url: str) -> None:
    from iimedgpt.config import RecordSource, RunConfig
    from iimedgpt.records.readers import find_source_files

    source = RecordSource.model_validate(
        {"reader": "table", "format": "sql", "url": sqlite_url, "query": QUERY, "mapping": MAPPING}
    )
    assert find_source_files(source, RunConfig(name="t")) == {"sql": tmp_path / "his.db"}


@pytest.mark.parametrize("wrong", ["SELECT 甄测试 FROM nowhere", "DELETE FROM notes", "甄测试"])
def test_an_error_of_the_database_is_one_line_without_its_own_words(
    tmp_path: Path, sqlite_url: str, wrong: str
) -> None:
    with pytest.raises(DataError) as caught:
        query(tmp_path, url=sqlite_url, query=wrong)
    message = str(caught.value)
    assert "the database refused the query" in message
    assert "\n" not in message
    assert "甄测试" not in message
    assert caught.value.__cause__ is None


def test_a_mapped_column_that_the_query_lacks_is_named(tmp_path: Path, sqlite_url: str) -> None:
    with pytest.raises(DataError, match="sql: field 'body': mapped column is absent"):
        query(tmp_path, url=sqlite_url, query="SELECT pid, vid, at, section FROM notes")


def test_a_password_never_stands_in_the_configuration(tmp_path: Path) -> None:
    for url in ("postgresql://u:geheim@h/d", "postgresql://h/d?password=geheim"):
        with pytest.raises(ConfigError, match="url holds a password") as caught:
            query(tmp_path, url=url)
        assert "geheim" not in str(caught.value)


def test_an_environment_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="IIMEDGPT_TEST_URL is not set"):
        query(tmp_path, url_env="IIMEDGPT_TEST_URL")


def test_a_server_that_does_not_answer_is_told_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("IIMEDGPT_TEST_URL", "postgresql+psycopg://user:geheim@127.0.0.1:1/none")
    with pytest.raises(DataError) as caught:
        query(tmp_path, url_env="IIMEDGPT_TEST_URL")
    assert "geheim" not in str(caught.value)
    assert "OperationalError" in str(caught.value)


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    server = PostgresServer.create()
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


@pytest.fixture
def filled(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import psycopg

    monkeypatch.setenv("IIMEDGPT_TEST_URL", postgres_url)
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        connection.execute("DROP TABLE IF EXISTS notes")
        connection.execute("CREATE SEQUENCE IF NOT EXISTS counter")
        connection.execute("CREATE TABLE notes (pid text, vid text, at timestamp, section text, body text)")
        connection.cursor().executemany("INSERT INTO notes VALUES (%s, %s, %s, %s, %s)", ROWS)
    return postgres_url


class TestPostgres:
    def test_rows_of_a_query_are_merged_by_encounter(self, tmp_path: Path, filled: str) -> None:
        records, rejected, _ = query(tmp_path, url_env="IIMEDGPT_TEST_URL")
        assert {record.patient_key: shown(record) for record in records} == EXPECTED
        assert rejected == []

    def test_a_value_that_the_database_quotes_in_its_error_is_not_told(self, tmp_path: Path, filled: str) -> None:
        with pytest.raises(DataError) as caught:
            query(tmp_path, url_env="IIMEDGPT_TEST_URL", query=QUERY + " WHERE body::int > 0")
        assert "22P02" in str(caught.value)  # invalid_text_representation, the SQLSTATE alone
        assert "咳嗽" not in str(caught.value)
        assert "geheim" not in str(caught.value)

    def test_a_wrong_password_is_told_without_it(
        self, tmp_path: Path, filled: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IIMEDGPT_TEST_URL", filled.replace("geheim", "falsch"))
        with pytest.raises(DataError) as caught:
            query(tmp_path, url_env="IIMEDGPT_TEST_URL")
        assert "falsch" not in str(caught.value)

    def test_the_session_may_not_write(self, tmp_path: Path, filled: str) -> None:
        writes = "SELECT nextval('counter')::text AS pid, vid, at, section, body FROM notes"
        with pytest.raises(DataError, match="25006"):  # read_only_sql_transaction
            query(tmp_path, url_env="IIMEDGPT_TEST_URL", query=writes)
