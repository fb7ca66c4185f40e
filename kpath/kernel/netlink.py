"""Just enough netlink to ask the kernel for lists. Sockets belong to the thread's network namespace at their birth.

pyroute2 would do, but it enters a namespace in a forked copy of this process, and a copy that lives while this one is
killed keeps all probes armed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing

ROUTE, XFRM, NETFILTER = 0, 6, 12
"""Protocols (``include/uapi/linux/netlink.h``)."""

_REQUEST, _DUMP = 1, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TIMEOUT = 2.0


def ask(protocol: int, kind: int, body: bytes, dump: bool = True) -> Iterator[bytes]:
    """The bodies of all answers to one request. Raises OSError: the kernel's errno, or a timeout (2 s)."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    with closing(sock):
        sock.settimeout(_TIMEOUT)
        flags = _REQUEST | (_DUMP if dump else 0)
        sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        while True:
            data = sock.recv(1 << 17)
            while len(data) >= _HEADER.size:
                length, answer, *_ = _HEADER.unpack_from(data)
                if answer == _DONE or length < _HEADER.size:
                    return
                if answer == _ERROR:
                    (number,) = struct.unpack_from("=i", data, _HEADER.size)
                    if number:
                        raise OSError(-number, "the kernel refuses the question")
                    return
                yield data[_HEADER.size : length]
                if not dump:
                    return
                data = data[(length + 3) & ~3 :]


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type; what is cut off is left out."""
    found: dict[int, bytes] = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found
