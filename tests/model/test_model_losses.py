"""Events that are missing: whatever is taken away and reported as lost, nothing diverges."""

from __future__ import annotations

import numpy as np
import pytest

from kpath.capture.file import read
from kpath.capture.schema import Flag
from kpath.capture.tables import Loss, Names, Symbols
from kpath.model.check import UNMATCHED, Checker, span
from kpath.model.verdict import Verdict
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import traversals
from tests.model.captures import named


def verdicts(scenario: str, share: float, seed: int, reported: bool) -> list[Verdict]:
    """Judge a recording of which some events were taken away."""
    rng = np.random.default_rng(seed)
    found: list[Verdict] = []
    for file in named(scenario):
        capture = read(file)
        keep = rng.random(len(capture.events)) >= share
        gone = capture.events["time"][~keep]
        assembler = Assembler()
        assembler.feed(Symbols(capture.symbols.symbols, capture.symbols.calls, capture.symbols.jumps))
        assembler.feed(Names(capture.names.netns, capture.names.devices, capture.names.comms))
        if reported and len(gone):
            assembler.feed(Loss(int(gone.min()), int(gone.max()), {0: len(gone)}))
        checker = Checker.for_stream(capture.header.probes, ["linux-6"])
        journeys = [*assembler.feed(capture.events[keep]), *assembler.flush()]
        for journey in journeys:
            for traversal in traversals(journey):
                losses = assembler.lost_during(*span(traversal))
                found += [j.verdict for j in checker.judge(traversal, assembler.knowledge, losses)]
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("scenario", ["ping", "tcp", "udp-open", "esp-tunnel"])
def test_lost_and_reported_never_diverges(scenario: str, share: float, seed: int) -> None:
    found = verdicts(scenario, share, seed, reported=True)
    assert Verdict.DIVERGES not in found


def test_lost_without_a_word_is_noticed() -> None:
    assert set(verdicts("ping", 0.1, 1, reported=False)) - {Verdict.CONFORMS}


def test_what_did_not_match_the_filter_is_partial() -> None:
    """Of such a packet only what shared a stack with another comes up: it never diverges, and proves nothing."""
    capture = read(named("ping")[0])
    events = capture.events.copy()
    events["flags"] &= np.uint16(~int(Flag.MATCHED) & 0xFFFF)
    # Its first steps were not kept either.
    events = events[len(events) // 8 :]
    assembler = Assembler()
    assembler.feed(Symbols(capture.symbols.symbols, capture.symbols.calls, capture.symbols.jumps))
    checker = Checker.for_stream(capture.header.probes, ["linux-6"])
    found = [
        judgement
        for journey in [*assembler.feed(events), *assembler.flush()]
        for traversal in traversals(journey)
        for judgement in checker.judge(traversal, assembler.knowledge)
    ]
    assert {j.verdict for j in found} <= {Verdict.PARTIAL, Verdict.INCONCLUSIVE, Verdict.NOT_COVERED}
    assert any(UNMATCHED in j.reasons for j in found)
