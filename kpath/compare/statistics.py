"""When two samples differ by more than chance, without assuming anything of how they are distributed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.99
"""How sure an interval is. Of many paths compared one in a hundred still looks changed by chance; at less, too many."""
_Z = 2.5758
"""The normal quantile that belongs to it."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of a sample and the interval in which that of the whole lies."""

    value: float
    low: float
    high: float


def quantile(sample: Sequence[int], p: float) -> Quantile | None:
    """The quantile ``p`` of a sample; None when it has too few values to say where that lies.

    The interval is that of order statistics: how many values lie below the true quantile is binomially distributed,
    whatever the distribution of the values."""
    count = len(sample)
    bounds = _ranks(count, p)
    if bounds is None:
        return None
    ordered = sorted(sample)
    low, high = bounds
    return Quantile(ordered[min(count - 1, int(p * count))], ordered[low], ordered[high])


def _ranks(count: int, p: float) -> tuple[int, int] | None:
    """Indices of the values between which the quantile lies with CONFIDENCE; None when the sample cannot say."""
    tail = (1 - CONFIDENCE) / 2
    if count == 0 or (1 - p) ** count > tail or p**count > tail:
        return None
    low = high = -1
    below = 0.0
    for k in range(count + 1):  # below = P(k values or fewer lie below the true quantile)
        below += math.exp(
            math.lgamma(count + 1)
            - math.lgamma(k + 1)
            - math.lgamma(count - k + 1)
            + k * math.log(p)
            + (count - k) * math.log(1 - p)
        )
        if below <= tail:
            low = k
        if below >= 1 - tail:
            high = k
            break
    return max(low, 0), min(high, count - 1)


def fewest(p: float) -> int:
    """How many values a sample needs before anything can be said of its quantile ``p``."""
    tail = (1 - CONFIDENCE) / 2
    return math.ceil(math.log(tail) / math.log(max(p, 1 - p)))


def proportion(part: int, whole: int) -> tuple[float, float]:
    """The interval (Wilson's) in which a share lies of which ``part`` of ``whole`` were counted."""
    if not whole:
        return 0.0, 1.0
    share, z2 = part / whole, _Z * _Z
    middle = share + z2 / (2 * whole)
    reach = _Z * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole * whole))
    scale = 1 + z2 / whole
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def apart(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Do two intervals have nothing in common?"""
    return a[1] < b[0] or b[1] < a[0]
