"""What the views have in common."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from rich.text import Text

from kpath.dashboard.digest import Packet, Pass
from kpath.dashboard.look import Look
from kpath.dashboard.rows import Column, Row
from kpath.dashboard.snapshot import Snapshot


class View(Protocol):
    """One of the lists. Views hold no state: they draw what they are given."""

    @property
    def name(self) -> str:
        """Its name in the line of tabs."""
        ...

    @property
    def sorts(self) -> Sequence[str]:
        """Names of the columns that it can be sorted by; the first is sorted by at the beginning."""
        ...

    def badge(self, snapshot: Snapshot) -> str:
        """What stands beside its name; may be empty."""
        ...

    def columns(self, snapshot: Snapshot, look: Look) -> Sequence[Column]:
        """Its columns; none for a view that is a tree."""
        ...

    def rows(self, snapshot: Snapshot, look: Look) -> list[Row]:
        """Its rows, sorted, not yet filtered."""
        ...

    def inspect(self, key: Hashable, snapshot: Snapshot, look: Look) -> list[Text]:
        """More about one row."""
        ...

    def packets(self, key: Hashable, snapshot: Snapshot) -> tuple[Packet, ...]:
        """Packets that show what the row is about, newest last."""
        ...

    def concerns(self, key: Hashable, one: Pass) -> bool:
        """Is this pass what the row is about? The tree begins with the first such pass."""
        ...

    def begin(self, key: Hashable, one: Pass) -> int:
        """The place in such a pass of the step that the row is about; 0 when it is about all of it."""
        ...

    def empty(self, snapshot: Snapshot, look: Look) -> str:
        """What to say when there are no rows."""
        ...
