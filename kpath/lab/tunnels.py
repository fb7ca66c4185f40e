"""Packets in packets, and routes that put them there."""

from __future__ import annotations

from kpath.lab import bpf, traffic
from kpath.lab.bpf import BPF
from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.needs import module
from kpath.lab.topology import Routed, routed


def _through(n: Routed, device: str, kind: str, near: str, far: str) -> Steps:
    """ping through a tunnel between the two hosts, with these addresses inside."""
    for host, own, other, inner in ((n.near, n.NEAR, n.FAR, near), (n.far, n.FAR, n.NEAR, far)):
        host.ip(
            f"link add {device} type {kind} local {own} remote {other}", f"addr add {inner}/24 dev {device}",
            f"link set {device} up",
        )  # fmt: skip
    settle()
    yield
    expect(traffic.ping(n.near, far), "no answer through the tunnel")
    yield
    n.near.ip(f"link del {device}")
    n.far.ip(f"link del {device}")


@scenario("ipip", routed, needs=(module("ipip"),))
def ipip(n: Routed) -> Steps:
    """ping through an IPIP tunnel between the two hosts."""
    yield from _through(n, "t0", "ipip", "10.6.0.1", "10.6.0.2")


@scenario("gre", routed, needs=(module("ip_gre"),), exercises={"linux-6": ("ipgre_xmit", "neigh_direct_output")})
def gre(n: Routed) -> Steps:
    """ping through a GRE tunnel between the two hosts."""
    yield from _through(n, "g1", "gre", "10.7.1.1", "10.7.1.2")


@scenario("vxlan", routed, needs=(module("vxlan"),), exercises={"linux-6": ("vxlan_xmit", "gro_cells_receive")})
def vxlan(n: Routed) -> Steps:
    """ping through a VXLAN tunnel between the two hosts: Ethernet in UDP, as containers' networks have it."""
    yield from _through(n, "v1", "vxlan id 42 dstport 4789", "10.7.2.1", "10.7.2.2")


@scenario(
    "mpls-route", routed, needs=(module("mpls_iptunnel"), module("mpls_router")),
    exercises={"linux-6": ("lwtunnel_xmit",)},
)  # fmt: skip
def mpls_route(n: Routed) -> Steps:
    """A route puts a label (MPLS) before a datagram, and the router takes it off again."""
    inner = "10.15.0.1"
    n.far.ip(f"addr add {inner}/32 dev lo")
    n.router.sysctl(mpls__platform_labels=1000, mpls__conf__ra__input=1)
    n.router.run("ip", "-f", "mpls", "route", "add", "100", "via", "inet", n.FAR, "dev", "rb")
    n.near.ip(f"route add {inner}/32 encap mpls 100 via inet 10.1.0.2 dev va")
    yield
    expect(traffic.udp(n.near, n.far, inner, port=5611) == 1, "lost")
    yield
    n.near.ip(f"route del {inner}/32")
    n.router.run("ip", "-f", "mpls", "route", "del", "100")
    n.router.sysctl(mpls__conf__ra__input=0, mpls__platform_labels=0)
    n.far.ip(f"addr del {inner}/32 dev lo")


@scenario(
    "route-programs", routed, needs=(BPF,),
    exercises={"linux-6": ("lwtunnel_output", "@ip_forward", "@ip_local_deliver")},
)  # fmt: skip
def route_programs(n: Routed) -> Steps:
    """Routes with BPF programs that let a datagram pass: where it is sent, forwarded, and received."""
    local = "10.16.0.1"
    with bpf.pinned(bpf.LWT_OUT) as out, bpf.pinned(bpf.LWT_IN) as into:
        n.far.ip(f"route add local {local}/32 dev lo encap bpf in pinned {into}")
        n.router.ip(f"route add {local}/32 encap bpf in pinned {into} via {n.FAR}")
        n.near.ip(f"route add {local}/32 encap bpf out pinned {out} via 10.1.0.2")
        yield
        traffic.udp_send(n.near, local, port=5612)
        yield
        n.near.ip(f"route del {local}/32")
        n.router.ip(f"route del {local}/32")
        n.far.ip(f"route del local {local}/32 dev lo")
