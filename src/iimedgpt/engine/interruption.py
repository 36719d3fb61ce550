"""SIGTERM and Ctrl-C during training: the step under way is finished and saved, then training stops."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from transformers import TrainerCallback

from iimedgpt.engine import distributed
from iimedgpt.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopAfterStep(TrainerCallback):
    """While entered, a signal asks for a checkpoint and an end after the optimiser step under way.

    A second Ctrl-C stops at once. Signals that the process ignores (a job in the background) stay
    ignored; outside the main thread nothing is installed. Previous handlers come back on exit.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> StopAfterStep:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT == self.signal_number:
            raise KeyboardInterrupt
        self.signal_number = number
        if distributed.is_first():
            with suppress(OSError):  # straight to the descriptor: a handler may run inside another write to stderr
                os.write(2, f"\n{signal.Signals(number).name}: stopping after this step, with a checkpoint\n".encode())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if args.world_size > 1:  # the signal may reach the processes at different steps: all stop at the same one
            self.signal_number = distributed.largest(self.signal_number)
        if self.signal_number:
            control.should_save = control.should_training_stop = True

    def raise_if_asked(self, step: int, n_steps: int) -> None:
        """End what trained, once the checkpoint is written.

        Raises:
            Interrupted: a signal came.
        """
        if self.signal_number:
            raise Interrupted(self.signal_number, f"after step {step} of {n_steps}; its checkpoint is written")
