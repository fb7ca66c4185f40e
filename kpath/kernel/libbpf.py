"""libbpf by ctypes: reading BTF, and what makes maps and loads programs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from kpath.kernel.errors import NoLibbpfError

_U32 = ctypes.c_uint32
_PTR = ctypes.c_void_p

_SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "btf__parse_split": (_PTR, (ctypes.c_char_p, _PTR)),
    "btf__new": (_PTR, (ctypes.c_char_p, _U32)),
    "btf__raw_data": (_PTR, (_PTR, _PTR)),
    "btf__type_cnt": (_U32, (_PTR,)),
    "btf__free": (None, (_PTR,)),
    "btf__find_by_name_kind": (ctypes.c_int32, (_PTR, ctypes.c_char_p, _U32)),
    "btf__type_by_id": (_PTR, (_PTR, _U32)),
    "btf__name_by_offset": (ctypes.c_char_p, (_PTR, _U32)),
    "btf__resolve_size": (ctypes.c_int64, (_PTR, _U32)),
    "bpf_prog_load": (ctypes.c_int, (_U32, ctypes.c_char_p, ctypes.c_char_p, _PTR, ctypes.c_size_t, _PTR)),
    "bpf_map_create": (ctypes.c_int, (_U32, ctypes.c_char_p, _U32, _U32, _U32, _PTR)),
    "bpf_map_delete_elem": (ctypes.c_int, (ctypes.c_int, _PTR)),
    "bpf_map_update_elem": (ctypes.c_int, (ctypes.c_int, _PTR, _PTR, ctypes.c_uint64)),
    "bpf_map_lookup_elem": (ctypes.c_int, (ctypes.c_int, _PTR, _PTR)),
    "bpf_map_get_next_key": (ctypes.c_int, (ctypes.c_int, _PTR, _PTR)),
    "bpf_raw_tracepoint_open": (ctypes.c_int, (ctypes.c_char_p, ctypes.c_int)),
    "libbpf_set_print": (_PTR, (_PTR,)),
}


@cache
def libbpf() -> ctypes.CDLL:
    """The library with the signatures set; raises NoLibbpfError."""
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise NoLibbpfError(f"libbpf 1 cannot be loaded ({error}); install it (Debian: libbpf1).") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libbpf's own messages off the terminal; BCC's printer, if it set one, comes back afterwards."""
    lib = libbpf()
    before = lib.libbpf_set_print(None)
    try:
        yield
    finally:
        errno = ctypes.get_errno()
        lib.libbpf_set_print(before)
        ctypes.set_errno(errno)
