"""Checks of the scenarios of ``kpath.lab.receive``."""

from __future__ import annotations

from tests.guest.checks.base import (
    FAR,
    ICMP,
    IN,
    IN_BACK,
    LOST_IN,
    NEAR,
    NOBODY,
    OUT,
    OUT_BACK,
    OVER,
    OVER_BACK,
    TCP,
    UDP,
    Seen,
    check,
    forwarded,
    in_order,
    names,
    reason,
    to_and_fro,
)


@check("ping", "ping-socket")
def ping(seen: Seen) -> None:
    """One journey there, one back, and nothing else."""
    seen.amount(2)
    to_and_fro(seen, ICMP, seen.one(ICMP, NEAR), seen.one(ICMP, FAR))


@check("udp-open", "udp-cork", "options", "qdisc", "tap", "tap-sender")
def udp_open(seen: Seen) -> None:
    """One journey, to the socket."""
    journey = seen.one(UDP)
    seen.amount(1)
    assert seen.ways(journey) == [OUT, OVER, IN]
    sent, over, got = seen.traversals(journey)
    in_order(names(sent), "udp_send_skb", "ip_send_skb", "ip_output", "ip_finish_output2", "dev_hard_start_xmit")
    # A corked datagram goes when the cork is taken out, by a socket option.
    assert sent.roots[0].frame.name in ("udp_sendmsg", "udp_push_pending_frames", "udp_send_skb")
    forwarded(seen, over)
    in_order(names(got), "ip_rcv", "ip_local_deliver", "ip_protocol_deliver_rcu", "udp_rcv", "udp_queue_rcv_one_skb")
    assert got.end.where == "udp_rcv"


@check("udp-closed")
def udp_closed(seen: Seen) -> None:
    """Dropped for want of a socket, and answered."""
    journey, answer = seen.one(UDP), seen.one(ICMP)
    seen.amount(2)
    assert seen.ways(journey) == [OUT, OVER, LOST_IN]
    reason(seen, seen.traversals(journey)[2], "NO_SOCKET")
    assert "__icmp_send" in names(seen.traversals(journey)[2])
    assert seen.ways(answer) == [OUT_BACK, OVER_BACK, IN_BACK]
    assert seen.traversals(answer)[0].cause is journey
    assert "icmp_unreach" in names(seen.traversals(answer)[2])


@check("raw")
def raw(seen: Seen) -> None:
    """Nobody speaks this protocol."""
    journey, answer = seen.one(NOBODY), seen.one(ICMP)
    assert seen.ways(journey) == [OUT, OVER, LOST_IN]
    reason(seen, seen.traversals(journey)[2], "IP_NOPROTO")
    assert seen.ways(answer) == [OUT_BACK, OVER_BACK, IN_BACK]
    assert seen.traversals(answer)[0].cause is journey


@check("tcp-refused")
def tcp_refused(seen: Seen) -> None:
    """SYN, RST."""
    syn, rst = seen.packets(TCP, NEAR)[0], seen.packets(TCP, FAR)[0]
    assert rst.header and rst.header.tcp_flags & 0x04
    reason(seen, seen.traversals(syn)[2], "NO_SOCKET")
    assert seen.traversals(rst)[0].cause is syn
    assert seen.ways(rst) == [OUT_BACK, OVER_BACK, IN_BACK]


@check("loopback")
def loopback(seen: Seen) -> None:
    """Out and in again, by lo."""
    for journey in seen.asked_for():
        assert [w[:4] for w in seen.ways(journey)] == [("output", "near", "", "lo"), ("receive", "near", "lo", "")]
