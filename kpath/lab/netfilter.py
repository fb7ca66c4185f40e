"""Rules at the hooks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kpath.lab import traffic
from kpath.lab.declare import Steps, expect, scenario
from kpath.lab.needs import NFT, module
from kpath.lab.netns import Netns
from kpath.lab.topology import Routed, routed


def _nft(netns: Netns, rules: str) -> None:
    netns.run("nft", "-f", "-", given=rules)


@contextmanager
def rules(netns: Netns, hook: str, *lines: str) -> Iterator[None]:
    """A table with one chain at ``hook`` ("type filter hook forward priority 0")."""
    body = "\n".join(lines)
    _nft(netns, f"table ip t {{ chain c {{ {hook}; policy accept; {body} }}\n }}")
    yield
    _nft(netns, "delete table ip t")


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


@scenario("nft-dnat-output", routed, needs=(NFT,))
def nft_dnat_output(n: Routed) -> Steps:
    """The sender's LOCAL_OUT hook puts another destination into a datagram, which then needs another route."""
    with (
        rules(n.near, "type nat hook output priority -100", f"ip daddr 10.84.0.1 udp dport 5567 dnat to {n.FAR};"),
        n.far.socket(socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((n.FAR, 5567))
        yield
        traffic.udp_send(n.near, "10.84.0.1", port=5567)
        expect(len(receiver.recv(1000)) == 100, "lost")
        yield


@scenario("nft-redirect", routed, needs=(NFT, module("nft_redir")))
def nft_redirect(n: Routed) -> Steps:
    """The router takes a datagram for the far host for itself."""
    with (
        rules(n.router, "type nat hook prerouting priority -100", "udp dport 5568 redirect to :5569;"),
        n.router.socket(socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("0.0.0.0", 5569))
        yield
        traffic.udp_send(n.near, n.FAR, port=5568)
        expect(len(receiver.recv(1000)) == 100, "lost")
        yield


@scenario("nft-snat", routed, needs=(NFT,))
def nft_snat(n: Routed) -> Steps:
    """The sender's own POST_ROUTING hook puts another source address into a request, and back in the answer."""
    n.near.ip("addr add 10.1.0.77/24 dev va")
    n.router.ip("neigh replace 10.1.0.77 lladdr 02:00:00:01:00:01 dev ra nud permanent")
    with rules(n.near, "type nat hook postrouting priority 100", "ip daddr 10.2.0.1 snat to 10.1.0.77;"):
        yield
        expect(traffic.ping(n.near, n.FAR), "no answer")
        yield
    n.router.ip("neigh del 10.1.0.77 dev ra")
    n.near.ip("addr del 10.1.0.77/24 dev va")


@scenario("nft-drop-prerouting", routed, needs=(NFT,))
def nft_drop_prerouting(n: Routed) -> Steps:
    """The router's PRE_ROUTING hook drops a datagram before anything is looked up."""
    with rules(n.router, "type filter hook prerouting priority 0", "udp dport 9 drop;"):
        yield
        traffic.udp_send(n.near, n.FAR)
        yield


@scenario("nft-drop-postrouting", routed, needs=(NFT,))
def nft_drop_postrouting(n: Routed) -> Steps:
    """The router's POST_ROUTING hook drops a datagram, all but sent."""
    with rules(n.router, "type filter hook postrouting priority 0", "udp dport 9 drop;"):
        yield
        traffic.udp_send(n.near, n.FAR)
        yield


@scenario("nft-queue", routed, needs=(NFT, module("nfnetlink_queue"), module("nft_queue")))
def nft_queue(n: Routed) -> Steps:
    """The router's FORWARD hook asks a program in userspace that is not there, and lets the datagram pass."""
    with rules(n.router, "type filter hook forward priority 0", "udp dport 5570 queue flags bypass to 3;"):
        yield
        expect(traffic.udp(n.near, n.far, n.FAR, port=5570) == 1, "lost")
        yield


@scenario("established-only", routed, needs=(NFT, module("nf_conntrack")))
def established_only(n: Routed) -> Steps:
    """A router that only lets answers in: the far host's answer passes, its own datagram does not."""
    with (
        rules(
            n.router,
            "type filter hook forward priority 0",
            'ct state established,related accept; iifname "rb" drop;',
        ),
        n.far.socket(socket.SOCK_DGRAM) as far,
        n.near.socket(socket.SOCK_DGRAM) as near,
    ):
        far.bind((n.FAR, 5564))
        near.bind((n.NEAR, 5565))
        yield
        near.sendto(b"asked", (n.FAR, 5564))
        expect(far.recv(10) == b"asked", "lost")
        far.sendto(b"answered", (n.NEAR, 5565))
        expect(near.recv(10) == b"answered", "the answer was lost")
        far.sendto(b"unasked", (n.NEAR, 5566))
        yield
