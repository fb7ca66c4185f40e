"""Checks of the scenarios of ``kpath.lab.neighbours``."""

from __future__ import annotations

from tests.guest.checks.base import (
    FAR,
    ICMP,
    IN,
    NEAR,
    OUT,
    OVER,
    UDP,
    Seen,
    check,
    in_order,
    names,
    to_and_fro,
)

INCOMPLETE, FAILED = 1, 32
"""NUD_*, of include/uapi/linux/neighbour.h."""


@check("ping-cold")
def ping_cold(seen: Seen) -> None:
    """Two neighbours are asked for because of the request; the packet waits, and is still one journey."""
    request, reply = seen.one(ICMP, NEAR), seen.one(ICMP, FAR)
    assert [w[:4] for w in seen.ways(request)] == [w[:4] for w in (OUT, OVER, IN)]
    to_and_fro(seen, ICMP, request, reply)
    asked, answered = seen.arp(1), seen.arp(2)
    seen.amount(6)
    assert len(asked) == len(answered) == 2
    for question, answer in zip(asked, answered, strict=True):
        assert seen.traversals(question)[0].cause is request
        assert seen.traversals(answer)[0].cause is question
        assert [w[0] for w in seen.ways(question)] == [w[0] for w in seen.ways(answer)] == ["output", "receive"]
    for t in seen.traversals(request)[:2]:
        in_order(names(t), "neigh_resolve_output", "__neigh_event_send", "neigh_resolve_output", "dev_hard_start_xmit")


@check("neighbour-stale", "neighbour-reachable")
def neighbour_known(seen: Seen) -> None:
    """An address that was heard of is used, whether or not it is to be asked for again; nothing else is sent."""
    for journey in seen.packets(UDP):
        assert seen.ways(journey) == [OUT, OVER, IN]
        over = seen.traversals(journey)[1]
        states = {f.event.nud_state for f in over.frames if f.event.nud_state}
        assert not states & {INCOMPLETE, FAILED}, states
    assert not seen.arp(1)


@check("neighbour-failed")
def neighbour_failed(seen: Seen) -> None:
    """The packet waits for the answer, and is one journey all the same."""
    journey = seen.one(UDP)
    assert [w[:4] for w in seen.ways(journey)] == [w[:4] for w in (OUT, OVER, IN)]
    asked, answered = seen.arp(1), seen.arp(2)
    assert len(asked) == len(answered) == 1
    seen.amount(3)
    assert seen.traversals(asked[0])[0].cause is journey
