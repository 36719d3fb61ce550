"""An OpenAI-style server on loopback whose replies follow from what it is asked: judges of every temper."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_FENCED = re.compile(
    r"<(?P<what>问题|回答一|回答二|question|first answer|second answer) (?P<nonce>\w+)>\n"
    r"(?P<text>.*?)\n</(?P=what) (?P=nonce)>",
    re.S,
)


class Asked:
    """One request as a judge reads it: the fences that carry the request's number, and what stands between."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.text = request["messages"][-1]["content"]
        found = list(_FENCED.finditer(self.text))
        self.nonce = self.question = self.first = self.second = ""  # a question that is for no judge
        if found:
            (self.nonce,) = {match["nonce"] for match in found}
            self.question, self.first, self.second = (match["text"] for match in found)
        self.temperature, self.seed = request["temperature"], request["seed"]


Step = str | tuple[int, dict[str, str], Any]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None: ...  # a client that went away is part of the play


class JudgingServer:
    """``answer`` gives a reply's text, or a step: (status, headers, body), "hang" or "reset"."""

    def __init__(self, answer: Callable[[Asked], Step]) -> None:
        self.asked: list[Asked] = []
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = Asked(body)
                with server.lock:
                    server.asked.append(asked)
                server.play(self, answer(asked))

            def log_message(self, *_: Any) -> None: ...

        self.http = _Quiet(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def play(self, handler: BaseHTTPRequestHandler, step: Step) -> None:
        if step == "hang":
            time.sleep(2.0)
            return
        if step == "reset":
            handler.connection.close()
            return
        if isinstance(step, str):
            message = {"message": {"role": "assistant", "content": step}, "finish_reason": "stop"}
            step = (200, {}, {"choices": [message], "usage": {"prompt_tokens": 100, "completion_tokens": 7}})
        status, headers, body = step
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
