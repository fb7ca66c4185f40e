"""Frames that scenarios do not show, because they come late or seldom."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from kpath.capture.plan import PLAN_BY_NAME
from kpath.capture.session import Options
from kpath.lab import topology, traffic
from kpath.trace.frames import Frame
from tests.guest.tracing import Tracing

PATIENCE = 300.0
"""Seconds."""


def test_a_neighbour_that_is_asked_with_no_packet_waiting() -> None:
    """The timer asks a neighbour that is in use and has not been heard of: arp_solicit gets NULL for a packet."""
    names = ("neigh_timer_handler", "neigh_probe", "arp_solicit", "arp_send_dst", "__dev_queue_xmit")
    plan = tuple(PLAN_BY_NAME[name] for name in names)
    with Tracing(Options(plan=plan)) as trace, topology.routed("ask") as n:
        n.near.sysctl(ipv4__neigh__va__delay_first_probe_time=1)
        n.near.ip("neigh replace 10.1.0.2 lladdr 02:00:00:01:00:02 dev va nud stale")
        trace.begin()
        traffic.udp_send(n.near, n.FAR)
        take = trace.end()
        asked: list[Frame] = []
        deadline = time.monotonic() + PATIENCE
        while not asked and time.monotonic() < deadline:
            time.sleep(0.2)
            take = replace(take, events=np.concatenate([take.events, trace.end().events]))
            asked = [f for f in trace.frames(take) if f.name == "arp_send_dst"]
    assert asked
    assert [above.name for above in asked[0].ancestors()] == ["arp_solicit", "neigh_probe", "neigh_timer_handler"]
    assert not asked[0].orphan
