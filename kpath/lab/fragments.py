"""Packets that are too big for a link."""

from __future__ import annotations

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.topology import Routed, routed


@scenario("fragments", routed)
def fragments(n: Routed) -> Steps:
    """A datagram of 3000 bytes: fragmented by the sender, put together by the receiver."""
    yield
    expect(traffic.udp(n.near, n.far, n.FAR, 3000) == 1, "lost")
    yield


@scenario("fragments-router", routed)
def fragments_router(n: Routed) -> Steps:
    """A datagram that the router must fragment."""
    n.router.ip("link set rb mtu 1000")
    n.near.sysctl(ipv4__ip_no_pmtu_disc=1)
    yield
    expect(traffic.udp(n.near, n.far, n.FAR, 1400) == 1, "lost")
    yield
    n.near.sysctl(ipv4__ip_no_pmtu_disc=0)
    n.router.ip("link set rb mtu 1500")
