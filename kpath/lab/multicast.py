"""Multicast that a router passes on, with the table that a routing daemon would fill."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.topology import Routed, routed

GROUP = "239.9.9.9"

# uapi/linux/mroute.h
MRT_INIT, MRT_DONE, MRT_ADD_VIF, MRT_ADD_MFC = 200, 201, 202, 204
VIFF_USE_IFINDEX = 8


@contextlib.contextmanager
def _daemon(n: Routed) -> Iterator[socket.socket]:
    """The router passes multicast on, and knows its two devices by 0 and 1; nothing is in its table yet."""
    with n.router.socket(socket.SOCK_RAW, socket.IPPROTO_IGMP) as s:
        s.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
        try:
            for number, device in enumerate(("ra", "rb")):
                vif = struct.pack("=HBBIi4x", number, VIFF_USE_IFINDEX, 1, 0, n.router.ifindex(device))
                s.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, vif)
            yield s
        finally:
            s.setsockopt(socket.IPPROTO_IP, MRT_DONE, b"")


def _entry(s: socket.socket, source: str) -> None:
    """What comes from the first device goes out of the second."""
    ttls = bytes([0, 1]) + bytes(30)
    entry = struct.pack("=4s4sH32s2x16x", socket.inet_aton(source), socket.inet_aton(GROUP), 0, ttls)
    s.setsockopt(socket.IPPROTO_IP, MRT_ADD_MFC, entry)


@contextlib.contextmanager
def _member(n: Routed, port: int) -> Iterator[socket.socket]:
    """A socket of the far host in the group; its reports are out."""
    n.far.sysctl(ipv4__conf__vb__igmpv3_unsolicited_report_interval=50)
    with n.far.socket(socket.SOCK_DGRAM) as member:
        member.bind(("", port))
        membership = socket.inet_aton(GROUP) + socket.inet_aton(n.FAR)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        settle(0.5)
        yield member
    settle(0.5)


@contextlib.contextmanager
def _sender(n: Routed) -> Iterator[socket.socket]:
    with n.near.socket(socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(n.NEAR))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        yield sender


@scenario("multicast-forward", routed, exercises={"linux-6": ("ip_mr_input",)})
def multicast_forward(n: Routed) -> Steps:
    """A datagram to a group with a member behind the router, which passes it on."""
    with _daemon(n) as daemon, _member(n, 5591) as member, _sender(n) as sender:
        _entry(daemon, n.NEAR)
        yield
        sender.sendto(b"to all", (GROUP, 5591))
        expect(member.recv(100) == b"to all", "lost")
        yield
