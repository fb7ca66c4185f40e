"""IPsec with states and policies made by hand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import module
from kpath.lab.netns import Netns
from kpath.lab.topology import Routed, routed

ESP, XFRM = module("esp4"), module("xfrm_user")

_KEY = "0x" + "0123456789abcdef" * 2 + "01020304"
_AEAD = f"aead rfc4106(gcm(aes)) {_KEY} 128"
_AUTH = "0x" + "0123456789abcdef" * 4


def states(*ends: tuple[str, str, int], mode: str) -> list[str]:
    """Commands for ESP states, each from an address to an address with an SPI."""
    return [f"xfrm state add src {a} dst {b} proto esp spi {spi} mode {mode} {_AEAD}" for a, b, spi in ends]


def policy(
    way: str, source: str, to: str, mode: str, ends: tuple[str, str] | None = None, protocol: str = "esp"
) -> str:
    """A command for a policy with one transform."""
    tunnel = f"src {ends[0]} dst {ends[1]} " if ends else ""
    return f"xfrm policy add src {source} dst {to} dir {way} tmpl {tunnel}proto {protocol} mode {mode}"


def no_xfrm(*hosts: Netns) -> None:
    """No states and policies from now on."""
    for host in hosts:
        host.ip("xfrm policy flush", "xfrm state flush")


INNER = "10.9.0.1"
"""An address of the far host that only a tunnel leads to."""


@contextmanager
def tunnel(n: Routed) -> Iterator[None]:
    """From the router to the far host, for the near host's network and the far host's inner address."""
    inner, near, ends, back = "10.9.0.0/24", "10.1.0.0/24", ("10.2.0.2", "10.2.0.1"), ("10.2.0.1", "10.2.0.2")
    both = states((*ends, 0x100), (*back, 0x200), mode="tunnel")
    n.router.ip(
        f"route add {inner} via 10.2.0.1", *both,
        policy("out", near, inner, "tunnel", ends),
        policy("fwd", inner, near, "tunnel", back),
        policy("in", inner, near, "tunnel", back),
    )  # fmt: skip
    n.far.ip(
        f"addr add {INNER}/32 dev lo", *both,
        policy("out", inner, near, "tunnel", back),
        policy("in", near, inner, "tunnel", ends),
    )  # fmt: skip
    yield
    no_xfrm(n.router, n.far)
    n.router.ip(f"route del {inner} via 10.2.0.1")
    n.far.ip(f"addr del {INNER}/32 dev lo")


@scenario(
    "esp-tunnel", routed, needs=(ESP, XFRM),
    exercises={"linux-6": ("xfrm4_route_forward", "xfrm4_output", "xfrm_output", "xfrm_input", "gro_cells_receive")},
)  # fmt: skip
def esp_tunnel(n: Routed) -> Steps:
    """ping through a tunnel between the router and the far host."""
    with tunnel(n):
        yield
        expect(traffic.ping(n.near, INNER), "no answer through the tunnel")
        yield


@scenario(
    "esp-transport", routed, needs=(ESP, XFRM),
    exercises={"linux-6": ("xfrm4_output", "xfrm_input", "xfrm4_transport_finish")},
)  # fmt: skip
def esp_transport(n: Routed) -> Steps:
    """A datagram and a TCP connection in transport mode from host to host."""
    both = states((n.NEAR, n.FAR, 0x300), (n.FAR, n.NEAR, 0x400), mode="transport")
    n.near.ip(
        *both, policy("out", n.NEAR, n.FAR, "transport"), policy("in", n.FAR, n.NEAR, "transport")
    )
    n.far.ip(
        *both, policy("out", n.FAR, n.NEAR, "transport"), policy("in", n.NEAR, n.FAR, "transport")
    )
    yield
    expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
    expect(traffic.tcp(n.near, n.far, n.FAR, 200, 0), "lost")
    yield
    no_xfrm(n.near, n.far)


@scenario("xfrm-block", routed, needs=(XFRM,), exercises={"linux-6": ("__xfrm_policy_check",)})
def xfrm_block(n: Routed) -> Steps:
    """A policy of the router forbids a datagram."""
    n.router.ip(f"xfrm policy add src {n.NEAR} dst {n.FAR} dir fwd action block")
    yield
    traffic.udp_send(n.near, n.FAR)
    yield
    no_xfrm(n.router)


@scenario("xfrm-block-in", routed, needs=(XFRM, ESP), exercises={"linux-6": ("__xfrm_policy_check",)})
def xfrm_block_in(n: Routed) -> Steps:
    """A host takes from another only what comes by ESP, and a plain datagram comes."""
    n.far.ip(policy("in", n.NEAR, n.FAR, "transport"))
    with n.far.socket(socket.SOCK_DGRAM) as receiver:
        receiver.bind((n.FAR, 5601))
        yield
        traffic.udp_send(n.near, n.FAR, port=5601)
        yield
    no_xfrm(n.far)


@scenario("xfrm-block-out", routed, needs=(XFRM,))
def xfrm_block_out(n: Routed) -> Steps:
    """A policy of the sender forbids a datagram before there is one; another one goes."""
    n.near.ip(f"xfrm policy add src {n.NEAR} dst {n.FAR} proto udp dport 5602 dir out action block")
    yield
    refused = False
    with n.near.socket(socket.SOCK_DGRAM) as s:
        try:
            s.sendto(b"x", (n.FAR, 5602))
        except PermissionError:
            refused = True
    expect(refused, "the kernel sent it")
    expect(traffic.udp(n.near, n.far, n.FAR, port=5603) == 1, "lost")
    yield
    no_xfrm(n.near)


@scenario("ah-transport", routed, needs=(module("ah4"), XFRM), exercises={"linux-6": ("xfrm4_output", "xfrm_input")})
def ah_transport(n: Routed) -> Steps:
    """A datagram that is signed and not encrypted (AH)."""
    state = f"xfrm state add src {n.NEAR} dst {n.FAR} proto ah spi 0x500 mode transport auth hmac(sha256) {_AUTH}"
    n.near.ip(state, policy("out", n.NEAR, n.FAR, "transport", protocol="ah"))
    n.far.ip(state, policy("in", n.NEAR, n.FAR, "transport", protocol="ah"))
    yield
    expect(traffic.udp(n.near, n.far, n.FAR) == 1, "lost")
    yield
    no_xfrm(n.near, n.far)


@scenario(
    "ipcomp", routed, needs=(module("ipcomp"), module("deflate"), XFRM),
    exercises={"linux-6": ("xfrm4_output", "xfrm_input")},
)  # fmt: skip
def ipcomp(n: Routed) -> Steps:
    """A datagram that is compressed on its way (IPComp)."""
    state = f"xfrm state add src {n.NEAR} dst {n.FAR} proto comp spi 0x600 mode transport comp deflate"
    n.near.ip(state, policy("out", n.NEAR, n.FAR, "transport", protocol="comp"))
    n.far.ip(state, policy("in", n.NEAR, n.FAR, "transport", protocol="comp"))
    yield
    expect(traffic.udp(n.near, n.far, n.FAR, 1000) == 1, "lost")
    yield
    no_xfrm(n.near, n.far)
