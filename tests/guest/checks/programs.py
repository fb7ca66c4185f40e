"""Checks of the scenarios of ``kpath.lab.programs``."""

from __future__ import annotations

from tests.guest.checks.base import (
    IN,
    OUT,
    OVER,
    UDP,
    Seen,
    check,
    in_order,
    names,
    reason,
)


@check("tc-ingress-drop")
def tc_ingress_drop(seen: Seen) -> None:
    """Dropped on its way in, before anything of IP."""
    journey = seen.one(UDP)
    seen.amount(1)
    assert seen.ways(journey) == [OUT, ("receive", "router", "ra", "", "dropped")]
    dropped = seen.traversals(journey)[1]
    reason(seen, dropped, "TC_INGRESS")
    assert "__netif_receive_skb_core" in names(dropped) and "ip_rcv" not in names(dropped)


@check("tc-egress-drop")
def tc_egress_drop(seen: Seen) -> None:
    """Forwarded, and dropped on its way out."""
    journey = seen.one(UDP)
    seen.amount(1)
    dropped = seen.traversals(journey)[1]
    reason(seen, dropped, "TC_EGRESS")
    in_order(names(dropped), "ip_forward", "ip_finish_output2", "__dev_queue_xmit", "tcf_classify")
    assert "dev_hard_start_xmit" not in names(dropped)


@check("tc-pass")
def tc_pass(seen: Seen) -> None:
    """Forwarded as ever, and looked at on its way out (5.10 has another function for the way in)."""
    journey = seen.one(UDP)
    assert seen.ways(journey) == [OUT, OVER, IN]
    over = names(seen.traversals(journey)[1])
    in_order(over, "ip_rcv", "ip_forward", "__dev_queue_xmit", "tcf_classify", "dev_hard_start_xmit")


@check("tc-redirect", "xdp-redirect")
def redirect(seen: Seen) -> None:
    """From device to device, past IP; with its time to live."""
    journey = seen.one(UDP)
    seen.amount(1)
    ways = seen.ways(journey)
    assert ways[0] == OUT and ways[-1] == IN, ways
    through = [name for t in seen.traversals(journey)[1:-1] for name in names(t)]
    assert "veth_xmit" in through and not {"ip_rcv", "ip_forward", "ip_output"} & set(through)
    times = {f.event.ttl for t in seen.traversals(journey) for f in t.frames if f.event.ttl}
    assert times == {64}


@check("xdp-drop")
def xdp_drop(seen: Seen) -> None:
    """Dropped before the stack, by do_xdp_generic (which 5.10 has inside its caller)."""
    journey = seen.one(UDP)
    seen.amount(1)
    assert seen.ways(journey)[0] == OUT and len(seen.ways(journey)) == 2
    dropped = seen.traversals(journey)[1]
    assert dropped.end.how == "dropped" and "ip_rcv" not in names(dropped)


@check("xdp-pass")
def xdp_pass(seen: Seen) -> None:
    """Looked at, and forwarded as ever."""
    journey = seen.one(UDP)
    assert [w[:4] for w in seen.ways(journey)] == [w[:4] for w in (OUT, OVER, IN)]
    in_order(names(seen.traversals(journey)[1]), "ip_rcv", "ip_forward", "dev_hard_start_xmit")
