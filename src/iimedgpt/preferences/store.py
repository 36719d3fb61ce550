"""Where clinicians' votes live: an append-only log in SQLite, or in PostgreSQL by URL.

A vote that was acknowledged survives a power loss: SQLite runs with a write-ahead log and
``synchronous=FULL``, PostgreSQL waits for its log whatever the server's default. Nothing is changed
or deleted but a forgotten patient's votes; an undo is a row of its own. A vote carries an id made by
the page, so that sending it twice stores it once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sql
from pydantic import Field
from sqlalchemy import event as listeners
from sqlalchemy.exc import IntegrityError

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.text import content_id
from iimedgpt.types import Frozen, Judgement, Ranking

FOLDER = "rank"  # in the run's
BUSY_S = 60  # a writer waits so long for another one
N_CLAIM_TRIES = 50

_tables = sql.MetaData()
_annotators = sql.Table(
    "annotators",
    _tables,
    sql.Column("annotator_id", sql.String(16), primary_key=True),
    sql.Column("name", sql.String(80), nullable=False, unique=True),
    sql.Column("key_hash", sql.String(64), nullable=False),
    sql.Column("is_active", sql.Boolean, nullable=False),
)
_claims = sql.Table(  # who may see what: an item has as many slots as clinicians
    "claims",
    _tables,
    sql.Column("run", sql.String(64), primary_key=True),
    sql.Column("item_id", sql.String(16), primary_key=True),
    sql.Column("slot", sql.Integer, primary_key=True),
    sql.Column("annotator_id", sql.ForeignKey("annotators.annotator_id"), nullable=False),
    sql.UniqueConstraint("run", "item_id", "annotator_id"),
)
_votes = sql.Table(
    "votes",
    _tables,
    sql.Column("seq", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("annotator_id", sql.ForeignKey("annotators.annotator_id"), nullable=False),
    sql.Column("vote_id", sql.String(32), nullable=False),
    sql.Column("run", sql.String(64), nullable=False),
    sql.Column("item_id", sql.String(16), nullable=False),
    sql.Column("kind", sql.String(8), nullable=False),  # rank, judge, skip, undo
    sql.Column("body", sql.Text, nullable=False),  # the vote as JSON; of an undo, the vote_id it takes back
    sql.Column("at", sql.Float, nullable=False),  # seconds since 1970
    sql.UniqueConstraint("annotator_id", "vote_id"),
    sql.Index("votes_by_annotator", "run", "annotator_id", "seq"),
    sqlite_autoincrement=True,
)

# in this transaction; a server that waits for its replicas as well goes on doing so
_WAIT_FOR_DISK = sql.text(
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)


class Annotator(Frozen):
    """A clinician with a key."""

    annotator_id: str
    name: str
    key_hash: str  # SHA-256 of the key; the key itself is stored nowhere
    is_active: bool


class Vote(Frozen):
    """What a clinician said of one item."""

    vote_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    annotator_id: str
    item_id: str
    kind: Literal["rank", "judge", "skip"]
    seconds: float = Field(ge=0.0)
    ranking: Ranking | None = None
    judgements: tuple[Judgement, ...] = ()


class VoteIdTakenError(Exception):
    """The same vote id came with other content."""


class Store:
    """The votes of one run; clinicians are shared by all runs in a database."""

    def __init__(self, url: str, run: str) -> None:
        """Open the database and make its tables where they are missing.

        Args:
            url: SQLAlchemy URL, ``sqlite:///…`` or ``postgresql+psycopg://…``.
            run: the run's name.

        Raises:
            DataError: the database does not answer.
        """
        self.run = run
        connect = {"timeout": BUSY_S} if url.startswith("sqlite") else {}
        try:
            self._engine = sql.create_engine(url, connect_args=connect, pool_pre_ping=True, hide_parameters=True)
            if self._engine.dialect.name == "sqlite":
                _set_up_sqlite(self._engine)
            _tables.create_all(self._engine)
        except sql.exc.SQLAlchemyError as error:  # its own words may hold the password
            raise DataError(f"the vote database did not open ({type(error).__name__})") from None

    @classmethod
    def in_folder(cls, folder: Path, run: str) -> Store:
        """SQLite in a private folder."""
        path = io.make_private_dir(folder) / "votes.sqlite"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # its log files take the same mode
        return cls(f"sqlite:///{path}", run)

    @classmethod
    def of_run(cls, config: RunConfig) -> Store:
        """SQLite in the run's folder, or the database that the environment names.

        Raises:
            ConfigError: the environment variable is not set.
            DataError: the database does not answer.
        """
        variable = config.rank.database_url_env
        if variable is None:
            return cls.in_folder(config.run_dir / FOLDER, config.name)
        url = os.environ.get(variable, "")
        if not url:
            raise ConfigError(f"{variable} is not set", hint=f"export {variable}=postgresql+psycopg://USER:…@HOST/NAME")
        return cls(url, config.name)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        """One transaction; SQLite takes its lock at once, so that none fails for having read first."""
        with self._engine.connect().execution_options(is_writing=True) as connection, connection.begin():
            if self._engine.dialect.name == "postgresql":
                connection.execute(_WAIT_FOR_DISK)
            yield connection

    def add_annotator(self, name: str, key_hash: str) -> Annotator:
        """Register a clinician.

        Raises:
            DataError: the name is taken.
        """
        added = Annotator(
            annotator_id=content_id("annotator", name, key_hash), name=name, key_hash=key_hash, is_active=True
        )
        try:
            with self._writing() as connection:
                connection.execute(_annotators.insert().values(**added.model_dump()))
        except IntegrityError:
            raise DataError(
                "an annotator of this name exists", field="--add-annotator", expected="a new name"
            ) from None
        return added

    def remove_key(self, name: str) -> None:
        """Make a clinician's key and sessions worthless; the votes stay.

        Raises:
            DataError: nobody has this name.
        """
        with self._writing() as connection:
            done = connection.execute(_annotators.update().where(_annotators.c.name == name).values(is_active=False))
        if not done.rowcount:
            raise DataError("no annotator of this name", field="--remove-key", expected="a name that was added")

    def annotators(self) -> list[Annotator]:
        """All who were ever registered, by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(sql.select(_annotators).order_by(_annotators.c.name))
            return [Annotator.model_validate(dict(row)) for row in rows.mappings()]

    def claimed(self, annotator_id: str) -> set[str]:
        """Items that a clinician may see."""
        query = sql.select(_claims.c.item_id).where(_claims.c.run == self.run, _claims.c.annotator_id == annotator_id)
        with self._engine.connect() as connection:
            return set(connection.scalars(query))

    def claim_next(self, items: Sequence[str], annotator_id: str, n_slots: int) -> str | None:
        """The first item a clinician has not voted on, theirs from now on; None where all is done.

        Items that they had opened come first, then those with a free slot.
        """
        for _ in range(N_CLAIM_TRIES):
            opened, free = self._open_items(items, annotator_id, n_slots)
            if opened:
                return opened[0]
            if not free:
                return None
            item_id, slot = free[0]
            try:
                with self._writing() as connection:
                    row = {"run": self.run, "item_id": item_id, "slot": slot, "annotator_id": annotator_id}
                    connection.execute(_claims.insert().values(**row))
                return item_id
            except IntegrityError:  # someone else took the slot in between
                continue
        raise DataError("no item could be claimed: too many clinicians at once", expected="a moment's patience")

    def n_open(self, items: Sequence[str], annotator_id: str, n_slots: int) -> int:
        """How many items a clinician has opened and not voted on, or may still get."""
        opened, free = self._open_items(items, annotator_id, n_slots)
        return len(opened) + len(free)

    def _open_items(
        self, items: Sequence[str], annotator_id: str, n_slots: int
    ) -> tuple[list[str], list[tuple[str, int]]]:
        """(a clinician's own items without a vote, others with their first free slot)."""
        query = sql.select(_claims.c.item_id, _claims.c.annotator_id, _claims.c.slot)
        taken: dict[str, dict[int, str]] = {}
        with self._engine.connect() as connection:
            for item_id, owner, slot in connection.execute(query.where(_claims.c.run == self.run)):
                taken.setdefault(item_id, {})[slot] = owner
        done = self.votes_in_force(annotator_id)
        opened, free = [], []
        for item_id in items:
            slots = taken.get(item_id, {})
            if annotator_id in slots.values():
                opened += [item_id] if item_id not in done else []
            elif len(slots) < n_slots:
                free.append((item_id, next(slot for slot in range(n_slots) if slot not in slots)))
        return opened, free

    def append(self, vote: Vote) -> bool:
        """Store a vote durably. True for a new row, False where the same vote is stored already.

        Raises:
            VoteIdTakenError: its id stands for another vote.
        """
        body = vote.model_dump_json(exclude_defaults=True)
        return self._append(vote.annotator_id, vote.vote_id, vote.item_id, vote.kind, body)

    def undo(self, annotator_id: str, vote_id: str, items: Sequence[str]) -> str | None:
        """Take a clinician's last vote on any of these items back; the item it was on, None where none is.

        Args:
            vote_id: id of the undo itself: sent twice, it takes back one vote.
        """
        with self._engine.connect() as connection:
            mine = sql.and_(_votes.c.annotator_id == annotator_id, _votes.c.vote_id == vote_id)
            before = connection.execute(sql.select(_votes.c.item_id).where(mine)).scalar()
        if before is not None:
            return str(before)
        wanted = set(items)
        last = [vote for vote in self.votes_in_force(annotator_id).values() if vote.item_id in wanted]
        if not last:
            return None
        self._append(annotator_id, vote_id, last[-1].item_id, "undo", last[-1].vote_id)
        return last[-1].item_id

    def _append(self, annotator_id: str, vote_id: str, item_id: str, kind: str, body: str) -> bool:
        row = {
            "annotator_id": annotator_id,
            "vote_id": vote_id,
            "run": self.run,
            "item_id": item_id,
            "kind": kind,
            "body": body,
        }
        try:
            with self._writing() as connection:
                connection.execute(_votes.insert().values(**row, at=time.time()))
            return True
        except IntegrityError:
            mine = sql.and_(_votes.c.annotator_id == annotator_id, _votes.c.vote_id == vote_id)
            with self._engine.connect() as connection:
                stored = connection.execute(sql.select(_votes).where(mine)).mappings().first()
            if stored is None:  # another constraint: no such annotator
                raise
            if any(stored[key] != value for key, value in row.items()):
                raise VoteIdTakenError from None
            return False

    def votes_in_force(self, annotator_id: str) -> dict[str, Vote]:
        """Item → the clinician's last vote on it that was not taken back, in the order of voting."""
        return _in_force(self._rows(_votes.c.annotator_id == annotator_id))

    def all_in_force(self) -> list[Vote]:
        """All clinicians' votes that count, by clinician, in the order of voting."""
        by_annotator: dict[str, list[Any]] = {}
        for row in self._rows():
            by_annotator.setdefault(row["annotator_id"], []).append(row)
        return [vote for rows in by_annotator.values() for vote in _in_force(rows).values()]

    def read_rankings(self) -> list[Ranking]:
        """Rankings that count: one a clinician and prompt."""
        return [vote.ranking for vote in self.all_in_force() if vote.ranking is not None]

    def read_judgements(self) -> list[Judgement]:
        """Comparisons that count: one a clinician, prompt and criterion."""
        return [judgement for vote in self.all_in_force() for judgement in vote.judgements]

    def forget(self, is_theirs: Callable[[str], bool]) -> int:
        """Delete all votes on a patient's items; returns how many.

        Args:
            is_theirs: True for a vote, as JSON, that names the patient or what is theirs.
        """
        rows = self._rows()
        gone = [row for row in rows if row["kind"] != "undo" and is_theirs(row["body"])]
        ids = {(row["annotator_id"], row["vote_id"]) for row in gone}
        gone += [row for row in rows if row["kind"] == "undo" and (row["annotator_id"], row["body"]) in ids]
        with self._writing() as connection:
            for row in gone:
                connection.execute(_votes.delete().where(_votes.c.seq == row["seq"]))
                theirs = sql.and_(_claims.c.run == self.run, _claims.c.item_id == row["item_id"])
                connection.execute(_claims.delete().where(theirs))
        if gone and self._engine.dialect.name == "sqlite":  # the text goes from the files, too
            raw = self._engine.raw_connection()
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                raw.cursor().execute(statement)
            raw.close()
        return len(gone)

    def n_rows(self) -> int:
        """Rows of the log, undone votes and undos included."""
        with self._engine.connect() as connection:
            return int(connection.scalar(sql.select(sql.func.count()).where(_votes.c.run == self.run)) or 0)

    def _rows(self, *conditions: sql.ColumnElement[bool]) -> list[Any]:
        query = sql.select(_votes).where(_votes.c.run == self.run, *conditions).order_by(_votes.c.seq)
        with self._engine.connect() as connection:
            return list(connection.execute(query).mappings())


def _in_force(rows: Sequence[Any]) -> dict[str, Vote]:
    taken_back = {row["body"] for row in rows if row["kind"] == "undo"}
    votes: dict[str, Vote] = {}
    for row in rows:
        if row["kind"] != "undo" and row["vote_id"] not in taken_back:
            votes.pop(row["item_id"], None)  # a later vote on an item stands in its own place
            votes[row["item_id"]] = Vote.model_validate_json(row["body"])
    return votes


def _set_up_sqlite(engine: sql.Engine) -> None:
    @listeners.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @listeners.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        is_writing = connection.get_execution_options().get("is_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
