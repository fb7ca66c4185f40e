"""IPsec that depends on more than addresses: a socket's own policy, an interface, a packet's size, what is missing."""

from __future__ import annotations

import socket
import struct

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario, settle
from kpath.lab.ipsec import ESP, INNER, XFRM, no_xfrm, policy, states, tunnel
from kpath.lab.needs import module
from kpath.lab.netns import TIMEOUT
from kpath.lab.topology import Routed, routed


@scenario(
    "esp-tunnel-tcp", routed, needs=(ESP, XFRM),
    exercises={"linux-6": ("xfrm_output_gso",), "linux-2.6.21.1": ("xfrm4_output_finish2",)},
)  # fmt: skip
def esp_tunnel_tcp(n: Routed) -> Steps:
    """Segments come to the router as one, and are cut before they go into the tunnel."""
    with tunnel(n):
        n.near.ip("route add 10.9.0.0/24 via 10.1.0.2 mtu 1340 advmss 1300")
        yield
        expect(traffic.tcp(n.near, n.far, INNER, 6000, 0, port=7801), "lost")
        yield
        n.near.ip("route del 10.9.0.0/24")


@scenario("esp-nested", routed, needs=(ESP, XFRM), exercises={"linux-6": ("xfrm_output_resume", "xfrm_input")})
def esp_nested(n: Routed) -> Steps:
    """A datagram in a tunnel that is in another tunnel, both from host to host."""
    ends = (("10.14.0.1", "10.14.0.2", 0x710), (n.NEAR, n.FAR, 0x720))
    both = [*states(ends[0], mode="tunnel"), *states(ends[1], mode="tunnel")]
    inner = "src 10.13.0.1/32 dst 10.13.0.2/32"
    rounds = " ".join(f"tmpl src {a} dst {b} proto esp mode tunnel" for a, b, _ in ends)
    n.near.ip(
        "addr add 10.13.0.1/32 dev lo", "addr add 10.14.0.1/32 dev lo", *both,
        "route add 10.13.0.2/32 via 10.1.0.2 src 10.13.0.1", "route add 10.14.0.2/32 via 10.1.0.2",
        f"xfrm policy add {inner} dir out {rounds}",
    )  # fmt: skip
    n.far.ip(
        "addr add 10.13.0.2/32 dev lo", "addr add 10.14.0.2/32 dev lo", *both,
        f"xfrm policy add {inner} dir in {rounds}",
        # What the outer tunnel brings must be allowed, too.
        policy("in", "10.14.0.1/32", "10.14.0.2/32", "tunnel", (n.NEAR, n.FAR)),
    )  # fmt: skip
    yield
    expect(traffic.udp(n.near, n.far, "10.13.0.2", port=5606) == 1, "lost")
    yield
    no_xfrm(n.near, n.far)
    n.near.ip(
        "route del 10.13.0.2/32", "route del 10.14.0.2/32", "addr del 10.13.0.1/32 dev lo",
        "addr del 10.14.0.1/32 dev lo",
    )  # fmt: skip
    n.far.ip("addr del 10.13.0.2/32 dev lo", "addr del 10.14.0.2/32 dev lo")


@scenario("nat-t", routed, needs=(ESP, XFRM), exercises={"linux-6": ("xfrm4_udp_encap_rcv", "xfrm_input")})
def nat_t(n: Routed) -> Steps:
    """A datagram by ESP that travels in UDP, so that address translation can pass it on (NAT-T)."""
    udp_encap, espinudp = 100, 2
    (state,) = states((n.NEAR, n.FAR, 0x730), mode="transport")
    state += " encap espinudp 4500 4500 0.0.0.0"
    n.near.ip(state, policy("out", n.NEAR, n.FAR, "transport"))
    n.far.ip(state)
    with n.near.socket(socket.SOCK_DGRAM) as here, n.far.socket(socket.SOCK_DGRAM) as there:
        for s, address in ((here, n.NEAR), (there, n.FAR)):
            s.bind((address, 4500))
            s.setsockopt(socket.IPPROTO_UDP, udp_encap, espinudp)
        yield
        expect(traffic.udp(n.near, n.far, n.FAR, port=5607) == 1, "lost")
        yield
    no_xfrm(n.near, n.far)


