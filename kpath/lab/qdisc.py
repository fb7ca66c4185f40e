"""Queues of devices."""

from __future__ import annotations

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import TC
from kpath.lab.topology import Routed, routed


@scenario("qdisc", routed, needs=(TC,))
def qdisc(n: Routed) -> Steps:
    """A datagram out of a device with a queue."""
    n.near.run("tc", "qdisc", "add", "dev", "va", "root", "pfifo")
    yield
    expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield
    n.near.run("tc", "qdisc", "del", "dev", "va", "root")
