"""Progress for people: a bar with counts and ETA on a terminal, a line now and then in a log.

Everything goes to stderr; stdout carries results only. Inside ``reported_at`` the same also goes to a small file, once
a second at most, for `iimedgpt watch`: counts, labels and losses, never text.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from iimedgpt import io

Item = TypeVar("Item")

LOG_EVERY_S = 15.0
REPORT_EVERY_S = 1.0
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


_report_file: Path | None = None


@contextmanager
def reported_at(path: Path) -> Iterator[None]:
    """Bars shown inside are told in this file as well; it is gone when the work ends, and stays when it is killed."""
    global _report_file
    before, _report_file = _report_file, path
    try:
        yield
    finally:
        _report_file = before
        path.unlink(missing_ok=True)


class _ReportedBar:
    """Tells a file what it tells the other bar."""

    def __init__(self, shown: Bar, path: Path, label: str, total: int | None) -> None:
        self.shown, self.path = shown, path
        self.state: dict[str, Any] = {
            "label": label,
            "done": 0,
            "total": total,
            "note": "",
            "started": time.time(),
            "at": 0.0,
        }
        self._write()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.shown.advance(n, note)
        self.state["done"] += n
        self.state["note"] = note or self.state["note"]
        if time.time() - self.state["at"] >= REPORT_EVERY_S:
            self._write()

    def _write(self) -> None:
        self.state["at"] = time.time()
        io.write_json(self.path, self.state)


@contextmanager
def bar(label: str, total: int | None = None) -> Iterator[Bar]:
    """A progress bar for work that advances by hand."""
    shown = _TerminalBar(label, total) if console.is_terminal else _LogBar(label, total)
    reported: Bar = shown if _report_file is None else _ReportedBar(shown, _report_file, label, total)
    with shown.progress if isinstance(shown, _TerminalBar) else nullcontext():
        yield reported


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar that advances by one for each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(label, total) as shown:
        for item in items:
            yield item
            shown.advance()
