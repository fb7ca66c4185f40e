"""Checks of the scenarios of ``kpath.lab.netfilter``."""

from __future__ import annotations

import socket

from kpath.trace.lives import Journey
from tests.guest.checks.base import (
    ACCEPT,
    FAR,
    FORWARD,
    ICMP,
    IN,
    IN_BACK,
    LOCAL_IN,
    LOCAL_OUT,
    NEAR,
    OUT,
    OUT_BACK,
    OVER,
    OVER_BACK,
    POST_ROUTING,
    PRE_ROUTING,
    ROUTER,
    UDP,
    Seen,
    check,
    hooks,
    reason,
)


@check("nft-accept")
def nft_accept(seen: Seen) -> None:
    """All hooks, in order."""
    request = seen.packets(ICMP, NEAR)[0]
    verdicts = hooks(seen.traversals(request)[1])
    assert verdicts == [(PRE_ROUTING, ACCEPT), (FORWARD, ACCEPT), (POST_ROUTING, ACCEPT)]
    local, answer = seen.packets(ICMP, NEAR)[1], seen.one(ICMP, ROUTER)
    assert hooks(seen.traversals(local)[1]) == [(PRE_ROUTING, ACCEPT), (LOCAL_IN, ACCEPT)]
    assert hooks(seen.traversals(answer)[0]) == [(LOCAL_OUT, ACCEPT), (POST_ROUTING, ACCEPT)]


def dropped_by_hook(seen: Seen, hook: int, where: int) -> None:
    """The only datagram's traversal number ``where`` ended at this hook."""
    journey = seen.one(UDP)
    dropped = seen.traversals(journey)[where]
    seen.amount(1)
    assert dropped.end.how == "dropped"
    reason(seen, dropped, "NETFILTER_DROP")
    last, verdict = hooks(dropped)[-1]
    assert last == hook and verdict is not None and verdict < 0


@check("nft-drop")
def nft_drop(seen: Seen) -> None:
    """FORWARD says no."""
    dropped_by_hook(seen, FORWARD, 1)


@check("nft-drop-input")
def nft_drop_input(seen: Seen) -> None:
    """LOCAL_IN says no."""
    dropped_by_hook(seen, LOCAL_IN, 2)


@check("nft-drop-output")
def nft_drop_output(seen: Seen) -> None:
    """LOCAL_OUT says no."""
    dropped_by_hook(seen, LOCAL_OUT, 0)


def translated(seen: Seen, request: Journey, source: str) -> None:
    """The addresses change on the way; it stays one journey."""
    assert seen.ways(request) == [OUT, OVER, IN]
    sources = {f.event.saddr for f in seen.traversals(request)[2].frames if f.event.saddr}
    assert sources == {int.from_bytes(socket.inet_aton(source))}


@check("nft-masquerade")
def nft_masquerade(seen: Seen) -> None:
    """It arrives as the router's."""
    translated(seen, seen.one(ICMP, NEAR), "10.2.0.2")


@check("nft-snat")
def nft_snat(seen: Seen) -> None:
    """It leaves with the sender's other address."""
    translated(seen, seen.one(ICMP, NEAR), "10.1.0.77")


@check("nft-dnat", "nft-dnat-output", "nft-queue")
def nft_dnat(seen: Seen) -> None:
    """It arrives at the far host."""
    assert seen.ways(seen.one(UDP)) == [OUT, OVER, IN]


@check("nft-redirect")
def nft_redirect(seen: Seen) -> None:
    """It ends at a socket of the router's."""
    assert seen.ways(seen.one(UDP)) == [OUT, ("receive", "router", "ra", "", "delivered")]


@check("nft-drop-prerouting")
def nft_drop_prerouting(seen: Seen) -> None:
    """PRE_ROUTING says no."""
    dropped_by_hook(seen, PRE_ROUTING, 1)


@check("nft-drop-postrouting")
def nft_drop_postrouting(seen: Seen) -> None:
    """POST_ROUTING says no."""
    dropped_by_hook(seen, POST_ROUTING, 1)


@check("established-only")
def established_only(seen: Seen) -> None:
    """The question and its answer pass, what nobody asked for does not."""
    question = seen.one(UDP, NEAR)
    answer, unasked = seen.packets(UDP, FAR)
    assert seen.ways(question) == [OUT, OVER, IN] and seen.ways(answer) == [OUT_BACK, OVER_BACK, IN_BACK]
    dropped = seen.traversals(unasked)[1]
    reason(seen, dropped, "NETFILTER_DROP")
    assert hooks(dropped)[-1][0] == FORWARD
