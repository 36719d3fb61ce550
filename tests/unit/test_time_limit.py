"""A pattern that runs away is cut off in the middle of its match."""

from __future__ import annotations

import re
import time

import pytest

from iimedgpt.records.time_limit import TookTooLongError, time_limit


def test_a_catastrophic_match_is_cut_off() -> None:
    started = time.monotonic()
    with pytest.raises(TookTooLongError), time_limit(0.2):
        re.match(r"(?:a+)+$", "a" * 60 + "b")  # 2^60 ways to fail
    assert time.monotonic() - started < 5


def test_what_ends_in_time_is_left_alone_and_the_alarm_is_off() -> None:
    with time_limit(0.05):
        pass
    time.sleep(0.1)
