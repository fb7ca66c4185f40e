"""A filter in the kernel, among packets that it rejects: what matches is seen whole, and nothing else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kpath.capture.filter import compile_filter, to_c
from kpath.capture.live import LiveSource
from kpath.capture.program import Selection
from kpath.capture.session import Options
from kpath.flow import BUILT_IN
from kpath.lab import scenarios, topology, traffic
from kpath.lab.topology import Routed
from kpath.model.check import Checker
from kpath.model.verdict import Verdict
from kpath.trace.lives import Journey
from kpath.trace.traversal import Traversal, traversals
from tests.guest.tracing import Take, Tracing

WANTED, OTHER = 6001, 6002
PACKETS = 100


@dataclass(slots=True)
class Filtered:
    trace: Tracing
    checker: Checker
    mixed: Take
    translated: Take
    answered: int = 0

    def journeys(self, take: Take) -> list[tuple[Journey, list[Traversal]]]:
        wanted = (j for j in self.trace.journeys(take) if j.wanted(arp=False))
        return [(journey, traversals(journey)) for journey in wanted]


@pytest.fixture(scope="module")
def filtered() -> Iterator[Filtered]:
    expression = f"udp port {WANTED} or (dst host 10.2.0.1 and udp port 5560)"
    selection = Selection(pcap_c=to_c(compile_filter(expression)))
    with Tracing(Options(selection=selection)) as trace:
        checker = Checker.for_capture(LiveSource(trace.session).header(), BUILT_IN)
        with topology.routed() as routed:
            trace.begin()
            for _ in range(PACKETS // 10):  # in one system call after another, and in the same polls
                traffic.udp_flood(routed.near, Routed.FAR, 30, port=OTHER)
                traffic.udp_flood(routed.near, Routed.FAR, 10, port=WANTED)
                traffic.ping(routed.near, Routed.FAR)
            mixed = trace.end()
        takes: list[Take] = []
        with scenarios.lab() as lab:
            scenarios.play(
                scenarios.SCENARIOS["nft-dnat"], lab, trace.begin, lambda: takes.append(trace.end())
            )
        yield Filtered(trace, checker, mixed, takes[0])


def test_all_that_matches_is_seen_and_nothing_else(filtered: Filtered) -> None:
    found = filtered.journeys(filtered.mixed)
    ports = [journey.header.dport for journey, _ in found if journey.header]
    assert set(ports) == {WANTED}
    if not filtered.mixed.losses:
        assert len(ports) == PACKETS


def test_rejected_packets_never_make_a_wrong_path(filtered: Filtered) -> None:
    know = filtered.trace.knowledge
    judged = [
        (judgement.verdict, judgement.findings)
        for take in (filtered.mixed, filtered.translated)
        for _, parts in filtered.journeys(take)
        for traversal in parts
        for judgement in filtered.checker.judge(traversal, know, take.losses)
    ]
    assert not [findings for verdict, findings in judged if verdict is Verdict.DIVERGES]
    assert sum(verdict is Verdict.CONFORMS for verdict, _ in judged) >= PACKETS


def test_what_led_to_the_packet_is_seen_too(filtered: Filtered) -> None:
    """Functions that ran before its header was made are kept back until it matches."""
    sent = [parts[0] for _, parts in filtered.journeys(filtered.mixed)]
    assert any(part.roots[0].frame.name == "udp_sendmsg" for part in sent)
    assert all(part.direction == "output" for part in sent)


def test_helpers_of_rejected_packets_stay_in_the_kernel(filtered: Filtered) -> None:
    """They have no packet of their own, and are sent only for the packets that are."""
    names = Counter(frame.name for frame in filtered.trace.frames(filtered.mixed))
    assert 0 < names["__netif_receive_skb_core"] <= names["ip_rcv"]


def test_a_packet_that_matches_after_translation_says_so(filtered: Filtered) -> None:
    """Sent to another address, rejected, translated by the router, and then what the filter asks for."""
    late = [
        traversal.partial
        for _, parts in filtered.journeys(filtered.translated)
        for traversal in parts
        if any("matched the filter only when it had changed" in why for why in traversal.partial)
    ]
    assert late
