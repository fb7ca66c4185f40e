"""Queues of devices."""

from __future__ import annotations

import subprocess

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import TC
from kpath.lab.topology import Routed, routed


@scenario("qdisc", routed, needs=(TC,))
def qdisc(n: Routed) -> Steps:
    """A datagram out of a device with a queue."""
    with n.near.inside():
        subprocess.run(["tc", "qdisc", "add", "dev", "va", "root", "pfifo"], check=True)
    yield
    expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield
    with n.near.inside():
        subprocess.run(["tc", "qdisc", "del", "dev", "va", "root"], check=True)
