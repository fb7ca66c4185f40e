"""Packets that are too big for a link."""

from __future__ import annotations

import contextlib
import socket

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import NFT, module
from kpath.lab.netfilter import rules
from kpath.lab.topology import Routed, routed


# Where conntrack once asked for it, kernels such as 5.10 put fragments together for ever (834184b1f3a4, 4.10): fresh.
@scenario("fragments", routed, exercises={"linux-6": ("ip_fragment", "ip_defrag")}, fresh=True)
def fragments(n: Routed) -> Steps:
    """A datagram of 3000 bytes: fragmented by the sender, put together by the receiver."""
    yield
    expect(traffic.udp(n.near, n.far, n.FAR, 3000) == 1, "lost")
    yield


@scenario("fragments-router", routed, exercises={"linux-6": ("ip_forward", "ip_fragment", "ip_defrag")})
def fragments_router(n: Routed) -> Steps:
    """A datagram that the router must fragment."""
    n.router.ip("link set rb mtu 1000")
    n.near.sysctl(ipv4__ip_no_pmtu_disc=1)
    yield
    expect(traffic.udp(n.near, n.far, n.FAR, 1400) == 1, "lost")
    yield
    n.near.sysctl(ipv4__ip_no_pmtu_disc=0)
    n.router.ip("link set rb mtu 1500")


@scenario("fragments-conntrack", routed, needs=(NFT, module("nf_conntrack"), module("nf_defrag_ipv4")))
def fragments_conntrack(n: Routed) -> Steps:
    """Fragments through a router that tracks connections: put together at PRE_ROUTING, cut again on the way out."""
    with rules(n.router, "type filter hook forward priority 0", "ct state new accept;"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR, 3000) == 1, "lost")
        yield


@scenario("fragments-local", routed)
def fragments_local(n: Routed) -> Steps:
    """An echo request of 3000 bytes for the router itself, and its answer: each in three fragments."""
    yield
    expect(traffic.ping(n.near, "10.1.0.2", size=3000), "no answer")
    yield


@scenario("pmtu-learned", routed)
def pmtu_learned(n: Routed) -> Steps:
    """The router says how small its next link is; the sender remembers, and fragments what it sends then."""
    ip_recverr = 11
    n.router.ip("link set rb mtu 1000")
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5571))
        sender.setsockopt(socket.IPPROTO_IP, ip_recverr, 1)
        yield
        sender.sendto(b"u" * 1400, (n.FAR, 5571))
        with contextlib.suppress(OSError):
            sender.recv(10)  # ends with the error that the router's answer makes
        sender.sendto(b"v" * 1400, (n.FAR, 5571))
        expect(receiver.recv(2000) == b"v" * 1400, "lost")
        yield
    n.router.ip("link set rb mtu 1500")
    n.near.ip("route flush cache")


@scenario("too-big-local", routed)
def too_big_local(n: Routed) -> Steps:
    """A datagram that must not be fragmented, too big for the sender's own link, is refused; the next one is not."""
    ip_mtu_discover, ip_pmtudisc_do = 10, 2
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5572))
        sender.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, ip_pmtudisc_do)
        yield
        refused = False
        try:
            sender.sendto(b"u" * 3000, (n.FAR, 5572))
        except OSError:
            refused = True
        expect(refused, "the kernel took it")
        sender.sendto(b"v" * 100, (n.FAR, 5572))
        expect(len(receiver.recv(2000)) == 100, "lost")
        yield
