"""The few blocks of a pcapng file that kpath writes (IETF draft-ietf-opsawg-pcapng), little-endian."""

from __future__ import annotations

import struct
from typing import IO

LINKTYPE_IPV4 = 228
"""Packets begin with an IPv4 header."""
INBOUND, OUTBOUND = 1, 2
"""Directions in a packet's flags."""

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_COMMENT = 1
_SNAPLEN = 0xFFFF
_MAX_OPTION = 0xFFFF
_NANOSECONDS = 9


class Blocks:
    """Writes blocks to a stream, in the order in which its methods are called; ``section`` comes first."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._interfaces = 0

    def section(self, *, os: str, application: str, comment: str = "") -> None:
        """The section header. Its length stays open, for the file is written as packets come."""
        fixed = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        self._block(_SECTION, fixed, [(_COMMENT, comment), (3, os), (4, application)])

    def interface(self, name: str, description: str) -> int:
        """An interface whose times are in ns; returns its number."""
        fixed = struct.pack("<HHI", LINKTYPE_IPV4, 0, _SNAPLEN)
        self._block(_INTERFACE, fixed, [(2, name), (3, description), (9, bytes([_NANOSECONDS]))])
        self._interfaces += 1
        return self._interfaces - 1

    def packet(
        self, interface: int, time: int, data: bytes, length: int, *, direction: int, comment: str, packet_id: int
    ) -> None:
        """A packet of ``length`` bytes of which ``data`` is known; ``time`` in ns since 1970."""
        fixed = struct.pack("<IIIII", interface, time >> 32 & 0xFFFFFFFF, time & 0xFFFFFFFF, len(data), length)
        options: list[tuple[int, str | bytes]] = [
            (_COMMENT, comment), (2, struct.pack("<I", direction)), (5, struct.pack("<Q", packet_id)),
        ]  # fmt: skip
        self._block(_PACKET, fixed + _padded(data), options)

    def statistics(self, interface: int, time: int, *, dropped: int, comment: str) -> None:
        """Says at the end how much the system lost: no count of this interface, but the format has no other place."""
        fixed = struct.pack("<III", interface, time >> 32 & 0xFFFFFFFF, time & 0xFFFFFFFF)
        self._block(_STATISTICS, fixed, [(_COMMENT, comment), (7, struct.pack("<Q", dropped))])

    def _block(self, kind: int, fixed: bytes, options: list[tuple[int, str | bytes]]) -> None:
        body = fixed + b"".join(_option(code, value) for code, value in options if value) + bytes(4)
        length = struct.pack("<I", 12 + len(body))
        self._out.write(struct.pack("<I", kind) + length + body + length)


def _option(code: int, value: str | bytes) -> bytes:
    raw = value.encode("utf-8", "replace") if isinstance(value, str) else value
    if len(raw) > _MAX_OPTION:
        raw = raw[:_MAX_OPTION].decode("utf-8", "ignore").encode()
    return struct.pack("<HH", code, len(raw)) + _padded(raw)


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 4)
