"""Checks of the scenarios of ``kpath.lab.forward``."""

from __future__ import annotations

from tests.guest.checks.base import (
    ICMP,
    IN_BACK,
    OUT,
    UDP,
    Seen,
    check,
    names,
    reason,
)


@check("ttl-expired")
def ttl_expired(seen: Seen) -> None:
    """ip_forward drops it, and the router says so."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, ("forward", "router", "ra", "", "dropped")]
    reason(seen, seen.traversals(journey)[1], "IP_INHDR")
    assert seen.ways(answer) == [("output", "router", "", "ra", "sent"), IN_BACK]
    assert seen.traversals(answer)[0].cause is journey


@check("no-route", "prohibit")
def no_route(seen: Seen) -> None:
    """ip_error drops it, and the router says so."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, ("receive", "router", "ra", "", "dropped")]
    assert "ip_error" in names(seen.traversals(journey)[1])
    assert seen.ways(answer) == [("output", "router", "", "ra", "sent"), IN_BACK]
    assert seen.traversals(answer)[0].cause is journey


@check("blackhole", "not-forwarding")
def blackhole(seen: Seen) -> None:
    """Dropped without a word."""
    journey = seen.one(UDP)
    assert seen.ways(journey) == [OUT, ("receive", "router", "ra", "", "dropped")]
    seen.amount(1)


@check("pmtu")
def pmtu(seen: Seen) -> None:
    """Too big: dropped before it is forwarded, and answered."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, ("forward", "router", "ra", "", "dropped")]
    reason(seen, seen.traversals(journey)[1], "PKT_TOO_BIG")
    assert seen.traversals(answer)[0].cause is journey
