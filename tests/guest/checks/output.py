"""Checks of the scenarios of ``kpath.lab.output``."""

from __future__ import annotations

from tests.guest.checks.base import (
    FAR,
    IGMP,
    IN,
    IN_BACK,
    NEAR,
    OUT,
    OUT_BACK,
    OVER,
    OVER_BACK,
    TCP,
    UDP,
    Seen,
    check,
    forwarded,
    names,
    nodes,
)


@check("tcp", "tcp-bulk")
def tcp(seen: Seen) -> None:
    """Each segment is a journey, through the router to the other side."""
    there, back = seen.packets(TCP, NEAR), seen.packets(TCP, FAR)
    assert len(there) + len(back) == len(seen.asked_for()) >= 8
    for journey in there:
        assert seen.ways(journey) == [OUT, OVER, IN]
        assert seen.traversals(journey)[2].end.where == "tcp_v4_rcv"
    for journey in back:
        *way, end = seen.ways(journey)
        assert way == [OUT_BACK, OVER_BACK]
        # What comes when the client has closed already is let go of as if dropped.
        late = "tcp_timewait_state_process" in names(seen.traversals(journey)[2])
        assert end == IN_BACK or (late and end[:4] == IN_BACK[:4])
    syn, synack = there[0], back[0]
    assert syn.header and syn.header.tcp_flags == 0x02 and synack.header and synack.header.tcp_flags == 0x12
    assert seen.traversals(syn)[0].roots[0].frame.name == "tcp_v4_connect"
    assert seen.traversals(synack)[0].cause is syn
    for journey in seen.asked_for():
        forwarded(seen, seen.traversals(journey)[1])


@check("tcp-retransmit")
def tcp_retransmit(seen: Seen) -> None:
    """Each transmission of a segment is a journey; one is lost in the router, the last one arrives."""
    sent = [j for j in seen.packets(TCP, NEAR) if j.header and j.header.tcp_flags & 0x08]
    assert len(sent) >= 2
    assert seen.ways(sent[0])[1][0] == "receive" and seen.ways(sent[0])[-1][4] == "dropped"
    assert seen.ways(sent[-1]) == [OUT, OVER, IN]


@check("multicast")
def multicast(seen: Seen) -> None:
    """Out of the device and, in a copy, back to this host; and a report."""
    ways = seen.ways(seen.one(UDP))
    assert OUT in ways and IN_BACK in ways
    report = seen.packets(IGMP)[0]
    assert seen.ways(report)[0] == OUT
    starts = {n.frame.name for n in nodes(seen.traversals(report)[0].roots)}
    assert starts & {"igmp_ifc_timer_expire", "igmpv3_sendpack"}
