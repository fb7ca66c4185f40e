"""One capture for many scenarios, and the journeys that it saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np

from kpath.capture.schema import Kind
from kpath.capture.session import Options
from kpath.capture.tables import Names, Symbols
from kpath.lab.record import Recorder, Take
from kpath.trace.assemble import Assembler
from kpath.trace.frames import Frame, FrameBuilder, events_of
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey

__all__ = ["Take", "Tracing"]


class Tracing(Recorder):
    """A recorder that knows what its events mean."""

    def __init__(self, options: Options | None = None, say: Callable[[str], None] | None = None) -> None:
        super().__init__(options, say)
        self.knowledge = Knowledge()

    def __enter__(self) -> Self:
        super().__enter__()
        self.knowledge.add_facts(self.facts)
        return self

    def learn(self, table: Symbols | Names) -> None:
        """For journeys."""
        self.knowledge.add(table)

    def journeys(self, take: Take) -> list[Journey]:
        """The journeys of one take."""
        assembler = Assembler(self.knowledge)
        return [*assembler.feed(take.events), *assembler.flush()]

    def frames(self, take: Take) -> list[Frame]:
        """All frames of one take, those without a packet too."""
        builder = FrameBuilder(self.knowledge)
        events = take.events[np.lexsort((take.events["seq"], take.events["time"]))]
        return [builder.entry(e) for e in events_of(events) if e.kind == Kind.ENTRY]
