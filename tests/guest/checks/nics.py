"""Checks of the scenarios of ``kpath.lab.nics``."""

from __future__ import annotations

from tests.guest.checks.base import (
    TCP,
    Seen,
    check,
    names,
)


@check("nics-ping", "nics-udp")
def nics(seen: Seen) -> None:
    """Real drivers: a poll, GRO, and the other card's transmit function."""
    assert seen.journeys
    for journey in seen.asked_for():
        sent, got = seen.traversals(journey)
        assert seen.way(sent)[3] in ("eth0", "eth1") and seen.way(sent)[4] == "sent"
        assert {seen.way(sent)[3], seen.way(got)[2]} == {"eth0", "eth1"}
        assert {"e1000_xmit_frame", "start_xmit"} & set(names(sent))
        assert {"napi_gro_receive", "gro_receive_skb"} & set(names(got))


@check("nics-tcp")
def nics_tcp(seen: Seen) -> None:
    """Every segment arrives in one piece or merged by GRO."""
    merged = 0
    for journey in seen.packets(TCP):
        got = [t for t in seen.traversals(journey) if t.direction == "receive"]
        assert got, f"journey {journey.number} does not arrive: {seen.ways(journey)}"
        merged += any("skb_gro_receive" in names(t) for t in got)
    assert merged, "GRO merged nothing"


@check("nics-tcp-no-gro")
def nics_tcp_no_gro(seen: Seen) -> None:
    """Every segment arrives as it was sent."""
    for journey in seen.packets(TCP):
        got = [t for t in seen.traversals(journey) if t.direction == "receive"]
        assert got, f"journey {journey.number} does not arrive: {seen.ways(journey)}"
        assert not any("skb_gro_receive" in names(t) for t in got)
