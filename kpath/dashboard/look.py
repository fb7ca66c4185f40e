"""How the user wants to see it: everything that keys change and snapshots do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len

from kpath.dashboard.snapshot import Snapshot
from kpath.flow import Document

HIGH = 36
"""From so many lines on, the tree of the selected packet is shown below the list."""


@dataclass(slots=True)
class Look:
    """Choices of the user, shared by all views."""

    documents: Sequence[Document] = ()
    document: int = 0
    """Which of ``documents`` lines, coverage and verdicts are shown of."""
    filter: str = ""
    sort: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """View → name of the column sorted by, and whether descending."""
    judged: bool = False
    """Is there a judge?"""

    @property
    def name(self) -> str:
        """The name of the document chosen; empty without documents."""
        return self.documents[self.document].name if self.documents else ""


def namespaces_width(snapshot: Snapshot) -> int:
    """Cells for the names of network namespaces; 0 when there are not several to tell apart."""
    names = {row.netns for row in snapshot.paths}
    return min(14, max(map(cell_len, names))) if len(names) > 1 else 0
