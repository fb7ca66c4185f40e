"""Where the functions stand in BTF: all of them in one sweep.

libbpf compares a name with one type after another, 100,000 of them: for the functions of a probe plan that takes longer
than all other questions to the kernel together. Types have no fixed length, so a sweep can only find what looks like a
function; which of it is one, libbpf says (`is_type`), for those that are asked for.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping

import numpy as np

from kpath.kernel.libbpf import libbpf

_HEADER = struct.Struct("<HBBIIIII")  # struct btf_header
_MAGIC = 0xEB9F
_FUNC = 12 << 24
_LINKAGES = 3
"""``vlen`` of a function is static, global or extern."""


def functions(handle: int) -> Mapping[bytes, list[int]] | None:
    """Name to addresses (in this process) of what looks like the ``struct btf_type`` of a function of that name.

    In the order of BTF. ``handle`` is a ``struct btf *`` without a base; None if its data cannot be had.
    """
    size = ctypes.c_uint32()
    start = libbpf().btf__raw_data(handle, ctypes.byref(size))
    if not start or size.value < _HEADER.size:
        return None
    data = ctypes.string_at(start, size.value)
    magic, _, _, header, type_at, type_size, text_at, text_size = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        return None
    words = np.frombuffer(data, "<u4", type_size // 4, header + type_at)
    text = data[header + text_at : header + text_at + text_size]
    where = np.flatnonzero((words[1:-1] - np.uint32(_FUNC)) < _LINKAGES)
    names = words[where]
    where, names = where[names < len(text)], names[names < len(text)]
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
    stops = ends[np.minimum(np.searchsorted(ends, names), len(ends) - 1)]
    first = start + header + type_at
    found: dict[bytes, list[int]] = {}
    for at, begin, stop in zip((first + 4 * where).tolist(), names.tolist(), stops.tolist(), strict=True):
        found.setdefault(text[begin:stop], []).append(at)
    return found


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
