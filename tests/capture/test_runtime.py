"""What the programs cost, from a kernel that is played."""

from __future__ import annotations

import os

import pytest

from kpath.capture import runtime
from kpath.capture.runtime import OFF, ON, RunTime


class Kernel:
    """Programs whose counters move only while somebody has asked for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refuses: bool = False) -> None:
        self.now = 0.0
        self.counters: dict[int, tuple[int, int]] = {7: (1000, 10), 8: (0, 0)}
        self.measuring: list[int] = []
        self.refuses = refuses
        monkeypatch.setattr(runtime, "libbpf", lambda: self)
        monkeypatch.setattr(runtime, "_info", lambda fd: self.counters.get(fd))

    def bpf_enable_stats(self, _kind: int) -> int:
        if self.refuses:
            return -1
        fd = os.open("/dev/null", os.O_RDONLY)
        self.measuring.append(fd)
        return fd

    def runs(self, fd: int, nanoseconds: int, count: int) -> None:
        spent, runs = self.counters.get(fd, (0, 0))
        self.counters[fd] = spent + nanoseconds, runs + count


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_tenth_of_the_time_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    cost = RunTime(lambda: list(kernel.counters), clock=lambda: kernel.now)
    assert cost.per_run is None and cost.share is None
    cost.tick()
    assert is_open(kernel.measuring[0])
    kernel.runs(7, 3000, 10)
    kernel.runs(8, 1000, 10)
    kernel.runs(9, 5000, 5)  # loaded meanwhile: where it began is not known
    kernel.now = ON
    cost.tick()
    assert not is_open(kernel.measuring[0])
    assert cost.per_run == 200 and cost.share == pytest.approx(4000 / 1e9 / ON)
    kernel.now = ON + OFF / 2
    cost.tick()
    assert len(kernel.measuring) == 1, "it rests"
    kernel.now = ON + OFF
    cost.tick()
    kernel.runs(9, 100, 20)
    kernel.now += ON
    cost.tick()
    assert (cost.nanoseconds, cost.runs) == (4100, 40) and cost.seconds == pytest.approx(2 * ON)


def test_nothing_stays_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    cost = RunTime(lambda: [7], clock=lambda: kernel.now)
    cost.tick()
    cost.close()
    assert not is_open(kernel.measuring[0])
    kernel.now = 100.0
    cost.tick()
    assert len(kernel.measuring) == 1


def test_a_kernel_that_does_not_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, refuses=True)
    cost = RunTime(lambda: [7], clock=lambda: kernel.now)
    for kernel.now in (0.0, 1.0, 10.0):
        cost.tick()
    assert cost.per_run is None and cost.share is None
