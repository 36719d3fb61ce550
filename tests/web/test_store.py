"""The vote log: the same promises on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy.exc import SQLAlchemyError

from iimedgpt.errors import DataError
from iimedgpt.preferences.store import Store, Vote, VoteIdTakenError
from iimedgpt.types import Ranking
from tests.postgres import PostgresServer
from tests.unit.test_readers_sql import postgres_url  # noqa: F401  the server, a fixture

N_KILLS = 200
N_SERVER_KILLS = 5
N_WRITERS = 20


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = Store.in_folder(tmp_path / "rank", "run")
    else:
        opened = Store(request.getfixturevalue("postgres_url"), f"run{random.randrange(10**9)}")
    yield opened
    opened.close()


def someone(store: Store, name: str = "") -> str:
    return store.add_annotator(name or f"name{random.randrange(10**12)}", "0" * 64).annotator_id


def vote(annotator_id: str, item: str = "i1", number: int = 1, kind: str = "skip") -> Vote:
    return Vote.model_validate(
        {"vote_id": f"{number:032x}", "annotator_id": annotator_id, "item_id": item, "kind": kind, "seconds": 2.5}
    )


def rank(annotator_id: str, item: str, number: int, *tiers: tuple[str, ...]) -> Vote:
    ranking = Ranking(
        ranking_id=f"r{number}",
        prompt_id=f"prompt of {item}",
        annotator_id=annotator_id,
        tiers=tiers,
        shown_order=("b", "a"),
        marks={"a": ("unsafe",)},
        seconds=2.5,
    )
    return vote(annotator_id, item, number, "rank").model_copy(update={"ranking": ranking})


def test_a_vote_is_read_back_as_it_was_cast(store: Store) -> None:
    annotator = someone(store)
    cast = rank(annotator, "i1", 1, ("a",), ("b",))
    assert store.append(cast)
    assert store.votes_in_force(annotator) == {"i1": cast}
    assert store.read_rankings() == [cast.ranking]


def test_the_same_vote_sent_twice_is_one_row(store: Store) -> None:
    annotator = someone(store)
    assert [store.append(vote(annotator)) for _ in range(3)] == [True, False, False]
    assert len(store.all_in_force()) == 1


def test_a_vote_id_cannot_stand_for_two_votes(store: Store) -> None:
    annotator = someone(store)
    store.append(vote(annotator, "i1", 1))
    with pytest.raises(VoteIdTakenError):
        store.append(vote(annotator, "i2", 1))


def test_undo_takes_the_last_vote_back_and_a_repeated_undo_nothing_more(store: Store) -> None:
    annotator = someone(store)
    for number, item in enumerate(("i1", "i2"), start=1):
        store.append(rank(annotator, item, number, ("a",), ("b",)))
    items = ("i1", "i2")
    assert store.undo(annotator, f"{9:032x}", items) == "i2"
    assert store.undo(annotator, f"{9:032x}", items) == "i2"
    assert list(store.votes_in_force(annotator)) == ["i1"]
    assert store.undo(annotator, f"{10:032x}", items) == "i1"
    assert store.undo(annotator, f"{11:032x}", items) is None
    assert store.append(rank(annotator, "i1", 3, ("a", "b")))
    assert [ranking.tiers for ranking in store.read_rankings()] == [(("a", "b"),)]


def test_an_item_goes_to_as_many_clinicians_as_it_has_slots(store: Store) -> None:
    first, second, third = someone(store), someone(store), someone(store)
    assert store.claim_next(["i1", "i2"], first, 2) == "i1"
    assert store.claim_next(["i1", "i2"], first, 2) == "i1"  # opened and not voted on: the same again
    assert store.claim_next(["i1", "i2"], second, 2) == "i1"
    assert store.claim_next(["i1", "i2"], third, 2) == "i2"
    store.append(vote(first, "i1", 1))
    assert store.claim_next(["i1", "i2"], first, 2) == "i2"
    store.append(vote(first, "i2", 2))
    assert store.claim_next(["i1", "i2"], first, 2) is None
    assert store.claimed(third) == {"i2"}


def test_runs_in_one_database_do_not_see_each_other(store: Store) -> None:
    annotator = someone(store)
    store.append(vote(annotator))
    store.run = "other"
    assert store.all_in_force() == []


def test_a_name_is_taken_once_and_a_removed_key_is_inactive(store: Store) -> None:
    annotator = someone(store, name := f"Dr {random.randrange(10**12)}")
    with pytest.raises(DataError, match="exists"):
        someone(store, name)
    store.remove_key(name)
    assert {entry.annotator_id: entry.is_active for entry in store.annotators()}[annotator] is False
    with pytest.raises(DataError, match="no annotator"):
        store.remove_key("nobody")


def test_twenty_writers_at_once_lose_nothing(store: Store) -> None:
    people = [someone(store) for _ in range(N_WRITERS)]
    items = [f"i{number}" for number in range(5)]
    errors: list[Exception] = []

    def work(annotator: str) -> None:
        try:
            for number in range(5):
                item = store.claim_next(items, annotator, N_WRITERS)
                assert item is not None
                store.append(vote(annotator, item, number + 1))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(annotator,)) for annotator in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.all_in_force()) == N_WRITERS * len(items)


WRITER = """
import sys
from pathlib import Path
from iimedgpt.preferences.store import Store, Vote
store = Store.in_folder(Path(sys.argv[1]), "run")
for line in sys.stdin:
    number = int(line)
    store.append(Vote(vote_id=f"{number:032x}", annotator_id=sys.argv[2], item_id=f"i{number}", kind="skip", seconds=1))
    print(number, flush=True)
