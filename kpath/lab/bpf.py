"""BPF programs of a few instructions, without a compiler or a loader."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kpath.lab.errors import LabSetupError
from kpath.lab.needs import Need
from kpath.lab.netns import run

# include/uapi/linux/bpf.h; the number of the system call is x86-64's.
_SYS_BPF = 321
_PROG_LOAD, _OBJ_PIN = 5, 6
LWT_IN, LWT_OUT = 10, 11
"""Types of programs that a route runs for what comes in, and for what goes out."""
_OK = 0
_libc = ctypes.CDLL(None, use_errno=True)


def instruction(code: int, target: int = 0, number: int = 0) -> bytes:
    """One instruction."""
    return struct.pack("<BBhi", code, target, 0, number)


def put(register: int, number: int) -> bytes:
    """A constant into a register, as 32 bits."""
    return instruction(0xB4, register, number)


EXIT = instruction(0x95)


def load(program: bytes, kind: int) -> int:
    """The file descriptor of a program. LabSetupError."""
    text, licence = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"GPL")
    head = struct.pack("=IIQQ", kind, len(program) // 8, ctypes.addressof(text), ctypes.addressof(licence))
    return call(_PROG_LOAD, head)


def call(command: int, attributes: bytes) -> int:
    """The system call bpf(2). LabSetupError."""
    given = ctypes.create_string_buffer(attributes.ljust(72, b"\0"), 72)
    fd = int(_libc.syscall(_SYS_BPF, command, given, 72))
    if fd < 0:
        raise LabSetupError(f"a BPF program cannot be put in place here: {os.strerror(ctypes.get_errno())}.")
    return fd


@contextlib.contextmanager
def pinned(kind: int) -> Iterator[Path]:
    """A program for routes that lets everything pass, under a name by which ``ip route`` finds it. LabSetupError."""
    # Not in /sys/fs/bpf: ip mounts another /sys when it enters a namespace.
    with tempfile.TemporaryDirectory(prefix="kpath-bpf-") as folder:
        run("mount", "-t", "bpf", "bpf", folder)
        try:
            path = Path(folder, "pass")
            _pin(path, kind)
            yield path
        finally:
            run("umount", folder)


def _pin(path: Path, kind: int) -> None:
    loaded = load(put(0, _OK) + EXIT, kind)
    try:
        name = ctypes.create_string_buffer(bytes(path))
        call(_OBJ_PIN, struct.pack("=QI", ctypes.addressof(name), loaded))
    finally:
        os.close(loaded)


BPF = Need("BPF programs", lambda: os.uname().machine == "x86_64")
