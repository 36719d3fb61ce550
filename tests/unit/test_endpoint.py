"""An OpenAI-style endpoint on loopback that misbehaves as scripted, and what is made of it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from iimedgpt.config import EndpointConfig
from iimedgpt.endpoint import EndpointModel, UnansweredError, checked_url
from iimedgpt.errors import ConfigError, GenerationError
from iimedgpt.types import Generation, Message

PROMPT = (Message(role="user", content="问"),)
GOOD = {"choices": [{"message": {"role": "assistant", "content": " 多休息。\n"}, "finish_reason": "stop"}]}


class Scripted:
    """Plays a list of steps, one a request; the last one for ever."""

    def __init__(self, steps: list[Any]) -> None:
        self.steps, self.requests, self.keys = steps, [], []
        self.times: list[float] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                script.requests.append(body)
                script.keys.append(self.headers.get("Authorization"))
                script.times.append(time.monotonic())
                script.play(self, script.steps[min(len(script.requests), len(script.steps)) - 1])

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def play(self, handler: BaseHTTPRequestHandler, step: Any) -> None:
        if step == "hang":
            time.sleep(1.0)
            return
        status, headers, body = step
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    started: list[Scripted] = []
    monkeypatch.setattr("iimedgpt.endpoint._FIRST_WAIT_S", 0.01)

    def start(*steps: Any) -> Scripted:
        started.append(Scripted(list(steps)))
        monkeypatch.setenv("IIMEDGPT_ENDPOINT_URL", started[-1].url)
        return started[-1]

    yield start
    for server in started:
        server.close()


def ask(n: int = 1, **config: Any) -> list[Generation]:
    model = EndpointModel(EndpointConfig(model="m", **config))
    try:
        return model.generate([PROMPT] * n, max_new_tokens=7, temperature=0.5, seed=[11 + i for i in range(n)])
    finally:
        model.close()


def test_an_answer_is_asked_with_its_seed_and_the_key(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve((200, {}, GOOD))
    monkeypatch.setenv("IIMEDGPT_ENDPOINT_KEY", "s3cret")
    assert ask(2) == [Generation(text="多休息。", is_finished=True)] * 2
    assert [request["seed"] for request in server.requests] == [11, 12]
    assert server.requests[0]["max_tokens"] == 7
    assert server.requests[0]["messages"] == [{"role": "user", "content": "问"}]
    assert server.keys[0] == "Bearer s3cret"


@pytest.mark.parametrize(
    "bad",
    [
        (500, {}, b"oops"),
        (503, {}, {}),
        (200, {}, b'{"choices": [{"mess'),
        (200, {}, {"choices": []}),
        (200, {}, {"choices": [{"message": {"content": None}}]}),
        (200, {}, ["no object"]),
    ],
)
def test_what_may_pass_is_tried_again(serve: Any, bad: Any) -> None:
    server = serve(bad, (200, {}, GOOD))
    assert ask() == [Generation(text="多休息。", is_finished=True)]
    assert len(server.requests) == 2


def test_a_busy_endpoint_is_given_the_time_it_asks_for(serve: Any) -> None:
    server = serve((429, {"Retry-After": "0.3"}, {}), (200, {}, GOOD))
    assert ask()[0].text == "多休息。"
    assert server.times[1] - server.times[0] >= 0.3


@pytest.mark.parametrize(
    ("step", "reason", "n"),
    [
        ((200, {}, {"choices": []}), "no_choices", 3),
        ((200, {}, b"{"), "broken_json", 3),
        ((429, {}, {}), "http_429", 3),
        ((400, {}, {}), "refused", 1),  # the same request would be refused again
        ((307, {"Location": "http://127.0.0.2/"}, {}), "http_307", 3),  # text of records follows nobody
    ],
)
def test_tries_are_bounded_and_the_reason_is_named(serve: Any, step: Any, reason: str, n: int) -> None:
    server = serve(step)
    with pytest.raises(UnansweredError) as error:
        ask(max_tries=3)
    assert error.value.reason == reason
    assert len(server.requests) == n


def test_a_hanging_endpoint_is_left_at_the_deadline(serve: Any) -> None:
    serve("hang")
    started = time.monotonic()
    with pytest.raises(UnansweredError) as error:
        ask(timeout_s=0.2, deadline_s=0.5, max_tries=20)
    assert error.value.reason == "timeout"
    assert time.monotonic() - started < 1.5


def test_a_wait_beyond_the_deadline_is_not_begun(serve: Any) -> None:
    serve((429, {"Retry-After": "3600"}, {}))
    started = time.monotonic()
    with pytest.raises(UnansweredError):
        ask(deadline_s=5.0)
    assert time.monotonic() - started < 2.0


def test_nobody_listening_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iimedgpt.endpoint._FIRST_WAIT_S", 0.01)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("IIMEDGPT_ENDPOINT_URL", f"http://127.0.0.1:{port}/v1")
    with pytest.raises(UnansweredError) as error:
        ask(max_tries=2)
    assert error.value.reason == "no_connection"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_ends_everything_at_once(serve: Any, status: int) -> None:
    server = serve((status, {}, {}))
    with pytest.raises(GenerationError, match=f"HTTP {status}") as error:
        ask()
    assert not isinstance(error.value, UnansweredError)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://localhost:8000/v1", None),
        ("http://127.0.0.9/v1", None),
        ("http://[::1]:8000/v1", None),
        ("https://llm.hospital.lan/v1", "llm.hospital.lan"),
    ],
)
def test_this_machine_and_the_named_host_may_be_sent_records(
    monkeypatch: pytest.MonkeyPatch, url: str, allowed: str | None
) -> None:
    monkeypatch.setenv("IIMEDGPT_ENDPOINT_URL", url)
    assert checked_url(EndpointConfig(model="m", allow_host=allowed)) == f"{url}/"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://llm.hospital.lan/v1", "not this machine"),
        ("https://other.lan/v1", "not this machine"),
        ("http://127.0.0.1.evil.example/v1", "not this machine"),
        ("http://10.0.0.5:8000/v1", "not this machine"),
        ("http://user:pass@127.0.0.1/v1", "no base URL"),
        ("file:///etc/passwd", "no base URL"),
        ("", "is not set"),
    ],
)
def test_any_other_host_is_refused(monkeypatch: pytest.MonkeyPatch, url: str, problem: str) -> None:
    monkeypatch.setenv("IIMEDGPT_ENDPOINT_URL", url)
    with pytest.raises(ConfigError, match=problem):
        checked_url(EndpointConfig(model="m", allow_host="llm.lan"))
