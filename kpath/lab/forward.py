"""What a router does with packets for others."""

from __future__ import annotations

import socket

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.topology import Routed, routed


@scenario("options", routed, exercises={"linux-6": ("ip_forward_options",)})
def options(n: Routed) -> Steps:
    """A datagram with an IP option (record route) through the router."""
    record_route = bytes([7, 11, 4]) + bytes(8) + b"\0"
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5559))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, record_route)
        yield
        sender.sendto(b"recorded", (n.FAR, 5559))
        expect(receiver.recv(100) == b"recorded", "lost")
        yield


@scenario("ttl-expired", routed, exercises={"linux-6": ("ip_forward", "icmp_send")})
def ttl_expired(n: Routed) -> Steps:
    """A datagram whose time to live ends at the router."""
    yield
    traffic.udp_send(n.near, n.FAR, ttl=1)
    yield


@scenario("pmtu", routed, exercises={"linux-6": ("ip_forward", "icmp_send")})
def pmtu(n: Routed) -> Steps:
    """A datagram that must not be fragmented and is too big for the router's next link."""
    n.router.ip("link set rb mtu 1000")
    yield
    traffic.udp_send(n.near, n.FAR, 1400, dont_fragment=True)
    yield
    n.router.ip("link set rb mtu 1500")
    n.near.ip("route flush cache")


@scenario("no-route", routed, exercises={"linux-6": ("ip_error", "icmp_send")})
def no_route(n: Routed) -> Steps:
    """A datagram for a network that the router does not know."""
    yield
    traffic.udp_send(n.near, "10.77.0.1")
    yield


@scenario("blackhole", routed, exercises={"linux-6": ("ip_error",)})
def blackhole(n: Routed) -> Steps:
    """A datagram that the router's routing table throws away."""
    n.router.ip("route add blackhole 10.78.0.0/24")
    yield
    traffic.udp_send(n.near, "10.78.0.1")
    yield
    n.router.ip("route del blackhole 10.78.0.0/24")


@scenario("prohibit", routed, exercises={"linux-6": ("ip_error", "icmp_send")})
def prohibit(n: Routed) -> Steps:
    """A datagram that the router's routing table forbids."""
    n.router.ip("route add prohibit 10.79.0.0/24")
    yield
    traffic.udp_send(n.near, "10.79.0.1")
    yield
    n.router.ip("route del prohibit 10.79.0.0/24")


@scenario("not-forwarding", routed, exercises={"linux-6": ("ip_error",)})
def not_forwarding(n: Routed) -> Steps:
    """A datagram for another host at one that does not forward."""
    n.router.sysctl(ipv4__ip_forward=0)
    yield
    traffic.udp_send(n.near, n.FAR)
    yield
    n.router.sysctl(ipv4__ip_forward=1)


@scenario("redirect", routed, exercises={"linux-6": ("ip_rt_send_redirect",)})
def redirect(n: Routed) -> Steps:
    """The router sends a datagram back where it came from, and tells the sender of the better way."""
    n.router.ip("route add 10.80.0.0/24 via 10.1.0.1")
    n.router.sysctl(ipv4__conf__all__send_redirects=1, ipv4__conf__ra__send_redirects=1)
    yield
    traffic.udp_send(n.near, "10.80.0.1")
    yield
    n.router.ip("route del 10.80.0.0/24 via 10.1.0.1")


@scenario("redirect-taken", routed, exercises={"linux-6": ("ip_do_redirect",)})
def redirect_taken(n: Routed) -> Steps:
    """The better way is by somebody whom the sender does not know yet: it looks for the neighbour at once."""
    better = "10.1.0.9"
    n.near.sysctl(ipv4__conf__all__accept_redirects=1, ipv4__conf__va__accept_redirects=1)
    n.router.ip(f"neigh add {better} lladdr 02:00:00:01:00:01 dev ra", f"route add 10.81.0.0/24 via {better}")
    n.router.sysctl(ipv4__conf__all__send_redirects=1, ipv4__conf__ra__send_redirects=1)
    yield
    traffic.udp_send(n.near, "10.81.0.1")
    yield
    n.router.ip("route del 10.81.0.0/24", f"neigh del {better} dev ra")


@scenario("martian", routed)
def martian(n: Routed) -> Steps:
    """The router takes a packet's source address for forged (reverse path filter)."""
    n.router.sysctl(ipv4__conf__all__rp_filter=1, ipv4__conf__ra__rp_filter=1)
    n.near.ip("addr add 10.66.0.1/32 dev lo")
    with n.near.socket(socket.SOCK_DGRAM) as s:
        s.bind(("10.66.0.1", 0))
        yield
        s.sendto(b"forged", (n.FAR, 9))
        yield
    n.near.ip("addr del 10.66.0.1/32 dev lo")
    n.router.sysctl(ipv4__conf__all__rp_filter=0, ipv4__conf__ra__rp_filter=0)
