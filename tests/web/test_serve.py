"""The verb as a hospital uses it: keys, the server, the export."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from iimedgpt import io
from iimedgpt.manifest import MANIFEST, Manifest
from iimedgpt.types import Candidate, Conversation, Message, Ranking
from iimedgpt.web.serve import is_loopback
from tests.web.synthetic import TEXT_OF_RECORD, item
from tests.web.test_access import Client


def manifest(stage: str) -> dict[str, object]:
    return Manifest(
        stage=stage,
        key="k",
        config={},
        config_hash="h",
        inputs={},
        outputs={},
        n_in=1,
        n_kept=1,
        n_dropped={},
        facts={},
        seed=0,
        device="cpu",
        git_commit=None,
        versions={},
        started_at="2026-01-01T00:00:00Z",
        seconds=0.1,
    ).model_dump(mode="json")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose answers are sampled: three prompts, one of which has nothing to choose among."""
    monkeypatch.setenv("IIMEDGPT_SECRET_FILE", str(tmp_path / "secret"))
    run = tmp_path / "runs" / "ward"
    conversations, candidates = [], []
    for number in range(3):
        made = item(number)
        messages = (*made.prompt, Message(role="assistant", content=made.answers[0][1]))
        conversations.append(
            Conversation(
                conversation_id=made.prompt_id,
                messages=messages,
                group_id=made.group_id,
                source="hand",
                license="Apache-2.0",
                split="train",
                task=made.task,
                record_id=f"r{number}",
            )
        )
        for name, text in made.answers[:1] if number == 2 else made.answers[1:]:
            candidates.append(
                Candidate(
                    candidate_id=f"{name}-{number}",
                    prompt_id=made.prompt_id,
                    model_id="sft",
                    text=text,
                    temperature=0.8,
                    max_new_tokens=48,
                    seed=0,
                    is_finished=True,
                )
            )
    io.write_jsonl(run / "mixture" / "train.jsonl", conversations)
    io.write_jsonl(run / "mixture" / "test.jsonl", [])
    io.write_jsonl(run / "sample" / "candidates.jsonl", candidates)
    for stage in ("mixture", "sample"):
        io.write_json(run / stage / MANIFEST, manifest(stage))
    path = tmp_path / "ward.toml"
    path.write_text(f'name = "ward"\nruns_dir = "{tmp_path / "runs"}"\n')
    return path


def rank(recipe: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "iimedgpt", "rank", str(recipe), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def running(recipe: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "iimedgpt", "rank", str(recipe), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert f"http://127.0.0.1:{port}/" in server.stderr.readline()
        try:
            yield server, f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def test_the_page_does_not_start_while_nobody_has_a_key(recipe: Path) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        refused = rank(recipe, "--host", host)
        assert refused.returncode == 1
        assert "nobody has a key yet" in refused.stderr
        assert "--add-annotator" in refused.stderr
    assert "without TLS keys travel readable" in refused.stderr


def test_a_key_is_shown_once_and_stored_as_a_hash(recipe: Path, tmp_path: Path) -> None:
    added = rank(recipe, "--add-annotator", "Dr Li")
    key = added.stdout.strip()
    assert len(key) == 32
    assert key not in added.stderr
    assert rank(recipe, "--add-annotator", "Dr Li").returncode == 3
    for path in (tmp_path / "runs" / "ward" / "rank").iterdir():
        assert key.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_vote_that_was_acknowledged_is_there_after_kill_9_and_in_the_export(recipe: Path, tmp_path: Path) -> None:
    key = rank(recipe, "--add-annotator", "Dr Li").stdout.strip()
    vote = {"vote_id": "a" * 32, "kind": "rank", "seconds": 3.0, "ranks": {"A": 1, "B": 2, "C": 2, "D": 3}}
    with running(recipe) as (server, url):
        client = Client(url).log_in(key)
        path = client.send("GET", "/rank").getheader("location") or ""
        assert client.status("POST", path, vote) == 200
        os.kill(server.pid, signal.SIGKILL)
    with running(recipe) as (server, url):  # the session outlives the server, and so does the vote
        assert client.__class__(url, client.cookie, client.csrf).send("GET", "/rank").getheader("location") != path
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)
        assert server.stderr is not None
        log = server.stderr.read()
    assert log == ""  # neither ids nor text
    exported = rank(recipe, "--export")
    assert exported.returncode == 0, exported.stderr
    (ranking,) = io.read_jsonl(tmp_path / "runs" / "ward" / "rank" / "rankings.jsonl", Ranking)
    assert [len(tier) for tier in ranking.tiers] == [1, 2, 1]
    assert ranking.prompt_id in ranking.shown_order  # the reference answer is among them, by its conversation's id


def test_a_forgotten_patients_votes_and_words_are_gone_and_the_others_stay(recipe: Path, tmp_path: Path) -> None:
    key = rank(recipe, "--add-annotator", "Dr Li").stdout.strip()
    with running(recipe) as (_, url):
        client = Client(url).log_in(key)
        for number, word in enumerate(("磷霉素一号", "磷霉素二号")):
            vote = {"vote_id": f"{number:032x}", "kind": "rank", "seconds": 3.0, "ranks": dict.fromkeys("ABCD", 1)}
            path = client.send("GET", "/rank").getheader("location") or ""
            assert client.status("POST", path, {**vote, "edited": {"letter": "A", "text": word}}) == 200
    assert rank(recipe, "--export").returncode == 0
    command = [sys.executable, "-m", "iimedgpt", "records", str(recipe), "--forget", "patient-0"]
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    folder = tmp_path / "runs" / "ward" / "rank"
    left = b"".join(path.read_bytes() for path in folder.iterdir()).decode("utf-8", "replace")
    assert "磷霉素一号" not in left
    assert "磷霉素二号" in left
    assert not list(folder.glob("*.jsonl"))


def test_only_prompts_with_a_choice_are_shown(recipe: Path) -> None:
    key = rank(recipe, "--add-annotator", "Dr Li").stdout.strip()
    with running(recipe) as (_, url):
        page = Client(url).log_in(key)
        text = page.send("GET", page.send("GET", "/rank").getheader("location") or "").text  # type: ignore[attr-defined]
    assert "已完成 0，共 2" in text
    assert TEXT_OF_RECORD in text


def test_sampling_comes_first(recipe: Path, tmp_path: Path) -> None:
    rank(recipe, "--add-annotator", "Dr Li")
    (tmp_path / "runs" / "ward" / "sample" / MANIFEST).unlink()
    refused = rank(recipe)
    assert refused.returncode == 5
    assert "iimedgpt sample" in refused.stderr


def test_a_port_that_is_taken_is_one_line(recipe: Path) -> None:
    rank(recipe, "--add-annotator", "Dr Li")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = time.monotonic()
        refused = rank(recipe, "--port", str(taken.getsockname()[1]))
    assert refused.returncode == 1
    assert "cannot listen on 127.0.0.1" in refused.stderr
    assert time.monotonic() - started < 30


def test_what_loopback_is() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "hospital.example")] == [False] * 4
