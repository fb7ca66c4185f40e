"""A small BTF cut out of a whole kernel's: some structures, functions and enumerations, what they refer to.

What a pointer leads to becomes a forward declaration, and a structure that was not asked for keeps its size
but loses its members; offsets and prototypes stay true, and four megabytes become some ten kilobytes.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

from kpath.kernel.btf import HEADER_SIZE, QUALIFIERS, Btf, BtfKind, RawType

_MAGIC = 0xEB9F
_AGGREGATES = (BtfKind.STRUCT, BtfKind.UNION)
_ENUMS = (BtfKind.ENUM, BtfKind.ENUM64)


def reduce_btf(
    sources: Iterable[Btf], structs: Iterable[str], functions: Iterable[str], enums: Iterable[str]
) -> bytes:
    """Raw BTF with those of the named things that the sources have; the first source that has one wins.

    All sources are a kernel's BTF or its modules' on top of it.
    """
    reducer = _Reducer(frozenset(structs), frozenset(enums))
    sources = list(sources)
    wanted: list[tuple[str, tuple[BtfKind, ...]]] = []
    wanted += [(name, _AGGREGATES) for name in sorted(reducer.structs)]
    wanted += [(name, _ENUMS) for name in sorted(reducer.enums)]
    wanted += [(name, (BtfKind.FUNC,)) for name in sorted(set(functions))]
    for name, kinds in wanted:
        for source in sources:
            found = next((i for kind in kinds if (i := source.find_id(name, kind))), 0)
            if found:
                reducer.copy(source, found)
                break
    return reducer.raw()


class _Reducer:
    def __init__(self, structs: frozenset[str], enums: frozenset[str]) -> None:
        self.structs = structs
        self.enums = enums
        self._types: list[bytes] = []
        self._strings = bytearray(b"\0")
        self._offsets: dict[str, int] = {"": 0}
        self._done: dict[tuple[int, int], int] = {}
        self._forwards: dict[tuple[str, bool], int] = {}

    def raw(self) -> bytes:
        types = b"".join(self._types)
        header = struct.pack(
            "<HBBIIIII", _MAGIC, 1, 0, 24, 0, len(types), len(types), len(self._strings)
        )  # fmt: skip
        return header + types + bytes(self._strings)

    def copy(self, source: Btf, type_id: int) -> int:
        """Copy a type and what it needs; its number in the result."""
        if not type_id:
            return 0
        # Types of the kernel have the same numbers in all sources; those of modules do not.
        key = (0 if type_id < source.first_id else id(source), type_id)
        known = self._done.get(key)
        if known is None:
            known = self._done[key] = self._reserve()  # before its references, which may lead back
            self._types[known - 1] = self._encode(source, source.type(type_id))
        return known

    def _encode(self, source: Btf, raw: RawType) -> bytes:
        kind = raw.kind
        if kind in _AGGREGATES:
            return self._aggregate(source, raw)
        if kind in _ENUMS:
            keep = raw.name in self.enums
            width = 8 if kind == BtfKind.ENUM else 12
            extra = b"".join(
                struct.pack("<I", self._string(source.string(*struct.unpack_from("<I", entry)))) + entry[4:]
                for entry in _entries(raw, width)
                if keep
            )
            return self._head(raw, raw.ref, len(extra) // width) + extra
        if kind == BtfKind.PTR:
            return self._head(raw, self._pointee(source, raw.ref))
        if kind == BtfKind.ARRAY:
            element, index, count = struct.unpack("<III", _extra(raw, 12))
            ids = struct.pack("<III", self.copy(source, element), self.copy(source, index), count)
            return self._head(raw, 0) + ids
        if kind == BtfKind.FUNC_PROTO:
            params = b""
            for entry in _entries(raw, 8):
                name, type_id = struct.unpack("<II", entry)
                params += struct.pack("<II", self._string(source.string(name)), self.copy(source, type_id))
            return self._head(raw, self.copy(source, raw.ref)) + params
        if kind == BtfKind.INT:
            return self._head(raw, raw.ref) + _extra(raw, 4)
        if kind in QUALIFIERS or kind in (BtfKind.TYPEDEF, BtfKind.FUNC):
            return self._head(raw, self.copy(source, raw.ref))
        return self._head(raw, raw.ref)  # FWD, FLOAT: no references

    def _aggregate(self, source: Btf, raw: RawType) -> bytes:
        if raw.name and raw.name not in self.structs:
            return self._head(raw, raw.ref, 0)
        members = b""
        for entry in _entries(raw, 12):
            name, type_id, offset = struct.unpack("<III", entry)
            members += struct.pack(
                "<III", self._string(source.string(name)), self.copy(source, type_id), offset
            )
        return self._head(raw, raw.ref) + members

    def _pointee(self, source: Btf, type_id: int) -> int:
        """What a pointer points to: aggregates shrink to forward declarations, nameless ones to void."""
        if not type_id:
            return 0
        raw = source.type(type_id)
        if raw.kind in _AGGREGATES:
            return self._forward(raw.name, raw.kind == BtfKind.UNION) if raw.name else 0
        if raw.kind in QUALIFIERS:  # they change no spelling, so they can go
            return self._pointee(source, raw.ref)
        return self.copy(source, type_id)

    def _forward(self, name: str, union: bool) -> int:
        known = self._forwards.get((name, union))
        if known is None:
            known = self._forwards[name, union] = self._reserve()
            info = BtfKind.FWD << 24 | union << 31
            self._types[known - 1] = struct.pack("<III", self._string(name), info, 0)
        return known

    def _head(self, raw: RawType, ref: int, vlen: int | None = None) -> bytes:
        info = raw.kind << 24 | raw.flag << 31 | (raw.vlen if vlen is None else vlen)
        return struct.pack("<III", self._string(raw.name), info, ref)

    def _reserve(self) -> int:
        self._types.append(b"")
        return len(self._types)

    def _string(self, text: str) -> int:
        known = self._offsets.get(text)
        if known is None:
            known = self._offsets[text] = len(self._strings)
            self._strings += text.encode() + b"\0"
        return known


def _extra(raw: RawType, size: int) -> bytes:
    return ctypes.string_at(raw.address + HEADER_SIZE, size)


def _entries(raw: RawType, width: int) -> list[bytes]:
    data = _extra(raw, raw.vlen * width)
    return [data[i : i + width] for i in range(0, len(data), width)]
