"""Many names in one text, found without making a string of each: of 200,000 symbols a few are asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LETTERS = 6
"""So many of a name's first and of its last letters make the number under which it is found, besides its length."""
_FACTOR = np.uint32(0x9E3779B1)


class Names:
    """Where each name lies in the text; names may be equal."""

    def __init__(self, text: bytes, begin: npt.NDArray[np.intp], length: npt.NDArray[np.intp]) -> None:
        """Name ``i`` is ``text[begin[i]:][:length[i]]``; ``text`` is not empty."""
        self._text, self._begin, self._length = text, begin, length
        raw = np.frombuffer(text, np.uint8)
        last = begin + length - 1
        hashed = length.astype(np.uint32)
        for nth in range(_LETTERS):
            for at in (begin + nth, last - nth):
                hashed = hashed * _FACTOR + np.where(nth < length, raw[at % len(raw)], 0)
        short = (hashed >> np.uint32(16)).astype(np.uint16)
        self._order = np.argsort(short, kind="stable")  # of 16 bits numpy's sort is a radix sort
        self._hashes = short[self._order]

    def find(self, name: bytes) -> list[int]:
        """Numbers of the names that are equal to this one, in their order."""
        hashed = np.uint16(_hash(name))
        low, high = np.searchsorted(self._hashes, hashed, "left"), np.searchsorted(self._hashes, hashed, "right")
        return [i for i in self._order[low:high].tolist() if self[i] == name]

    def __len__(self) -> int:
        return len(self._begin)

    def __getitem__(self, i: int) -> bytes:
        begin = int(self._begin[i])
        return self._text[begin : begin + int(self._length[i])]


def _hash(name: bytes) -> int:
    """As `Names` makes it of all names at once."""
    found = len(name)
    for nth in range(_LETTERS):
        for at in (nth, -1 - nth):
            found = (found * int(_FACTOR) + (name[at] if nth < len(name) else 0)) & 0xFFFFFFFF
    return found >> 16
