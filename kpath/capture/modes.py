"""One capture that may go from events to counted paths and back while it runs.

The next mode is made ready by a thread of its own while the present one goes on; when its probes are attached, those of
the present one are taken off. So both are attached for that moment only. Events that are too many are not read
meanwhile, for that would take the time that the other mode needs to begin; they count as lost.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from time import strftime

import numpy as np

from kpath.capture.counting import PathSource
from kpath.capture.governor import Governor
from kpath.capture.live import LiveSource
from kpath.capture.looks import EVENTS, PATHS, Governed, Look, Switched
from kpath.capture.overload import Calm, Overload
from kpath.capture.reader import Chunk
from kpath.capture.records import Events
from kpath.capture.runtime import RunTime
from kpath.capture.session import Options, Session
from kpath.capture.tables import Footer

PERIOD = 1.0
"""Seconds between two looks at counted paths."""
PIECE = 4096
"""Events that are handed over at once, so that whoever reads them comes back soon."""
GRACE = 1.0
"""Seconds for which waiting events are still handed over when the mode changes; those after that count as lost."""


class Modes:
    """A running capture. ``chunks`` is iterated by one thread; ``go`` may be called by any other."""

    def __init__(
        self,
        source: LiveSource,
        options: Options,
        filter_text: str = "",
        *,
        auto: bool = False,
        budget: float | None = None,
        fixed: str = "",
    ) -> None:
        """``source`` is of the session that has been started, in the mode of its options; ``options`` are for others.

        ``auto``: change by oneself. ``budget`` is the share of the machine (0 to 1) that this may take. ``fixed`` says
        why the mode cannot change.
        """
        self.mode = source.session.options.mode
        self._source = source
        self._options = options
        self._filter = filter_text
        self._auto = auto and not fixed
        self._budget = budget
        self._fixed = fixed
        self._wanted = self._said = ""
        self._opening: _Opening | None = None
        self._calm = Calm()
        self._hits = 0
        self._until: Callable[[], str] = str
        self._ended = ""
        self._over = False
        """The source has ended by itself."""
        self._hello: Switched | None = Switched(PATHS, "", source.header()) if self.mode == PATHS else None
        """To be said when the mode begins."""

    # ---- what others ask ----

    def go(self) -> str:
        """The user wants the other mode, and from now on no change without being asked. Returns what to say."""
        if self._fixed:
            return self._fixed
        if self._wanted or self._opening:
            return "The mode is about to change."
        self._auto = False
        self._wanted = PATHS if self.mode == EVENTS else EVENTS
        return _GOING[self._wanted]

    @property
    def settled(self) -> int:
        """As of :class:`LiveSource`."""
        return self._source.settled

    def programs(self) -> list[int]:
        """File descriptors of the BPF programs that make events; none while paths are counted."""
        return self._source.programs() if self.mode == EVENTS else []

    def hits(self) -> int:
        """How often these ran on functions so far."""
        if self.mode == EVENTS:
            return self._hits + self._source.hits()
        return self._hits

    # ---- the stream ----

    def chunks(self, until: Callable[[], str]) -> Iterator[Chunk | Look | Switched]:
        """Chunks of events, or looks at what was counted, until ``until`` gives a reason to end; a Switched wherever
        that changes. A Footer is last."""
        self._until = until
        try:
            while not (self._over or self._ended or until()):
                yield from self._events() if self.mode == EVENTS else self._counts()
        finally:
            self.close()
        if self._ended or self.mode == PATHS:
            yield Footer(self._ended or until(), time.monotonic_ns())

    def close(self) -> None:
        """End the capture, whatever it does. Harmless after the end."""
        _end(self._source)
        if self._opening is not None:
            self._opening.abandon()

    def _events(self) -> Iterator[Chunk | Look | Switched]:
        if self._hello is not None:
            yield self._hello
        watch = _Watch(self._source, self._budget)
        leaving: list[str] = []
        deadline = math.inf
        unread: Events | None = None
        stream = self._source.chunks(lambda: self._until() or "".join(leaving))
        try:
            for piece, rest in _pieces(stream):
                if isinstance(piece, Footer):
                    if not leaving:
                        self._over = True
                        yield piece
                    break
                yield piece
                if time.monotonic() > deadline:
                    unread = rest
                    break
                if leaving:
                    continue
                overloaded = self._auto and self._opening is None and (why := watch.look(piece))
                if overloaded:
                    yield from self._change(PATHS, why)
                    yield from self._hold()
                yield from self._make_way(leaving)
                if leaving:
                    deadline = time.monotonic() + (0.0 if overloaded else GRACE)
            else:
                self._over = not leaving
        finally:
            stream.close()
            watch.close()
        if leaving:
            self._hits += self._source.hits()
            _end(self._source)
            if (loss := self._source.rest(unread)) is not None:
                yield loss
            self._arrive()

    def _hold(self) -> Iterator[Switched]:
        """Wait for the other mode. Its beginning is what matters: events that come meanwhile are not read."""
        self._source.hold()
        while self._opening is not None and not self._opening.done and not self._until():
            time.sleep(0.1)
            yield Switched(self.mode, self._said)
        self._source.hold(False)

    def _counts(self) -> Iterator[Chunk | Look | Switched]:
        session = self._source.session
        source = PathSource(session)
        runtime = RunTime(self._source.programs)
        governor = Governor(self._budget or math.inf, runtime, source.sample)
        packets = seen = 0
        leaving: list[str] = []
        self._calm.begin(time.monotonic())
        # Learn names before whoever is told prepares to judge, which takes long: namespaces may go meanwhile.
        first = source.look()
        if self._hello is not None:
            yield self._hello
        yield first
        try:
            while not (leaving or self._until()):
                self._pause(governor)
                if self._ended:
                    break
                look = source.look()
                yield replace(look, governed=self._governed(governor))
                packets, seen = packets + (look.account.born - seen) * governor.one_in, look.account.born
                if self._auto and (why := self._calm.tell(time.monotonic(), packets)):
                    yield from self._change(EVENTS, why)
                yield from self._make_way(leaving)
            session.detach()
            yield replace(source.look(), governed=self._governed(governor))
        finally:
            runtime.close()
        if leaving:
            _end(self._source)
            self._arrive()

    def _pause(self, governor: Governor) -> None:
        end = time.monotonic() + PERIOD
        while not (self._ended or self._until()) and time.monotonic() < end:
            time.sleep(0.05)
            self._ended = governor.tick()

    def _governed(self, governor: Governor) -> Governed:
        return Governed(governor.one_in, governor.share, self._budget, governor.why)

    # ---- changing ----

    def _change(self, mode: str, why: str) -> Iterator[Switched]:
        """Begin to make the other mode ready, and say so."""
        if self._opening is None:
            self._opening = _Opening(replace(self._options, mode=mode), self._filter, why)
            self._said = _GOING[mode].replace(" …", f", because {why} …" if why else " …")
            yield Switched(self.mode, self._said)

    def _make_way(self, leaving: list[str]) -> Iterator[Switched]:
        """Adds to ``leaving`` why to end the present mode, as soon as the next one runs."""
        if self._wanted and self._opening is None:
            mode, self._wanted = self._wanted, ""
            yield from self._change(mode, "")
        if self._opening is None or not self._opening.done:
            return
        if self._opening.error:
            self._auto = False
            kind = "Paths cannot be counted" if self.mode == EVENTS else "Events cannot be captured"
            yield Switched(self.mode, f"{kind}, so this goes on as it was: {self._opening.error}")
            self._opening = None
            return
        leaving.append("the mode changes")

    def _arrive(self) -> None:
        opened, self._opening = self._opening, None
        assert opened is not None and opened.source is not None
        self._source, self.mode = opened.source, opened.mode
        what = "Paths are counted" if self.mode == PATHS else "Every event is read again"
        words = f"{what} since {strftime('%H:%M:%S')}, because {opened.why or 'you asked for it'}."
        self._hello = Switched(self.mode, words, self._source.header())


_GOING = {PATHS: "Going over to counting paths …", EVENTS: "Going back to events …"}


class _Opening(threading.Thread):
    """Starts the session of the next mode."""

    def __init__(self, options: Options, filter_text: str, why: str) -> None:
        super().__init__(name="kpath-mode", daemon=True)
        self.mode = options.mode
        self.why = why
        self.source: LiveSource | None = None
        self.error = ""
        self._options = options
        self._filter = filter_text
        self._lock = threading.Lock()
        self._abandoned = False
        self.start()

    def run(self) -> None:
        session = Session(self._options)
        try:
            session.start()
            source = LiveSource(session, self._filter)
        except Exception as error:  # whatever it is, the present mode goes on, and says so
            session.stop()
            self.error = str(error).splitlines()[0] if str(error) else type(error).__name__
            return
        with self._lock:
            if not self._abandoned:
                self.source = source
                return
        _end(source)

    @property
    def done(self) -> bool:
        """Does it run, or has it failed?"""
        return not self.is_alive()

    def abandon(self) -> None:
        """Nobody needs it any more. Waits, because nothing may be left attached."""
        with self._lock:
            self._abandoned = True
        self.join()
        if self.source is not None:
            _end(self.source)


def _end(source: LiveSource) -> None:
    source.close()
    source.session.stop()


def _pieces(stream: Iterable[Chunk]) -> Iterator[tuple[Chunk, Events | None]]:
    """The same chunks, events a few thousand at a time, with what is left of them."""
    for chunk in stream:
        if not isinstance(chunk, np.ndarray) or len(chunk) <= PIECE:
            yield chunk, None
            continue
        for at in range(0, len(chunk), PIECE):
            yield chunk[at : at + PIECE], chunk[at + PIECE :]


class _Watch:
    """Tells the rules of overload what a capture of events comes to."""

    def __init__(self, source: LiveSource, budget: float | None) -> None:
        self._session = source.session
        self._overload = Overload(budget)
        self._runtime = RunTime(source.programs) if budget is not None else None
        self._meter = Governor(math.inf, self._runtime, lambda _one_in: None) if self._runtime else None
        self._lag = 0.0

    def look(self, piece: Chunk) -> str:
        """Why to give up events, "" to go on."""
        if isinstance(piece, np.ndarray):
            self._lag = max(0.0, (time.monotonic_ns() - int(piece["time"].max())) / 1e9) if len(piece) else 0.0
        if not self._overload.due(time.monotonic()):
            return ""
        share, measured = None, 0.0
        if self._meter and self._runtime:
            self._meter.tick()
            share, measured = self._meter.share, self._runtime.seconds
        lost = sum(self._session.totals().lost.values())
        return self._overload.tell(time.monotonic(), lost, self._lag, share, measured)

    def close(self) -> None:
        """The kernel need not measure any more."""
        if self._runtime:
            self._runtime.close()
