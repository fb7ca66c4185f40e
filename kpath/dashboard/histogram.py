"""Durations counted in buckets, so that percentiles of any number of packets take little memory."""

from __future__ import annotations

import math

_PER_DOUBLING = 16
"""Buckets between a duration and its double: a percentile is right within 2.2 %."""


class Histogram:
    """Counts of durations in ns; the smallest and largest are kept exactly."""

    __slots__ = ("_buckets", "count", "largest", "smallest")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.smallest = 0
        self.largest = 0

    def add(self, duration: int, count: int = 1) -> None:
        """Count a duration; below 1 ns it counts as 1 ns."""
        duration = max(1, duration)
        bucket = math.floor(math.log2(duration) * _PER_DOUBLING)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.smallest = min(self.smallest, duration) if self.count else duration
        self.largest = max(self.largest, duration)
        self.count += count

    def percentile(self, share: float) -> int:
        """The duration that ``share`` (0 to 1) of all are not longer than; 0 when there are none."""
        if not self.count:
            return 0
        wanted = max(1, math.ceil(share * self.count))
        passed = 0
        for bucket in sorted(self._buckets):
            passed += self._buckets[bucket]
            if passed >= wanted:
                middle = round(2 ** ((bucket + 0.5) / _PER_DOUBLING))
                return min(max(middle, self.smallest), self.largest)
        return self.largest

    def doublings(self) -> tuple[tuple[int, int], ...]:
        """From where (ns) to its double, and how many: without gaps from the shortest to the longest."""
        found: dict[int, int] = {}
        for bucket, count in self._buckets.items():
            found[bucket // _PER_DOUBLING] = found.get(bucket // _PER_DOUBLING, 0) + count
        if not found:
            return ()
        return tuple((1 << at, found.get(at, 0)) for at in range(min(found), max(found) + 1))

    def copy(self) -> Histogram:
        """One that counts on by itself."""
        other = Histogram()
        other._buckets = dict(self._buckets)
        other.count, other.smallest, other.largest = self.count, self.smallest, self.largest
        return other
