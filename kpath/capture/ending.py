"""When a capture ends, and why: time is up, Ctrl-C, SIGTERM, the command has ended, the reader is satisfied."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

DURATION = "duration"
COUNT = "count"
INTERRUPT = "interrupt"
TERMINATED = "SIGTERM"
COMMAND = "command ended"
CLOSED = "closed pipe"

_SECOND_TIME = 130
"""Exit status after a second Ctrl-C, as of a shell's command that SIGINT ended."""


class Ending:
    """Calling it gives the reason to end now, "" as long as there is none. Safe to call from any thread.

    As a context manager it takes SIGINT and SIGTERM for itself: the first asks for an orderly end, a second SIGINT
    ends the process at once (the kernel then takes all probes off).
    """

    def __init__(self, duration: float | None = None, also: Callable[[], str] | None = None) -> None:
        """``duration`` in seconds from ``begin``; ``also`` is asked for another reason."""
        self._duration = duration
        self._deadline: float | None = None
        self._also = also
        self._reason = ""
        self._before: dict[int, Any] = {}
        self._presses = 0

    def begin(self) -> None:
        """From now on the duration counts."""
        if self._duration is not None:
            self._deadline = time.monotonic() + self._duration

    def end(self, reason: str) -> None:
        """Ask for the end; the first reason stands."""
        self._reason = self._reason or reason

    def __call__(self) -> str:
        """The reason, or ""."""
        if not self._reason and self._also:
            self._reason = self._also()
        if not self._reason and self._deadline is not None and time.monotonic() >= self._deadline:
            self._reason = DURATION
        return self._reason

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._presses += 1
            if self._presses > 1:
                os._exit(_SECOND_TIME)
            self.end(INTERRUPT)
        else:
            self.end(TERMINATED)
