"""The stream of a capture's chunks becomes finished journeys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kpath.capture.schema import Kind
from kpath.capture.tables import Facts, Loss, Names, Symbols
from kpath.trace.frames import Event, FrameBuilder, events_of
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey, Lives
from kpath.trace.order import Order

LINGER_NS = 100_000_000
IDLE_NS = 5_000_000_000


class Assembler:
    """Feed it chunks, get journeys when they are finished.

    ``linger`` is how long (ns of the stream) a journey whose buffers are all gone is kept open for what may still
    belong to it; ``idle`` how long one is kept whose buffers are not. ``losses`` collects what the kernel side
    reports as lost or missed, ``gaps`` the same losses as found, more exactly in time, in the numbers of the events.
    """

    def __init__(self, knowledge: Knowledge | None = None, linger: int = LINGER_NS, idle: int = IDLE_NS) -> None:
        self.knowledge = knowledge or Knowledge()
        self.frames = FrameBuilder(self.knowledge)
        self.lives = Lives()
        self.losses: list[Loss] = []
        self.gaps: list[Loss] = []
        self.now = 0
        self.events = 0
        self._order = Order()
        self._pending_gaps: list[Loss] = []
        self._linger = linger
        self._idle = idle

    def feed(self, chunk: object) -> list[Journey]:
        """Take one chunk of a capture; returns the journeys that are finished now."""
        if isinstance(chunk, np.ndarray):
            ready, gaps = self._order.push(chunk)
            self._pending_gaps += gaps
            self.gaps += gaps
            return self._take(ready)
        if isinstance(chunk, Symbols | Names):
            self.knowledge.add(chunk)
        elif isinstance(chunk, Facts):
            self.knowledge.add_facts(chunk.values)
        elif isinstance(chunk, Loss):
            self.losses.append(chunk)
        return []

    def tick(self, now: int) -> list[Journey]:
        """The clock (CLOCK_MONOTONIC, ns) went on; returns the journeys that are finished by it."""
        done = self._take(self._order.tick(now))
        self.now = max(self.now, now)
        return done + self._finished()

    def flush(self) -> list[Journey]:
        """The stream is over: all journeys that are left, finished or not."""
        done = self._take(self._order.flush())
        return done + self.lives.finished(self.now + self._idle + 1, -1, -1)

    def run(self, chunks: Iterable[object]) -> Iterator[Journey]:
        """All journeys of a stream."""
        for chunk in chunks:
            yield from self.feed(chunk)
        yield from self.flush()

    def lost_during(self, begin: int, end: int) -> list[Loss]:
        """What was lost or missed while a packet lived (times in ns)."""
        return [loss for loss in (*self.gaps, *self.losses) if loss.start <= end and loss.end >= begin]

    def _take(self, rows: Any) -> list[Journey]:
        for event in events_of(rows):
            self._one(event)
        return self._finished() if len(rows) else []

    def _one(self, event: Event) -> None:
        self.events += 1
        self.now = max(self.now, event.time)
        if self._pending_gaps and any(gap.end <= event.time for gap in self._pending_gaps):
            # What stood on the stacks before a gap may have been replaced unseen: adopt nothing from there.
            self._pending_gaps = [gap for gap in self._pending_gaps if gap.end > event.time]
            self.frames.forget()
        if event.kind == Kind.ENTRY:
            frame = self.frames.entry(event)
            if event.skb:
                self.lives.frame(frame)
        elif event.kind == Kind.VERDICT:
            self.frames.verdict(event)
        else:
            self.lives.drop(event, self.knowledge.drop_reason(event.value), self.knowledge.function(event.caller))

    def _finished(self) -> list[Journey]:
        return self.lives.finished(self.now, self._linger, self._idle)
