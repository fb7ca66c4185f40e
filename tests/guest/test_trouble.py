"""Whatever goes wrong in a network, the kernel follows its documents: no packet's path diverges."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpath.capture.program import Sizes
from kpath.capture.session import Options
from kpath.capture.tables import Loss
from kpath.flow import BUILT_IN
from kpath.lab import scenarios
from kpath.lab.declare import Lab
from kpath.model.check import Checker, span
from kpath.model.verdict import Verdict
from kpath.trace.traversal import Traversal, traversals
from tests.guest.tracing import Take, Tracing
from tests.guest.trouble import TROUBLE

RING = 64 << 20
"""Bytes: nobody reads while the traffic flows. What does not fit is lost, which the verdicts must allow for."""


@pytest.fixture(scope="module")
def trace() -> Iterator[Tracing]:
    with Tracing(Options(sizes=Sizes(ring_bytes=RING))) as tracing:
        yield tracing


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with scenarios.lab() as made:
        yield made


def passes(trace: Tracing, take: Take) -> Iterator[tuple[Traversal, list[Loss]]]:
    """Each pass, and what was lost while it lasted."""
    for journey in trace.journeys(take):
        for traversal in traversals(journey):
            begin, end = span(traversal)
            yield traversal, [loss for loss in take.losses if loss.start <= end and loss.end >= begin]


@pytest.mark.parametrize("name", TROUBLE)
def test_nothing_diverges(trace: Tracing, lab: Lab, name: str) -> None:
    scenario = TROUBLE[name]
    if missing := scenario.missing():
        pytest.skip(f"needs {missing}")
    takes: list[Take] = []
    # All that came, in namespaces that are gone by now, too.
    scenarios.play(scenario, lab, trace.begin, lambda: takes.append(trace.end()))
    checker = Checker.for_capture(trace.header(takes[0], ("kpath",)), BUILT_IN)
    found: Counter[Verdict] = Counter()
    wrong: dict[str, str] = {}
    for traversal, losses in passes(trace, takes[0]):
        for judgement in checker.judge(traversal, trace.knowledge, losses):
            found[judgement.verdict] += 1
            if judgement.verdict is Verdict.DIVERGES:
                wrong.setdefault(f"{judgement.document}: {judgement.findings[0].message}", str(traversal.frames[0]))
    if wrong and "KPATH_OUT" in os.environ:
        trace.write(takes[0], Path(os.environ["KPATH_OUT"], f"{name}.kpath"), ("kpath",))
    assert not wrong, wrong
    assert found[Verdict.CONFORMS] > 20 or takes[0].losses, found
