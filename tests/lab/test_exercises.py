"""A scenario's traffic goes through the steps that it says it exercises, on every kernel that was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpath.lab.scenarios import SCENARIOS
from kpath.model.check import Checker
from kpath.model.coverage import Coverage, State
from tests.model.captures import FILES, passes, probes

PROMISED = [
    (file, document)
    for file in FILES
    if file.stem in SCENARIOS
    for document in SCENARIOS[file.stem].exercises
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "document"), PROMISED, ids=lambda p: f"{p.parent.name}-{p.stem}" if isinstance(p, Path) else p
)
def test_promised_steps_were_taken(file: Path, document: str) -> None:
    """Those that can never be seen on a kernel cannot be asked for there."""
    states = states_by_name(file, document)
    for name in SCENARIOS[file.stem].exercises[document]:
        taken = states[name] & {State.SEEN, State.IMPLIED, State.PASSED}
        assert taken or states[name] == {State.INVISIBLE}, f"{name}: {states[name]}"


def states_by_name(file: Path, document: str) -> dict[str, set[State]]:
    """What became of each function, and of each @flow, of a document in a recording."""
    checker = Checker.for_stream(probes(file), [document])
    coverage = Coverage(checker.judges[0])
    for one in passes(file):
        coverage.add(checker.judge_tree(one.tree)[0])
    states: dict[str, set[State]] = {}
    for covered in coverage.steps():
        for name in (covered.function, f"@{covered.flow}"):
            states.setdefault(name, set()).add(covered.state)
    return states
