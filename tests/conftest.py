"""Loads the plugin that takes the tests marked ``guest`` to a kernel that can be probed, and marks them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["kpath.guest.pytest_plugin"]

GUEST = Path(__file__).parent / "guest"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in ``tests/guest`` needs such a kernel."""
    for item in items:
        if item.path.is_relative_to(GUEST):
            item.add_marker("guest")
