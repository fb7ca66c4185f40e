"""What is seen on a terminal while something takes long: on standard error, and gone afterwards."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONG = 1 << 20
"""A file smaller than this (bytes) is read before a bar could be."""


@contextmanager
def waiting() -> Iterator[Callable[[str], None] | None]:
    """Gives a function that says what is being waited for, with a clock beside it; None where nobody looks.

    Written anew once a second only: what is waited for may need all of a slow machine.
    """
    if not sys.stderr.isatty():
        yield None
        return
    line = _Waiting()
    line.start()
    try:
        yield line.say
    finally:
        line.end()


class _Waiting(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="kpath-waiting", daemon=True)
        self._text = "looking at this kernel"
        self._begin = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        # While BCC compiles, what is written to standard error goes elsewhere.
        self._terminal = os.dup(sys.stderr.fileno())

    def run(self) -> None:
        while not self._over.wait(1):
            self._show()

    def say(self, text: str) -> None:
        self._text = text
        self._show()

    def _show(self) -> None:
        with self._lock:
            if not self._over.is_set():
                self._write(f"\r\x1b[Kkpath: {self._text} … {time.monotonic() - self._begin:.0f} s")

    def end(self) -> None:
        with self._lock:
            self._over.set()
            self._write("\r\x1b[K")
            os.close(self._terminal)

    def _write(self, text: str) -> None:
        with suppress(OSError):
            os.write(self._terminal, text.encode())


@contextmanager
def reading(file: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that is told how many bytes of a recording were read, and how many packets were in them.

    A bar is only shown for a file that is worth one; the length of a pipe is not known.
    """
    path = Path(file)
    size = path.stat().st_size if file != "-" and path.is_file() else 0
    if size < LONG or not sys.stderr.isatty():
        yield lambda _position, _packets: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.fields[packets]:,} packets"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=size, packets=0)
        yield lambda position, packets: bar.update(task, completed=position, packets=packets)
