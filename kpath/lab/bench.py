"""The one lab of this machine: what it leaves behind, whatever ends it, is nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from kpath.lab.declare import PREFIX, SCENARIOS, Lab
from kpath.lab.errors import LabSetupError
from kpath.lab.netns import remove_namespaces

LOCK = Path("/run/kpath-lab.lock")


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the end is as orderly as after Ctrl-C."""


@contextlib.contextmanager
def lab(prefix: str = PREFIX) -> Iterator[Lab]:
    """A lab; its networks are taken down at the end, also after Ctrl-C, SIGTERM or an exception.

    What a lab that was killed left behind is removed first. Raises LabSetupError without root, or when another is at
    work: its namespaces have the same names.
    """
    if os.geteuid() != 0:
        raise LabSetupError("networks of namespaces need root: run kpath with sudo.")
    with _alone(), _terminable() as shielded:
        sweep(prefix)
        made = Lab(prefix)
        try:
            yield made
        finally:
            with shielded():
                made.close()


def sweep(prefix: str = PREFIX) -> None:
    """Remove namespaces that a killed lab left behind."""
    topologies = {scenario.topology.name: scenario.topology for scenario in SCENARIOS.values()}
    remove_namespaces(*(f"{prefix}-{role}" for topology in topologies.values() for role in topology.roles))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No two labs at a time; the lock ends with the process."""
    try:
        file = LOCK.open("a+")
    except OSError as error:
        raise LabSetupError(f"{LOCK} cannot be opened: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip()
            raise LabSetupError(
                f"another lab is at work{f' (process {owner})' if owner else ''}: wait for it, or end it."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


@contextlib.contextmanager
def _terminable() -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
    """SIGTERM is an exception meanwhile. Gives a context in which neither it nor Ctrl-C disturbs."""
    if threading.current_thread() is not threading.main_thread():
        yield contextlib.nullcontext
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield _shielded
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    # Not a mask of blocked signals, which holds for one thread only: another would take them.
    came: list[int] = []
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    for number in before:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)
