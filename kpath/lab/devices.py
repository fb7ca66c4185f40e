"""Devices on top of, or between, other devices."""

from __future__ import annotations

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.needs import module
from kpath.lab.topology import Bridged, Routed, bridged, routed


@scenario("bridge", bridged)
def bridge(b: Bridged) -> Steps:
    """ping between two hosts on a bridge; ARP first."""
    b.forget_neighbours()
    yield
    expect(traffic.ping(b.one, b.TWO), "no answer over the bridge")
    yield


@scenario("vlan", routed, needs=(module("8021q"),))
def vlan(n: Routed) -> Steps:
    """ping to the router over a VLAN."""
    n.near.ip("link add link va name va.5 type vlan id 5", "addr add 10.5.0.1/24 dev va.5", "link set va.5 up")
    n.router.ip("link add link ra name ra.5 type vlan id 5", "addr add 10.5.0.2/24 dev ra.5", "link set ra.5 up")
    settle()
    yield
    expect(traffic.ping(n.near, "10.5.0.2"), "no answer over the VLAN")
    yield
    n.near.ip("link del va.5")
    n.router.ip("link del ra.5")
