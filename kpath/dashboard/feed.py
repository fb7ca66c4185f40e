"""The thread that consumes the stream and publishes snapshots.

It never waits for the view, and the view never waits for it: a snapshot that the view did not take in time is replaced
by the next one. When the thread falls behind the kernel, it does less for each packet, and says what it left out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from kpath.capture.looks import EVENTS, PATHS, Look, Switched
from kpath.capture.tables import Facts, Header, PlannedProbe
from kpath.dashboard.aggregate import Aggregates, Rate
from kpath.dashboard.counted import Counted
from kpath.dashboard.digest import Packet
from kpath.dashboard.judge import JudgeMaker
from kpath.dashboard.later import Later
from kpath.dashboard.pipeline import BUSY, FULL, Observer, Pipeline
from kpath.dashboard.referee import Referee
from kpath.dashboard.snapshot import Snapshot
from kpath.flow import Document
from kpath.model.check import Checker
from kpath.trace.lives import Journey

PERIOD = 0.25
"""Seconds between two snapshots."""
BEHIND, FAR_BEHIND = 1.0, 5.0
"""Seconds behind the kernel at which less is done for each packet, and at which packets are only counted."""
ONE_IN = 8
"""When far behind, one in so many packets is more than counted."""

Clock = Callable[[], int]
"""CLOCK_MONOTONIC, ns."""


class Feed(Protocol):
    """Where the view gets its snapshots from."""

    @property
    def failure(self) -> BaseException | None:
        """What ended the stream, if it was an error."""
        ...

    @property
    def length(self) -> int:
        """How many packets one can travel over; 0 when this is no recording."""
        ...

    def start(self) -> None:
        """Begin to consume."""
        ...

    def stop(self, timeout: float) -> bool:
        """End; returns whether the thread is gone within ``timeout`` seconds."""
        ...

    def latest(self) -> Snapshot | None:
        """The newest snapshot, once; None when there is none that was not taken yet."""
        ...

    def seek(self, position: int) -> None:
        """Show the recording as it was after so many packets."""
        ...


class LiveFeed:
    """A running capture. ``stop_stream`` asks the capture to end; the stream then ends by itself, in good order."""

    def __init__(
        self,
        stream: Iterable[object],
        judge_maker: JudgeMaker | None = None,
        *,
        arp: bool = False,
        stop_stream: Callable[[], None] | None = None,
        observe: Observer | None = None,
        clock: Clock = time.monotonic_ns,
        cpu: Callable[[], float] = time.process_time,
        settled: Callable[[], int] | None = None,
        checkers: Callable[[Header], Checker] | None = None,
    ) -> None:
        """``settled`` tells the time (ns) until which all events have been handed over; without it the clock does.

        ``checkers`` makes the checker of a capture that begins later: of counted paths, and of events after these.
        """
        self.failure: BaseException | None = None
        self.length = 0
        self.lag = 0.0
        """Seconds by which the events read last were older than the clock."""
        self._stream = stream
        self._pipeline, self._arp = Pipeline(judge_maker, arp=arp, observe=observe), arp
        self._aggregates = Aggregates()
        self._checkers = checkers
        self._checker: tuple[Sequence[PlannedProbe], Later[Checker]] | None = None
        self._counted: Counted | None = None
        self._mode, self._said = EVENTS, ""
        self._stop_stream = stop_stream or (lambda: None)
        self._clock = clock
        self._settled = settled or clock
        self._cpu = cpu
        self._cpu_before = cpu(), clock()
        self._share: float | None = None
        self._events = Rate()
        self._stopping = False
        self._turn = 0
        self._published = 0
        self._latest: Snapshot | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="kpath-dashboard", daemon=True)

    def start(self) -> None:
        """Begin to consume."""
        self._aggregates.started = self._clock()
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Ask the stream to end, and wait; what still comes is read, but not looked at."""
        self._stopping = True
        self._stop_stream()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def latest(self) -> Snapshot | None:
        """The newest snapshot, once."""
        with self._lock:
            taken, self._latest = self._latest, None
        return taken

    def seek(self, position: int) -> None:
        """A running capture has no place to go back to; the view keeps the last packets."""

    def counted(self) -> Counted | None:
        """What the kernel counted, None as long as it has not."""
        return self._counted

    @property
    def judged(self) -> bool:
        """Are paths checked against documents?"""
        return self._pipeline.judge is not None or self._checkers is not None

    @property
    def documents(self) -> Sequence[Document]:
        """What the judge judges by; none without a judge."""
        judge = self._pipeline.judge
        return tuple(judge.documents) if judge is not None else ()

    # ---- the thread ----

    def _run(self) -> None:
        state = "the capture has ended"
        try:
            for chunk in self._stream:
                if self._stopping:
                    continue
                self.take(chunk)
                if self._clock() - self._published >= PERIOD * 1e9:
                    self.publish()
            self._fold(self._pipeline.flush())
            if self._pipeline.footer is not None and self._pipeline.footer.reason:
                state = f"the capture has ended ({self._pipeline.footer.reason})"
        except BaseException as error:
            self.failure = error
            state = f"the capture failed: {error}"
        self.publish(state)

    def take(self, chunk: object) -> None:
        """Consume one chunk."""
        if isinstance(chunk, Look):
            self._look(chunk)
            return
        if isinstance(chunk, Switched):
            self._switch(chunk)
            return
        before = self._pipeline.events
        self._measure(chunk)
        self._fold(self._pipeline.take(chunk))
        # While there is a backlog, journeys that the clock would end have events waiting: the stream's time decides.
        if self.lag < BEHIND:
            self._fold(self._pipeline.tick(self._settled()))
        # Either may release events that were held back to be put in order.
        self._events.add(self._clock(), self._pipeline.events - before)

    def _look(self, look: Look) -> None:
        """The kernel counted."""
        assert self._counted is not None
        for table in look.tables:
            if isinstance(table, Facts):
                self._pipeline.learn(table)
        self._counted.take(look)
        if self._checker is not None and self._checker[1].done:
            self._counted.judge_by(self._checker[1].result())

    def _switch(self, switched: Switched) -> None:
        """Another capture begins; what was seen of the one before is kept."""
        news, self._said = switched.words != self._said, switched.words
        if switched.header is None:
            if news or self._clock() - self._published >= PERIOD * 1e9:
                self.publish()
            return
        self._fold(self._pipeline.flush())
        self.lag = 0.0
        self._mode = switched.mode
        self.publish()
        if switched.mode == PATHS:
            if self._counted is None:
                self._counted = Counted(None, digests=True, arp=self._arp)
            self._counted.resume(self._pipeline.number)
            self._judge_by(switched.header)
            self._pipeline.renew(self._pipeline.number)
        elif self._counted is not None:
            self._counted.close()
            checkers, header = self._checkers, switched.header
            judges = (lambda assembler: Referee(checkers(header), assembler)) if checkers else None
            self._pipeline.renew(self._counted.number, judges)

    def _judge_by(self, header: Header) -> None:
        """Have a checker made for these probes, unless there is one: it takes long, and counts are shown before."""
        if self._checkers is not None and (self._checker is None or self._checker[0] != header.probes):
            self._checker = header.probes, Later(partial(self._checkers, header))

    def _measure(self, chunk: object) -> None:
        """How far behind? An empty chunk says that nothing is waiting."""
        if isinstance(chunk, np.ndarray):
            self.lag = max(0.0, (self._clock() - int(chunk["time"].max())) / 1e9) if len(chunk) else 0.0

    def _fold(self, journeys: Iterable[Journey]) -> None:
        self._pipeline.effort = BUSY if self.lag >= BEHIND else FULL
        for journey in journeys:
            self._turn += 1
            if self.lag >= FAR_BEHIND and self._turn % ONE_IN:
                self._aggregates.skip(journey.last)
                if self._pipeline.observe is not None:
                    self._pipeline.observe.skipped()
                journey.let_go()
                continue
            packet = self._pipeline.packet(journey)
            learn(self._aggregates, self._pipeline, packet)
            self._aggregates.fold(packet, self._pipeline.judge is not None)
            if self._clock() - self._published >= PERIOD * 1e9:
                self.publish()

    def publish(self, state: str = "") -> None:
        """Make a snapshot for the view."""
        now = self._clock()
        self._published = now
        spent, when = self._cpu(), self._cpu_before[1]
        if now - when >= 1e9 or self._share is None:
            if now > when:
                self._share = (spent - self._cpu_before[0]) / ((now - when) / 1e9)
            self._cpu_before = spent, now
        aggregates, counting = self._aggregates, None
        if self._counted is not None:
            aggregates, counting = aggregates.copy(), self._counted.counting()
            self._counted.fold(aggregates)
        snapshot = replace(
            aggregates.snapshot(now, int(self.lag * 1e9)),
            mode=self._mode,
            said=self._said,
            counting=counting,
            events=self._pipeline.events,
            event_rate=self._events.at(now, self._aggregates.started),
            lost=self._pipeline.lost,
            missed=self._pipeline.missed + (counting.missed if counting else 0),
            full=self._pipeline.full,
            probes=self._pipeline.probes,
            cpu=self._share,
            lag=self.lag,
            state=state,
            failed=self.failure is not None,
        )
        with self._lock:
            self._latest = snapshot


def learn(aggregates: Aggregates, pipeline: Pipeline, packet: Packet) -> None:
    """Tell the counts which functions the packet's paths go through."""
    for one in packet.passes:
        if one.variant in pipeline.learned:
            aggregates.learn(one.variant, pipeline.learned[one.variant])
