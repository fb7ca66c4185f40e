"""Rules at the hooks by iptables: its own tables where the kernel still has them, else by way of nftables."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import module, program
from kpath.lab.netns import Netns
from kpath.lab.topology import Routed, routed

IPTABLES = program("iptables-nft")
LEGACY = program("iptables-legacy")


@contextmanager
def _rule(command: str, netns: Netns, *rule: str) -> Iterator[None]:
    """A rule for as long as the block lasts."""
    tool = shutil.which(command, path="/usr/sbin:/sbin:/usr/bin:/bin") or command
    netns.run(tool, "-w", "-A", *rule)
    yield
    netns.run(tool, "-w", "-D", *rule)


NFT_COMPAT = (IPTABLES, module("nft_compat"), module("xt_tcpudp"))
TABLES = (LEGACY, module("iptable_filter"), module("xt_tcpudp"))
NAT = (LEGACY, module("iptable_nat"), module("xt_tcpudp"))


@scenario("iptables-accept", routed, needs=NFT_COMPAT)
def iptables_accept(n: Routed) -> Steps:
    """A rule of iptables (as nftables') at the router's FORWARD hook accepts a datagram."""
    with _rule("iptables-nft", n.router, "FORWARD", "-p", "udp", "--dport", "5580", "-j", "ACCEPT"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR, port=5580) == 1, "lost")
        yield


@scenario("iptables-drop", routed, needs=NFT_COMPAT)
def iptables_drop(n: Routed) -> Steps:
    """A rule of iptables (as nftables') at the router's FORWARD hook drops a datagram."""
    with _rule("iptables-nft", n.router, "FORWARD", "-p", "udp", "--dport", "9", "-j", "DROP"):
        yield
        traffic.udp_send(n.near, n.FAR)
        yield


@scenario("iptables-legacy-accept", routed, needs=TABLES)
def iptables_legacy_accept(n: Routed) -> Steps:
    """The filter table of iptables accepts: at FORWARD for the far host, at INPUT and OUTPUT for the router itself."""
    with _rule("iptables-legacy", n.router, "FORWARD", "-p", "udp", "--dport", "5581", "-j", "ACCEPT"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR, port=5581) == 1, "lost")
        expect(traffic.ping(n.near, "10.1.0.2"), "no answer from the router")
        yield


@scenario("iptables-legacy-drop", routed, needs=TABLES)
def iptables_legacy_drop(n: Routed) -> Steps:
    """The filter table of iptables drops a datagram at the router's FORWARD hook."""
    with _rule("iptables-legacy", n.router, "FORWARD", "-p", "udp", "--dport", "9", "-j", "DROP"):
        yield
        traffic.udp_send(n.near, n.FAR)
        yield


@scenario("iptables-legacy-dnat", routed, needs=(*NAT, module("xt_nat")))
def iptables_legacy_dnat(n: Routed) -> Steps:
    """The nat table of iptables sends what comes for the router to the far host."""
    with (
        _rule("iptables-legacy", n.router, "PREROUTING", "-t", "nat", "-d", "10.1.0.2", "-p", "udp",
              "--dport", "5582", "-j", "DNAT", "--to-destination", n.FAR),
        n.far.socket(socket.SOCK_DGRAM) as receiver,
    ):  # fmt: skip
        receiver.bind((n.FAR, 5582))
        yield
        traffic.udp_send(n.near, "10.1.0.2", port=5582)
        expect(len(receiver.recv(1000)) == 100, "lost")
        yield


@scenario("iptables-legacy-masquerade", routed, needs=(*NAT, module("xt_MASQUERADE")))
def iptables_legacy_masquerade(n: Routed) -> Steps:
    """The nat table of iptables puts the router's address in the place of the sender's."""
    with _rule("iptables-legacy", n.router, "POSTROUTING", "-t", "nat", "-o", "rb", "-j", "MASQUERADE"):
        yield
        expect(traffic.ping(n.near, n.FAR), "no answer")
        yield
