"""A model behind an OpenAI-compatible endpoint (vLLM, llama.cpp, Ollama, …) as a ``Generator``.

Text of records goes to this machine only, unless the configuration names the host. Address and key come
from the environment. Tries are bounded in number and in time; redirects and proxies are not followed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from iimedgpt.config import EndpointConfig
from iimedgpt.errors import ConfigError, GenerationError, MissingExtraError
from iimedgpt.types import Generation, Message

_FATAL = {
    401: "refuses the key",
    403: "refuses the key",
    404: "does not know the address or the model",
}
_REFUSED = {400, 413, 422}  # this request will never be answered
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_MAX_REPLY_BYTES = 8 * 2**20


class UnansweredError(GenerationError):
    """One prompt got no answer; ``reason`` is to be counted, and the next prompt may be asked."""

    def __init__(self, reason: str, n_tries: int) -> None:
        super().__init__(f"the endpoint gave no answer after {n_tries} tries: {reason}")
        self.reason = reason


class EndpointModel:
    """Asks an endpoint, one prompt after another. Safe to use from several threads."""

    def __init__(self, config: EndpointConfig) -> None:
        """
        Raises:
            ConfigError: no address, no model, or a host that may not be sent text of records.
            MissingExtraError: the HTTP client is not installed.
        """
        try:
            import httpx2
        except ImportError:
            raise MissingExtraError("endpoint", "an endpoint") from None
        self._config, self._errors = config, httpx2
        self._closed = threading.Event()
        key = os.environ.get(config.key_env, "")
        self._client = httpx2.Client(
            base_url=checked_url(config),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            trust_env=False,
            follow_redirects=False,
        )

    def close(self) -> None:
        """Give up what is under way; threads that wait for another try wake up."""
        self._closed.set()
        self._client.close()

    @property
    def model_id(self) -> str:
        return self._config.model

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int | Sequence[int],
    ) -> list[Generation]:
        """See ``types.Generator.generate``.

        Raises:
            UnansweredError: a prompt got no answer within the tries and the time allowed.
            GenerationError: the endpoint cannot be asked at all.
        """
        seeds = [seed + place for place in range(len(prompts))] if isinstance(seed, int) else seed
        return [
            self._ask(
                {
                    "model": self._config.model,
                    "messages": [message.model_dump() for message in prompt],
                    "max_tokens": max_new_tokens,
                    "temperature": temperature,
                    "seed": its_seed,
                }
            )
            for prompt, its_seed in zip(prompts, seeds, strict=True)
        ]

    def _ask(self, request: dict[str, Any]) -> Generation:
        """One request, tried again after what may pass."""
        ends = time.monotonic() + self._config.deadline_s
        reason, n_tries = "deadline", 0
        while n_tries < self._config.max_tries and time.monotonic() < ends and not self._closed.is_set():
            n_tries += 1
            found, wait_s = self._try(request, ends)
            if isinstance(found, Generation):
                return found
            reason = found
            if wait_s is None:
                break
            ours = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (n_tries - 1)) * random.uniform(0.5, 1.0)
            if n_tries == self._config.max_tries or time.monotonic() + max(wait_s, ours) >= ends:
                break
            self._closed.wait(max(wait_s, ours))
        raise UnansweredError(reason, n_tries)

    def _try(self, request: dict[str, Any], ends: float) -> tuple[Generation | str, float | None]:
        """An answer; or a reason with the seconds the endpoint asks to wait, None where waiting is useless.

        Raises:
            GenerationError: no later request will fare better.
        """
        try:
            timeout_s = max(0.01, min(ends - time.monotonic(), self._config.timeout_s))
            with self._client.stream("POST", "chat/completions", json=request, timeout=timeout_s) as reply:
                if reply.status_code in _FATAL:
                    raise GenerationError(
                        f"the endpoint {_FATAL[reply.status_code]} (HTTP {reply.status_code})",
                        hint=f"check {self._config.url_env}, {self._config.key_env} and the endpoint's model name",
                    )
                if reply.status_code in _REFUSED:
                    return "refused", None
                if reply.status_code != 200:
                    return f"http_{reply.status_code}", _retry_after(reply.headers.get("Retry-After"))
                body = b""
                for part in reply.iter_bytes():
                    body += part
                    if time.monotonic() > ends or len(body) > _MAX_REPLY_BYTES:
                        return "endless_reply", 0.0
            return _parse(json.loads(body)), None
        except self._errors.TimeoutException:
            return "timeout", 0.0
        except self._errors.ConnectError:
            return "no_connection", 0.0
        except self._errors.TransportError:
            return "cut_off", 0.0
        except _BrokenError as error:
            return str(error), 0.0
        except ValueError:  # no JSON, or no UTF-8
            return "broken_json", 0.0
        except RuntimeError:  # the client was closed under way
            return "given_up", None


class _BrokenError(ValueError):
    """A reply that is JSON but no answer; the message is the reason to count."""


def _parse(reply: Any) -> Generation:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices:
        raise _BrokenError("no_choices")
    message = choices[0].get("message") if isinstance(choices[0], dict) else None
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise _BrokenError("no_content")
    usage = reply.get("usage")
    n_in, n_out = (
        usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")
    )
    return Generation(
        text=text.strip(),
        is_finished=choices[0].get("finish_reason") == "stop",
        n_tokens_in=n_in if isinstance(n_in, int) and n_in >= 0 else None,
        n_tokens_out=n_out if isinstance(n_out, int) and n_out >= 0 else None,
    )


def _retry_after(header: str | None) -> float:
    """Seconds that the endpoint asks for; a date, or nonsense, is left to our own waiting."""
    try:
        return max(0.0, float(header or 0.0))
    except ValueError:
        return 0.0


def checked_url(config: EndpointConfig) -> str:
    """The base URL of the environment, allowed to be sent text of records.

    Raises:
        ConfigError: unset, malformed, not this machine and not named, or no model named.
    """
    if not config.model:
        raise ConfigError("the endpoint's model has no name", hint='endpoint.model = "NAME"')
    url = os.environ.get(config.url_env, "")
    if not url:
        raise ConfigError(
            f"{config.url_env} is not set", hint=f"export {config.url_env}=http://127.0.0.1:8000/v1, or your server's"
        )
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query:
        raise ConfigError(f"{config.url_env} is no base URL", hint="http://HOST:PORT/v1, without a password in it")
    if not _is_loopback(host) and host != config.allow_host:
        raise ConfigError(
            f"host '{host}' is not this machine and would be sent text of records",
            hint=f'if it is the hospital\'s own: endpoint.allow_host = "{host}"',
        )
    return url.rstrip("/") + "/"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
