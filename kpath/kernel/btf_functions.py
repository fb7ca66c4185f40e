"""Where the functions stand in BTF: all of them in one sweep.

libbpf compares a name with one type after another, 100,000 of them: for the functions of a probe plan that takes longer
than all other questions to the kernel together. Types have no fixed length, so a sweep can only find what looks like a
function; which of it is one, libbpf says (`is_type`), for those that are asked for.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kpath.kernel.libbpf import libbpf
from kpath.kernel.names import Names

_HEADER = struct.Struct("<HBBIIIII")  # struct btf_header
_MAGIC = 0xEB9F
_FUNC = 12 << 24
_LINKAGES = 3
"""``vlen`` of a function is static, global or extern."""


class Functions:
    """What looks like a function of the kernel."""

    def __init__(self, names: Names, addresses: npt.NDArray[np.intp]) -> None:
        self.names = names
        self._addresses = addresses

    @classmethod
    def sweep(cls, handle: int) -> Functions | None:
        """``handle`` is a ``struct btf *`` without a base; None if its data cannot be had."""
        size = ctypes.c_uint32()
        start = libbpf().btf__raw_data(handle, ctypes.byref(size))
        if not start or size.value < _HEADER.size:
            return None
        data = ctypes.string_at(start, size.value)
        magic, _, _, header, type_at, type_size, text_at, text_size = _HEADER.unpack_from(data)
        text = data[header + text_at : header + text_at + text_size]
        if magic != _MAGIC or not text:
            return None
        words = np.frombuffer(data, "<u4", type_size // 4, header + type_at)
        where = np.flatnonzero((words[1:-1] - np.uint32(_FUNC)) < _LINKAGES)
        where = where[words[where] < len(text)]
        begin = words[where].astype(np.intp)
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
        stop = ends[np.minimum(np.searchsorted(ends, begin), len(ends) - 1)]
        return cls(Names(text, begin, np.maximum(stop - begin, 0)), start + header + type_at + 4 * where)

    def find(self, name: str) -> list[int]:
        """Addresses (in this process) of what looks like the ``struct btf_type`` of this function, in BTF's order."""
        return [int(self._addresses[i]) for i in self.names.find(name.encode())]


def is_type(address: int, count: int, address_of: Callable[[int], int]) -> bool:
    """Does a type with a number below ``count`` begin at this address? They lie in the order of their numbers."""
    low, high = 1, count - 1
    while low < high:
        middle = (low + high) // 2
        if address_of(middle) < address:
            low = middle + 1
        else:
            high = middle
    return count > 1 and address_of(low) == address
