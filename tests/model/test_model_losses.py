"""Events that are missing: whatever is taken away and reported as lost, or was not recorded yet, nothing diverges."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kpath.capture.file import Capture, PlannedProbe, read
from kpath.capture.schema import Flag
from kpath.capture.tables import Loss, Names, Symbols
from kpath.model.check import UNMATCHED, Checker, span
from kpath.model.verdict import Judgement, Verdict
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import traversals
from tests.model.captures import FILES, named

Mask = npt.NDArray[np.bool_]


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


# ---- every recording, and only what a stream itself can tell ----


@cache
def checker_of(planned: tuple[PlannedProbe, ...]) -> Checker:
    return Checker.for_stream(planned)


def judge(capture: Capture, events: npt.NDArray[np.void], told: Iterable[Loss] = ()) -> list[Judgement]:
    """All verdicts on a recording of which only these events are left."""
    assembler = Assembler()
    assembler.feed(Symbols(capture.symbols.symbols, capture.symbols.calls, capture.symbols.jumps))
    assembler.feed(Names(capture.names.netns, capture.names.devices, capture.names.comms))
    assembler.knowledge.add_facts(capture.facts)
    for loss in told:
        assembler.feed(loss)
    checker = checker_of(capture.header.probes)
    return [
        judgement
        for journey in [*assembler.feed(events), *assembler.flush()]
        for traversal in traversals(journey)
        for judgement in checker.judge(traversal, assembler.knowledge, assembler.lost_during(*span(traversal)))
    ]


def untold(capture: Capture, kept: Mask) -> list[Loss]:
    """Losses that no numbers betray, because nothing of that CPU came before them or after: the kernel side's account.

    Losses in between are left to the gaps in the numbers."""
    found = []
    for cpu in np.unique(capture.events["cpu"]):
        mine = np.flatnonzero(capture.events["cpu"] == cpu)
        mine = mine[np.argsort(capture.events["seq"][mine], kind="stable")]
        left = np.flatnonzero(kept[mine])
        ends = (mine[: left[0]], mine[left[-1] + 1 :]) if len(left) else (mine,)
        for lost in ends:
            times = capture.events["time"][lost]
            if len(times):
                found.append(Loss(int(times.min()), int(times.max()), {int(cpu): len(times)}))
    return found


def some(capture: Capture, rng: np.random.Generator) -> Mask:
    """Here and there one."""
    lost: Mask = rng.random(len(capture.events)) < rng.choice([0.003, 0.03, 0.3])
    return lost


def run_of_one_cpu(capture: Capture, rng: np.random.Generator) -> Mask:
    """As when one CPU's ring is full."""
    lost = np.zeros(len(capture.events), np.bool_)
    mine = np.flatnonzero(capture.events["cpu"] == rng.choice(np.unique(capture.events["cpu"])))
    begin = rng.integers(len(mine))
    lost[mine[begin : begin + rng.integers(1, 2 + len(mine) // 3)]] = True
    return lost


def run_of_all(capture: Capture, rng: np.random.Generator) -> Mask:
    """As when the one buffer is full that all CPUs share."""
    lost = np.zeros(len(capture.events), np.bool_)
    begin = rng.integers(len(lost))
    lost[begin : begin + rng.integers(1, 2 + len(lost) // 4)] = True
    return lost


def one_function(capture: Capture, rng: np.random.Generator) -> Mask:
    """Half of what one probe saw."""
    addresses = capture.events["ip"]
    lost: Mask = (addresses == rng.choice(np.unique(addresses))) & (rng.random(len(addresses)) < 0.5)
    return lost


TAKES: list[Callable[[Capture, np.random.Generator], Mask]] = [some, run_of_one_cpu, run_of_all, one_function]


@pytest.mark.parametrize("file", FILES[::2], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_the_numbers_betray_never_diverges(file: Path) -> None:
    """Each recording loses something else: its name is the seed."""
    capture = read(file)
    rng = np.random.default_rng([*f"{file.parent.name}/{file.stem}".encode()])
    take = TAKES[FILES.index(file) // 2 % len(TAKES)]
    kept = ~take(capture, rng)
    found = judge(capture, capture.events[kept], untold(capture, kept))
    assert not [judgement for judgement in found if judgement.verdict is Verdict.DIVERGES]


@pytest.mark.parametrize("file", FILES[1::2], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_capture_that_ends_or_begins_anywhere_never_diverges(file: Path) -> None:
    """Nothing is lost then: a packet that was under way is partial, and its frames lack what came later."""
    capture = read(file)
    rng = np.random.default_rng([*f"{file.parent.name}/{file.stem}".encode()])
    places = np.arange(len(capture.events))
    at = int(rng.integers(1, len(places)))
    for kept in (places < at, places >= at):
        diverging = [j for j in judge(capture, capture.events[kept]) if j.verdict is Verdict.DIVERGES]
        assert not diverging, (at, bool(kept[0]))
