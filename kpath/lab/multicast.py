"""Multicast that a router passes on, with the table that a routing daemon would fill."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from kpath.lab import traffic
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


RECORD_ROUTE = bytes([7, 11, 4]) + bytes(8) + b"\0"
ROUTER_ALERT = bytes([148, 4, 0, 0])  # RFC 2113


@scenario("multicast-options", routed, exercises={"linux-6": ("ip_forward_options",)})
def multicast_options(n: Routed) -> Steps:
    """A datagram to a group that records its route: each router that passes it on writes its address."""
    with _daemon(n) as daemon, _member(n, 5592) as member, _sender(n) as sender:
        _entry(daemon, n.NEAR)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, RECORD_ROUTE)
        yield
        sender.sendto(b"recorded", (GROUP, 5592))
        expect(member.recv(100) == b"recorded", "lost")
        yield


@scenario("multicast-member-router", routed, exercises={"linux-6": ("ip_mr_input", "ip_local_deliver")})
def multicast_member_router(n: Routed) -> Steps:
    """A datagram to a group that the router passes on, and takes itself, too."""
    with (
        _daemon(n) as daemon,
        _member(n, 5593) as member,
        _sender(n) as sender,
        n.router.socket(socket.SOCK_DGRAM) as own,
    ):
        _entry(daemon, n.NEAR)
        own.bind(("", 5593))
        membership = socket.inet_aton(GROUP) + socket.inet_aton("10.1.0.2")
        own.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        settle(1.2)  # until the router's reports are out
        yield
        sender.sendto(b"to all", (GROUP, 5593))
        expect(member.recv(100) == b"to all" and own.recv(100) == b"to all", "lost")
        yield
    settle(1.2)


@contextlib.contextmanager
def _alerted(n: Routed) -> Iterator[socket.socket]:
    """A socket of the router that takes the datagrams on their way that ask routers to look (IP_ROUTER_ALERT)."""
    ip_router_alert = 5
    with n.router.socket(socket.SOCK_RAW, socket.IPPROTO_UDP) as s:
        s.setsockopt(socket.IPPROTO_IP, ip_router_alert, 1)
        yield s


@scenario("router-alert", routed, exercises={"linux-6": ("ip_forward", "ip_call_ra_chain")})
def router_alert(n: Routed) -> Steps:
    """A datagram on its way asks routers to look at it, and a socket of the router takes it."""
    with _alerted(n) as alerted, n.near.socket(socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, ROUTER_ALERT)
        yield
        sender.sendto(b"look", (n.FAR, 9))
        expect(alerted.recv(100).endswith(b"look"), "not taken")
        sender.sendto(b"and look" * 250, (n.FAR, 9))  # in two fragments
        expect(len(alerted.recv(4000)) > 2000, "not taken")
        yield


@scenario("multicast-router-alert", routed, exercises={"linux-6": ("ip_mr_input", "ip_call_ra_chain")})
def multicast_router_alert(n: Routed) -> Steps:
    """A datagram to a group asks routers to look at it, and a socket of the router takes it."""
    with _daemon(n) as daemon, _alerted(n) as alerted, _sender(n) as sender:
        _entry(daemon, n.NEAR)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, ROUTER_ALERT)
        yield
        sender.sendto(b"look", (GROUP, 9))
        expect(alerted.recv(100).endswith(b"look"), "not taken")
        sender.sendto(b"and look" * 250, (GROUP, 9))
        expect(len(alerted.recv(4000)) > 2000, "not taken")
        yield


@scenario("igmp-query", routed, exercises={"linux-6": ("igmp_rcv", "igmp_send_report")})
def igmp_query(n: Routed) -> Steps:
    """A router of old asks who is in a group (IGMPv2), and a member answers."""
    group = "239.1.2.4"
    # A link of its own: a device that was asked so goes on in the old way for minutes.
    n.near.ip(f"link add vq type veth peer name rq netns {n.router.name}", "addr add 10.17.0.1/24 dev vq")
    n.near.ip("link set vq up")
    n.router.ip("addr add 10.17.0.2/24 dev rq", "link set rq up")
    n.near.sysctl(ipv4__conf__vq__igmpv3_unsolicited_report_interval=50)
    with n.near.socket(socket.SOCK_DGRAM) as member, n.router.socket(socket.SOCK_RAW, socket.IPPROTO_IGMP) as router:
        membership = socket.inet_aton(group) + socket.inet_aton("10.17.0.1")
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        router.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.17.0.2"))
        settle(0.6)
        yield
        body = struct.pack("!BBH4s", 0x11, 1, 0, bytes(4))  # a general query, to be answered within 0.1 s
        query = body[:2] + struct.pack("!H", traffic.checksum(body)) + body[4:]
        router.sendto(query, ("224.0.0.1", 0))
        settle(0.4)
        yield
    settle(0.3)
    n.near.ip("link del vq")
