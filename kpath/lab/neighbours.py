"""Packets that need the link address of a neighbour."""

from __future__ import annotations

import time

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.topology import Routed, routed


@scenario(
    "ping-cold", routed,
    exercises={"linux-6": ("neigh_resolve_output", "neigh_probe", "arp_rcv", "neigh_update")},
)  # fmt: skip
def ping_cold(n: Routed) -> Steps:
    """ping through the router; both neighbours must be asked for first."""
    n.forget_neighbours()
    yield
    expect(traffic.ping(n.near, n.FAR), "no answer")
    yield
    n.know_neighbours()


@scenario("neighbour-fails", routed, exercises={"linux-6": ("neigh_resolve_output", "arp_solicit")})
def neighbour_fails(n: Routed) -> Steps:
    """Nobody answers the router's ARP requests: host unreachable."""
    n.router.sysctl(ipv4__neigh__rb__retrans_time_ms=60)
    yield
    traffic.udp_send(n.near, "10.2.0.99")
    time.sleep(0.8)
    yield
    n.router.sysctl(ipv4__neigh__rb__retrans_time_ms=1000)


@scenario("neighbour-stale", routed, exercises={"linux-6": ("neigh_resolve_output", "__neigh_event_send")})
def neighbour_stale(n: Routed) -> Steps:
    """The router has not heard of the far host for long: the packet goes, and the neighbour is to be asked later."""
    n.router.sysctl(ipv4__neigh__rb__delay_first_probe_time=60)  # seconds; later than the end of the scenario
    n.router.ip("neigh replace 10.2.0.1 lladdr 02:00:00:02:00:01 dev rb nud stale")
    yield
    expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield
    n.know_neighbours()
    n.router.sysctl(ipv4__neigh__rb__delay_first_probe_time=5)


@scenario("neighbour-reachable", routed, exercises={"linux-6": ("ip_finish_output2",)})
def neighbour_reachable(n: Routed) -> Steps:
    """The router has just heard of the far host: the second datagram goes with the link header of the first."""
    n.router.ip("neigh replace 10.2.0.1 lladdr 02:00:00:02:00:01 dev rb nud reachable")
    yield
    expect(traffic.udp(n.near, n.far, n.FAR, count=2) == 2, "lost")
    yield
    n.know_neighbours()


@scenario("neighbour-failed", routed, exercises={"linux-6": ("neigh_resolve_output", "__neigh_event_send")})
def neighbour_failed(n: Routed) -> Steps:
    """The router's last question for the far host was in vain: the next packet asks again, waits, and goes."""
    n.router.ip("neigh replace 10.2.0.1 dev rb nud failed")
    yield
    expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield
    n.know_neighbours()
