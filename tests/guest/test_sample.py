"""One packet in so many: those are seen whole, the others are counted, and no path looks wrong for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from kpath.capture.live import LiveSource
from kpath.capture.program import Selection, Sizes
from kpath.capture.session import Options
from kpath.flow import BUILT_IN
from kpath.lab import scenarios, topology, traffic
from kpath.lab.declare import Scenario
from kpath.lab.topology import Routed
from kpath.model.check import Checker
from kpath.model.verdict import Verdict
from kpath.trace.traversal import traversals
from tests.guest.tracing import Take, Tracing

PACKETS, PORT = 800, 4999
ONE_IN = 4
PLAYED = os.environ.get("KPATH_SCENARIOS", (
    "tcp-bulk tcp-retransmit multicast udp-cork bridge veth-gro nft-dnat nft-reject fragments fragments-router "
    "fragments-local qdisc-delayed esp-tunnel esp-transport esp-tunnel-tcp gre vxlan multicast-forward tap-sender ping "
    "raw loopback nics-tcp nics-udp-gro neighbour-fails"
)).split()  # fmt: skip
"""What has copies, fragments, merged packets, or packets in packets; "all" for the whole lab."""


@dataclass(slots=True)
class Sampled:
    trace: Tracing
    checker: Checker
    takes: dict[str, Take] = field(default_factory=dict)
    flood: Take | None = None
    left_out: int = 0


@pytest.fixture(scope="module")
def sampled() -> Iterator[Sampled]:
    with Tracing(Options(selection=Selection(sampled=True))) as trace:
        session = trace.session
        result = Sampled(trace, Checker.for_capture(LiveSource(session).header(), BUILT_IN))
        with topology.routed() as routed:
            traffic.ping(routed.near, Routed.FAR)  # neighbours are known then
            session.follow(ONE_IN)
            before = session.totals().left_out
            trace.begin()
            traffic.udp_flood(routed.near, Routed.FAR, PACKETS, port=PORT)
            result.flood = trace.end()
            result.left_out = session.totals().left_out - before
        session.follow(2)
        with scenarios.lab() as lab:
            for scenario in _played():
                takes: list[Take] = []
                scenarios.play(scenario, lab, trace.begin, partial(_end, trace, takes))
                result.takes[scenario.name] = takes[0]
        yield result


def _end(trace: Tracing, takes: list[Take]) -> None:
    takes.append(trace.end())


def _played() -> list[Scenario]:
    known = scenarios.SCENARIOS
    chosen = [known[name] for name in (known if PLAYED == ["all"] else PLAYED)]
    return [scenario for scenario in chosen if scenario.possible() and not scenario.busy]


def test_each_packet_is_followed_or_counted(sampled: Sampled) -> None:
    assert sampled.flood is not None
    found = [j for j in sampled.trace.journeys(sampled.flood) if j.wanted(arp=False)]
    journeys = [j for j in found if j.header and j.header.dport == PORT]
    if not sampled.flood.losses:
        # Others than the flood's are counted, too: the answers to it.
        assert len(journeys) + sampled.left_out >= PACKETS
    assert 0.6 * PACKETS / ONE_IN < len(journeys) < 1.4 * PACKETS / ONE_IN
    whole = [part for j in journeys for part in traversals(j) if part.direction == "forward" and not part.partial]
    assert len(whole) > 0.9 * len(journeys)


def test_no_path_looks_wrong_because_others_were_left_out(sampled: Sampled) -> None:
    know = sampled.trace.knowledge
    wrong, conforming = [], 0
    for name, take in sampled.takes.items():
        for journey in (j for j in sampled.trace.journeys(take) if j.wanted(arp=False)):
            for part in traversals(journey):
                for judged in sampled.checker.judge(part, know, take.losses):
                    conforming += judged.verdict is Verdict.CONFORMS
                    if judged.verdict is Verdict.DIVERGES:
                        wrong.append((name, judged.document, judged.findings))
    assert not wrong, (len(wrong), wrong[:3])
    assert conforming > len(sampled.takes)


def test_when_the_buffer_fills_packets_are_left_out_whole() -> None:
    """Nobody reads, and more packets come than have room: those that are followed lose nothing."""
    options = Options(selection=Selection(sampled=True), sizes=Sizes(ring_bytes=1 << 20))
    with Tracing(options) as trace, topology.routed() as routed:
        if trace.session.buffer != "mapped":
            pytest.skip("the kernel's own buffers do not tell how full they are")
        traffic.ping(routed.near, Routed.FAR)
        before = trace.session.totals().left_out
        trace.begin()
        traffic.udp_flood(routed.near, Routed.FAR, PACKETS, port=PORT)
        take = trace.end()
        left_out = trace.session.totals().left_out - before
        assert not take.losses
        journeys = [j for j in trace.journeys(take) if j.header and j.header.dport == PORT]
        parts = [part for j in journeys for part in traversals(j) if part.direction == "forward"]
    assert 0 < len(journeys) < PACKETS / 2
    assert len(journeys) + left_out >= PACKETS
    assert len([part for part in parts if not part.partial]) > 0.9 * len(journeys)


def test_the_command_says_what_it_followed(tmp_path: Path) -> None:
    file = tmp_path / "some.kpath"
    kpath = [sys.executable, "-m", "kpath.cli.main"]
    ping = ["ping", "-q", "-c", "60", "-i", "0.01", "127.0.0.1"]
    done = subprocess.run(
        [*kpath, "record", "-o", file, "--sample", "4", "--", *ping], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "one packet in 4 was followed, and " in done.stderr
    shown = subprocess.run([*kpath, "show", "--json", file], capture_output=True, text=True, check=True)
    assert "one packet in 4 was followed, and " in shown.stderr
    # Each of the 60 requests and 60 answers is a journey of its own.
    assert 5 < len(shown.stdout.splitlines()) < 70
