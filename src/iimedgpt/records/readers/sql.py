"""Rows of a SQL query, through SQLAlchemy, as a stream.

An error of the database is told by its class and SQLSTATE alone: its own message quotes values of
rows, and an URL holds a password.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iimedgpt.config import RecordSource
from iimedgpt.errors import ConfigError, DataError, MissingExtraError
from iimedgpt.records.readers.formats import Numbered

PLACE = "sql"  # what ledgers and messages call the source
_FETCH_ROWS = 1_000


def read_url(source: RecordSource) -> Any:
    """The SQLAlchemy URL.

    Raises:
        ConfigError: neither or both are given, the variable is not set, the URL is none, or the
            configuration (which every manifest repeats) would hold a password.
    """
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError:
        raise MissingExtraError("tables", "reading SQL") from None
    if (source.url is None) == (source.url_env is None) or not source.query:
        raise ConfigError("records.sources: SQL needs a query and either url_env or url")
    text = source.url if source.url is not None else os.environ.get(source.url_env or "")
    if not text:
        raise ConfigError(f"records.sources: environment variable {source.url_env} is not set")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        hint = "dialect+driver://user:password@host:port/database"
        raise ConfigError("records.sources: not a SQLAlchemy URL", hint=hint) from None
    if source.url is not None and (url.password or any("pass" in key.lower() for key in url.query)):
        hint = "put the URL into an environment variable and name it in url_env"
        raise ConfigError("records.sources: url holds a password, and manifests repeat the configuration", hint=hint)
    return url


def find_database(source: RecordSource) -> dict[str, Path]:
    """The file of an embedded database, to be hashed as an input; a server has none."""
    url = read_url(source)
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    if is_file and not Path(url.database).is_file():
        raise DataError("SQLite database not found", path=PLACE, expected="an existing file")
    return {PLACE: Path(url.database)} if is_file else {}


def read_columns(source: RecordSource) -> list[str]:
    """Names of the query's columns.

    Raises:
        DataError: the database refused.
    """
    with _connect(source) as connection:
        return list(connection.execute(_select(source, ()).where(_false())).keys())


def read_rows(source: RecordSource, wanted: Sequence[str], order: Sequence[str]) -> Iterator[Numbered]:
    """Rows in the order of the given columns, so that those of one encounter stand together.

    Raises:
        DataError: the database refused or broke off. Half a query is no result: it can be run again.
    """
    with _connect(source) as connection:
        result = connection.execution_options(yield_per=_FETCH_ROWS).execute(_select(source, order))
        places = {name: place for place, name in enumerate(result.keys())}
        chosen = [(column, places[column]) for column in wanted]
        for number, row in enumerate(result, start=1):
            yield number, {column: row[place] for column, place in chosen}


def _select(source: RecordSource, order: Sequence[str]) -> Any:
    import sqlalchemy as sa

    query = sa.text((source.query or "").strip().rstrip(";").replace(":", r"\:"))
    rows = query.columns(*(sa.column(name) for name in order)).subquery("rows")
    statement: Any = sa.select(sa.literal_column("*")).select_from(rows)
    return statement.order_by(*(rows.c[name] for name in order)) if order else statement


def _false() -> Any:
    import sqlalchemy as sa

    return sa.literal_column("1") == sa.literal_column("0")


@contextmanager
def _connect(source: RecordSource) -> Iterator[Any]:
    import sqlalchemy as sa

    engine = None
    try:
        engine = sa.create_engine(read_url(source), hide_parameters=True)
        options = {"postgresql_readonly": True} if engine.dialect.name == "postgresql" else {}
        with engine.connect().execution_options(**options) as connection:
            yield connection
    except (sa.exc.SQLAlchemyError, ImportError, UnicodeError) as error:
        raise DataError(_explain(error), path=PLACE, hint=_HINT) from None
    finally:
        if engine is not None:
            engine.dispose()


_HINT = "try the query in the database's own client; records.sources.query has to be one SELECT"


def _explain(error: Exception) -> str:
    """Class and SQLSTATE; never the database's own words."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    code = f", {state}" if isinstance(state, str) and state.replace("_", "").isalnum() else ""
    if isinstance(error, ImportError):
        return "the database's driver is not installed"
    return f"the database refused the query or broke off ({type(cause).__name__}{code})"
