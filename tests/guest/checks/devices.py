"""Checks of the scenarios of ``kpath.lab.devices``."""

from __future__ import annotations

from tests.guest.checks.base import (
    ICMP,
    Seen,
    check,
    in_order,
    names,
)


@check("bridge")
def bridge(seen: Seen) -> None:
    """The bridge has a traversal of its own."""
    request = seen.packets(ICMP)[0]
    assert [w[1] for w in seen.ways(request)] == ["b1", "sw", "b2"]
    assert "br_handle_frame_finish" in names(seen.traversals(request)[1])


@check("vlan")
def vlan(seen: Seen) -> None:
    """The tag is put on by one device and taken off by the other's."""
    request = seen.packets(ICMP)[0]
    assert [w[:2] for w in seen.ways(request)] == [("output", "near"), ("receive", "router")]
    sent, got = seen.traversals(request)
    in_order(names(sent), "vlan_dev_hard_start_xmit", "veth_xmit")
    in_order(names(got), "vlan_do_receive", "ip_rcv", "icmp_rcv")


@check("bond")
def bond(seen: Seen) -> None:
    """Out by the link in use, and in by the bond of the other side."""
    request, reply = seen.packets(ICMP)
    for journey, ends in ((request, ("o1", "o2")), (reply, ("o2", "o1"))):
        assert tuple(w[1] for w in seen.ways(journey)) == ends
        sent, got = seen.traversals(journey)
        assert seen.way(sent)[3:] == ("s1", "sent") and seen.way(got)[4] == "delivered"
        in_order(names(sent), "bond_start_xmit", "veth_xmit")
        in_order(names(got), "bond_handle_frame", "ip_rcv", "icmp_rcv")


@check("macvlan")
def macvlan(seen: Seen) -> None:
    """In by the device below and the macvlan on top of it, and out by both."""
    request, reply = seen.packets(ICMP)
    assert [w[1] for w in seen.ways(request)] == ["near", "router"]
    assert [w[1] for w in seen.ways(reply)] == ["router", "near"]
    in_order(names(seen.traversals(request)[1]), "macvlan_handle_frame", "ip_rcv", "icmp_rcv")
    in_order(names(seen.traversals(reply)[0]), "macvlan_start_xmit", "veth_xmit")
