"""BTF, the kernel's own description of its types: structure offsets, function prototypes, enumerations.

Offsets and argument positions are asked of the running kernel, never taken from headers or a table of
versions. vmlinux has some 150,000 types, far too many to decode in Python, so libbpf (which comes with
BCC) parses them and this module decodes only what is asked for.

The format: Documentation/bpf/btf.rst of the kernel.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

from kpath.kernel.btf_functions import Functions, is_type
from kpath.kernel.errors import NoBtfError, UnknownTypeError
from kpath.kernel.libbpf import libbpf, quiet

VMLINUX = Path("/sys/kernel/btf/vmlinux")


class BtfKind(IntEnum):
    """Kinds of BTF types, numbered as in ``include/uapi/linux/btf.h``."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


QUALIFIERS = frozenset({BtfKind.VOLATILE, BtfKind.CONST, BtfKind.RESTRICT, BtfKind.TYPE_TAG})
"""Wrappers that change neither layout nor meaning here."""

HEADER_SIZE = 12
"""Bytes of ``struct btf_type``, before what is special to its kind."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a structure, at ``bit_offset`` bits from the start of the structure it was asked of.

    ``bit_size`` is 0 unless it is a bit-field; ``size`` is the size of its type in bytes.
    """

    name: str
    bit_offset: int
    bit_size: int
    type_id: int
    size: int

    @property
    def offset(self) -> int:
        """Bytes; for a bit-field the byte that holds its first bit."""
        return self.bit_offset // 8


@dataclass(frozen=True, slots=True)
class Struct:
    """A structure or union: ``size`` in bytes, members by name; those of anonymous parts count as its own."""

    name: str
    size: int
    members: dict[str, Member]

    def get(self, member: str) -> Member | None:
        """The member, or None when this kernel does not have it."""
        return self.members.get(member)

    def __getitem__(self, member: str) -> Member:
        """The member; raises UnknownTypeError when this kernel does not have it."""
        found = self.members.get(member)
        if found is None:
            raise UnknownTypeError(f"{self.name} has no member {member} in this kernel.")
        return found

    def __contains__(self, member: object) -> bool:
        return member in self.members


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter; ``type`` is spelt as in C, without qualifiers: ``struct sk_buff *``."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Prototype:
    """A function's prototype as compiled."""

    name: str
    params: tuple[Param, ...]
    returns: str

    def __str__(self) -> str:
        params = ", ".join(_declare(p.type, p.name) for p in self.params)
        return f"{_declare(self.returns, self.name)}({params or 'void'})"


def _declare(type_: str, name: str) -> str:
    return f"{type_}{name}" if type_.endswith("*") else f"{type_} {name}".strip()


def position(proto: Prototype, type_: str) -> int | None:
    """Index of the first parameter of this type, None if there is none."""
    return next((i for i, p in enumerate(proto.params) if p.type == type_), None)


def skb_position(proto: Prototype) -> int | None:
    """Index of the first ``struct sk_buff *`` parameter, None if there is none."""
    return position(proto, "struct sk_buff *")


