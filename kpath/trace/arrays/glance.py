"""Are the events of a chunk in order, and is none missing? One look at each, where kpath.trace.order takes several."""

from __future__ import annotations

from typing import Any

import numpy as np

from kpath.capture.schema import EVENT
from kpath.trace.arrays.tables import NATIVE, lean

CPUS = 1 << 10
"""Where there are more, several looks must do."""


@lean
def smooth(events: Any, last: Any, at: Any) -> Any:
    """Are the times in order, and the numbers of each CPU in a row? ``last``: the number before, by CPU; -1 for none.
    ``at``: where an event of it was seen last. Both are as they come, whatever the answer."""
    before, number = np.uint64(0), np.uint64(0)
    for i in range(len(events)):
        e = events[i]
        if e.time < before or (e.time == before and e.seq < number):
            return False
        before, number = e.time, e.seq
        if e.cpu >= len(last):
            return False
        if last[e.cpu] >= 0 and np.int64(e.seq) != last[e.cpu] + 1:
            return False
        last[e.cpu] = np.int64(e.seq)
        at[e.cpu] = i
    return True


class Glance:
    """For kpath.trace.order.Order."""

    def __init__(self) -> None:
        self._last, self._at = np.empty(CPUS, np.int64), np.empty(CPUS, np.int64)

    def __call__(self, events: Any, last_seq: dict[int, tuple[int, int]]) -> bool:
        """See kpath.trace.order.Glance."""
        if events.dtype != EVENT:
            return False
        self._last[:], self._at[:] = -1, -1
        for cpu, (number, _) in last_seq.items():
            if cpu < CPUS:
                self._last[cpu] = number
        if not smooth(events.view(NATIVE), self._last, self._at):
            return False
        for cpu in np.flatnonzero(self._at >= 0).tolist():
            last_seq[cpu] = int(self._last[cpu]), int(events["time"][self._at[cpu]])
        return True
