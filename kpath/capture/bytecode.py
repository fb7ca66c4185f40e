"""What the compiler made, free of BCC: instructions and maps, which can be kept and be loaded into the kernel again."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kpath.kernel.libbpf import libbpf

WIDTH = 8
"""Bytes of an instruction."""
_LOAD_IMM64, _MAP_FD = 0x18, 1
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
    maps = tuple(_describe(name.decode(), fd) for name, fd in zip(names, fds, strict=True))
    functions = {}
    for i in range(lib.bpf_num_functions(bpf.module)):
        name = lib.bpf_function_name(bpf.module, i)
        code = ctypes.string_at(
            lib.bpf_function_start(bpf.module, name), lib.bpf_function_size(bpf.module, name)
        )
        functions[name.decode()] = with_maps(code, {fd: at for at, fd in enumerate(fds)})
    return Code(maps, functions)


def _describe(name: str, fd: int) -> MapSpec:
    info = (ctypes.c_uint32 * (_INFO_BYTES // 4))()  # type, id, key_size, value_size, max_entries, map_flags
    size = ctypes.c_uint32(_INFO_BYTES)
    if error := libbpf().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)):
        raise OSError(-error, f"the kernel does not describe the map {name}")
    return MapSpec(name, info[0], info[2], info[3], info[4], info[5])


def with_maps(code: bytes, numbers: Mapping[int, int]) -> bytes:
    """The code with other numbers in the place of those by which it names maps."""
    changed = bytearray(code)
    for at in range(0, len(code), WIDTH):
        if code[at] == _LOAD_IMM64 and code[at + 1] >> 4 == _MAP_FD:
            number = numbers[int.from_bytes(code[at + 4 : at + WIDTH], "little")]
            changed[at + 4 : at + WIDTH] = number.to_bytes(4, "little")
    return bytes(changed)
