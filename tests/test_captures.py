"""The recorded captures, on every kernel that was recorded: what was seen must make the journeys that took place.

``make captures`` makes the files (docs/lab.md).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kpath.capture.file import Capture, read
from kpath.trace.assemble import Assembler
from tests.guest.checks import CHECKS, Seen, whole

FILES = sorted((Path(__file__).parent / "captures").glob("*/*.kpath"))


def seen_in(capture: Capture) -> Seen:
    """The journeys in a capture."""
    assembler = Assembler()
    assembler.knowledge.add(capture.symbols)
    assembler.knowledge.add(capture.names)
    assembler.knowledge.add_facts(capture.facts)
    journeys = [*assembler.feed(capture.events), *assembler.flush()]
    assert not assembler.gaps
    return Seen(sorted(journeys, key=lambda j: j.number), assembler.knowledge)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_recorded_scenario(path: Path) -> None:
    capture = read(path)
    assert capture.complete and not capture.loss
    seen = seen_in(capture)
    whole(seen)
    check = CHECKS.get(path.stem)
    if check:
        check(seen)


def test_there_are_captures() -> None:
    assert {p.parent.name for p in FILES} == {"5.10", "6.1", "6.12", "7.3"}