class _Type(ctypes.Structure):
    _fields_ = [("name_off", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_type", ctypes.c_uint32)]


class _Triple(ctypes.Structure):
    """After the header: a member (name, type, offset), an array (type, index, count), a 64-bit enumerator."""

    _fields_ = [("a", ctypes.c_uint32), ("b", ctypes.c_uint32), ("c", ctypes.c_uint32)]


class _Pair(ctypes.Structure):
    """After the header: a parameter (name, type) or an enumerator (name, value)."""

    _fields_ = [("a", ctypes.c_uint32), ("b", ctypes.c_uint32)]


@dataclass(frozen=True, slots=True)
class RawType:
    """One decoded ``struct btf_type``; ``ref`` is its size in bytes or the type it refers to, by kind."""

    kind: BtfKind
    name: str
    vlen: int
    flag: bool
    ref: int
    address: int


class Btf:
    """The types of one kernel, or of one module on top of its kernel (``base``)."""

    def __init__(self, handle: int, base: Btf | None = None) -> None:
        """Use `load` or `module`; this takes over a ``struct btf *``."""
        self._handle = handle
        self._base = base  # libbpf points into it, so it must live as long
        self._functions: dict[str, Prototype | None] = {}
        self._structs: dict[int, Struct] = {}

    @classmethod
    def load(cls, path: str | Path = VMLINUX, base: Btf | None = None) -> Btf:
        """Parse a BTF file, raw or an ELF section; a module's needs its kernel's as base.

        Raises NoBtfError (no such file, no BTF in it), NoLibbpfError.
        """
        lib = libbpf()
        with quiet():
            handle = lib.btf__parse_split(os.fsencode(path), base._handle if base else None)
            number = ctypes.get_errno()
        if not handle:
            if Path(path) == VMLINUX:
                raise NoBtfError(
                    f"The kernel gives no BTF ({VMLINUX}: {os.strerror(number)}); "
                    "kpath needs one built with CONFIG_DEBUG_INFO_BTF=y."
                )
            # libbpf's own error numbers begin at 4000 (LIBBPF_ERRNO__START): the content is no BTF.
            why = os.strerror(number) if number < 4000 else "its content is no BTF"
            raise NoBtfError(f"{path}: no BTF can be read from it ({why}).")
        return cls(handle, base)

    @classmethod
    def from_bytes(cls, data: bytes) -> Btf:
        """Parse raw BTF that is already in memory. Raises NoBtfError, NoLibbpfError."""
        lib = libbpf()
        with quiet():
            handle = lib.btf__new(data, len(data))
        if not handle:
            raise NoBtfError("These bytes are no BTF.")
        return cls(handle)

    @classmethod
    def module(cls, name: str, base: Btf) -> Btf:
        """BTF of a loaded module; raises NoBtfError when it is not loaded or was built without."""
        path = VMLINUX.parent / name.replace("-", "_")
        if not path.exists():
            raise NoBtfError(f"Module {name} gives no BTF: it is not loaded, or was built without it.")
        return cls.load(path, base)

    @property
    def first_id(self) -> int:
        """Number of the first type that is our own, not the base's."""
        return int(libbpf().btf__type_cnt(self._base._handle)) if self._base else 1

    def __del__(self) -> None:
        handle, self._handle = getattr(self, "_handle", 0), 0
        if handle:
            libbpf().btf__free(handle)

    # -- structures ---------------------------------------------------------------------------------------

    def struct(self, name: str) -> Struct:
        """The structure or union of that name; raises UnknownTypeError when this kernel has none."""
        type_id = self.find_id(name, BtfKind.STRUCT) or self.find_id(name, BtfKind.UNION)
        if not type_id:
            raise UnknownTypeError(f"This kernel has no struct or union {name}.")
        return self._struct(type_id)

    def has_struct(self, name: str) -> bool:
        """Is there a structure or union of that name?"""
        return bool(self.find_id(name, BtfKind.STRUCT) or self.find_id(name, BtfKind.UNION))

    def member_path(self, struct: str, path: str) -> Member:
        """Follow a dotted path of members that lie within each other; its bit offset is the whole path's.

        Raises UnknownTypeError when a step is absent, or leads through a pointer (its target lies elsewhere).
        """
        current = self.struct(struct)
        steps = path.split(".")
        bits = 0
        for i, step in enumerate(steps):
            member = current[step]
            bits += member.bit_offset
            if i == len(steps) - 1:
                return Member(path, bits, member.bit_size, member.type_id, member.size)
            inner = self.strip(member.type_id)
            if self.type(inner).kind not in (BtfKind.STRUCT, BtfKind.UNION):
                raise UnknownTypeError(f"{current.name}.{step} is no structure, so it has no {steps[i + 1]}.")
            current = self._struct(inner)
        raise UnknownTypeError(f"{struct}: empty member path.")

    def offset(self, path: str) -> Member:
        """``member_path`` with the structure as the first step: ``net.ns.inum``."""
        struct, _, rest = path.partition(".")
        return self.member_path(struct, rest)

    def find(self, path: str) -> Member | None:
        """Like `offset`, but None for what this kernel does not have."""
        try:
            return self.offset(path)
        except UnknownTypeError:
            return None

    def _struct(self, type_id: int) -> Struct:
        known = self._structs.get(type_id)
        if known is None:
            raw = self.type(type_id)
            members: dict[str, Member] = {}
            for member in self._members(type_id, 0):
                members.setdefault(member.name, member)
            known = self._structs[type_id] = Struct(raw.name, raw.ref, members)
        return known

    def _members(self, type_id: int, base: int) -> Iterator[Member]:
        raw = self.type(type_id)
        for i in range(raw.vlen):
            entry = _Triple.from_address(raw.address + HEADER_SIZE + 12 * i)
            # With the flag set, the top byte of the offset is the width of a bit-field.
            bits, width = (entry.c & 0xFFFFFF, entry.c >> 24) if raw.flag else (entry.c, 0)
            name = self.string(entry.a)
            if name:
                yield Member(name, base + bits, width, entry.b, self._size(entry.b))
                continue
            inner = self.strip(entry.b)
            if self.type(inner).kind in (BtfKind.STRUCT, BtfKind.UNION):
                yield from self._members(inner, base + bits)

    # -- functions ----------------------------------------------------------------------------------------

    def function(self, name: str) -> Prototype | None:
        """The function's prototype; None when BTF has none (inlined, mangled by the compiler, or absent)."""
        if name not in self._functions:
            proto_id = self._prototype_id(name)
            self._functions[name] = self._prototype(name, proto_id) if proto_id else None
        return self._functions[name]

    def _prototype_id(self, name: str) -> int:
        """The prototype's number, 0 if there is no such function."""
        if self._swept is None:
            type_id = self.find_id(name, BtfKind.FUNC)
            return self.type(type_id).ref if type_id else 0
        lib = libbpf()
        count = int(lib.btf__type_cnt(self._handle))
        for address in self._swept.find(name):
            if is_type(address, count, lambda number: lib.btf__type_by_id(self._handle, number) or 0):
                return int(_Type.from_address(address).size_type)
        return 0

    @cached_property
    def _swept(self) -> Functions | None:
        # A module's BTF is small, and its names may stand in its kernel's.
        return None if self._base else Functions.sweep(self._handle)

    def _prototype(self, name: str, proto_id: int) -> Prototype:
        raw = self.type(proto_id)
        return Prototype(name, tuple(self._params(raw)), self.spell(raw.ref))

    def _params(self, raw: RawType) -> Iterator[Param]:
        for i in range(raw.vlen):
            entry = _Pair.from_address(raw.address + HEADER_SIZE + 8 * i)
            # The last parameter of a variadic function has neither name nor type.
            yield Param(self.string(entry.a), self.spell(entry.b) if entry.b or entry.a else "...")

    # -- enumerations -------------------------------------------------------------------------------------

    def enum(self, name: str) -> dict[str, int]:
        """Enumerators of ``enum name`` in source order; raises UnknownTypeError when there is none."""
        type_id = self.find_id(name, BtfKind.ENUM) or self.find_id(name, BtfKind.ENUM64)
        if not type_id:
            raise UnknownTypeError(f"This kernel has no enum {name}.")
        raw = self.type(type_id)
        values: dict[str, int] = {}
        for i in range(raw.vlen):
            if raw.kind == BtfKind.ENUM:
                pair = _Pair.from_address(raw.address + HEADER_SIZE + 8 * i)
                key, value, bits = pair.a, pair.b, 32
            else:
                triple = _Triple.from_address(raw.address + HEADER_SIZE + 12 * i)
                key, value, bits = triple.a, triple.b | triple.c << 32, 64
            if raw.flag and value >> (bits - 1):
                value -= 1 << bits
            values[self.string(key)] = value
        return values

    # -- types in general ---------------------------------------------------------------------------------

    def type(self, type_id: int) -> RawType:
        """One type's header; raises UnknownTypeError for a number that is not in this BTF."""
        address = libbpf().btf__type_by_id(self._handle, type_id)
        if not address:
            raise UnknownTypeError(f"BTF has no type number {type_id}.")
        raw = _Type.from_address(address)
        kind = BtfKind(raw.info >> 24 & 0x1F) if type_id else BtfKind.INT
        name = self.string(raw.name_off) if type_id else "void"
        return RawType(kind, name, raw.info & 0xFFFF, bool(raw.info >> 31), raw.size_type, address)

    def strip(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        while type_id:
            raw = self.type(type_id)
            if raw.kind != BtfKind.TYPEDEF and raw.kind not in QUALIFIERS:
                break
            type_id = raw.ref
        return type_id

    def spell(self, type_id: int) -> str:
        """The type as C spells it, without qualifiers; typedefs keep their name."""
        if not type_id:
            return "void"
        raw = self.type(type_id)
        if raw.kind in QUALIFIERS:
            return self.spell(raw.ref)
        if raw.kind == BtfKind.PTR:
            target = raw.ref
            while target and self.type(target).kind in QUALIFIERS:
                target = self.type(target).ref
            if target and self.type(target).kind == BtfKind.FUNC_PROTO:
                proto = self.type(target)
                params = ", ".join(p.type for p in self._params(proto))
                return f"{self.spell(proto.ref)} (*)({params or 'void'})"
            spelt = self.spell(target)
            return spelt + ("*" if spelt.endswith("*") else " *")
        if raw.kind == BtfKind.ARRAY:
            entry = _Triple.from_address(raw.address + HEADER_SIZE)
            return f"{self.spell(entry.a)}[{entry.c}]"
        prefix = {
            BtfKind.STRUCT: "struct ",
            BtfKind.UNION: "union ",
            BtfKind.ENUM: "enum ",
            BtfKind.ENUM64: "enum ",
            BtfKind.FWD: "union " if raw.flag else "struct ",
        }.get(raw.kind, "")
        return prefix + (raw.name or "{...}")

    def find_id(self, name: str, kind: BtfKind) -> int:
        """Number of the first type of that name and kind, in the base or here; 0 if there is none."""
        found: int = libbpf().btf__find_by_name_kind(self._handle, name.encode(), kind)
        return max(found, 0)

    def string(self, offset: int) -> str:
        """The name at an offset of the string table; "" for none."""
        name: bytes | None = libbpf().btf__name_by_offset(self._handle, offset)
        return name.decode("utf-8", "replace") if name else ""

    def _size(self, type_id: int) -> int:
        # A flexible array or a type without size resolves to 0 or an error: 0 for both.
        return max(int(libbpf().btf__resolve_size(self._handle, type_id)), 0)
