"""Packets take their way over veth and between two emulated cards, and kpath shows each as one whole journey."""

from __future__ import annotations

import pytest

from kpath.capture.resolve import MODULE_POSITIONS
from kpath.lab.scenarios import SCENARIOS
from tests.guest.checks import CHECKS, whole
from tests.guest.conftest import Recorded

QUIET = [s.name for s in SCENARIOS.values() if not s.busy]


@pytest.mark.parametrize("name", QUIET)
def test_journeys_are_whole(recorded: Recorded, name: str) -> None:
    take = recorded.take(name)
    assert not take.losses, f"events are missing each time that this is played: {take.losses}"
    seen = recorded.journeys(take)
    whole(seen)
    CHECKS.get(name, whole)(seen)


@pytest.mark.parametrize("name", [s.name for s in SCENARIOS.values() if s.busy])
def test_many_packets_at_once(recorded: Recorded, name: str) -> None:
    """Nothing is lost, and every packet's way is known to its end.

    An interrupt in the middle of a BPF program can keep a probe from running; the kernel counts that, and kpath tells.
    """
    take = recorded.take(name)
    assert not any(loss.lost or loss.tables for loss in take.losses), take.losses
    seen = recorded.journeys(take)
    if not take.losses:
        whole(seen)
    assert len(seen.journeys) > 50


def test_modules_functions_have_the_packet_where_the_plan_says(recorded: Recorded) -> None:
    """On kernels that describe their modules' types, these are what a kernel that does not is measured by."""
    found = {p.name: int(p.program[-1]) for p in recorded.probes if p.name in MODULE_POSITIONS and p.program}
    assert len(found) > 10
    assert found == {name: MODULE_POSITIONS[name] for name in found}


def test_drop_reasons_are_the_kernel_s(recorded: Recorded) -> None:
    """Names come from this kernel's types; kernels before 5.17 have none."""
    assert recorded.knowledge.drop_reasons == dict(recorded.reasons.names)
