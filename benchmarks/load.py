"""Traffic without a kernel: the events of recordings, again and again, as if they came now.

For measuring and for looking at what a running capture feeds, on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kpath.capture.file import CaptureReader
from kpath.capture.records import Events
from kpath.capture.schema import EVENT, Class
from kpath.capture.tables import Facts, Header, Names, Symbols

CAPTURES = Path(__file__).parents[1] / "tests" / "captures"
GAP = 1_000_000
"""Longest time (ns) in which nothing happens in a recording, and the time between two of them."""
IDLE = 0.2
"""Seconds after which an empty chunk is given, as a running capture does."""


class Load:
    """The recordings of one kernel in turn, ``rate`` rounds of all of them a second (0: as fast as they are taken)."""

    def __init__(self, names: Sequence[str], kernel: str = "6.12", rate: float = 1.0) -> None:
        self._rate = rate
        self._tables: list[Symbols | Names | Facts] = []
        self._rounds: list[Events] = []
        self.header: Header
        for name in names:
            with CaptureReader(CAPTURES / kernel / f"{name}.kpath") as reader:
                self.header = reader.header
                chunks = list(reader)
            self._tables += [chunk for chunk in chunks if isinstance(chunk, Symbols | Names | Facts)]
            events = np.concatenate([chunk for chunk in chunks if isinstance(chunk, np.ndarray)])
            self._rounds.append(_brief(np.sort(events, order="time")))
        self._sent: dict[int, int] = {}
        self._end = 0
        self._round = 0

    def chunks(self, until: Callable[[], object]) -> Iterator[object]:
        """The stream, until ``until`` says something."""
        yield from self._tables
        due = time.monotonic()
        while not until():
            for events in self._rounds:
                yield self._now(events)
                if until():
                    return
                if not self._rate:
                    continue
                due += 1 / self._rate / len(self._rounds)
                while (left := due - time.monotonic()) > 0 and not until():
                    if left > IDLE / 2:
                        yield np.empty(0, EVENT)
                    time.sleep(min(left, IDLE))

    def _now(self, events: Events) -> Events:
        """The same events, of other packets, ending now; but never before those that were given before."""
        again = events.copy()
        begin = max(time.monotonic_ns() - int(events["time"][-1]), self._end + GAP)
        shift = np.uint64(begin - 1)
        self._end = begin + int(events["time"][-1])
        again["time"] += shift
        again["birth"][events["birth"] > 0] += shift
        linked = np.isin(events["cls"], (Class.COPY, Class.MERGE)) & (events["arg"] > 0)
        again["arg"][linked] += shift
        # Other packets have other numbers: by them a packet on a wire is known again.
        self._round += 1
        again["ip_id"] = events["ip_id"].astype("u2") + np.uint16(self._round & 0xFFFF)
        again["l4"] += np.uint32(self._round << 8 & 0xFFFFFFFF)
        for name in ("skb", "other"):
            again[name][events[name] > 0] += np.uint64((self._round & 0xFFFF) << 20)
        for cpu in map(int, np.unique(events["cpu"])):
            here = events["cpu"] == cpu
            count = int(here.sum())
            again["seq"][here] = np.arange(count, dtype=np.uint64) + np.uint64(self._sent.get(cpu, 0))
            self._sent[cpu] = self._sent.get(cpu, 0) + count
        return again


def _brief(events: Events) -> Events:
    """The same from time 1 on, without the time in which nothing happens."""
    times = np.unique(np.concatenate([events["time"], events["birth"][events["birth"] > 0]]))
    brief = np.cumsum(np.minimum(np.diff(times, prepend=times[0]), GAP)) + 1
    again = events.copy()
    for name in ("time", "birth", "arg"):
        known = np.searchsorted(times, events[name]).clip(0, len(times) - 1)
        exact = times[known] == events[name]
        again[name][exact] = brief[known[exact]]
    return again
