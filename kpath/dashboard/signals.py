"""Signals that end the view in good order, so that the terminal is as it was before."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Signals:
    """Takes the signals that end a program while the view is open, and gives them back."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def take(self, leave: Callable[[], None]) -> None:
        """From now on they call ``leave``. Only the main thread can do this; in any other nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            self._before[number] = signal.getsignal(number)
            loop.add_signal_handler(number, leave)

    def leave(self) -> None:
        """They are whose they were before."""
        for number, handler in self._before.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handler)
        self._before.clear()
