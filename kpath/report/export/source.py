"""A capture file as a stream of packets, with no more in memory than what is still under way."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from kpath.capture.reader import CaptureReader
from kpath.capture.records import Events
from kpath.capture.tables import Footer, Header, Loss
from kpath.trace.assemble import Assembler
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.traversal import Traversal, traversals


class Packet(NamedTuple):
    """A finished journey and its traversals in the order of time."""

    journey: Journey
    traversals: list[Traversal]


class _Reader(CaptureReader):
    @property
    def position(self) -> int:
        """Bytes read as whole chunks."""
        return self._decoder.offset


class Source:
    """Reads a capture; ``packets`` is iterated once, everything else is whole when that has ended.

    A packet is whole only until the next is asked for; then its frames are let go of, so that memory stays bounded.
    Packets that do not match the capture's filter are left out, as in ``kpath show``, and those of ARP unless
    ``arp``. ``only`` are the numbers of the journeys wanted, empty for all. ``on_events`` is given the events as they
    are read, after the names of their functions; ``on_progress`` is called after each chunk with the bytes read.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, arp: bool = False, only: Collection[int] = (), salvage: bool = False
    ) -> None:
        """Opens the file ("-" is stdin). Raises CaptureError, as the iteration does."""
        self._reader = _Reader(path, salvage=salvage)
        self._arp = arp
        self._only = frozenset(only)
        self._losses_given = 0
        self.assembler = Assembler()
        self.footer: Footer | None = None
        self.shown = 0
        """Packets given so far."""
        self.horizon = 0
        """The time (ns) before which no packet that is still to come was first seen."""
        self.on_events: Callable[[Events], None] | None = None
        self.on_progress: Callable[[int], None] | None = None

    @property
    def name(self) -> str:
        """The file's name for people."""
        return self._reader.name

    @property
    def header(self) -> Header:
        """The capture's header."""
        return self._reader.header

    @property
    def knowledge(self) -> Knowledge:
        """The names of what is in the events; grows while packets are read."""
        return self.assembler.knowledge

    @property
    def problem(self) -> str | None:
        """Why the capture was not read whole, as one sentence."""
        return self._reader.problem

    @property
    def lost(self) -> int:
        """Events that the kernel side could not hand over."""
        return sum(sum(loss.lost.values()) for loss in self.assembler.losses)

    @property
    def missed(self) -> int:
        """Hits at which a probe did not run."""
        return sum(sum(loss.missed.values()) for loss in self.assembler.losses)

    @property
    def tables_full(self) -> int:
        """Packets and stacks for which the kernel side had no room."""
        return sum(sum(loss.tables.values()) for loss in self.assembler.losses)

    def wall(self, time: int) -> int:
        """A time of the events (CLOCK_MONOTONIC, ns) as ns since 1970."""
        return self.header.wall_ns + time - self.header.monotonic_ns

    def packets(self) -> Iterator[Packet]:
        """The packets in the order in which they are finished."""
        for chunk in self._reader:
            if isinstance(chunk, Footer):
                self.footer = chunk
            yield from self._wanted(self.assembler.feed(chunk))
            if isinstance(chunk, np.ndarray) and self.on_events is not None:
                self.on_events(chunk)
            if self.on_progress is not None:
                self.on_progress(self._reader.position)
        yield from self._wanted(self.assembler.flush())

    def new_losses(self) -> list[Loss]:
        """The losses read since this was last asked."""
        found = self.assembler.losses[self._losses_given :]
        self._losses_given += len(found)
        return found

    def _wanted(self, journeys: list[Journey]) -> Iterator[Packet]:
        if not journeys:
            return
        open_since = min((j.first for j in self.assembler.lives.journeys.values()), default=self.assembler.now)
        horizon = min(self.assembler.now, open_since)
        horizons: list[int] = []
        for journey in reversed(journeys):
            horizons.append(horizon)
            horizon = min(horizon, journey.first)
        for journey in journeys:
            self.horizon = horizons.pop()
            if (not self._only or journey.number in self._only) and journey.wanted(arp=self._arp):
                self.shown += 1
                yield Packet(journey, traversals(journey))
            journey.let_go()

    def close(self) -> None:
        """Closes the file; harmless when called twice."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
