"""Queues of devices."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import TC, module
from kpath.lab.netns import Netns
from kpath.lab.topology import Routed, routed


@contextmanager
def queue(netns: Netns, device: str, *how: str) -> Iterator[None]:
    """A queueing discipline on a device."""
    netns.run("tc", "qdisc", "add", "dev", device, "root", *how)
    try:
        yield
    finally:
        netns.run("tc", "qdisc", "del", "dev", device, "root")


@scenario("qdisc", routed, needs=(TC,), exercises={"linux-6": ("__dev_xmit_skb",)})
def qdisc(n: Routed) -> Steps:
    """A datagram out of a device with a queue."""
    with queue(n.near, "va", "pfifo"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario(
    "qdisc-delayed", routed, needs=(TC, module("sch_netem")),
    exercises={"linux-6": ("dev_qdisc_enqueue", "net_tx_action", "__qdisc_run", "sch_direct_xmit")},
)  # fmt: skip
def qdisc_delayed(n: Routed) -> Steps:
    """A datagram waits in a queue, and is taken out later by a softirq."""
    with queue(n.near, "va", "netem", "delay", "40ms"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
        yield


@scenario("qdisc-full", routed, needs=(TC, module("sch_netem")), exercises={"linux-6": ("dev_qdisc_enqueue",)})
def qdisc_full(n: Routed) -> Steps:
    """Of two datagrams, the second finds the queue full."""
    with (
        queue(n.near, "va", "netem", "limit", "1", "delay", "500ms"),
        n.far.socket(socket.SOCK_DGRAM) as receiver,
        n.near.socket(socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind((n.FAR, 5580))
        yield
        sender.sendto(b"first", (n.FAR, 5580))
        sender.sendto(b"second", (n.FAR, 5580))
        expect(receiver.recv(100) == b"first", "lost")
        yield
