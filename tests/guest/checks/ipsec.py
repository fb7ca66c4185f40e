"""Checks of the scenarios of ``kpath.lab.ipsec``."""

from __future__ import annotations

from tests.guest.checks.base import (
    ICMP,
    IN,
    NEAR,
    OUT,
    OVER,
    Seen,
    check,
    in_order,
    names,
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
