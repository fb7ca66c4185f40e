"""What a host does with packets for itself."""

from __future__ import annotations

import socket

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.topology import Routed, routed


@scenario("ping", routed)
def ping(n: Routed) -> Steps:
    """ping through the router; neighbours are known."""
    yield
    expect(traffic.ping(n.near, n.FAR), "no answer")
    yield


@scenario("ping-socket", routed)
def ping_socket(n: Routed) -> Steps:
    """ping by an ICMP datagram socket, as an ordinary user's ping does."""
    yield
    expect(traffic.ping_socket(n.near, n.FAR), "no answer")
    yield


@scenario("udp-open", routed)
def udp_open(n: Routed) -> Steps:
    """A datagram to an open port behind the router."""
    yield
    expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield


@scenario("udp-closed", routed)
def udp_closed(n: Routed) -> Steps:
    """A datagram to a closed port: the host answers port unreachable."""
    yield
    traffic.udp_send(n.near, n.FAR)
    yield


@scenario("tcp-refused", routed)
def tcp_refused(n: Routed) -> Steps:
    """A SYN to a closed port: RST."""
    yield
    with n.near.socket(socket.SOCK_STREAM) as s:
        expect(s.connect_ex((n.FAR, 7)) != 0, "somebody is there")
    yield


@scenario("raw", routed)
def raw(n: Routed) -> Steps:
    """A packet of a protocol that nobody speaks: protocol unreachable."""
    yield
    traffic.raw(n.near, n.FAR)
    yield


@scenario("loopback", routed)
def loopback(n: Routed) -> Steps:
    """UDP and TCP from a host to itself."""
    yield
    expect(traffic.udp(n.near, n.near, "127.0.0.1") == 1, "lost")
    expect(traffic.tcp(n.near, n.near, "127.0.0.1", 200, 100), "lost")
    yield


@scenario("broadcast", routed)
def broadcast(n: Routed) -> Steps:
    """A datagram to all on the link."""
    with n.router.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind(("", 5558))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        yield
        sender.sendto(b"to all", ("10.1.0.255", 5558))
        expect(receiver.recv(100) == b"to all", "lost")
        yield


@scenario("tap", routed)
def tap(n: Routed) -> Steps:
    """A datagram while a packet socket listens on the router, as tcpdump does."""
    eth_p_all = 3
    with n.router.socket(socket.SOCK_RAW, socket.htons(eth_p_all), socket.AF_PACKET):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield
