"""A recording as a feed: read once, then shown as it was at any moment of it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kpath.dashboard.aggregate import Aggregates
from kpath.dashboard.digest import Packet
from kpath.dashboard.feed import PERIOD, learn
from kpath.dashboard.judge import JudgeMaker
from kpath.dashboard.pipeline import BUSY, FULL, Pipeline
from kpath.dashboard.snapshot import Snapshot
from kpath.flow import Document
from kpath.trace.lives import Journey

MAX_DETAILED = 5000
"""Packets whose steps are kept; of later ones those on new paths, and a sample."""
MAX_PACKETS = 200_000
"""Packets kept at all."""
CHECKPOINTS = 64
"""Places from which the counts need not be made anew."""


class Timeline:
    """The packets of a recording in the order in which they ended, and the counts after any number of them."""

    def __init__(self, started: int, has_judge: bool = False) -> None:
        self.started = started
        self.packets: list[Packet] = []
        self._has_judge = has_judge
        self._now = Aggregates(started)
        self._position = 0
        self._checkpoints: list[tuple[int, Aggregates]] = []

    def settle(self, packets: Iterable[Packet], counts: Aggregates) -> None:
        """All packets are known. ``counts`` knows the functions of their paths."""
        self.packets = sorted(packets, key=lambda p: p.last)
        counts.started = self.started
        self._checkpoints = [(0, counts)]
        self._position, self._now = 0, counts.copy()
        stride = max(500, len(self.packets) // CHECKPOINTS)
        for position in range(stride, len(self.packets) + 1, stride):
            self._checkpoints.append((position, self.at(position).copy()))

    def at(self, position: int) -> Aggregates:
        """The counts after so many packets."""
        position = max(0, min(position, len(self.packets)))
        checkpoint = self._checkpoints[bisect_right([at for at, _ in self._checkpoints], position) - 1]
        if not checkpoint[0] <= self._position <= position:
            self._position, self._now = checkpoint[0], checkpoint[1].copy()
        for packet in self.packets[self._position : position]:
            self._now.fold(packet, self._has_judge)
        self._position = position
        return self._now

    def time(self, position: int) -> int:
        """When the packet ended that is the last of so many (ns)."""
        if not self.packets or position < 1:
            return self.started
        return self.packets[min(position, len(self.packets)) - 1].last


class Recording:
    """Reads the chunks in a thread of its own, which afterwards answers ``seek``."""

    def __init__(self, chunks: Iterable[object], judge_maker: JudgeMaker | None = None, *, arp: bool = False) -> None:
        self.failure: BaseException | None = None
        self.length = 0
        self._chunks = chunks
        self._pipeline = Pipeline(judge_maker, arp=arp)
        self._timeline = Timeline(0, self._pipeline.judge is not None)
        self._skipped = 0
        self._latest: Snapshot | None = None
        self._wanted: int | None = None
        self._stopping = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="kpath-recording", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End at once; there is nothing to be undone."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def latest(self) -> Snapshot | None:
        """The newest snapshot, once."""
        with self._change:
            taken, self._latest = self._latest, None
        return taken

    def seek(self, position: int) -> None:
        """Show the recording as it was after so many packets."""
        with self._change:
            self._wanted = max(0, min(position, self.length))
            self._change.notify()

    @property
    def judged(self) -> bool:
        """Are paths checked against documents?"""
        return self._pipeline.judge is not None

    @property
    def documents(self) -> Sequence[Document]:
        """What the judge judges by; none without a judge."""
        judge = self._pipeline.judge
        return tuple(judge.documents) if judge is not None else ()

    # ---- the thread ----

    def _run(self) -> None:
        try:
            self.load()
        except BaseException as error:
            self.failure = error
        self.show(self.length)
        while True:
            with self._change:
                self._change.wait_for(lambda: self._stopping or self._wanted is not None)
                if self._stopping:
                    return
                position, self._wanted = self._wanted or 0, None
            self.show(position)

    def load(self) -> None:
        """Read it all; meanwhile the counts so far are published."""
        packets: list[Packet] = []
        so_far, known = Aggregates(), Aggregates()
        published = time.monotonic()
        try:
            for chunk in self._chunks:
                if self._stopping:
                    return
                self._take(self._pipeline.take(chunk), packets, so_far, known)
                if time.monotonic() - published >= PERIOD:
                    published = time.monotonic()
                    self._set(replace(self._complete(so_far.snapshot(self._pipeline.assembler.now)), state="reading"))
        finally:
            # A damaged file is shown up to the damage.
            self._take(self._pipeline.flush(), packets, so_far, known)
            self._timeline.started = min((p.begin for p in packets), default=0)
            self._timeline.settle(packets, known)
            self.length = len(packets)

    def _take(self, journeys: Iterable[Journey], packets: list[Packet], so_far: Aggregates, known: Aggregates) -> None:
        for journey in journeys:
            self._pipeline.effort = FULL if len(packets) < MAX_DETAILED else BUSY
            if len(packets) >= MAX_PACKETS:
                self._skipped += 1
                continue
            packet = self._pipeline.packet(journey)
            packets.append(packet)
            learn(so_far, self._pipeline, packet)
            learn(known, self._pipeline, packet)
            so_far.fold(packet, self._pipeline.judge is not None)

    def show(self, position: int) -> None:
        """Make the snapshot of a moment."""
        snapshot = self._timeline.at(position).snapshot(self._timeline.time(position))
        problem = getattr(self._chunks, "problem", None)  # a CaptureReader knows at the end whether that was all
        state = str(problem) if problem else ""
        if self.failure:
            state = f"the recording cannot be read further: {self.failure}"
        self._set(replace(self._complete(snapshot), position=(position, self.length), state=state))

    def _complete(self, snapshot: Snapshot) -> Snapshot:
        """With what only the stream knows. Losses are those of the whole recording: they have no packet to stand at."""
        omitted = replace(snapshot.omitted, packets=snapshot.omitted.packets + self._skipped)
        return replace(
            snapshot,
            events=self._pipeline.assembler.events,
            lost=self._pipeline.lost,
            missed=self._pipeline.missed,
            full=self._pipeline.full,
            probes=self._pipeline.probes,
            omitted=omitted,
            failed=self.failure is not None,
        )

    def _set(self, snapshot: Snapshot) -> None:
        with self._change:
            self._latest = snapshot
