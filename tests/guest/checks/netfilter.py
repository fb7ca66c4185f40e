"""Checks of the scenarios of ``kpath.lab.netfilter``."""

from __future__ import annotations

import socket

from tests.guest.checks.base import (
    ACCEPT,
    FORWARD,
    ICMP,
    IN,
    LOCAL_IN,
    LOCAL_OUT,
    NEAR,
    OUT,
    OVER,
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


def _dropped_by_hook(seen: Seen, hook: int, where: int) -> None:
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
    _dropped_by_hook(seen, FORWARD, 1)


@check("nft-drop-input")
def nft_drop_input(seen: Seen) -> None:
    """LOCAL_IN says no."""
    _dropped_by_hook(seen, LOCAL_IN, 2)


@check("nft-drop-output")
def nft_drop_output(seen: Seen) -> None:
    """LOCAL_OUT says no."""
    _dropped_by_hook(seen, LOCAL_OUT, 0)


@check("nft-masquerade")
def nft_masquerade(seen: Seen) -> None:
    """The addresses change on the way; it stays one journey."""
    request = seen.one(ICMP, NEAR)
    assert seen.ways(request) == [OUT, OVER, IN]
    sources = {f.event.saddr for f in seen.traversals(request)[2].frames if f.event.saddr}
    assert sources == {int.from_bytes(socket.inet_aton("10.2.0.2"))}
