"""Packets that need the link address of a neighbour."""

from __future__ import annotations

import time

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.topology import Routed, routed


@scenario("ping-cold", routed)
def ping_cold(n: Routed) -> Steps:
    """ping through the router; both neighbours must be asked for first."""
    n.forget_neighbours()
    yield
    expect(traffic.ping(n.near, n.FAR), "no answer")
    yield
    n.know_neighbours()


@scenario("neighbour-fails", routed)
def neighbour_fails(n: Routed) -> Steps:
    """Nobody answers the router's ARP requests: host unreachable."""
    n.router.sysctl(ipv4__neigh__rb__retrans_time_ms=60)
    yield
    traffic.udp_send(n.near, "10.2.0.99")
    time.sleep(0.8)
    yield
    n.router.sysctl(ipv4__neigh__rb__retrans_time_ms=1000)
