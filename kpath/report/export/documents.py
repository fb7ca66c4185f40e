"""What the documents say of a recording that is read once, as a stream: verdicts, and which steps were gone through."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kpath.capture.tables import Loss
from kpath.trace.traversal import Traversal

if TYPE_CHECKING:
    from kpath.model.check import Checker
    from kpath.report.export.divergences import Divergence
    from kpath.report.export.drawn import Branch
    from kpath.report.export.source import Packet, Source


@dataclass(frozen=True, slots=True)
class Covered:
    """One document: how much of it was seen, and how often paths followed it."""

    document: str
    seen: int
    """Steps that were seen, or proved by what was."""
    steps: int
    """Steps that could be seen on this kernel."""
    invisible: int = 0
    """Steps that could not."""
    unseen: tuple[str, ...] = ()
    """Functions of the steps that could be seen and were not."""
    branches: tuple[Branch, ...] = ()
    """The document's tree, flow by flow."""
    verdicts: dict[str, int] = field(default_factory=dict)
    """Verdict → traversals; those that a document does not cover are not counted."""


class Documents:
    """Judges packets as they come by.

    What was lost may be told after the packets that it hid something of. So the verdicts that would hold were nothing
    lost are kept, with their times (24 bytes a traversal), and turned into inconclusive ones in ``covered``.
    """

    def __init__(self, source: Source) -> None:
        from kpath.model.check import Checker
        from kpath.model.coverage import Coverage
        from kpath.report.export.divergences import Divergences

        self._source = source
        self._divergences = Divergences()
        self._checker: Checker = Checker.for_capture(source.header)
        self._coverages = [Coverage(judge) for judge in self._checker.judges]
        self._outcomes: dict[tuple[str, ...], int] = {}
        self._kept = array("Q")

    def add(self, packet: Packet) -> None:
        """Judge one packet's traversals."""
        for traversal in packet.traversals:
            self._judge(traversal)

    def _judge(self, traversal: Traversal) -> None:
        from kpath.model.check import span

        judgements = self._checker.judge(traversal, self._source.knowledge)
        when = span(traversal)
        for coverage, judgement in zip(self._coverages, judgements, strict=True):
            coverage.add(judgement)
            if judgement.verdict.value == "diverges":
                self._divergences.add(judgement, traversal, when, self._source.knowledge)
        outcome = tuple(judgement.verdict.value for judgement in judgements)
        self._kept.extend((*when, self._outcomes.setdefault(outcome, len(self._outcomes))))

    def covered(self) -> list[Covered]:
        """What is to be said at the end."""
        from kpath.model.coverage import State
        from kpath.report.export.drawn import draw

        found = []
        judged = zip(self._checker.judges, self._coverages, self._verdicts(), strict=True)
        for judge, coverage, verdicts in judged:
            counts = coverage.counts()
            tree = tuple(draw(judge.document, coverage.steps()))
            unseen = sorted({step.function for step in coverage.steps() if step.state is State.NOT_SEEN})
            seen = counts[State.SEEN] + counts[State.IMPLIED] + counts[State.PASSED]
            steps = seen + counts[State.NOT_SEEN]
            found.append(
                Covered(coverage.document, seen, steps, counts[State.INVISIBLE], tuple(unseen), tree, dict(verdicts))
            )
        return found

    def divergences(self) -> tuple[list[Divergence], int]:
        """What is wrong where nothing was lost; and how many more findings there was no room for."""
        return self._divergences.certain(self._lossy().during)

    def _lossy(self) -> _Lossy:
        return _Lossy([*self._source.assembler.gaps, *self._source.assembler.losses])

    def _verdicts(self) -> list[Counter[str]]:
        from kpath.model.verdict import Verdict

        lossy = self._lossy()
        outcomes = list(self._outcomes)
        totals: list[Counter[str]] = [Counter() for _ in self._coverages]
        for at in range(0, len(self._kept), 3):
            begin, end, number = self._kept[at : at + 3]
            lost = lossy.during(begin, end)
            for total, verdict in zip(totals, outcomes[number], strict=True):
                if verdict != Verdict.NOT_COVERED:
                    total[Verdict.INCONCLUSIVE.value if lost else verdict] += 1
        return totals


class _Lossy:
    """The times at which something was lost, for many questions."""

    def __init__(self, losses: list[Loss]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for loss in sorted(losses, key=lambda loss: loss.start):
            if self._ends and loss.start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], loss.end)
            else:
                self._starts.append(loss.start)
                self._ends.append(loss.end)

    def during(self, begin: int, end: int) -> bool:
        """Was anything lost between these two times (ns)?"""
        before = bisect_right(self._starts, end)
        return before > 0 and self._ends[before - 1] >= begin
