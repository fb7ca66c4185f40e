"""What a running capture costs: CPU time of kpath, and run time of its probes as the kernel measures it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from kpath.capture.runtime import RunTime

if TYPE_CHECKING:
    from kpath.dashboard.snapshot import Snapshot
    from kpath.report.prometheus import Metrics


PERIOD = 1.0
"""Seconds between two looks at how often the programs ran."""


class Source(Protocol):
    """A running capture, as far as its cost is concerned."""

    def programs(self) -> list[int]:
        """File descriptors of the BPF programs in the kernel."""
        ...

    def hits(self) -> int:
        """How often they ran on functions so far."""
        ...


class Cost:
    """Measured by the thread that reads the stream, and told to whoever asks."""

    def __init__(self, source: Source, *, selective: bool) -> None:
        """``selective``: the capture leaves packets out, whose hits have their cost, too."""
        self._source = source
        self._selective = selective
        self._hits = 0
        self._asked = 0.0
        self.probes = RunTime(source.programs)

    def pass_on(self, stream: Iterable[object]) -> Iterator[object]:
        """The same chunks, as they come; measures meanwhile."""
        try:
            for chunk in stream:
                self.tick()
                yield chunk
        finally:
            self.probes.close()

    def tick(self) -> None:
        """Time goes on."""
        self.probes.tick()
        now = time.monotonic()
        if now - self._asked >= PERIOD:
            self._asked = now
            self._hits = self._source.hits()

    def words(self, snapshot: Snapshot) -> str:
        """In a few words what the probes cost: a packet, or, where not all packets are shown, a hit."""
        from kpath.dashboard.units import duration

        per_hit, share = self.probes.per_run, self.probes.share
        if per_hit is None or share is None:
            return ""
        packets = snapshot.packets
        if snapshot.counting is not None:
            packets -= snapshot.counting.packets + snapshot.counting.unlisted
        if self._selective or packets <= 0:
            return f"{duration(round(per_hit))}/hit, {share:.1%} cpu"
        return f"{duration(round(per_hit * self._hits / packets))}/packet"

    def tell(self, metrics: Metrics) -> None:
        """The same for Prometheus."""
        probes = self.probes
        metrics.cost(time.process_time(), probes.nanoseconds / 1e9, probes.runs, probes.seconds)
