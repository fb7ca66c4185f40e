"""Rules at the hooks."""

from __future__ import annotations

import socket

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import NFT
from kpath.lab.netns import Netns
from kpath.lab.topology import Routed, routed


def _nft(netns: Netns, rules: str) -> None:
    netns.run("nft", "-f", "-", given=rules)


def _filter(hook: str, rule: str) -> str:
    return f"table ip t {{ chain c {{ type filter hook {hook} priority 0; policy accept; {rule} }}\n }}"


@scenario("nft-accept", routed, needs=(NFT,))
def nft_accept(n: Routed) -> Steps:
    """All five hooks of the router are in use and accept."""
    hooks = ("prerouting", "input", "forward", "output", "postrouting")
    chains = "\n".join(f"chain {h} {{ type filter hook {h} priority 0; counter; }}" for h in hooks)
    _nft(n.router, f"table ip t {{ {chains}\n }}")
    yield
    expect(traffic.ping(n.near, n.FAR), "no answer")
    expect(traffic.ping(n.near, "10.1.0.2"), "no answer from the router")
    yield
    _nft(n.router, "delete table ip t")


@scenario("nft-drop", routed, needs=(NFT,))
def nft_drop(n: Routed) -> Steps:
    """The router's FORWARD hook drops a datagram."""
    _nft(n.router, _filter("forward", "udp dport 9 drop;"))
    yield
    traffic.udp_send(n.near, n.FAR)
    yield
    _nft(n.router, "delete table ip t")


@scenario("nft-drop-input", routed, needs=(NFT,))
def nft_drop_input(n: Routed) -> Steps:
    """The receiver's LOCAL_IN hook drops a datagram."""
    _nft(n.far, _filter("input", "udp dport 9 drop;"))
    yield
    traffic.udp_send(n.near, n.FAR)
    yield
    _nft(n.far, "delete table ip t")


@scenario("nft-drop-output", routed, needs=(NFT,))
def nft_drop_output(n: Routed) -> Steps:
    """The sender's LOCAL_OUT hook drops a datagram."""
    _nft(n.near, _filter("output", "udp dport 9 drop;"))
    yield
    traffic.udp_send(n.near, n.FAR)
    yield
    _nft(n.near, "delete table ip t")


@scenario("nft-reject", routed, needs=(NFT,))
def nft_reject(n: Routed) -> Steps:
    """The router's FORWARD hook answers a datagram with port unreachable."""
    _nft(n.router, _filter("forward", "udp dport 9 reject;"))
    yield
    traffic.udp_send(n.near, n.FAR)
    yield
    _nft(n.router, "delete table ip t")


@scenario("nft-masquerade", routed, needs=(NFT,))
def nft_masquerade(n: Routed) -> Steps:
    """The router puts its own address in the place of the sender's, and back in the answer."""
    _nft(n.router, 'table ip t { chain c { type nat hook postrouting priority 100; oifname "rb" masquerade; }\n }')
    yield
    expect(traffic.ping(n.near, n.FAR), "no answer")
    yield
    _nft(n.router, "delete table ip t")


@scenario("nft-dnat", routed, needs=(NFT,))
def nft_dnat(n: Routed) -> Steps:
    """The router sends what comes for itself to the far host."""
    _nft(
        n.router,
        "table ip t { chain c { type nat hook prerouting priority -100; "
        f"ip daddr 10.1.0.2 udp dport 5560 dnat to {n.FAR}; }}\n }}",
    )
    with n.far.socket(socket.SOCK_DGRAM) as receiver, n.near.socket(socket.SOCK_DGRAM) as sender:
        receiver.bind((n.FAR, 5560))
        yield
        sender.sendto(b"x", ("10.1.0.2", 5560))
        expect(receiver.recv(10) == b"x", "lost")
        yield
    _nft(n.router, "delete table ip t")
