"""Progress for people: a bar with counts and ETA on a terminal, a line now and then in a log.

Everything goes to stderr; stdout carries results only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

LOG_EVERY_S = 15.0
console = Console(stderr=True, highlight=False)


class Bar(Protocol):
    """What work reports to."""

    def advance(self, n: int = 1, note: str = "") -> None: ...


class _TerminalBar:
    def __init__(self, label: str, total: int | None) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task(label, total=total, note="")

    def advance(self, n: int = 1, note: str = "") -> None:
        if note:
            self.progress.update(self.task, note=note)
        self.progress.update(self.task, advance=n)


class _LogBar:
    def __init__(self, label: str, total: int | None) -> None:
        self.label, self.total, self.done = label, total, 0
        self.started = self.last = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        now = time.monotonic()
        if now - self.last < LOG_EVERY_S:
            return
        self.last = now
        eta = ""
        if self.total:
            eta = f"/{self.total}, eta {(now - self.started) / self.done * (self.total - self.done):.0f} s"
        print(f"  {self.label}: {self.done}{eta} {note}".rstrip(), file=sys.stderr, flush=True)


@contextmanager
def bar(label: str, total: int | None = None) -> Iterator[Bar]:
    """A progress bar for work that advances by hand."""
    if not console.is_terminal:
        yield _LogBar(label, total)
        return
    shown = _TerminalBar(label, total)
    with shown.progress:
        yield shown


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar that advances by one for each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(label, total) as shown:
        for item in items:
            yield item
            shown.advance()
