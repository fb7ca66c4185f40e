"""What the BPF programs cost, by the kernel's own measuring: run time and runs of each program.

The kernel measures only while somebody asks it to (``bpf_enable_stats``, since 5.8), for it costs two readings of a
clock at each run. So :class:`RunTime` asks for a short while now and then, and takes that for the whole.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from kpath.kernel.errors import NoLibbpfError
from kpath.kernel.libbpf import libbpf

ON, OFF = 0.25, 2.25
"""Seconds for which the kernel measures, and for which it does not: a tenth of the time."""

_RUN_TIME, _RUNS = 192, 200
"""Offsets of ``run_time_ns`` and ``run_cnt`` in ``struct bpf_prog_info`` (include/uapi/linux/bpf.h)."""
_BPF_STATS_RUN_TIME = 0


class RunTime:
    """A running account of some programs. ``tick`` it a few times a second; ``close`` it at the end."""

    def __init__(self, program_fds: Callable[[], Iterable[int]], clock: Callable[[], float] = time.monotonic) -> None:
        """``program_fds`` gives the programs' file descriptors, as often as it is asked."""
        self._fds = program_fds
        self._clock = clock
        self._stats = -1
        self._turn = clock()
        self._begin: dict[int, tuple[int, int]] = {}
        self._refused = False
        self.nanoseconds = 0
        """Measured run time so far, ns, over all CPUs."""
        self.runs = 0
        """Runs in the measured time."""
        self.seconds = 0.0
        """How long was measured."""

    def tick(self) -> None:
        """Begin or end to measure when it is time to. Does nothing on a kernel that does not measure."""
        now = self._clock()
        if self._refused or (self._stats < 0 and now < self._turn):
            return
        if self._stats < 0:
            self._open(now)
        elif now - self._turn >= ON:
            self._take(now)
            self._shut()
            self._turn = now + OFF

    @property
    def per_run(self) -> float | None:
        """ns that one run of a program takes (one hit of a probe); None when nothing has run while measured."""
        return self.nanoseconds / self.runs if self.runs else None

    @property
    def share(self) -> float | None:
        """Share of one CPU that the programs take, 0 to 1 and more; None before the first measurement."""
        return self.nanoseconds / 1e9 / self.seconds if self.seconds else None

    def close(self) -> None:
        """The kernel need not measure any more."""
        self._shut()
        self._refused = True

    def _open(self, now: float) -> None:
        try:
            self._stats = int(libbpf().bpf_enable_stats(_BPF_STATS_RUN_TIME))
        except (NoLibbpfError, AttributeError):
            self._stats = -1
        self._refused = self._stats < 0
        self._turn = now
        self._begin = self._read()

    def _take(self, now: float) -> None:
        for fd, (spent, runs) in self._read().items():
            before = self._begin.get(fd)
            if before is not None and spent >= before[0] and runs >= before[1]:
                self.nanoseconds += spent - before[0]
                self.runs += runs - before[1]
        self.seconds += now - self._turn

    def _shut(self) -> None:
        if self._stats >= 0:
            with suppress(OSError):
                os.close(self._stats)
            self._stats = -1

    def _read(self) -> dict[int, tuple[int, int]]:
        return {fd: found for fd in self._fds() if (found := _info(fd)) is not None}


def _info(fd: int) -> tuple[int, int] | None:
    info = (ctypes.c_uint8 * 256)()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    if libbpf().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)) or size.value < _RUNS + 8:
        return None
    data = bytes(info)
    return int.from_bytes(data[_RUN_TIME:_RUNS], "little"), int.from_bytes(data[_RUNS : _RUNS + 8], "little")
