"""Checks of the scenarios of ``kpath.lab.multicast``."""

from __future__ import annotations

from tests.guest.checks.base import UDP, Seen, check, whole


@check("multicast-forward")
def multicast_forward(seen: Seen) -> None:
    """Out of the near host, out of the router's other device, and to the far host's socket."""
    whole(seen)
    ways = [way for journey in seen.packets(UDP) for way in seen.ways(journey)]
    assert ("output", "near", "", "va", "sent") in ways
    assert any(way[1] == "router" and way[3:] == ("rb", "sent") for way in ways), ways
    assert ("receive", "far", "vb", "", "delivered") in ways
