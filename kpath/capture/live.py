"""A running capture as the stream of chunks that a capture file holds, so that readers need to know only one kind.

Two threads work. One drains the kernel's buffer into a queue in memory, so that a slow reader (a terminal, a disk)
loses no events; it also attaches to modules loaded meanwhile, and ends the capture. The reader's own thread makes the
chunks: before some events, what is needed to understand them; after them, what was lost.
"""

from __future__ import annotations

import platform
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from kpath import __version__
from kpath.capture import facts, heap, program
from kpath.capture.account import Batch, LossReport
from kpath.capture.addresses import Addresses
from kpath.capture.ending import CLOSED
from kpath.capture.errors import CaptureSetupError
from kpath.capture.naming import Naming
from kpath.capture.reader import Chunk
from kpath.capture.records import Events
from kpath.capture.resolve import Probe
from kpath.capture.ring import MOST
from kpath.capture.schema import EVENT
from kpath.capture.session import Session
from kpath.capture.tables import Fact, Facts, Footer, Header, Loss, Names, PlannedProbe, Symbols
from kpath.kernel import netstate
from kpath.kernel.errors import KernelError
from kpath.kernel.links import netns_names
from kpath.kernel.text import KernelText

TURN = 0.0005
"""Seconds that another Python thread may keep the draining one waiting, at each system call (by default 0.005)."""
QUEUE_BYTES = 1 << 30
"""Events (bytes) waiting in memory for the reader. When there are more, the kernel's buffer fills, which is counted."""

BUSY_SLEEP, IDLE_SLEEP = 0.005, 0.05
"""Seconds between two looks at the kernel's buffer: when it was filling up, and else."""
FILLING = 8
"""A CPU's part of the buffer is filling up when events for one in so many of its places came since the look before."""
ACCOUNT = 1.0
"""Seconds between two looks at what was missed, when there are no events."""
MODULES = 2.0
"""Seconds between two looks for newly loaded modules."""
SETTLE = 2.0
"""Seconds after detaching for handlers that are still running."""

_FASTEST = 1_000_000
"""Events a second that the kernel's buffer should hold for one sleep."""


@dataclass(frozen=True, slots=True)
class _Item:
    """What the draining thread hands over."""

    events: Events
    loss: LossReport | None = None
    comms: Mapping[int, str] = field(default_factory=dict)
    probes: Sequence[Probe] = ()


