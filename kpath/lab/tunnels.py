"""Packets in packets."""

from __future__ import annotations

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.needs import module
from kpath.lab.topology import Routed, routed


@scenario("ipip", routed, needs=(module("ipip"),))
def ipip(n: Routed) -> Steps:
    """ping through an IPIP tunnel between the two hosts."""
    n.near.ip(
        f"link add t0 type ipip local {n.NEAR} remote {n.FAR}", "addr add 10.6.0.1/24 dev t0", "link set t0 up"
    )
    n.far.ip(
        f"link add t0 type ipip local {n.FAR} remote {n.NEAR}", "addr add 10.6.0.2/24 dev t0", "link set t0 up"
    )
    settle()
    yield
    expect(traffic.ping(n.near, "10.6.0.2"), "no answer through the tunnel")
    yield
    n.near.ip("link del t0")
    n.far.ip("link del t0")
