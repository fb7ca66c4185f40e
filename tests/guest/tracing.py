"""One capture for many scenarios: attaching takes a guest most of a minute, so it is done once."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kpath import __version__
from kpath.capture import facts
from kpath.capture.addresses import Addresses
from kpath.capture.file import CaptureWriter
from kpath.capture.live import planned_probe
from kpath.capture.schema import EVENT
from kpath.capture.session import Options, Session
from kpath.capture.tables import Fact, Footer, Header, Loss, Names, Symbols
from kpath.kernel import netstate
from kpath.kernel.links import netns_names
from kpath.kernel.text import KernelText
from kpath.lab.scenarios import load_modules
from kpath.trace.assemble import Assembler
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey

Events = npt.NDArray[np.void]


@dataclass(slots=True)
class Take:
    """What one scenario gave."""

    events: Events
    names: Names
    losses: list[Loss] = field(default_factory=list)
    state: dict[str | int, Fact] | None = None
    begin: int = 0
    end: int = 0


class Tracing:
    """A session, and the tables for what it sees. ``begin`` and ``end`` stand around a scenario."""

    def __init__(self, options: Options | None = None, say: Callable[[str], None] | None = None) -> None:
        self.session = Session(options, say)
        self.knowledge = Knowledge()
        self.symbols = Symbols()
        self._begin = 0
        self._state: dict[str | int, Fact] | None = None

    def __enter__(self) -> Tracing:
        load_modules()
        self.session.start()
        try:
            text = KernelText.open(self.session.symbols)
            self._addresses = Addresses(self.session.symbols, text, self.session.probes)
            self._facts = facts.of_session(self.session, "")
            self.knowledge.add_facts(self._facts)
        except BaseException:
            self.session.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.session.detach()
        self.session.stop()

    def begin(self, *, snapshot: bool = False) -> None:
        """Forget what came up to now. ``snapshot``: keep the state of the namespaces for a capture file."""
        self._state = netstate.snapshot() if snapshot else None
        self.session.attach_new_modules()
        self.session.poll()
        self._begin = time.monotonic_ns()

    def end(self) -> Take:
        """What came since ``begin``."""
        parts: list[Events] = []
        losses: list[Loss] = []
        names = Names(netns_names(), netstate.device_names(), self.session.comms())
        for _ in range(3):
            batch = self.session.poll()
            if batch.loss:
                loss = batch.loss
                losses.append(Loss(loss.begin, loss.end, loss.lost, loss.missed, loss.tables))
            parts.append(batch.events)
            time.sleep(0.01)
        events = np.concatenate(parts) if any(map(len, parts)) else np.empty(0, EVENT)
        told = self._addresses.tell(events)
        if told:
            self.knowledge.add(told)
            self.symbols = Symbols(
                {**self.symbols.symbols, **told.symbols},
                {**self.symbols.calls, **told.calls},
                {**self.symbols.jumps, **told.jumps},
            )
        self.knowledge.add(names)
        return Take(events, names, losses, self._state, self._begin, time.monotonic_ns())

    def journeys(self, take: Take) -> list[Journey]:
        """The journeys of one take."""
        assembler = Assembler(self.knowledge)
        return [*assembler.feed(take.events), *assembler.flush()]

    def header(self, take: Take, command: Sequence[str]) -> Header:
        """The header of a file that holds one take."""
        wall = time.time_ns() - (time.monotonic_ns() - take.begin)
        session = self.session
        options: dict[str | int, Fact] = {"backend": session.backend, "buffer": session.buffer}
        return Header(
            kernel_release=platform.release(),
            kernel_build=platform.version(),
            arch=platform.machine(),
            kpath_version=__version__,
            monotonic_ns=take.begin,
            wall_ns=wall,
            command=tuple(command),
            options=options,
            probes=tuple(planned_probe(p) for p in session.probes),
        )

    def write(self, take: Take, path: Path, command: Sequence[str]) -> None:
        """A capture file of one take, as small as it can be."""
        columns = ("ip", "caller", "dst_input", "dst_output", "arg")
        used = {int(a) for column in columns for a in np.unique(take.events[column])}
        functions = {s.name for a, s in self.symbols.symbols.items() if a in used}
        symbols = Symbols(
            {a: s for a, s in self.symbols.symbols.items() if a in used},
            {a: target for a, target in self.symbols.calls.items() if a in used},
            {name: targets for name, targets in self.symbols.jumps.items() if name in functions},
        )
        with CaptureWriter.create(path, self.header(take, command)) as out:
            out.facts(self._facts)
            if take.state is not None:
                out.facts({"namespaces": take.state})
            out.symbols(symbols)
            out.names(used_names(take))
            out.events(take.events)
            for loss in take.losses:
                out.loss(loss)
            out.close(Footer("duration", take.end, received=len(take.events)))


def used_names(take: Take) -> Names:
    """Only the namespaces, devices and threads that the events know."""
    spaces = set(np.unique(take.events["netns"]).tolist())
    threads = set(np.unique(take.events["pid"]).tolist())
    names = take.names
    return Names(
        {n: name for n, name in names.netns.items() if n in spaces},
        {key: name for key, name in names.devices.items() if key[0] in spaces},
        {pid: name for pid, name in names.comms.items() if pid in threads},
    )

