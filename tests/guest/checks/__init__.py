"""What the journeys of each scenario must look like, on every kernel; a file for each theme of ``kpath.lab``.

The tests in guests ask this of what they have just seen, those without a kernel of what was recorded.
"""

from __future__ import annotations

from tests.guest.checks import (
    datagrams,
    devices,
    forward,
    fragments,
    handshakes,
    ipsec,
    iptables,
    multicast,
    neighbours,
    netfilter,
    nics,
    output,
    policies,
    programs,
    queues,
    receive,
    routing,
    segments,
)
from tests.guest.checks.base import CHECKS, Seen, whole

__all__ = ["CHECKS", "THEMES", "Seen", "whole"]

THEMES = (
    datagrams, devices, forward, fragments, handshakes, ipsec, iptables, multicast, neighbours, netfilter, nics, output,
    policies, programs, queues, receive, routing, segments,
)  # fmt: skip
"""The modules whose checks are registered."""