class LiveSource:
    """One running capture. ``chunks`` may be iterated once; ``close`` (or leaving ``with``) ends it in any case."""

    def __init__(
        self,
        session: Session,
        filter_text: str = "",
        on_attach: Callable[[Sequence[Probe]], None] | None = None,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        """The session has been started. ``filter_text`` is for the header; ``on_attach`` is told of probes on functions
        of modules that are loaded during the capture."""
        self._session = session
        self._filter = filter_text
        self._on_attach = on_attach or (lambda _probes: None)
        self._limit = self._room = queue_bytes
        self._monotonic, self._wall = _clocks(session.start_ns)
        self._queue: deque[_Item] = deque()
        self._queued = 0
        self._change = threading.Condition()
        self._drained = 0
        self.settled = 0
        """Time (ns, CLOCK_MONOTONIC) until which all events have been yielded by ``chunks`` and looked at. The clock
        itself would not do: events may be waiting that nobody has read."""
        self._until: Callable[[], str] = str
        self._ended = ""
        self._begun = self._detached = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kpath-drain", daemon=True)
        self._late = threading.Thread()
        self._text_problem = ""
        self._addresses = Addresses(session.symbols, self._open_text(), session.probes)
        self._naming = Naming(netns_names, netstate.device_names)
        self._state = _Background(netstate.snapshot)
        self._shares: list[Fact] = []
        self._new_share = False
        self.received = 0
        """Events that ``chunks`` has yielded."""
        self.lost = 0
        """Events lost in the kernel's buffer, as far as told by ``chunks``."""
        self.missed = 0
        """Hits at which a probe did not run, as far as told by ``chunks``."""

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def session(self) -> Session:
        """The session that is read."""
        return self._session

    def header(self) -> Header:
        """What a capture file begins with; its probes are those attached by now."""
        options = self._session.options
        values: dict[str | int, Fact] = {
            "backend": self._session.backend,
            "buffer": self._session.buffer,
            "buffer_bytes": options.sizes.ring_bytes,
            "netns": options.selection.netns,
            "ifindex": options.selection.ifindex,
            "mark": options.selection.mark,
            "mark_mask": options.selection.mark_mask,
        }
        return Header(
            kernel_release=platform.release(),
            kernel_build=platform.version(),
            arch=platform.machine(),
            kpath_version=__version__,
            monotonic_ns=self._monotonic,
            wall_ns=self._wall,
            hostname=platform.node(),
            command=tuple(sys.argv),
            filter=self._filter,
            options=values,
            probes=tuple(planned_probe(p) for p in self._session.probes),
        )

    def programs(self) -> list[int]:
        """File descriptors of the BPF programs in the kernel, by which their cost can be asked for."""
        # A copy, because late modules are attached to by another thread.
        return list(self._session.programs.values())

    def hits(self) -> int:
        """How often the programs ran on functions so far. Asks the kernel, so not for every event."""
        return self._session.totals().hits

    def begin(self) -> None:
        """Begin to take events out of the kernel's buffer: what makes the reader ready takes longer than the buffer may
        last. Without it ``chunks`` begins."""
        if not self._begun:
            self._begun = True
            heap.keep()
            sys.setswitchinterval(TURN)
            self._thread.start()

    def chunks(self, until: Callable[[], str]) -> Generator[Chunk]:
        """Chunks as they come, until ``until`` (asked by another thread, often) gives a reason to end, and what was
        captured by then has been yielded; the Footer is last.

        Waits for events, and yields an empty array of events at least every 0.2 s, so that a reader can do
        something in between. What goes wrong while draining is raised here.
        """
        self._until = until
        self.begin()
        yield Facts(facts.of_session(self._session, self._text_problem))
        if names := self._look():
            yield names
        self._state.start()
        try:
            while True:
                item = self._next(0.2)
                if item is None:
                    if not self._thread.is_alive() and not self._queue:
                        break
                    yield _NOTHING
                else:
                    yield from self._chunks_of(item)
                if (state := self._state.take()) is not None:
                    yield Facts({"namespaces": state})
                if self._new_share:
                    self._new_share = False
                    yield Facts(self.followed())
            if self._failure:
                raise self._failure
            if (state := self._state.take(wait=1.0)) is not None:
                yield Facts({"namespaces": state})
            if late := self._naming.late(self._session.comms()):
                yield late
            if shares := self.followed():
                yield Facts(shares)
            yield self._footer()
        finally:
            self.close()

    def _look(self) -> Names | None:
        with suppress(OSError, KernelError):
            return self._naming.look()
        return None

    def _chunks_of(self, item: _Item) -> Iterator[Chunk]:
        if item.probes:
            self._on_attach(item.probes)
            yield Facts(facts.of_probes(self._session.probes))
            if more := self._addresses.add_probes(item.probes, self._session.symbols):
                yield more
        if item.loss:
            # Before the events: who judges packets as they come must know what was lost while they lived.
            self.lost += sum(item.loss.lost.values())
            self.missed += sum(item.loss.missed.values())
            yield Loss(item.loss.begin, item.loss.end, item.loss.lost, item.loss.missed, item.loss.tables)
        if len(item.events):
            symbols: Symbols | None = self._addresses.tell(item.events)
            if symbols:
                yield symbols
            if item.comms:
                yield Names(comms=item.comms)
            with suppress(OSError, KernelError):
                if names := self._naming.tell(item.events):
                    yield names
            self.received += len(item.events)
            yield item.events

    def _footer(self) -> Footer:
        totals = self._session.totals()
        return Footer(
            self._ended,
            time.monotonic_ns(),
            received=totals.received,
            counted=totals.sent,
            lost=totals.lost,
            missed=totals.missed,
            tables=totals.tables,
        )

    def _open_text(self) -> KernelText | None:
        try:
            return KernelText.open(self._session.symbols)
        except KernelError as error:
            self._text_problem = str(error)
            return None

    # ---- the queue ----

    def _next(self, timeout: float) -> _Item | None:
        with self._change:
            if not self._queue and self._thread.is_alive():
                self.settled = self._drained
                self._change.wait(timeout)
            if not self._queue:
                self.settled = self._drained
                return None
            item = self._queue.popleft()
            self._queued -= item.events.nbytes
            return item

    def _put(self, item: _Item) -> None:
        with self._change:
            self._queue.append(item)
            self._queued += item.events.nbytes
            self._change.notify()

    # ---- the draining thread ----

    def _run(self) -> None:
        try:
            self._drain()
            self._detach()
        except BaseException as error:
            self._failure = error
        with self._change:
            self._change.notify()

    def _drain(self) -> None:
        size = self._session.options.sizes.ring_bytes
        longest = min(IDLE_SLEEP, size / EVENT.itemsize / _FASTEST / 2)
        shortest = min(BUSY_SLEEP, longest)
        many = program.slots(size) / FILLING
        accounted = looked = time.monotonic()
        while not (reason := self._ended or self._until()):
            now = time.monotonic()
            if self._queued >= self._limit:
                time.sleep(longest)
                continue
            due = now - accounted >= ACCOUNT
            batch = self._session.poll(account=due)
            if due or len(batch.events):
                accounted = now
            self._hand_over(batch)
            if len(batch.events) < MOST:  # else there may be more
                self._drained = int(now * 1e9)
            if now - looked >= MODULES:
                looked = now
                self._attach_late()
            time.sleep(shortest if len(batch.events) >= many else longest)
        self._ended = reason

    def _attach_late(self) -> None:
        """In a thread of its own, for it takes seconds, in which the buffer must go on being drained."""
        if not self._late.is_alive() and self._session.modules_changed():
            self._late = threading.Thread(target=self._attach_new_modules, name="kpath-modules", daemon=True)
            self._late.start()

    def _attach_new_modules(self) -> None:
        try:
            probes = self._session.attach_new_modules()
        except (OSError, KernelError, CaptureSetupError) as error:
            self._session.troubles.append(f"functions of modules loaded since are not seen: {error}")
            return
        if probes:
            self._put(_Item(_NOTHING, probes=probes))

    def _detach(self) -> None:
        """Take the probes off; while that takes its time, and after it, take what still comes."""
        if self._late.is_alive():
            self._late.join()
        done = threading.Event()
        drained = threading.Thread(target=self._drain_until, args=(done,), name="kpath-drain-rest", daemon=True)
        drained.start()
        try:
            self._session.detach()
        finally:
            done.set()
            drained.join()
        end = time.monotonic() + SETTLE
        while not self._session.settled() and time.monotonic() < end:
            if not self._take():
                time.sleep(0.001)
        while self._take():
            pass
        self._detached = True

    def _drain_until(self, done: threading.Event) -> None:
        while not done.wait(BUSY_SLEEP):
            self._take()

    def _take(self) -> bool:
        return self._hand_over(self._session.poll())

    def _hand_over(self, batch: Batch) -> bool:
        """Was there anything?"""
        if not len(batch.events) and not batch.loss:
            return False
        self._put(_Item(batch.events, batch.loss, self._naming.threads(batch.events)))
        return True

    def rest(self, also: Events | None = None) -> Loss | None:
        """After ``close``: what has not been yielded, as lost; ``also`` was, but nobody looked at it."""
        waiting = list(self._queue)
        events = [item.events for item in waiting] + ([also] if also is not None else [])
        lost, missed, tables = Counter[int](), Counter[str](), Counter[int]()
        times: list[int] = []
        for part in events:
            lost.update(part["cpu"].tolist())
            times += [int(part["time"].min()), int(part["time"].max())] if len(part) else []
        for loss in (item.loss for item in waiting if item.loss):
            lost.update(loss.lost)
            missed.update(loss.missed)
            tables.update(loss.tables)
            times += [loss.begin, loss.end]
        return Loss(min(times), max(times), lost, missed, tables) if times else None

    def follow(self, one_in: int, now: int) -> None:
        """Follow one packet in so many of those that come from now on (``now``: ns, CLOCK_MONOTONIC), and say so in
        the capture. Call it from the thread that iterates ``chunks``."""
        self._session.follow(one_in)
        self._shares.append([now, one_in])
        self._new_share = True

    def followed(self) -> dict[str | int, Fact]:
        """What share of the packets was followed when, and how many others there were; empty where every packet was."""
        left_out = self._session.totals().left_out
        if not self._shares and not left_out:
            return {}
        return {"followed": list(self._shares) or [[self._monotonic, 1]], "left_out": left_out}

    def hold(self, held: bool = True) -> None:
        """Take nothing more out of the kernel's buffer, as long as it is held: what does not fit in is lost there."""
        self._limit = 0 if held else self._room

    def close(self) -> None:
        """End the capture at once; what has not been yielded is lost. Harmless after the end."""
        self._ended = self._ended or CLOSED
        if self._thread.is_alive():
            self._thread.join()
        elif not self._detached:
            self._session.detach()
        self._detached = True


def planned_probe(probe: Probe) -> PlannedProbe:
    """One function of the plan as the header holds it."""
    return PlannedProbe(
        name=probe.name,
        symbol=probe.symbol,
        address=probe.address,
        category=probe.planned.cls.name.lower(),
        state="attached" if probe.program else probe.state.value,
        reason=probe.reason,
        module=probe.module,
        program=probe.program,
    )


def _clocks(monotonic: int) -> tuple[int, int]:
    """CLOCK_MONOTONIC of the start, and CLOCK_REALTIME at the same moment, ns."""
    best = min((_both() for _ in range(3)), key=lambda pair: pair[2])
    return monotonic, best[1] - (best[0] - monotonic)


def _both() -> tuple[int, int, int]:
    before = time.monotonic_ns()
    wall = time.time_ns()
    return before, wall, time.monotonic_ns() - before


_NOTHING: Events = np.empty(0, EVENT)


class _Background:
    """A question answered by a thread, so that nobody waits for the answer."""

    def __init__(self, question: Callable[[], dict[str | int, Fact]]) -> None:
        self._question = question
        self._answer: dict[str | int, Fact] | None = None
        self._thread = threading.Thread(target=self._run, name="kpath-facts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError, KernelError):
            self._answer = self._question()

    def take(self, wait: float | None = None) -> dict[str | int, Fact] | None:
        """The answer, once."""
        if wait is not None:
            self._thread.join(wait)
        if self._thread.is_alive():
            return None
        answer, self._answer = self._answer, None
        return answer

