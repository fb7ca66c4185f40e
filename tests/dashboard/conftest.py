"""What on a slow machine would depend on the clock."""

from __future__ import annotations

import pytest

from kpath.dashboard.tui import Dashboard


@pytest.fixture(autouse=True)
def messages_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go after some seconds, which may pass between a key and the picture."""
    monkeypatch.setattr(Dashboard, "_unsay", lambda self, words: None)