"""
FORKING = """
import os, sys, time
from pathlib import Path
from iimedgpt.preferences.store import Store, Vote
number = 0
for line in sys.stdin:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        store = Store.in_folder(Path(sys.argv[1]), "run")
        while True:
            number += 1
            vote_id = f"{os.getpid() % 100000:016x}{number:016x}"
            store.append(Vote(vote_id=vote_id, annotator_id=sys.argv[2], item_id="i1", kind="skip", seconds=1))
            os.write(write, (vote_id + "\\n").encode())
    os.close(write)
    print(pid, flush=True)
    time.sleep(float(line))
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    number += 1000000
    told = b""
    while chunk := os.read(read, 65536):
        told += chunk
    os.close(read)
    print(told.decode().replace("\\n", " "), flush=True)
"""


def test_an_acknowledged_vote_survives_kill_9(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path, "run")
    annotator = someone(store)
    command = [sys.executable, "-c", WRITER, str(tmp_path), annotator]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("7\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "7\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert list(store.votes_in_force(annotator)) == ["i7"]
    store.close()


def test_two_hundred_kills_at_random_moments_leave_a_sound_database(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path, "run")
    annotator = someone(store)
    store.close()
    rng = random.Random(5)
    acknowledged: set[str] = set()
    command = [sys.executable, "-c", FORKING, str(tmp_path), annotator]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for _ in range(N_KILLS):
            parent.stdin.write(f"{rng.uniform(0.005, 0.08)}\n")
            parent.stdin.flush()
            parent.stdout.readline()
            acknowledged |= set(parent.stdout.readline().split())
        parent.stdin.close()
    database = sqlite3.connect(tmp_path / "votes.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    stored = {row[0] for row in database.execute("SELECT vote_id FROM votes")}
    database.close()
    assert len(acknowledged) > N_KILLS / 4
    assert acknowledged <= stored


@pytest.fixture
def hasty_server() -> Iterator[PostgresServer]:
    """One that by its own settings acknowledges before the log is written."""
    server = PostgresServer.create("-c synchronous_commit=off")
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_acknowledged_votes_survive_kill_9_of_the_postgresql_server(hasty_server: PostgresServer) -> None:
    store = Store(hasty_server.url, "run")
    annotator = someone(store)
    acknowledged: set[str] = set()
    sent = iter(range(1, 10**6))
    rng = random.Random(6)

    def work() -> None:
        try:
            while True:
                cast = vote(annotator, number=(number := next(sent)), item=f"i{number}")
                store.append(cast)
                acknowledged.add(cast.vote_id)
        except SQLAlchemyError:  # the server is gone
            return

    for _ in range(N_SERVER_KILLS):
        n_before = len(acknowledged)
        writer = threading.Thread(target=work)
        writer.start()
        while len(acknowledged) == n_before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.2))
        hasty_server.kill()
        writer.join()
        hasty_server.start()
        stored = [cast.vote_id for cast in store.votes_in_force(annotator).values()]
        assert acknowledged <= set(stored)
        assert len(set(stored) - acknowledged) <= N_SERVER_KILLS  # written, and the answer was lost
        assert len(stored) == len(set(stored))
    lost_answers = {cast.vote_id for cast in store.all_in_force()} - acknowledged
    for vote_id in lost_answers:  # the page sends such a vote again: one row
        number = int(vote_id, 16)
        assert store.append(vote(annotator, f"i{number}", number)) is False
    store.close()


def test_the_files_of_the_database_are_private(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path / "rank", "run")
    someone(store)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "rank").iterdir()} == {0o600}
    assert (tmp_path / "rank").stat().st_mode & 0o777 == 0o700
    store.close()


def test_a_database_that_does_not_answer_is_told_without_the_password() -> None:
    pytest.importorskip("psycopg")
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        Store("postgresql+psycopg://user:geheim@127.0.0.1:1/none", "run")
    assert "geheim" not in str(caught.value)
    assert time.monotonic() - started < 30
