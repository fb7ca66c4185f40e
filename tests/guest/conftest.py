"""One capture of all scenarios for all tests here that need one: attaching takes long in a guest.

What a test is about is what kpath makes of a take, so a take must be one that can be judged. On a busy machine not
every one is: a probe is missed when an interrupt comes in the middle of another's program, a packet's way is not
known to its end, TCP repeats what was on its way for too long. Kernel and kpath say so themselves, in words of their
own, and such a scenario is played again, a few times. Nothing is played again because a test does not like it.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from kpath.capture.program import Sizes
from kpath.capture.resolve import Probe
from kpath.capture.session import Options
from kpath.kernel.drops import DropReasons
from kpath.kernel.symbols import Symbols
from kpath.lab import scenarios
from kpath.lab.scenarios import Lab, Scenario
from kpath.trace.frames import Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import traversals
from tests.guest.checks import Seen
from tests.guest.tracing import Take, Tracing

PLAYS = 4
"""How often a scenario is played until a take can be judged."""

RING = 64 << 20
"""Bytes: nobody reads while a scenario is played, so all of it must fit."""

NOTES = "again.txt"
"""What was played again, and why, below ``$KPATH_OUT``."""

REPEATS = "__tcp_retransmit_skb"
"""TCP sends a segment again (net/ipv4/tcp_output.c)."""

REPEATED = "TCP sent a segment again"
"""Trouble, unless it is so twice in a row: then the scenario is about that."""


@dataclass(slots=True, repr=False)  # pytest would print all of it
class Recorded:
    """What each scenario gave, and why some gave nothing."""

    knowledge: Knowledge
    probes: list[Probe]
    reasons: DropReasons
    takes: dict[str, Take] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    symbols: Symbols = field(default_factory=lambda: Symbols.from_lines(()))
    journeys: Callable[[Take], Seen] = field(default=lambda take: Seen([], Knowledge()))
    frames: Callable[[Take], list[Frame]] = field(default=lambda take: [])
    troubled: dict[str, str] = field(default_factory=dict)
    """Why a take cannot be judged, however often it was played."""
    write: Callable[[Take, Path, Sequence[str]], None] = field(default=lambda take, path, command: None)
    """A capture file of a take."""

    def take(self, name: str) -> Take:
        """What the scenario gave; the test is skipped or fails where there is nothing."""
        if not scenarios.SCENARIOS[name].possible():
            pytest.skip("this machine has not what it takes")
        assert name in self.takes, self.failures.get(name)
        return self.takes[name]


class Player:
    """Plays scenarios before a running capture."""

    def __init__(self, trace: Tracing) -> None:
        self._trace = trace
        self._repeats = [p.address for p in trace.session.probes if p.name == REPEATS and p.program]
        self.takes: dict[str, Take] = {}
        self.failures: dict[str, str] = {}
        self.troubled: dict[str, str] = {}

    def record(self, which: Iterable[Scenario]) -> None:
        """Fills ``takes`` and ``failures`` with all that are possible here."""
        with scenarios.lab() as lab:
            for scenario in which:
                if scenario.possible():
                    self._record(scenario, lab)

    def _record(self, scenario: Scenario, lab: Lab) -> None:
        repeated = False
        for number in range(PLAYS):
            try:
                scenarios.play(scenario, lab, self._trace.begin, lambda: self._end(scenario.name))
            except Exception:
                self.failures[scenario.name] = trouble = traceback.format_exc()
                self.takes.pop(scenario.name, None)
            else:
                self.failures.pop(scenario.name, None)
                trouble = self._trouble(self.takes[scenario.name], scenario.busy)
            if not trouble or (repeated and trouble == REPEATED):
                self.troubled.pop(scenario.name, None)
                return
            self.troubled[scenario.name] = trouble
            repeated = trouble == REPEATED
            note(f"{scenario.name}, play {number + 1}: {trouble.strip().splitlines()[-1]}")

    def _end(self, name: str) -> None:
        self.takes[name] = self._trace.end()

    def _trouble(self, take: Take, busy: bool) -> str:
        """Why the take cannot be judged; empty if it can. Where much happens at once, missed probes are usual."""
        if any(loss.lost or loss.tables or not busy for loss in take.losses):
            return f"events are missing: {take.losses}"
        if any(t.end.how == "open" for journey in self._trace.journeys(take) for t in traversals(journey)):
            return "a packet was still on its way"
        again = not busy and any(((take.events["ip"] - np.uint64(a)) < 16).any() for a in self._repeats)
        return REPEATED if again else ""


def note(what: str) -> None:
    """For the record, where the guest's output goes."""
    if "KPATH_OUT" in os.environ:
        with Path(os.environ["KPATH_OUT"], NOTES).open("a") as log:
            log.write(what + "\n")


@pytest.fixture(scope="session")
def recorded() -> Iterator[Recorded]:
    """All scenarios, as kpath saw them."""
    if "KPATH_OUT" in os.environ:
        Path(os.environ["KPATH_OUT"], NOTES).unlink(missing_ok=True)
    with Tracing(Options(sizes=Sizes(ring_bytes=RING))) as trace:
        session = trace.session
        player = Player(trace)
        player.record(scenarios.SCENARIOS.values())
        found = Recorded(
            trace.knowledge, session.probes, DropReasons.from_btf(session.btf), player.takes, player.failures,
            session.symbols, frames=trace.frames, troubled=player.troubled, write=trace.write,
        )  # fmt: skip

    def journeys(take: Take) -> Seen:
        # Namespaces are made anew with each lab, and their numbers used again: each take has its own names.
        knowledge = replace(found.knowledge, netns={}, devices={}, comms={})
        knowledge.add(take.names)
        return Seen(sorted(trace.journeys(take), key=lambda j: j.number), knowledge)

    found.journeys = journeys
    yield found
