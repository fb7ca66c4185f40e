"""Which numbers of a column were not seen before: asked of every event, so answered by numpy, without sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

U64s = npt.NDArray[np.uint64]
Column = npt.NDArray[np.unsignedinteger[Any]]

_BITS = 16
_SHIFT = np.uint64(64 - _BITS)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: multiplying by it spreads neighbours over the upper bits."""


def runs(*columns: Column) -> npt.NDArray[np.intp]:
    """Places at which one of the columns has another value than at the place before: few where the same thing happens
    again and again, and found sooner than anything is looked up."""
    begins = np.zeros(len(columns[0]), np.bool_)
    begins[:1] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(begins)


def pairs(one: Column, other: Column, kind: Column) -> U64s:
    """One number for each row, by which rows with other values are told apart: addresses, and a small number."""
    wide = one.astype(np.uint64) * _SPREAD
    wide += other
    wide += kind.astype(np.uint64) << np.uint64(62)
    return wide


class Fresh:
    """Remembers numbers; zero counts as seen.

    A direct-mapped table answers for what was seen lately at its place; the set knows everything.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._table = np.zeros(1 << _BITS, np.uint64)

    def take(self, values: npt.NDArray[np.generic]) -> list[int]:
        """Those not seen before, each once; from now on they are seen."""
        wide, places = self._unlike(values)
        return self._learn(wide[places])

    def rows(self, values: npt.NDArray[np.generic]) -> list[int]:
        """Places of such as were not seen before, each once; from now on they are seen."""
        wide, places = self._unlike(values)
        first = dict(zip(reversed(wide[places].tolist()), reversed(places.tolist()), strict=True))
        return sorted(first[value] for value in self._learn(wide[places]))

    def _unlike(self, values: npt.NDArray[np.generic]) -> tuple[U64s, npt.NDArray[np.intp]]:
        """The numbers, and the places of those that the table does not hold."""
        wide: U64s = values.astype(np.uint64)
        return wide, np.flatnonzero((self._table[(wide * _SPREAD) >> _SHIFT] != wide) & (wide != 0))

    def _learn(self, candidates: U64s) -> list[int]:
        # np.unique would load numpy.ma first, while the kernel's buffer fills.
        numbers = sorted(set(candidates.tolist()))
        distinct = np.array(numbers, np.uint64)
        self._table[(distinct * _SPREAD) >> _SHIFT] = distinct
        fresh = [value for value in numbers if value not in self._seen]
        self._seen.update(fresh)
        return fresh

    def forget(self, values: list[int]) -> None:
        """As if they had not been seen."""
        self._seen.difference_update(values)
        self._table[:] = 0
