"""A program in the kernel: its maps made, its functions loaded one by one, by libbpf."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kpath.capture import direct
from kpath.capture.bytecode import Code, MapSpec, with_maps
from kpath.capture.errors import CaptureSetupError
from kpath.kernel.libbpf import libbpf, quiet

KPROBE, TRACEPOINT, TRACING = 2, 5, 26
"""``enum bpf_prog_type``."""
_ARRAY, _LARGE = 2, 32 << 20
"""``BPF_MAP_TYPE_ARRAY``, and more bytes than any array of the programs has."""
_LICENCE = b"GPL"
_NAME_BYTES = 15
_LOG_BYTES = 1 << 20
_SAID = 4000
"""Letters of the verifier's last words that are passed on."""


class _MapOptions(ctypes.Structure):
    """``struct bpf_map_create_opts`` of libbpf 1.x, as far as it is used."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    )


class _LoadOptions(ctypes.Structure):
    """``struct bpf_prog_load_opts`` of libbpf 1.x."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    )


@dataclass(frozen=True, slots=True)
class Map:
    """A map in the kernel."""

    map_fd: int
    spec: MapSpec


class Loaded:
    """The maps of a program, and its functions as they are asked for."""

    def __init__(self, code: Code, existing: Mapping[str, int] | None = None, owner: Any = None) -> None:
        """``existing``: descriptors of maps that are there already, and their ``owner``, a ``bcc.BPF``.

        Raises CaptureSetupError.
        """
        self._code = code
        self.owner = owner
        self._own: list[int] = []
        self._maps: dict[str, Map] = {}
        for spec in code.maps:
            fd = (existing or {}).get(spec.name, -1)
            if fd < 0:
                try:
                    fd = _create(spec)
                except OSError as error:
                    self.close()
                    raise CaptureSetupError(f"the kernel makes no map {spec.name}: {error.strerror}") from error
                self._own.append(fd)
            self._maps[spec.name] = Map(fd, spec)

    def __getitem__(self, name: str) -> Map:
        return self._maps[name]

    def load(
        self, name: str, kind: int, attach_type: int = 0, cast: int = 0, function: int = 0,
        change: Callable[[bytes], bytes] | None = None, instead: Mapping[str, int] | None = None,
    ) -> int:  # fmt: skip
        """The descriptor of a function that is now in the kernel; it is this object's to close.

        ``cast`` is the BTF number of bpf_rdonly_cast, if the text was made with a ``direct_type``; ``function`` that of
        the function which it is tied to; ``change`` makes other instructions of them; ``instead``: other maps, by name.
        The verifier's words go into the CaptureSetupError.
        """
        numbers = {
            at: (instead or {}).get(spec.name, self._maps[spec.name].map_fd) for at, spec in enumerate(self._code.maps)
        }
        code = with_maps(self._code.functions[name], numbers)
        if cast:
            code = direct.patched(code, cast)
        if change:
            code = change(code)
        fd = _load(name, code, kind, attach_type, function, None)
        if fd < 0:
            log = ctypes.create_string_buffer(_LOG_BYTES)
            fd = _load(name, code, kind, attach_type, function, log)
            if fd < 0:
                said = log.value.decode(errors="replace").strip()
                raise CaptureSetupError(
                    f"the kernel refuses the BPF program {name}: {os.strerror(-fd)}\n{said[-_SAID:]}"
                )
        self._own.append(fd)
        return fd

    def another(self, table: str) -> int:
        """The descriptor of one more map like that. Raises CaptureSetupError."""
        try:
            fd = _create(self[table].spec)
        except OSError as error:
            raise CaptureSetupError(f"the kernel makes no map {table}: {error.strerror}") from error
        self._own.append(fd)
        return fd

    def to_call(self, table_fd: int, place: int, program_fd: int) -> None:
        """Put a function into a table of functions. Raises CaptureSetupError."""
        key, value = ctypes.c_uint32(place), ctypes.c_uint32(program_fd)
        if error := libbpf().bpf_map_update_elem(table_fd, ctypes.byref(key), ctypes.byref(value), 0):
            raise CaptureSetupError(f"the kernel does not take a program into its table: {os.strerror(-error)}")

    def to_call_nothing(self, table_fd: int, place: int) -> None:
        """Take a function out of a table of functions: what would go on there ends."""
        libbpf().bpf_map_delete_elem(table_fd, ctypes.byref(ctypes.c_uint32(place)))

    def items(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """What a table holds. A system call an entry, so not while it must be fast."""
        lib, (fd, spec) = libbpf(), (self[table].map_fd, self[table].spec)
        key, value = ctypes.create_string_buffer(spec.key_size), ctypes.create_string_buffer(spec.value_size)
        before = None
        for _ in range(spec.entries):
            if lib.bpf_map_get_next_key(fd, before, key):
                return
            if not lib.bpf_map_lookup_elem(fd, key, value):
                yield key.raw, value.raw
            before = ctypes.create_string_buffer(key.raw, spec.key_size)

    def close(self) -> None:
        """Let go of maps and programs; what is attached keeps its own."""
        while self._own:
            os.close(self._own.pop())
        if self.owner is not None:
            self.owner.cleanup()
            self.owner = None


def takes_large_values() -> bool:
    """May one value of an array have more than 4 MiB? It might not as long as a system call had to copy it in one piece
    (kernel/bpf/arraymap.c:array_map_alloc_check, KMALLOC_MAX_SIZE)."""
    try:
        os.close(_create(MapSpec("kpath_ask", _ARRAY, 4, _LARGE, 1, 0)))
    except OSError:
        return False
    return True


def _create(spec: MapSpec) -> int:
    options = _MapOptions(sz=ctypes.sizeof(_MapOptions), map_flags=spec.flags)
    name = spec.name.encode()[:_NAME_BYTES]
    with quiet():
        fd = int(
            libbpf().bpf_map_create(
                spec.kind, name, spec.key_size, spec.value_size, spec.entries, ctypes.byref(options)
            )
        )
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd))
    return fd


def _load(
    name: str, code: bytes, kind: int, attach_type: int, function: int, log: ctypes.Array[ctypes.c_char] | None
) -> int:
    """The descriptor, or the negative error number."""
    options = _LoadOptions(
        sz=ctypes.sizeof(_LoadOptions), expected_attach_type=attach_type, attach_btf_id=function
    )
    if log is not None:
        options.log_level, options.log_size, options.log_buf = 1, len(log), ctypes.addressof(log)
    text = ctypes.create_string_buffer(code, len(code))
    with quiet():
        fd = int(
            libbpf().bpf_prog_load(
                kind, name.encode()[:_NAME_BYTES], _LICENCE, text, len(code) // 8, ctypes.byref(options)
            )
        )
        # The answer is the error number where libbpf keeps to its own rules.
        return fd if fd != -1 else -(ctypes.get_errno() or errno.EPERM)
