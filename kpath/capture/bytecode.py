"""What the compiler made, free of BCC: instructions and maps, which can be kept and be loaded into the kernel again."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from kpath.kernel.libbpf import libbpf

WIDTH = 8
"""Bytes of an instruction."""
_NAMES = ("scratches", "counts", "generations", "taken", "controls", "homes", "stashes", "asides", "tracks")
ARRAYS = {name: 0x4B000000 + at for at, name in enumerate(_NAMES)}
"""Arrays whose address the kernel writes into the program, and what stands for each in the text (``ELEMENTS_OF_...``).

The kernel does so for a map of one value only (kernel/bpf/arraymap.c:array_map_direct_value_addr), so what the text
reads in this way is made such a map. The text declares its elements: with values of that size BCC takes minutes."""

_LOAD_IMM64, _MAP_FD, _MAP_VALUE = 0x18, 1, 2
_INFO_BYTES = 24


@dataclass(frozen=True, slots=True)
class MapSpec:
    """One map, as ``bpf_map_create`` wants it."""

    name: str
    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class Code:
    """Functions by name; where one of them names a map, the instruction holds the map's place in ``maps``."""

    maps: tuple[MapSpec, ...]
    functions: Mapping[str, bytes]

    def to_json(self) -> str:
        """For a file."""
        functions = {name: code.hex() for name, code in self.functions.items()}
        return json.dumps({"maps": [asdict(m) for m in self.maps], "functions": functions})

    @classmethod
    def from_json(cls, text: str) -> Code:
        """From a file. Raises ValueError, TypeError or KeyError for what is none."""
        found = json.loads(text)
        functions = {str(name): bytes.fromhex(code) for name, code in found["functions"].items()}
        return cls(tuple(MapSpec(**spec) for spec in found["maps"]), functions)


def extract(bpf: Any) -> Code:
    """Out of BCC's module; ``bpf`` is a ``bcc.BPF``."""
    from bcc import lib

    lib.bpf_num_tables.restype, lib.bpf_num_tables.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    lib.bpf_table_name.restype, lib.bpf_table_name.argtypes = ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_size_t]
    names = [lib.bpf_table_name(bpf.module, i) for i in range(lib.bpf_num_tables(bpf.module))]
    fds = [int(lib.bpf_table_fd(bpf.module, name)) for name in names]
    numbers = {fd: at for at, fd in enumerate(fds)}
    numbers |= {ARRAYS[name.decode()]: at for at, name in enumerate(names) if name.decode() in ARRAYS}
    functions = {}
    by_address: set[int] = set()
    for i in range(lib.bpf_num_functions(bpf.module)):
        name = lib.bpf_function_name(bpf.module, i)
        code = ctypes.string_at(
            lib.bpf_function_start(bpf.module, name), lib.bpf_function_size(bpf.module, name)
        )
        functions[name.decode()] = with_maps(code, numbers)
        by_address |= {number for _, way, number in _maps_in(code) if way == _MAP_VALUE}
    maps = [_describe(name.decode(), fd) for name, fd in zip(names, fds, strict=True)]
    return Code(tuple(_as_one(m) if ARRAYS.get(m.name) in by_address else m for m in maps), functions)


def _describe(name: str, fd: int) -> MapSpec:
    info = (ctypes.c_uint32 * (_INFO_BYTES // 4))()  # type, id, key_size, value_size, max_entries, map_flags
    size = ctypes.c_uint32(_INFO_BYTES)
    if error := libbpf().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)):
        raise OSError(-error, f"the kernel does not describe the map {name}")
    return MapSpec(name, info[0], info[2], info[3], info[4], info[5])


def _as_one(spec: MapSpec) -> MapSpec:
    return replace(spec, value_size=spec.value_size * spec.entries, entries=1)


def _maps_in(code: bytes) -> Iterator[tuple[int, int, int]]:
    """Where the code names a map, in which way, and by which number."""
    for at in range(0, len(code), WIDTH):
        if code[at] == _LOAD_IMM64 and (way := code[at + 1] >> 4) in (_MAP_FD, _MAP_VALUE):
            yield at, way, int.from_bytes(code[at + 4 : at + WIDTH], "little")


def with_maps(code: bytes, numbers: Mapping[int, int]) -> bytes:
    """The code with other numbers in the place of those by which it names maps."""
    changed = bytearray(code)
    for at, _, number in _maps_in(code):
        changed[at + 4 : at + WIDTH] = numbers[number].to_bytes(4, "little")
    return bytes(changed)
