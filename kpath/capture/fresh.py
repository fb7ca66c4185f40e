"""Which numbers of a column were not seen before: asked of every event, so answered by numpy, without sorting."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U64s = npt.NDArray[np.uint64]

_BITS = 16
_SHIFT = np.uint64(64 - _BITS)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: multiplying by it spreads neighbours over the upper bits."""


class Fresh:
    """Remembers numbers; zero counts as seen.

    A direct-mapped table answers for what was seen lately at its place; the set knows everything.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._table = np.zeros(1 << _BITS, np.uint64)

    def take(self, values: npt.NDArray[np.generic]) -> list[int]:
        """Those not seen before, each once; from now on they are seen."""
        wide: U64s = values.astype(np.uint64)
        places = (wide * _SPREAD) >> _SHIFT
        candidates: U64s = wide[(self._table[places] != wide) & (wide != 0)]
        if not len(candidates):
            return []
        distinct: U64s = np.unique(candidates)
        self._table[(distinct * _SPREAD) >> _SHIFT] = distinct
        fresh = [value for value in distinct.tolist() if value not in self._seen]
        self._seen.update(fresh)
        return fresh

    def forget(self, values: list[int]) -> None:
        """As if they had not been seen."""
        self._seen.difference_update(values)
        self._table[:] = 0
