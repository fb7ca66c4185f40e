"""Loads the plugin that takes the tests marked ``guest`` to a kernel that can be probed, and marks them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A test must not fail for what it was dealt or how slow the machine is: examples are the same each time. To look for
# more: pytest --hypothesis-profile explore.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")

# What is asserted in there tells what it saw, too.
pytest.register_assert_rewrite("tests.guest.checks")

pytest_plugins = ["kpath.guest.pytest_plugin"]

GUEST = Path(__file__).parent / "guest"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in ``tests/guest`` needs such a kernel."""
    for item in items:
        if item.path.is_relative_to(GUEST):
            item.add_marker("guest")
