"""The BPF side's own account, one row a CPU, mapped into Python: reading it costs no system call."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, replace

import numpy as np

from kpath.capture.account import grown

COUNTERS: np.dtype[np.void] = np.dtype(
    [
        *((name, "<u8") for name in ("sent", "lost", "hits", "drops", "no_packet", "no_stack", "too_deep", "written")),
        ("busy", "<u8"),
        ("left_out", "<u8"),
        ("spare", "<u8", 6),
    ]
)
"""As ``struct counters`` in the BPF program."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The account at one moment. Dictionaries are by CPU, and hold no zeros.

    ``sent`` counts the events that were to go to userspace, of which ``lost`` did not fit into the buffer;
    ``tables`` counts packets and stacks that found a table full; ``hits`` runs of the programs on functions;
    ``busy`` hits that came while another program was running on that CPU; ``left_out`` packets that are not followed
    because only one in so many is, or the buffer was filling.
    """

    sent: dict[int, int]
    lost: dict[int, int]
    tables: dict[int, int]
    hits: int
    busy: int = 0
    left_out: int = 0

    def since(self, before: Counts) -> Counts:
        """What was added to events, losses and packets; the rest counts from the beginning."""
        return replace(
            self,
            sent=grown(self.sent, before.sent),
            lost=grown(self.lost, before.lost),
            tables=grown(self.tables, before.tables),
            left_out=self.left_out - before.left_out,
        )


NO_COUNTS = Counts({}, {}, {}, 0)


class Counters:
    """The mapped table."""

    def __init__(self, map_fd: int, cpus: int) -> None:
        size = -(-cpus * COUNTERS.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(map_fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        self._rows = np.frombuffer(self._memory, COUNTERS, cpus)

    def read(self) -> Counts:
        """The account now."""
        rows = self._rows.copy()
        tables = rows["no_packet"] + rows["no_stack"] + rows["too_deep"]
        hits, busy, left_out = (int(rows[name].sum()) for name in ("hits", "busy", "left_out"))
        return Counts(_by_cpu(rows["sent"]), _by_cpu(rows["lost"]), _by_cpu(tables), hits, busy, left_out)

    def written(self) -> np.typing.NDArray[np.uint64]:
        """By CPU, how many events were put into its ring."""
        return self._rows["written"].copy()

    def close(self) -> None:
        """Unmap; do not read any more."""
        del self._rows
        self._memory.close()


class Control:
    """What userspace tells the BPF side meanwhile: ``struct control``, mapped."""

    def __init__(self, map_fd: int) -> None:
        self._memory = mmap.mmap(map_fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._row = np.frombuffer(self._memory, "<u8", 8)

    def follow(self, one_in: int) -> None:
        """Follow one packet in so many of those that come from now on; 1: all of them."""
        self._row[0] = one_in

    def close(self) -> None:
        """Unmap."""
        del self._row
        self._memory.close()


def _by_cpu(values: np.typing.NDArray[np.uint64]) -> dict[int, int]:
    return {int(cpu): int(values[cpu]) for cpu in np.flatnonzero(values)}
