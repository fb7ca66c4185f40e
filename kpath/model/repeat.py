"""Verdicts for a whole recording, each distinct group of events judged once (docs/internals.md, "Two assemblers").

``judge_file`` takes the fast way where it can, else the slow one. Both tell the same to whoever counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kpath.capture.file import CaptureReader, Facts, Header, Loss, Names, Symbols
from kpath.model.check import Checker, span
from kpath.model.verdict import Judgement
from kpath.trace import arrays
from kpath.trace.assemble import Assembler
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.order import Order
from kpath.trace.traversal import Traversal, traversals

SMALL = 1 << 20
"""A file of fewer bytes is judged sooner than the compiled code is loaded."""
MANY_FORMS = 1 << 16
"""More distinct groups than this, and all are forgotten and judged anew."""


class Count(Protocol):
    """Who is told what was found."""

    @property
    def checker(self) -> Checker:
        """Judges."""
        ...

    def note(self, traversal: Traversal, judgements: list[Judgement]) -> Any:
        """A traversal that may stand for many; returns what to call them by."""
        ...

    def add(self, what: Any, journeys: Any, times: Any) -> None:
        """So many traversals like that one: for each the number of its journey and the time (ns) of its first frame."""
        ...


@dataclass(slots=True)
class Outcome:
    """How a recording was judged."""

    problem: str | None = None
    """Why the recording is not complete."""
    events: int = 0
    fast: bool = False
    groups: int = 0
    """Groups of events with a packet; 0 when the slow way was taken, as below."""
    repeated: int = 0
    """Groups that were like one before."""
    lossy: int = 0
    """Groups that lived while something was lost: rebuilt and judged one by one."""
    late: int = 0
    """Frames whose caller was in a group that was closed before: shown as partial."""


def judge_file(
    path: str | os.PathLike[str],
    begin: Callable[[Header], Count],
    *,
    salvage: bool = False,
    fast: bool | None = None,
) -> tuple[Count, Outcome]:
    """Judges every traversal of the recording at ``path`` ("-" is stdin).

    ``begin`` makes the counter; it may be called again, when what was counted so far is void. ``fast``: the fast way or
    the slow one, by default whatever is sooner done. Raises CaptureError as :class:`CaptureReader` does.
    """
    if fast is None:
        fast = os.fspath(path) != "-" and arrays.available() and _size(path) >= SMALL
    if not fast:
        return _slowly(path, begin, salvage)
    done = _fast(path, begin, salvage, None)
    if done is None:  # something was lost, and what it concerns can only be told when all losses are known
        done = _fast(path, begin, salvage, _losses(path, salvage))
    assert done is not None
    return done


def _size(path: str | os.PathLike[str]) -> int:
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0


def _slowly(
    path: str | os.PathLike[str], begin: Callable[[Header], Count], salvage: bool
) -> tuple[Count, Outcome]:
    with CaptureReader(path, salvage=salvage) as reader:
        count = begin(reader.header)
        assembler = Assembler()
        journeys: list[Journey] = []
        for chunk in reader:
            journeys += assembler.feed(chunk)
        journeys += assembler.flush()
        # Losses are known only at the end: a chunk of them may stand after the events that it is about.
        for journey in journeys:
            for traversal in traversals(journey):
                judgements = count.checker.judge(
                    traversal, assembler.knowledge, assembler.lost_during(*span(traversal))
                )
                _add_one(count, journey, traversal, judgements)
        return count, Outcome(reader.problem, assembler.events)


def _add_one(count: Count, journey: Journey, traversal: Traversal, judgements: list[Judgement]) -> None:
    what = count.note(traversal, judgements)
    count.add(what, np.array([journey.number]), np.array([traversal.frames[0].time]))


def _losses(path: str | os.PathLike[str], salvage: bool) -> list[Loss]:
    """All that the recording says was lost, or that the numbers of its events show."""
    found: list[Loss] = []
    gaps: list[Loss] = []
    order = Order()
    with CaptureReader(path, salvage=salvage) as reader:
        for chunk in reader:
            if isinstance(chunk, Loss):
                found.append(chunk)
            elif isinstance(chunk, np.ndarray):
                gaps += order.gaps(chunk)
    return gaps + found


def _fast(
    path: str | os.PathLike[str], begin: Callable[[Header], Count], salvage: bool, losses: list[Loss] | None
) -> tuple[Count, Outcome] | None:
    """The fast way; None when something was lost that is not among ``losses``."""
    with CaptureReader(path, salvage=salvage) as reader:
        from kpath.capture import heap
        from kpath.trace.arrays.glance import Glance

        heap.keep()
        forms = Forms(begin(reader.header), losses or ())
        order = Order(glance=Glance())
        for chunk in reader:
            if isinstance(chunk, np.ndarray):
                parts, gaps = order.parts(chunk)
                if gaps and losses is None:
                    return None
                forms.take(parts, gaps)
            elif isinstance(chunk, Loss):
                if losses is None:
                    return None
            elif isinstance(chunk, Symbols | Names | Facts):
                forms.learn(chunk)
        forms.take([order.flush()], ())
        forms.flush()
        forms.outcome.problem = reader.problem
        return forms.count, forms.outcome


class Forms:
    """Judges groups of events, each form of them once."""

    def __init__(self, count: Count, losses: Iterable[Loss] = ()) -> None:
        """``losses``: all that there will be."""
        from kpath.trace.arrays.split import BLOCK, Splitter

        self.count = count
        self.outcome = Outcome(fast=True)
        self.knowledge = Knowledge()
        self._losses = list(losses)
        self._starts = np.array([loss.start for loss in self._losses], np.uint64)
        self._ends = np.array([loss.end for loss in self._losses], np.uint64)
        self._splitter = Splitter(self.knowledge)
        self._block = BLOCK
        self._forms: dict[bytes, list[tuple[int, Any]]] = {}
        """Key of a group → for each traversal the place of its first frame and what it is called."""

    def learn(self, chunk: Symbols | Names | Facts) -> None:
        """Take in a table of the recording."""
        if isinstance(chunk, Facts):
            before = dict(self.knowledge.drop_reasons)
            self.knowledge.add_facts(chunk.values)
            if before and before != self.knowledge.drop_reasons:
                self._splitter.forget_keys()
            return
        self.knowledge.add(chunk)
        if isinstance(chunk, Symbols):
            self._splitter.relearn()

    def take(self, parts: Sequence[Any], gaps: Iterable[Loss]) -> None:
        """Take in events in the order of time; ``gaps``: losses that their numbers have just shown."""
        many = sum(map(len, parts))
        self.outcome.events += many
        ends = [gap.end for gap in gaps]
        blocks = [parts]
        if many > self._block:
            blocks = [[part[at : at + self._block]] for part in parts for at in range(0, len(part), self._block)]
        for block in blocks:
            self._judge(self._splitter.take(block, ends))
            ends = []

    def flush(self) -> None:
        """The stream is over."""
        self._judge(self._splitter.flush())
        self.outcome.late = self._splitter.late

    def _judge(self, batch: Any) -> None:
        if not len(batch):
            return
        self.outcome.groups += len(batch)
        lossy = self._lossy(batch)
        for key, groups in batch.forms():
            if lossy is not None:
                for group in groups[lossy[groups]].tolist():
                    self._one_by_one(batch, group)
                groups = groups[~lossy[groups]]
                if not len(groups):
                    continue
            form = self._forms.get(key)
            self.outcome.repeated += len(groups) - (form is None)
            if form is None:
                if len(self._forms) >= MANY_FORMS:
                    self._forms.clear()
                form = self._forms[key] = self._new(batch, int(groups[0]))
            starts = batch.starts[groups]
            for place, what in form:
                self.count.add(what, batch.journeys(starts + place), batch.times(starts + place))

    def _lossy(self, batch: Any) -> Any:
        """For each group whether something was lost while it lived; None when nothing was lost at all."""
        if not self._losses:
            return None
        first, last = batch.times(batch.starts[:-1]), batch.times(batch.starts[1:] - 1)
        lossy = np.zeros(len(batch), np.bool_)
        for start, end in zip(self._starts, self._ends, strict=True):
            lossy |= (start <= last) & (end >= first)
        return lossy

    def _new(self, batch: Any, group: int) -> list[tuple[int, Any]]:
        return [
            (traversal.frames[0].index, self.count.note(traversal, self._judged(traversal, ())))
            for _, traversal in self._rebuilt(batch, group)
        ]

    def _one_by_one(self, batch: Any, group: int) -> None:
        self.outcome.lossy += 1
        for journey, traversal in self._rebuilt(batch, group):
            begin, end = span(traversal)
            lost = [loss for loss in self._losses if loss.start <= end and loss.end >= begin]
            _add_one(self.count, journey, traversal, self._judged(traversal, lost))

    def _rebuilt(self, batch: Any, group: int) -> Iterable[tuple[Journey, Traversal]]:
        from kpath.trace.arrays.rebuild import journeys_of

        for journey in journeys_of(batch.group(group), self.knowledge):
            for traversal in traversals(journey):
                yield journey, traversal

    def _judged(self, traversal: Traversal, lost: Iterable[Loss]) -> list[Judgement]:
        return self.count.checker.judge(traversal, self.knowledge, lost)
