"""Checks of the scenarios of ``kpath.lab.segments``."""

from __future__ import annotations

from tests.guest.checks.base import IN, OUT, OVER, TCP, Seen, check, whole

RST = 0x04


@check("tcp-abort")
def tcp_abort(seen: Seen) -> None:
    """One segment, with RST, all the way."""
    whole(seen)
    journey = seen.one(TCP)
    seen.amount(1)
    assert journey.header and journey.header.tcp_flags & RST
    assert seen.ways(journey) == [OUT, OVER, IN]
