"""What a device does for the stack, switched on and off as ethtool does."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from kpath.lab.netns import Netns

_SIOCETHTOOL, _STSO, _SGRO = 0x8946, 0x1F, 0x2C  # include/uapi/linux/sockios.h, ethtool.h


def gro(netns: Netns, device: str, on: bool) -> AbstractContextManager[None]:
    """Whether the device's packets are merged meanwhile; afterwards it is the other way."""
    return _switched(netns, device, _SGRO, on)


def tso(netns: Netns, device: str, on: bool) -> AbstractContextManager[None]:
    """Whether the device takes segments as one meanwhile; afterwards it is the other way."""
    return _switched(netns, device, _STSO, on)


@contextmanager
def _switched(netns: Netns, device: str, what: int, on: bool) -> Iterator[None]:
    _set(netns, device, what, on)
    try:
        yield
    finally:
        _set(netns, device, what, not on)


def _set(netns: Netns, device: str, what: int, on: bool) -> None:
    value = ctypes.create_string_buffer(struct.pack("=II", what, on), 8)
    request = struct.pack("=16sQ16x", device.encode(), ctypes.addressof(value))
    with netns.socket(socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, _SIOCETHTOOL, request)
