"""Checks of the scenarios of ``kpath.lab.routing``."""

from __future__ import annotations

from tests.guest.checks.base import ICMP, IN, IN_BACK, OUT, OVER, UDP, Seen, check, names


@check("unreachable")
def unreachable(seen: Seen) -> None:
    """ip_error drops it, and the router says so."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, ("receive", "router", "ra", "", "dropped")]
    assert "ip_error" in names(seen.traversals(journey)[1])
    assert seen.ways(answer) == [("output", "router", "", "ra", "sent"), IN_BACK]
    assert seen.traversals(answer)[0].cause is journey


@check("mark-forward")
def mark_forward(seen: Seen) -> None:
    """It is forwarded, which only marked packets are, and carries the mark from its hook on."""
    journey = seen.one(UDP)
    assert seen.ways(journey) == [OUT, OVER, IN]
    marks = {f.name: f.event.mark for f in seen.traversals(journey)[1].frames}
    assert marks["ip_rcv"] == 0 and marks["ip_forward"] == 7


@check("mark-output")
def mark_output(seen: Seen) -> None:
    """Two look-ups for one datagram: before it is made, and after the hook."""
    journey = seen.one(UDP)
    assert seen.ways(journey) == [OUT, OVER, IN]
    assert names(seen.traversals(journey)[0]).count("ip_route_output_key_hash_rcu") == 2


@check("mark-socket")
def mark_socket(seen: Seen) -> None:
    """Only the one without the mark is ever made."""
    assert seen.ways(seen.one(UDP)) == [OUT, OVER, IN]
