"""Checks of the scenarios of ``kpath.lab.neighbours``."""

from __future__ import annotations

from tests.guest.checks.base import (
    FAR,
    ICMP,
    IN,
    NEAR,
    OUT,
    OVER,
    Seen,
    check,
    in_order,
    names,
    to_and_fro,
)


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
