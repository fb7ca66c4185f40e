"""Checks of the scenarios of ``kpath.lab.fragments``."""

from __future__ import annotations

from tests.guest.checks.base import (
    OUT,
    OVER,
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
