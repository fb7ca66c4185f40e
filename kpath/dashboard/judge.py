"""What the view wants to know of the reference model: verdicts, and which step of a document each frame is.

The view is written against these few words, so that it works without a model (no verdicts are shown then) and with
any other one; :mod:`kpath.dashboard.referee` is the one over :mod:`kpath.model`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kpath.flow import Document
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import Traversal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a verdict points at.

    ``title`` is one line. ``frame`` is the index of the frame that it is about, None for the pass as a whole.
    ``lines`` tell the rest: what the document expects there with its line, what the kernel did, facts, reasons.
    """

    title: str
    frame: int | None = None
    lines: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    """What could have come in the place of the frame, where that is known."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """The verdict of one pass against one document. ``verdict`` is one of ``theme.SYMBOLS``."""

    document: str
    verdict: str
    divergences: tuple[Finding, ...] = ()
    evolutions: tuple[Finding, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why it is partial or inconclusive."""
    cites: Mapping[int, str] = field(default_factory=dict)
    """Frame index → the document's line for it."""
    nexts: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Frame index → what the document lets come next."""
    witnessed: Mapping[str, int] = field(default_factory=dict)
    """Id of the document's step (``kpath.flow.Node.id``) → how often this pass shows it."""
    passed: tuple[str, ...] = ()
    """Ids of steps that the pass went through, which cannot be seen on this kernel."""


class Judge(Protocol):
    """Gives opinions; called by the aggregating thread only."""

    @property
    def documents(self) -> Sequence[Document]:
        """The documents that it judges by, in the order in which they are shown."""
        ...

    def judge(self, traversal: Traversal) -> Sequence[Opinion]:
        """At most one opinion for each document; none for a document that does not cover this pass."""
        ...


JudgeMaker = Callable[[Assembler], Judge]
"""A judge needs to know what addresses mean and what was lost while a packet lived: the assembler knows both."""
