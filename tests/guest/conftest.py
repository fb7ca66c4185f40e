"""One capture of all scenarios for all tests here that need one: attaching takes long in a guest."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from kpath.capture.resolve import Probe
from kpath.kernel.drops import DropReasons
from kpath.lab import scenarios
from kpath.trace.knowledge import Knowledge
from tests.guest.checks import Seen
from tests.guest.tracing import Take, Tracing


@dataclass(slots=True)
class Recorded:
    """What each scenario gave, and why some gave nothing."""

    knowledge: Knowledge
    probes: list[Probe]
    reasons: DropReasons
    takes: dict[str, Take] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    journeys: Callable[[Take], Seen] = field(default=lambda take: Seen([], Knowledge()))

    def take(self, name: str) -> Take:
        """What the scenario gave; the test is skipped or fails where there is nothing."""
        if not scenarios.SCENARIOS[name].possible():
            pytest.skip("this machine has not what it takes")
        assert name in self.takes, self.failures.get(name)
        return self.takes[name]


def play_all(play: Callable[[scenarios.Scenario, scenarios.Lab], None]) -> dict[str, str]:
    """Plays all that are possible here; why some failed, by name."""
    failures: dict[str, str] = {}
    with scenarios.lab() as lab:
        for scenario in scenarios.SCENARIOS.values():
            if not scenario.possible():
                continue
            try:
                play(scenario, lab)
            except Exception:
                failures[scenario.name] = traceback.format_exc()
    return failures


@pytest.fixture(scope="session")
def recorded() -> Iterator[Recorded]:
    """All scenarios, as kpath saw them."""
    with Tracing() as trace:
        session = trace.session
        found = Recorded(trace.knowledge, session.probes, DropReasons.from_btf(session.btf))

        def play(scenario: scenarios.Scenario, lab: scenarios.Lab) -> None:
            def end() -> None:
                found.takes[scenario.name] = trace.end()

            scenarios.play(scenario, lab, trace.begin, end)

        found.failures = play_all(play)
        found.probes = session.probes

    def journeys(take: Take) -> Seen:
        # Namespaces are made anew with each lab, and their numbers used again: each take has its own names.
        knowledge = replace(found.knowledge, netns={}, devices={}, comms={})
        knowledge.add(take.names)
        return Seen(sorted(trace.journeys(take), key=lambda j: j.number), knowledge)

    found.journeys = journeys
    yield found
