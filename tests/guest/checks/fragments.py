"""Checks of the scenarios of ``kpath.lab.fragments``."""

from __future__ import annotations

from tests.guest.checks.base import (
    ICMP,
    IN,
    NEAR,
    OUT,
    OVER,
    ROUTER,
    UDP,
    Seen,
    check,
    names,
)


@check("fragments")
def fragments(seen: Seen) -> None:
    """One journey: sent in three parts, each forwarded, put together at the end."""
    journey = seen.one(UDP)
    ways = seen.ways(journey)
    seen.amount(1)
    assert ways.count(OUT) == 1 and ways.count(OVER) == 3 and len(ways) == 7
    ends = sorted(t.end.how for t in seen.traversals(journey) if t.direction == "receive")
    assert ends == ["delivered", "merged", "merged"]


@check("fragments-router")
def fragments_router(seen: Seen) -> None:
    """One journey; the router makes two of it."""
    journey = seen.one(UDP)
    ways = seen.ways(journey)
    assert ways[:2] == [OUT, OVER] and len(ways) == 4
    over = seen.traversals(journey)[1]
    assert names(over).count("dev_hard_start_xmit") == 2 and "ip_do_fragment" in names(over)


@check("fragments-conntrack")
def fragments_conntrack(seen: Seen) -> None:
    """The router puts three fragments together and forwards one packet, again in three."""
    ways = seen.ways(seen.one(UDP))
    assert ways.count(OVER) == 1 and ways.count(("receive", "router", "ra", "", "merged")) == 2 and len(ways) == 7
    over = next(t for t in seen.traversals(seen.one(UDP)) if seen.way(t) == OVER)
    assert names(over).count("dev_hard_start_xmit") == 3 and "ip_do_fragment" in names(over)


@check("fragments-local")
def fragments_local(seen: Seen) -> None:
    """Request and answer: put together, once each."""
    request, answer = seen.one(ICMP, NEAR), seen.one(ICMP, ROUTER)
    merged = ("receive", "router", "ra", "", "merged")
    assert seen.ways(request).count(merged) == 2 and len(seen.ways(request)) == 4
    assert [w[4] for w in seen.ways(answer)].count("merged") == 2 and len(seen.ways(answer)) == 4
    assert seen.traversals(answer)[0].cause is request


@check("pmtu-learned")
def pmtu_learned(seen: Seen) -> None:
    """The first one is too big; the second one comes in two."""
    first, second = seen.packets(UDP, NEAR)
    assert seen.ways(first) == [OUT, ("forward", "router", "ra", "", "dropped")]
    assert seen.traversals(seen.one(ICMP))[0].cause is first
    assert "ip_do_fragment" in names(seen.traversals(second)[0])
    # Where the kernel has no nf_defrag_ipv4_disable (5.10), tracking that was once in use still puts them together.
    assert sorted(w[4] for w in seen.ways(second) if w[:2] == IN[:2]) == ["delivered", "merged"]


@check("too-big-local")
def too_big_local(seen: Seen) -> None:
    """Only the small one is ever made."""
    assert seen.ways(seen.one(UDP)) == [OUT, OVER, IN]
