"""Holds what counting paths costs below a budget, by following fewer packets; and ends it when that does not help.

What is measured is the kernel's own account of the BPF programs' run time, and this process's CPU time; what a probe
costs before its program runs is in neither (benchmarks/cost.py measures it).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from kpath.capture.runtime import RunTime

LEAST = 1 << 12
"""At most packets in so many are not followed: one in LEAST always is."""
LIMIT = 4
"""So many times the budget, though no fewer packets can be followed, and the probes are taken off."""
PATIENCE = 3
"""Measurements in a row before that."""
EASE = 4
"""Below the budget by this factor, and twice as many packets are followed."""


class Governor:
    """Told again and again to ``tick``; asks for another share of the packets by ``sample``."""

    def __init__(
        self,
        budget: float,
        runtime: RunTime,
        sample: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        cpus: int | None = None,
    ) -> None:
        """``budget`` is a share of all CPUs, 0 to 1; ``sample`` is given N to follow one packet in N."""
        self._budget = budget
        self._runtime = runtime
        self._sample = sample
        self._clock, self._cpu = clock, cpu
        self._cpus = cpus or os.cpu_count() or 1
        self._before = (0, 0.0)
        self._own = cpu(), clock()
        self._over = 0
        self.one_in = 1
        """One packet in so many is followed."""
        self.share: float | None = None
        """The share of all CPUs that was used, by the last measurement."""
        self.why = ""
        """Why not all packets are followed, or why more of them are again; empty while all always were."""

    @property
    def words(self) -> str:
        """What share of the packets is followed, and what that costs; "" before the first measurement."""
        if self.share is None:
            return ""
        which = "every packet" if self.one_in == 1 else f"one packet in {self.one_in}"
        return f"{which} followed; this takes {self.share:.1%} of the machine"

    def tick(self) -> str:
        """Time goes on. Returns why to end, "" to go on."""
        self._runtime.tick()
        spent, seconds = self._runtime.nanoseconds, self._runtime.seconds
        if seconds == self._before[1]:
            return ""
        kernel = (spent - self._before[0]) / 1e9 / (seconds - self._before[1])
        cpu, now = self._cpu(), self._clock()
        own = (cpu - self._own[0]) / (now - self._own[1]) if now > self._own[1] else 0.0
        self._before, self._own = (spent, seconds), (cpu, now)
        self.share = (kernel + own) / self._cpus
        return self._act(self.share)

    def _act(self, share: float) -> str:
        if share > self._budget:
            factor = 1 << math.ceil(math.log2(share / self._budget))
            if self.one_in < LEAST:
                self._follow(min(LEAST, self.one_in * factor), f"kpath took {share:.1%} of the machine")
                return ""
            self._over = self._over + 1 if share > self._budget * LIMIT else 0
            if self._over >= PATIENCE:
                return (
                    f"it took {share:.1%} of the machine, more than {LIMIT} times the {self._budget:.1%} allowed, "
                    f"though only one packet in {self.one_in} was followed: the probes were taken off."
                )
            return ""
        self._over = 0
        if share < self._budget / EASE and self.one_in > 1:
            self._follow(self.one_in // 2, f"kpath took only {share:.1%} of the machine")
        return ""

    def _follow(self, one_in: int, why: str) -> None:
        self.one_in, self.why = one_in, why
        self._sample(one_in)