@scenario("xfrm-interface", routed, needs=(ESP, XFRM, module("xfrm_interface")), exercises={"linux-6": ("xfrmi_xmit",)})
def xfrm_interface(n: Routed) -> Steps:
    """ping through a tunnel that routes lead to: an interface of its own stands for it."""
    ends, back = (n.NEAR, n.FAR), (n.FAR, n.NEAR)
    both = [f"{state} if_id 7" for state in states((*ends, 0x740), (*back, 0x750), mode="tunnel")]
    for host, device, number, way, other in ((n.near, "va", 1, ends, back), (n.far, "vb", 2, back, ends)):
        host.ip(
            f"link add x0 type xfrm dev {device} if_id 7", f"addr add 10.18.0.{number}/24 dev x0", "link set x0 up",
            *both,
            f"xfrm policy add dir out if_id 7 tmpl src {way[0]} dst {way[1]} proto esp mode tunnel",
            f"xfrm policy add dir in if_id 7 tmpl src {other[0]} dst {other[1]} proto esp mode tunnel",
        )  # fmt: skip
    settle()
    yield
    expect(traffic.ping(n.near, "10.18.0.2"), "no answer through the tunnel")
    yield
    for host in (n.near, n.far):
        host.ip("link del x0")
    no_xfrm(n.near, n.far)


def _socket_policy(destination: str, port: int) -> bytes:
    """ESP in transport mode to this port: struct xfrm_userpolicy_info and xfrm_user_tmpl (uapi/linux/xfrm.h)."""
    allow, out, transport, infinite = 0, 1, 0, (1 << 64) - 1
    selector = struct.pack(
        "=16s16s2H2HHBBB3xiI", bytes(16), bytes(16), socket.htons(port), 0xFFFF, 0, 0, socket.AF_INET, 0, 0,
        socket.IPPROTO_UDP, 0, 0,
    )  # fmt: skip
    lifetime = struct.pack("=8Q", *[infinite] * 4, 0, 0, 0, 0) + struct.pack("=4Q", 0, 0, 0, 0)
    info = selector + lifetime + struct.pack("=IIBBBB4x", 0, 0, out, allow, 0, 0)
    identity = struct.pack("=16sIB3x", socket.inet_aton(destination), 0, socket.IPPROTO_ESP)
    algorithms = (1 << 32) - 1
    return info + identity + struct.pack(
        "=H2x16sIBBBx3I", socket.AF_INET, bytes(16), 0, transport, 0, 0, algorithms, algorithms, algorithms
    )


@scenario("xfrm-socket", routed, needs=(ESP, XFRM), exercises={"linux-6": ("xfrm_sk_policy_lookup",)})
def xfrm_socket(n: Routed) -> Steps:
    """A socket's own policy wants ESP for one port and says nothing of another."""
    ip_xfrm_policy = 17
    both = states((n.NEAR, n.FAR, 0x760), mode="transport")
    n.near.ip(*both)
    n.far.ip(*both)
    with (
        n.far.socket(socket.SOCK_DGRAM) as first,
        n.far.socket(socket.SOCK_DGRAM) as second,
        n.near.socket(socket.SOCK_DGRAM) as sender,
    ):
        first.bind((n.FAR, 5608))
        second.bind((n.FAR, 5609))
        sender.setsockopt(socket.IPPROTO_IP, ip_xfrm_policy, _socket_policy(n.FAR, 5608))
        yield
        sender.sendto(b"in secret", (n.FAR, 5608))
        expect(first.recv(100) == b"in secret", "lost")
        sender.sendto(b"in the open", (n.FAR, 5609))
        expect(second.recv(100) == b"in the open", "lost")
        yield
    no_xfrm(n.near, n.far)


@scenario("xfrm-acquire", routed, needs=(XFRM,), exercises={"linux-6": ("dst_discard_out",)})
def xfrm_acquire(n: Routed) -> Steps:
    """A policy wants ESP and nobody has agreed on keys yet: a key daemon is asked, and the datagram is thrown away."""
    netlink_xfrm, acquire = 6, 1
    n.near.ip(policy("out", n.NEAR, n.FAR, "transport"))
    with n.near.socket(socket.SOCK_RAW, netlink_xfrm, socket.AF_NETLINK) as daemon:
        daemon.settimeout(TIMEOUT)
        daemon.bind((0, acquire))
        yield
        traffic.udp_send(n.near, n.FAR, port=5610)
        expect(len(daemon.recv(4096)) > 0, "nobody was asked")
        yield
    no_xfrm(n.near)


@scenario("xfrm-block-error", routed, needs=(XFRM,), exercises={"linux-6": ("icmp_send",)})
def xfrm_block_error(n: Routed) -> Steps:
    """A policy forbids what the router itself says to the sender: no ICMP error for a datagram that it drops."""
    n.router.ip("xfrm policy add src 10.1.0.2 dst 10.1.0.1 dir out action block")
    yield
    traffic.udp_send(n.near, n.FAR, ttl=1)
    yield
    no_xfrm(n.router)
