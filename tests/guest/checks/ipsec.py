"""Checks of the scenarios of ``kpath.lab.ipsec``."""

from __future__ import annotations

from tests.guest.checks.base import (
    ICMP,
    IN,
    LOST_IN,
    NEAR,
    OUT,
    OVER,
    UDP,
    Seen,
    check,
    in_order,
    names,
    reason,
)


@check("esp-tunnel")
def esp_tunnel(seen: Seen) -> None:
    """One journey from end to end, although it travels inside another packet on the way."""
    request = seen.one(ICMP, NEAR)
    ways = [w[:4] for w in seen.ways(request)]
    assert ways == [OUT[:4], OVER[:4], IN[:4], IN[:4]]
    over, outer, inner = seen.traversals(request)[1:]
    in_order(names(over), "ip_forward", "xfrm4_output", "xfrm_output", "esp_output", "ip_output", "dev_hard_start_xmit")
    in_order(names(outer), "xfrm4_esp_rcv", "xfrm_input", "esp_input")
    assert outer.end.how == "handed on" and inner.end.where == "icmp_rcv"


@check("xfrm-block-in")
def xfrm_block_in(seen: Seen) -> None:
    """It reaches the socket's side of UDP, where the policy refuses it."""
    journey = seen.one(UDP)
    seen.amount(1)
    assert seen.ways(journey) == [OUT, OVER, LOST_IN]
    arrived = seen.traversals(journey)[2]
    in_order(names(arrived), "udp_rcv", "udp_queue_rcv_one_skb", "__xfrm_policy_check")
    reason(seen, arrived, "XFRM_POLICY")


@check("xfrm-block-out")
def xfrm_block_out(seen: Seen) -> None:
    """The refused datagram never is a packet; the other one is looked up in the policies, and arrives."""
    journey = seen.one(UDP)
    seen.amount(1)
    assert journey.header and journey.header.dport == 5603
    assert seen.ways(journey) == [OUT, OVER, IN]


@check("ah-transport")
def ah_transport(seen: Seen) -> None:
    """Signed by the sender, passed on as it is, and looked into by the receiver, then by UDP."""
    _transported(seen, "ah")


@check("ipcomp")
def ipcomp(seen: Seen) -> None:
    """Compressed by the sender, passed on as it is, and unpacked by the receiver, then taken by UDP."""
    _transported(seen, "ipcomp")


def _transported(seen: Seen, transform: str) -> None:
    journey = seen.one(UDP)
    seen.amount(1)
    out, over, arrived = seen.traversals(journey)
    assert seen.way(out) == OUT and seen.way(over) == OVER and seen.way(arrived)[:4] == IN[:4]
    in_order(names(out), "xfrm4_output", "xfrm_output", f"{transform}_output", "ip_output", "dev_hard_start_xmit")
    in_order(names(arrived), f"xfrm4_{transform}_rcv", "xfrm_input", f"{transform}_input", "udp_rcv")
