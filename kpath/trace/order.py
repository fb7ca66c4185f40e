"""Events arrive almost in the order of time; this puts them in order and finds where some are missing.

All CPUs share one buffer. An event takes its time first and its place in the buffer a moment later, so neighbours
may be swapped. What the filter kept back (``Flag.STASHED``) comes later still, but always before the events that
follow it on its own stack, which is all that the trees need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kpath.capture.records import joined, raw
from kpath.capture.schema import EVENT
from kpath.capture.tables import Loss

WINDOW_NS = 5_000_000
"""How long (ns of the stream) an event is held back so that older ones can overtake it."""

Events = npt.NDArray[np.void]

Glance = Callable[[Events, dict[int, tuple[int, int]]], bool]
"""Are these events in order, and is none missing? Then it also sets the number and time of the last one of each CPU."""


class Order:
    """Holds events back for ``window`` ns and releases them in the order of time."""

    def __init__(self, window: int = WINDOW_NS, glance: Glance | None = None) -> None:
        """``glance``: what tells soon that nothing is out of order."""
        self._window, self._glance = window, glance
        self._held: Events = np.empty(0, EVENT)
        self._last_seq: dict[int, tuple[int, int]] = {}
        self._newest = 0

    def push(self, events: Events) -> tuple[Events, list[Loss]]:
        """Take events as they arrived; returns those that are old enough, in order, and the gaps just found."""
        parts, gaps = self.parts(events)
        return joined(parts), gaps

    def parts(self, events: Events) -> tuple[list[Events], list[Loss]]:
        """The same in pieces, which are not copied where the events came in order: mostly they do in a recording."""
        if not len(events):
            return [], []
        held, gaps = self._held, []
        smooth = self._glance is not None and self._glance(events, self._last_seq)
        if not smooth:
            time, seq = events["time"].copy(), events["seq"].copy()
            gaps = self._gaps(events["cpu"].copy(), seq, time)
            smooth = _in_order(time, seq)
        if smooth and (not len(held) or _key(held[-1]) <= _key(events[0])):
            self._newest = max(self._newest, int(events["time"][-1]))
            until = self._newest - self._window
            before = self._release(held, until)
            if len(self._held):
                self._held = joined([self._held, events])
                return [before], gaps
            return [before, self._release(events, until)], gaps
        held = joined([held, events])
        time, seq = held["time"].copy(), held["seq"].copy()
        held = raw(held)[np.lexsort((seq, time))].view(EVENT)
        self._newest = max(self._newest, int(held["time"][-1]))
        return [self._release(held, self._newest - self._window)], gaps

    def tick(self, now: int) -> Events:
        """The clock (CLOCK_MONOTONIC, ns) went on without events: release what is old enough."""
        return self._release(self._held, now - self._window)

    def flush(self) -> Events:
        """Release everything."""
        rest, self._held = self._held, np.empty(0, EVENT)
        return rest

    def _release(self, held: Events, until: int) -> Events:
        at = int(np.searchsorted(held["time"], np.uint64(max(until, 0)), side="right"))
        self._held = held[at:]
        return held[:at]

    def gaps(self, events: Events) -> list[Loss]:
        """Holes in the numbers of each CPU: so many events were lost between these two times.

        What the filter kept back has a higher number than events that are younger, so a chunk that is in the order of
        time has its numbers out of order. Together they are all those that were sent up.
        """
        return self._gaps(events["cpu"].copy(), events["seq"].copy(), events["time"].copy())

    def _gaps(self, cpus: Any, every_seq: Any, every_time: Any) -> list[Loss]:
        found: list[Loss] = []
        present = np.flatnonzero(np.bincount(cpus)).tolist()
        for cpu in present:
            mine = slice(None) if len(present) == 1 else np.flatnonzero(cpus == cpu)
            seqs, times = every_seq[mine], every_time[mine]
            before = self._last_seq.get(cpu)
            # Mostly they are in order, and none is missing.
            if (before is None or int(seqs[0]) == before[0] + 1) and np.all(seqs[1:] - seqs[:-1] == 1):
                self._last_seq[cpu] = int(seqs[-1]), int(times[-1])
                continue
            by_seq = np.argsort(seqs, kind="stable")
            seqs, times = seqs[by_seq].astype(np.int64), times[by_seq].astype(np.int64)
            if before is not None:
                seqs, times = np.concatenate([[before[0]], seqs]), np.concatenate([[before[1]], times])
            for i in np.flatnonzero(np.diff(seqs) > 1).tolist():
                start, end = sorted((int(times[i]), int(times[i + 1])))
                found.append(Loss(start, end, {cpu: int(seqs[i + 1] - seqs[i] - 1)}))
            self._last_seq[cpu] = int(seqs[-1]), int(times[-1])
        return found


def _in_order(time: Any, seq: Any) -> bool:
    later = time[1:] > time[:-1]
    return bool(later.all() or np.all(later | ((time[1:] == time[:-1]) & (seq[1:] >= seq[:-1]))))


def _key(event: np.void) -> tuple[int, int]:
    return int(event["time"]), int(event["seq"])
