"""A limit on how long one record may take: a pattern that runs away must not hold up the others.

Python's regular expressions look for signals while they match, so an alarm reaches them in the
middle of a match. That works in the main thread of a process only, which is where records are read.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TookTooLongError(Exception):
    """The work inside took longer than it may."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Cut off what runs inside after so many seconds; outside the main thread there is no limit.

    Raises:
        TookTooLongError: from wherever the work was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _cut_off)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _cut_off(number: int, frame: FrameType | None) -> None:
    raise TookTooLongError
