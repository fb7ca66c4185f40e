"""Hits of kprobes for which no program ran, on kernels that do not count them."""

from __future__ import annotations


class Unrun:
    """How many hits of kprobes ran no program, from two counts that are not read at the same moment.

    The kernel counts hits from the moment a kprobe is armed, which is before a program is on it. So what matters
    is by how much the difference grows.
    """

    def __init__(self) -> None:
        self._base: int | None = None
        self._known = 0

    def at_most(self, armed_hits: int, program_hits: int) -> None:
        """Set the beginning: ``program_hits`` was read first, so the true difference is at most theirs."""
        difference = armed_hits - program_hits - self._known
        self._base = difference if self._base is None else min(self._base, difference)

    def at_least(self, armed_hits: int, program_hits: int) -> int:
        """How many since the beginning, at least: ``armed_hits`` was read first."""
        if self._base is not None:
            self._known = max(self._known, armed_hits - program_hits - self._base)
        return self._known

    def pause(self) -> None:
        """Kprobes are being added: what is known stays, and a new beginning must be set."""
        self._base = None
