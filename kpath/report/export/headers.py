"""A packet's first bytes, put together again from an event. What the event does not hold is not made up.

The length of the IP header is not in an event, so IP options are missing from a rebuilt packet. TCP's acknowledgement
number and flags stand behind bytes that are not known, so a TCP segment is cut after its sequence number. Two
checksums stand in front of known bytes: IP's is computed, ICMP's is 0.
"""

from __future__ import annotations

import struct

from kpath.trace.frames import Event

IP_HEADER = 20
_ICMP, _TCP, _UDP = 1, 6, 17
_ECHO = (0, 8)
_OFFSET, _FRAGMENT = 0x1FFF, 0x3FFF


def rebuilt(e: Event) -> tuple[bytes, int]:
    """The bytes that are known, and the whole packet's length in bytes."""
    # A packet of more than 64 KiB (BIG TCP) has no length in its header.
    length = max(int(e.tot_len) or int(e.len), IP_HEADER)
    data = _ip(e) + _transport(e, length - IP_HEADER)
    return data[:length], length


def _ip(e: Event) -> bytes:
    def header(checksum: int) -> bytes:
        return struct.pack(
            ">BBHHHBBHII", 0x45, e.tos, e.tot_len, e.ip_id, e.frag_off, e.ttl, e.proto, checksum, e.saddr, e.daddr
        )

    total = sum(struct.unpack(">10H", header(0)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header(~total & 0xFFFF)


def _transport(e: Event, length: int) -> bytes:
    if e.frag_off & _OFFSET:
        return b""
    if e.proto == _TCP:
        return struct.pack(">HHI", e.sport, e.dport, e.l4)
    if e.proto == _UDP:
        ports = struct.pack(">HH", e.sport, e.dport)
        whole = not e.frag_off & _FRAGMENT  # of a fragment the datagram's length is not known
        return ports + (struct.pack(">H", length) if whole and length <= 0xFFFF else b"")
    if e.proto == _ICMP:
        kind_code = struct.pack(">H", e.sport)
        return kind_code + (struct.pack(">HI", 0, e.l4) if e.sport >> 8 in _ECHO else b"")
    return b""
