"""Checks of the scenarios of ``kpath.lab.devices``."""

from __future__ import annotations

from tests.guest.checks.base import (
    ICMP,
    Seen,
    check,
    names,
)


@check("bridge")
def bridge(seen: Seen) -> None:
    """The bridge has a traversal of its own."""
    request = seen.packets(ICMP)[0]
    assert [w[1] for w in seen.ways(request)] == ["b1", "sw", "b2"]
    assert "br_handle_frame_finish" in names(seen.traversals(request)[1])
