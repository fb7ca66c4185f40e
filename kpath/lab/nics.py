"""Two real drivers on one wire."""

from __future__ import annotations

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.topology import Cards, cards


@scenario("nics-ping", cards)
def nics_ping(c: Cards) -> Steps:
    """ping from an e1000 to a virtio-net card."""
    yield
    expect(traffic.ping(c.left, c.RIGHT), "no answer")
    yield


@scenario("nics-udp", cards)
def nics_udp(c: Cards) -> Steps:
    """A datagram from card to card, to an open and to a closed port."""
    yield
    expect(traffic.udp(c.left, c.right, c.RIGHT) == 1, "lost")
    traffic.udp_send(c.right, c.LEFT)
    yield


@scenario("nics-tcp", cards)
def nics_tcp(c: Cards) -> Steps:
    """A TCP connection from card to card: segmentation by the card, GRO."""
    yield
    expect(traffic.tcp(c.left, c.right, c.RIGHT, 30_000, 10_000), "lost")
    yield
