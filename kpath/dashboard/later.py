"""Something that takes long, made by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """``done`` says whether it is there; ``result`` gives it, or raises what went wrong."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kpath-later", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._made.append(self._make())
        except BaseException as error:
            self._error = error

    @property
    def done(self) -> bool:
        """Has it been made, or gone wrong?"""
        return not self._thread.is_alive()

    def result(self) -> T:
        """Waits for it."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made[0]
