"""Checks of the scenarios of ``kpath.lab.iptables``: what nftables' have to show, those of iptables have to."""

from __future__ import annotations

from tests.guest.checks.base import ACCEPT, FORWARD, ICMP, IN, NEAR, OUT, OVER, UDP, Seen, check, hooks
from tests.guest.checks.netfilter import dropped_by_hook, translated


@check("iptables-accept", "iptables-legacy-accept")
def accept(seen: Seen) -> None:
    """FORWARD says yes."""
    journey = seen.one(UDP)
    assert seen.ways(journey) == [OUT, OVER, IN]
    assert (FORWARD, ACCEPT) in hooks(seen.traversals(journey)[1])


@check("iptables-drop", "iptables-legacy-drop")
def drop(seen: Seen) -> None:
    """FORWARD says no."""
    dropped_by_hook(seen, FORWARD, 1)


@check("iptables-legacy-dnat")
def dnat(seen: Seen) -> None:
    """It goes on to the far host."""
    assert seen.ways(seen.one(UDP)) == [OUT, OVER, IN]


@check("iptables-legacy-masquerade")
def masquerade(seen: Seen) -> None:
    """It arrives as the router's."""
    translated(seen, seen.one(ICMP, NEAR), "10.2.0.2")
