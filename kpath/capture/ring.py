"""Events out of the kernel: our own rings or the BPF ring buffer, mapped into Python, or the older perf buffer.

All hand over numpy arrays of :data:`kpath.capture.schema.EVENT` in the order of time, and count nothing: what did not
fit is counted on the BPF side (``counts``), where it is known for certain.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kpath.capture.counters import Counters
from kpath.capture.records import by_time, merged, raw
from kpath.capture.schema import EVENT

_PAGE = mmap.PAGESIZE
_RECORD: np.dtype[np.void] = np.dtype([("length", "<u4"), ("page", "<u4"), ("event", EVENT)])
"""A record of the ring: kernel/bpf/ringbuf.c, ``struct bpf_ringbuf_hdr``, then the payload, rounded up to 8 bytes."""

Events = npt.NDArray[np.void]
_NOTHING: Events = np.empty(0, EVENT)
MOST = 1 << 18
"""Most events of one look at the BPF ring buffer or the perf buffer."""
_LINE = 64
"""Bytes of ``struct taken``: a cache line for each CPU."""


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


class MappedReader:
    """The program's own rings: an array of events that is mapped, one stretch a CPU; nothing is copied in the kernel.

    The BPF side counts what it has written (``Counters.written``), we count what we have read, in memory that both see.
    """

    def __init__(self, places_fd: int, taken_fd: int, cpus: int, rings: int, slots: int, counters: Counters) -> None:
        """``cpus`` can exist here, ``rings`` of them have a ring of ``slots`` events."""
        self._counters = counters
        self._slots = slots
        total = rings * slots + cpus
        self._memory = mmap.mmap(places_fd, _pages(total * EVENT.itemsize), mmap.MAP_SHARED, mmap.PROT_READ)
        self._account = mmap.mmap(taken_fd, _pages(cpus * _LINE), mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._events = np.frombuffer(self._memory, EVENT, rings * slots).reshape(rings, slots)
        self._taken = np.frombuffer(self._account, "<u8", cpus * _LINE // 8)[:: _LINE // 8]

    def read(self) -> Events:
        """All events that are there, copied out of the rings, whose room is then free again. What stayed behind in one
        of them would come too late to be put in order."""
        parts: list[Events] = []
        written = self._counters.written()
        for cpu in np.flatnonzero(written != self._taken).tolist():
            first, last = int(self._taken[cpu]) % self._slots, int(written[cpu]) % self._slots
            ring = self._events[cpu]
            places = [slice(first, last)] if first < last else [slice(first, None), slice(0, last)]
            parts += [ring[place] for place in places]
        events = merged(parts)  # copies: the ring's room is given back below
        self._taken[:] = written
        return events

    def skip(self) -> dict[int, int]:
        """Leave out all events that are there; returns how many, by CPU."""
        written = self._counters.written()
        skipped = written - self._taken
        self._taken[:] = written
        return {cpu: int(skipped[cpu]) for cpu in np.flatnonzero(skipped).tolist()}

    def close(self) -> None:
        """Unmap the rings."""
        del self._events, self._taken
        self._memory.close()
        self._account.close()


class RingReader:
    """The BPF ring buffer, read in bulk (kernel/bpf/ringbuf.c: consumer page, producer page, data mapped twice)."""

    def __init__(self, map_fd: int, size: int) -> None:
        """``size`` is the buffer's size in bytes."""
        self._size = size
        self._consumer = mmap.mmap(map_fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._producer = mmap.mmap(map_fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        self._consumed = np.frombuffer(self._consumer, "<u8", 1)
        self._produced = np.frombuffer(self._producer, "<u8", 1)
        self._data = np.frombuffer(self._producer, np.uint8, 2 * size, _PAGE)

    def read(self, most: int = MOST) -> Events:
        """All complete events (at most ``most``), copied out of the buffer, whose room is then free again."""
        position = int(self._consumed[0])
        count = min((int(self._produced[0]) - position) // _RECORD.itemsize, most)
        if count <= 0:
            return _NOTHING
        start = position % self._size
        # Mapped twice in a row: no record wraps, but more than one buffer's worth is never there.
        records = self._data[start : start + count * _RECORD.itemsize].view(_RECORD)
        # The two top bits of the length say busy and discarded: stop at the first that is not simply complete.
        unfinished = np.flatnonzero(records["length"] != EVENT.itemsize)
        if len(unfinished):
            records = records[: unfinished[0]]
        events: Events = records["event"].copy()
        self._consumed[0] = position + len(records) * _RECORD.itemsize
        return by_time(events)

    def skip(self) -> dict[int, int]:
        """Leave out all events that are there; returns how many, by CPU."""
        return _skip(self.read)

    def close(self) -> None:
        """Unmap the buffer."""
        del self._consumed, self._produced, self._data
        self._consumer.close()
        self._producer.close()


class PerfReader:
    """The per-CPU perf buffers, for kernels without the ring buffer (before 5.8). One Python call an event."""

    def __init__(self, bpf: Any, size: int, cpus: int) -> None:
        """``size`` is the size in bytes of all CPUs' buffers together."""
        pages = max(1, size // cpus // _PAGE)
        self._bpf = bpf
        self._pending: list[bytes] = []
        # What the kernel reports as lost here is counted on the BPF side already.
        bpf["events"].open_perf_buffer(self._take, page_cnt=1 << (pages.bit_length() - 1), lost_cb=lambda _n: None)

    def _take(self, _cpu: int, data: int, size: int) -> None:
        if size >= EVENT.itemsize:
            self._pending.append(ctypes.string_at(data, EVENT.itemsize))

    def read(self, most: int = MOST) -> Events:
        """All events that are there."""
        self._bpf.perf_buffer_poll(timeout=0)
        if not self._pending:
            return _NOTHING
        events: Events = raw(np.frombuffer(b"".join(self._pending[:most]), EVENT)).copy().view(EVENT)
        del self._pending[:most]
        return by_time(events)

    def skip(self) -> dict[int, int]:
        """Leave out all events that are there; returns how many, by CPU."""
        return _skip(self.read)

    def close(self) -> None:
        """BCC closes the buffers itself."""


def _skip(read: Callable[[], Events]) -> dict[int, int]:
    found = Counter[int]()
    while len(events := read()):
        found.update(events["cpu"].tolist())
        if len(events) < MOST:
            break
    return found
