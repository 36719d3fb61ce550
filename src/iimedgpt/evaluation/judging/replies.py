"""A judge's replies on disk, one line each as they come: a killed run asks only what is missing.

The file holds raw replies, which may quote a record: 0600, in a hidden folder that is no output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, ValidationError

from iimedgpt import io
from iimedgpt.types import Frozen


class Reply(Frozen):
    """What a judge said to one request, or to its last repetition."""

    key: str
    raw: str
    n_requests: int = Field(default=1, ge=1)  # 1, and one more for each reply without a verdict
    tokens_in: int = Field(default=0, ge=0)  # summed over the requests, 0 where the endpoint does not count
    tokens_out: int = Field(default=0, ge=0)


@dataclass
class Replies:
    """Replies by key; what is added is on disk before it is used."""

    path: Path
    _found: dict[str, Reply] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in _read(self.path):
            self._found[row.key] = row

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def get(self, key: str) -> Reply | None:
        return self._found.get(key)

    def add(self, *replies: Reply) -> None:
        io.make_private_dir(self.path.parent)
        io.append_lines(self.path, map(io.json_line, replies))
        self._found.update({reply.key: reply for reply in replies})


@dataclass
class Usage:
    """What a judge's verdicts took. Numbers only, never text."""

    n_asked: int = 0  # requests of this run
    n_known: int = 0  # verdicts taken from the file of replies
    n_repeated: int = 0  # requests made because a reply held no verdict
    n_too_long: int = 0
    n_no_reference: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # reason → requests without a reply
    tokens_in: int = 0  # of all replies used, known ones too
    tokens_out: int = 0

    def count(self, reply: Reply) -> None:
        self.tokens_in += reply.tokens_in
        self.tokens_out += reply.tokens_out

    def facts(self, price_in: float, price_out: float) -> Mapping[str, object]:
        """Plain numbers; ``cost`` in the currency of the prices a million tokens."""
        return {
            "n_asked": self.n_asked,
            "n_known": self.n_known,
            "n_repeated": self.n_repeated,
            "n_too_long": self.n_too_long,
            "n_no_reference": self.n_no_reference,
            "failures": dict(sorted(self.failures.items())),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost": round((self.tokens_in * price_in + self.tokens_out * price_out) / 1e6, 6),
        }


def _read(path: Path) -> Iterator[Reply]:
    """Replies of earlier runs. A line that an interruption tore is cut off, so that the next one starts anew."""
    raw = path.read_bytes() if path.exists() else b""
    whole = raw[: raw.rfind(b"\n") + 1]
    if whole != raw:
        io.write_bytes(path, whole)
    for line in whole.split(b"\n"):
        try:
            yield Reply.model_validate_json(line)
        except ValidationError:
            continue
