"""XDP programs of a few instructions, put on a device as a link that ends with its file descriptor."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

from kpath.lab.errors import LabSetupError
from kpath.lab.needs import Need
from kpath.lab.netns import Netns

# include/uapi/linux/bpf.h and if_link.h; the number of the system call is x86-64's.
_SYS_BPF = 321
_PROG_LOAD, _LINK_CREATE = 5, 28
_PROG_TYPE_XDP, _ATTACH_XDP = 6, 37
_SKB_MODE = 1 << 1
_REDIRECT = 23
_ABORTED, _DROP, _PASS = range(3)
_libc = ctypes.CDLL(None, use_errno=True)


def _instruction(code: int, target: int = 0, number: int = 0) -> bytes:
    return struct.pack("<BBhi", code, target, 0, number)


def _set(register: int, number: int) -> bytes:
    return _instruction(0xB4, register, number)  # 32-bit move of a constant


_EXIT = _instruction(0x95)
DROP = _set(0, _DROP) + _EXIT
PASS = _set(0, _PASS) + _EXIT


def redirect(ifindex: int) -> bytes:
    """All packets go out of another device of the same namespace (``bpf_redirect``)."""
    return _set(1, ifindex) + _set(2, 0) + _instruction(0x85, 0, _REDIRECT) + _EXIT


@contextlib.contextmanager
def generic(netns: Netns, device: str, program: bytes) -> Iterator[None]:
    """The program sees what the device receives, as the kernel runs it for drivers that cannot. LabSetupError."""
    with netns.inside():
        loaded = _load(program)
        try:
            link = _bpf(_LINK_CREATE, struct.pack("=IIII", loaded, netns.ifindex(device), _ATTACH_XDP, _SKB_MODE))
        finally:
            os.close(loaded)
    try:
        yield
    finally:
        os.close(link)


def _load(program: bytes) -> int:
    text, licence = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"GPL")
    head = struct.pack("=IIQQ", _PROG_TYPE_XDP, len(program) // 8, ctypes.addressof(text), ctypes.addressof(licence))
    return _bpf(_PROG_LOAD, head)


def _bpf(command: int, attributes: bytes) -> int:
    given = ctypes.create_string_buffer(attributes.ljust(72, b"\0"), 72)
    fd = int(_libc.syscall(_SYS_BPF, command, given, 72))
    if fd < 0:
        raise LabSetupError(f"an XDP program cannot be put on a device here: {os.strerror(ctypes.get_errno())}.")
    return fd


XDP = Need("BPF programs", lambda: os.uname().machine == "x86_64")
