"""What a device does for the stack, switched on and off as ethtool does."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab.netns import Netns


@contextmanager
def gro(netns: Netns, device: str, on: bool) -> Iterator[None]:
    """Whether the device's packets are merged meanwhile; afterwards it is the other way."""
    _set_gro(netns, device, on)
    try:
        yield
    finally:
        _set_gro(netns, device, not on)


def _set_gro(netns: Netns, device: str, on: bool) -> None:
    siocethtool, ethtool_sgro = 0x8946, 0x2C  # include/uapi/linux/sockios.h, ethtool.h
    value = ctypes.create_string_buffer(struct.pack("=II", ethtool_sgro, on), 8)
    request = struct.pack("=16sQ16x", device.encode(), ctypes.addressof(value))
    with netns.socket(socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, siocethtool, request)
