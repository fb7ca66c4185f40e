"""XDP programs of a few instructions, put on a device as a link that ends with its file descriptor."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

from kpath.lab.bpf import EXIT, call, instruction, load, put
from kpath.lab.netns import Netns

# include/uapi/linux/bpf.h and if_link.h.
_LINK_CREATE = 28
_PROG_TYPE_XDP, _ATTACH_XDP = 6, 37
_SKB_MODE = 1 << 1
_REDIRECT = 23
_ABORTED, _DROP, _PASS = range(3)

DROP = put(0, _DROP) + EXIT
PASS = put(0, _PASS) + EXIT


def redirect(ifindex: int) -> bytes:
    """All packets go out of another device of the same namespace (``bpf_redirect``)."""
    return put(1, ifindex) + put(2, 0) + instruction(0x85, 0, _REDIRECT) + EXIT


@contextlib.contextmanager
def generic(netns: Netns, device: str, program: bytes) -> Iterator[None]:
    """The program sees what the device receives, as the kernel runs it for drivers that cannot. LabSetupError."""
    with netns.inside():
        loaded = load(program, _PROG_TYPE_XDP)
        try:
            link = call(_LINK_CREATE, struct.pack("=IIII", loaded, netns.ifindex(device), _ATTACH_XDP, _SKB_MODE))
        finally:
            os.close(loaded)
    try:
        yield
    finally:
        os.close(link)
