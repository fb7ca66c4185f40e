"""Checks of the scenarios of ``kpath.lab.queues``."""

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
    nodes,
    reason,
)


@check("qdisc-delayed")
def qdisc_delayed(seen: Seen) -> None:
    """Put into the queue by the sender, taken out by a softirq: one journey, whose sending has two roots."""
    journey = seen.one(UDP)
    seen.amount(1)
    assert seen.ways(journey) == [OUT, OVER, IN]
    sent = seen.traversals(journey)[0]
    in_order(names(sent), "__dev_queue_xmit", "__qdisc_run", "net_tx_action", "__qdisc_run", "dev_hard_start_xmit")
    later = {n.frame.name: n.frame for n in nodes(sent.roots)}["dev_hard_start_xmit"]
    above = [a.name for a in later.ancestors()]
    assert "__qdisc_run" in above and "udp_sendmsg" not in above, above


@check("qdisc-full")
def qdisc_full(seen: Seen) -> None:
    """The first waits and arrives; the second is dropped."""
    first, second = seen.packets(UDP)
    assert seen.ways(first) == [OUT, OVER, IN]
    (dropped,) = seen.traversals(second)
    assert seen.way(dropped)[:2] == ("output", "near")
    reason(seen, dropped, "QDISC_DROP", "QDISC_OVERLIMIT")
    assert "__dev_queue_xmit" in names(dropped) and "dev_hard_start_xmit" not in names(dropped)
