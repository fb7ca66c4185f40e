"""The model stays sharp: most meaningful breaks of conforming paths are noticed, and nothing whole is flagged."""

from __future__ import annotations

from tests.model.captures import FILES
from tests.mutation import measure

FLOOR = 0.95


def test_most_meaningful_mutants_are_caught() -> None:
    score = measure(FILES[::5], "linux-6", 400, 7)
    assert not score.flagged
    assert score.meaningful > 200
    assert score.share >= FLOOR, score.survivors
