"""Checks of the scenarios of ``kpath.lab.handshakes``."""

from __future__ import annotations

from kpath.trace.lives import Journey
from tests.guest.checks.base import (
    FAR,
    IN,
    IN_BACK,
    LOST_IN,
    NEAR,
    OUT,
    OUT_BACK,
    OVER,
    OVER_BACK,
    TCP,
    Seen,
    check,
    in_order,
    names,
)

SYN, RST, ACK = 0x02, 0x04, 0x10


def flags(journey: Journey) -> int:
    """Of the segment's TCP header."""
    assert journey.header
    return int(journey.header.tcp_flags)


def from_far(seen: Seen) -> list[Journey]:
    """What the far host sent, in order."""
    return seen.packets(TCP, FAR)


@check("syn-twice")
def syn_twice(seen: Seen) -> None:
    """The second finds the request; the SYN-ACK is sent several times, the route looked up anew but for the first."""
    first, second = (j for j in seen.packets(TCP) if not flags(j) & ACK)
    assert seen.ways(first) == [OUT, OVER, IN] and seen.ways(second)[:2] == [OUT, OVER]
    in_order(names(seen.traversals(second)[2]), "tcp_v4_rcv", "tcp_check_req")
    sent = [t for j in from_far(seen) for t in seen.traversals(j) if seen.way(t) == OUT_BACK]
    assert len(sent) > 1 and all("tcp_v4_send_synack" in names(t) for t in sent)
    assert any(t.roots[0].frame.name == "tcp_v4_send_synack" for t in sent)


@check("syn-after-syn")
def syn_after_syn(seen: Seen) -> None:
    """The second is answered with RST by the request, not by the listener."""
    second = [j for j in seen.packets(TCP) if not flags(j) & (ACK | RST)][1]
    in_order(names(seen.traversals(second)[2]), "tcp_v4_rcv", "tcp_check_req", "tcp_v4_send_reset")
    assert [bool(flags(j) & RST) for j in from_far(seen)] == [False, True]


@check("ack-out-of-window")
def ack_out_of_window(seen: Seen) -> None:
    """A SYN-ACK for the first, a bare ACK for the second."""
    answers = from_far(seen)
    assert [flags(j) & (SYN | RST | ACK) for j in answers] == [SYN | ACK, ACK]
    in_order(names(seen.traversals(answers[1])[0]), "ip_send_unicast_reply", "ip_output")


@check("stray-ack")
def stray_ack(seen: Seen) -> None:
    """It comes to the listener, which refuses it: RST."""
    stray, answer = seen.packets(TCP)
    assert seen.ways(stray) == [OUT, OVER, LOST_IN]
    found = names(seen.traversals(stray)[2])
    in_order(found, "tcp_v4_rcv", "tcp_v4_do_rcv", "tcp_rcv_state_process", "tcp_v4_send_reset")
    assert flags(answer) & RST and seen.ways(answer)[:2] == [OUT_BACK, OVER_BACK]


@check("stray-signed")
def stray_signed(seen: Seen) -> None:
    """A listener is looked for that might have the key, in vain; nothing is sent."""
    seen.amount(1)
    stray = seen.one(TCP)
    assert seen.ways(stray) == [OUT, OVER, LOST_IN]
    in_order(names(seen.traversals(stray)[2]), "tcp_v4_rcv", "tcp_v4_send_reset", "__inet_lookup_listener")


@check("syn-cookies")
def syn_cookies(seen: Seen) -> None:
    """The ACK that brings the cookie makes the connection."""
    ack = next(j for j in seen.packets(TCP, NEAR) if not flags(j) & SYN)
    assert seen.ways(ack) == [OUT, OVER, IN]
    found = names(seen.traversals(ack)[2])
    in_order(found, "tcp_v4_rcv", "tcp_v4_do_rcv", "tcp_child_process", "tcp_rcv_state_process")


@check("fin-late", "data-late")
def late(seen: Seen) -> None:
    """The time-wait socket takes it, and answers: ACK to a FIN, RST to data."""
    came, answer = seen.packets(TCP)
    assert seen.ways(came)[:2] == [OUT_BACK, OVER_BACK]
    in_order(names(seen.traversals(came)[2]), "tcp_v4_rcv", "tcp_timewait_state_process")
    assert seen.ways(answer) == [OUT, OVER, IN]
    assert bool(flags(answer) & RST) == ("tcp_v4_send_reset" in names(seen.traversals(came)[2]))


@check("port-again")
def port_again(seen: Seen) -> None:
    """The SYN comes to the time-wait socket first, which makes way for the listener."""
    syn = next(j for j in seen.packets(TCP, NEAR) if flags(j) & SYN)
    assert seen.ways(syn) == [OUT, OVER, IN]
    found = names(seen.traversals(syn)[2])
    in_order(found, "tcp_v4_rcv", "tcp_timewait_state_process", "__inet_lookup_listener", "tcp_conn_request")
    assert IN_BACK in seen.ways(from_far(seen)[0])
