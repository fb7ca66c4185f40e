"""What the routing tables decide: policy by mark, types of routes, the way back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import NFT
from kpath.lab.netfilter import rules
from kpath.lab.netns import Netns
from kpath.lab.topology import Routed, routed

MARK = 7
TABLE = 77
BEYOND = "10.81.0.1"
"""An address of the far host that only the table for marked packets leads to."""


@contextmanager
def _marked_table(netns: Netns, route: str) -> Iterator[None]:
    """A table of its own for packets with the mark."""
    netns.ip(f"route add {route} table {TABLE}", f"rule add fwmark {MARK} lookup {TABLE} pref 100")
    yield
    netns.ip(f"rule del fwmark {MARK} lookup {TABLE} pref 100", f"route flush table {TABLE}")


@contextmanager
def _beyond(n: Routed) -> Iterator[None]:
    n.far.ip(f"addr add {BEYOND}/32 dev lo", "link set lo up")
    yield
    n.far.ip(f"addr del {BEYOND}/32 dev lo", "link set lo down")


@scenario("unreachable", routed, exercises={"linux-6": ("ip_error", "__icmp_send")})
def unreachable(n: Routed) -> Steps:
    """A datagram that the router's routing table calls unreachable."""
    n.router.ip("route add unreachable 10.82.0.0/24")
    yield
    traffic.udp_send(n.near, "10.82.0.1")
    yield
    n.router.ip("route del unreachable 10.82.0.0/24")


@scenario("mark-forward", routed, needs=(NFT,), exercises={"linux-6": ("ip_forward",)})
def mark_forward(n: Routed) -> Steps:
    """The router marks a datagram before its routing decision, and the mark chooses the table."""
    with (
        _beyond(n),
        _marked_table(n.router, f"{BEYOND}/32 via 10.2.0.1 dev rb"),
        rules(n.router, "type filter hook prerouting priority -150", f"udp dport 5561 meta mark set {MARK};"),
        n.far.socket(socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((BEYOND, 5561))
        yield
        traffic.udp_send(n.near, BEYOND, port=5561)
        expect(len(receiver.recv(1000)) == 100, "lost")
        yield


@scenario("mark-output", routed, needs=(NFT,))
def mark_output(n: Routed) -> Steps:
    """A mark set at LOCAL_OUT makes the sender look for its route once more."""
    with (
        _marked_table(n.near, "10.2.0.0/24 via 10.1.0.2 dev va"),
        rules(n.near, "type route hook output priority -150", f"udp dport 5562 meta mark set {MARK};"),
    ):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR, port=5562) == 1, "lost")
        yield


@scenario("mark-socket", routed)
def mark_socket(n: Routed) -> Steps:
    """A mark of the socket (SO_MARK) chooses the table, and there the datagram is thrown away before it is made."""
    with _marked_table(n.near, "prohibit 10.2.0.0/24"), n.near.socket(socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        yield
        refused = False
        try:
            s.sendto(b"x", (n.FAR, 9))
        except PermissionError:
            refused = True
        expect(refused, "the kernel sent it")
        # One without the mark, so that there is a packet to see.
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield
