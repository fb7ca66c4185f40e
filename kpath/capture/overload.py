"""When a capture of events should count paths instead, and when it may come back: the rules, apart from doing it.

Both are asked again and again, and look once a second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

SECOND = 1.0
PATIENCE = 3
"""Bad seconds in a row after which events are given up."""
LATE = 5.0
"""Seconds that the reader may be behind the kernel, as long as it does not catch up."""
CALM = 200.0
"""Packets a second that events can surely be read of: fewer than this for a while, and events are read again."""
WAIT, LONGEST_WAIT = 60.0, 3600.0
"""How long it must be calm: at first, and at most. Each return makes it twice as long."""


@dataclass(slots=True)
class Overload:
    """Are there more events than can be read? ``budget`` is the share of the machine that they may take."""

    budget: float | None = None
    _lost: deque[int] = field(default_factory=lambda: deque(maxlen=PATIENCE + 1))
    _lags: deque[float] = field(default_factory=lambda: deque(maxlen=PATIENCE + 1))
    _dear: int = 0
    _measured: float = 0.0
    _next: float = 0.0

    def due(self, now: float) -> bool:
        """Is it time to tell?"""
        return now >= self._next

    def tell(self, now: float, lost: int, lag: float, share: float | None = None, measured: float = 0.0) -> str:
        """Events lost so far; seconds behind the kernel; the share of the machine that this took, as known when
        so many seconds had been measured. Returns why to give up events, "" to go on."""
        self._next = now + SECOND
        self._lost.append(lost)
        self._lags.append(lag)
        if len(self._lost) > PATIENCE:
            seconds = list(self._lost)
            if all(after > before for before, after in pairwise(seconds)):
                return f"{seconds[-1] - seconds[0]:,} events were lost within {PATIENCE} s"
            if min(self._lags) >= LATE and self._lags[-1] >= self._lags[0]:
                return f"the events came {lag:.0f} s late, and ever later"
        if self.budget is not None and share is not None and measured != self._measured:
            self._measured = measured
            self._dear = self._dear + 1 if share > self.budget else 0
            if self._dear >= PATIENCE:
                return f"events took {share:.1%} of the machine, more than the {self.budget:.1%} allowed"
        return ""


@dataclass(slots=True)
class Calm:
    """Has it been calm for so long that events can be read again? Made once, for its patience grows."""

    _wait: float = WAIT / 2
    _since: float | None = None
    _count: int = 0
    _told: float = 0.0

    def begin(self, now: float) -> None:
        """Paths are counted from now on; the count begins with 0."""
        self._wait = min(LONGEST_WAIT, self._wait * 2)
        self._since, self._told, self._count = None, now, 0

    @property
    def wait(self) -> float:
        """Seconds."""
        return self._wait

    def tell(self, now: float, packets: int) -> str:
        """Packets so far, followed or not. Returns why to go back to events, "" to go on."""
        if now - self._told < SECOND:
            return ""
        rate = (packets - self._count) / (now - self._told)
        self._told, self._count = now, packets
        if rate >= CALM:
            self._since = None
            return ""
        self._since = self._since if self._since is not None else now
        if now - self._since >= self._wait:
            return f"fewer than {CALM:.0f} packets a second came for {self._wait:.0f} s"
        return ""
