"""Checks of the scenarios of ``kpath.lab.datagrams``."""

from __future__ import annotations

from tests.guest.checks.base import (
    FAR,
    ICMP,
    IN,
    NEAR,
    OUT,
    OVER,
    UDP,
    Seen,
    check,
    in_order,
    names,
    to_and_fro,
    whole,
)  # fmt: skip


@check("udp-connected", "raw-header")
def one_datagram(seen: Seen) -> None:
    """One journey, to the socket."""
    whole(seen)
    journey = seen.one(UDP)
    seen.amount(1)
    assert seen.ways(journey) == [OUT, OVER, IN]
    assert seen.traversals(journey)[2].end.where == "udp_rcv"


@check("ping-options", "icmp-timestamp")
def asked_and_answered(seen: Seen) -> None:
    """One journey there, one back."""
    whole(seen)
    seen.amount(2)
    to_and_fro(seen, ICMP, seen.one(ICMP, NEAR), seen.one(ICMP, FAR))


@check("udp-segment")
def udp_segment(seen: Seen) -> None:
    """Cut in three by the receiver's UDP, or by the first device, which on 5.10 cannot take it whole."""
    whole(seen)
    journey = seen.one(UDP)
    seen.amount(1)
    out, *_, arrived = seen.traversals(journey)
    if len(seen.traversals(journey)) == 3:
        assert seen.ways(journey) == [OUT, OVER, IN]
        in_order(names(arrived), "udp_rcv", "udp_queue_rcv_skb", "__skb_gso_segment", "udp_queue_rcv_one_skb")
        assert names(arrived).count("udp_queue_rcv_one_skb") == 3
    else:
        assert seen.ways(journey) == [OUT, OVER, OVER, OVER, IN, IN, IN]
        in_order(names(out), "__dev_queue_xmit", "validate_xmit_skb", "__skb_gso_segment", "dev_hard_start_xmit")
