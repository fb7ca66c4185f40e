"""Scenarios under one capture: attaching takes seconds (in a guest most of a minute), so it is done once.

``record`` plays scenarios one after another and writes a capture file of each; ``Recorder`` is what it is made of.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from kpath import __version__
from kpath.capture import facts
from kpath.capture.addresses import Addresses
from kpath.capture.file import CaptureWriter
from kpath.capture.live import planned_probe
from kpath.capture.records import joined, raw
from kpath.capture.schema import EVENT
from kpath.capture.session import Options, Session
from kpath.capture.tables import Fact, Footer, Header, Loss, Names, Symbols
from kpath.kernel import netstate
from kpath.kernel.links import netns_names
from kpath.kernel.text import KernelText
from kpath.lab.errors import LabError
from kpath.lab.scenarios import Scenario, lab, load_modules, play, wanted

Events = npt.NDArray[np.void]


@dataclass(slots=True)
class Take:
    """What was seen between a ``begin`` and its ``end``; ``state`` is the namespaces' at the beginning."""

    events: Events
    names: Names
    losses: list[Loss] = field(default_factory=list)
    state: dict[str | int, Fact] | None = None
    begin: int = 0
    end: int = 0


class Recorder:
    """A session, and the tables for what it sees. ``begin`` and ``end`` stand around a scenario's traffic."""

    def __init__(self, options: Options | None = None, say: Callable[[str], None] | None = None) -> None:
        self.session = Session(options, say)
        self.symbols = Symbols()
        self.facts: dict[str | int, Fact] = {}
        self._begin = 0
        self._state: dict[str | int, Fact] | None = None

    def __enter__(self) -> Self:
        load_modules()
        self.session.start()
        try:
            text = KernelText.open(self.session.symbols)
            self._addresses = Addresses(self.session.symbols, text, self.session.probes)
            self.facts = facts.of_session(self.session, "")
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

    def end(self, only: Collection[int] = ()) -> Take:
        """What came since ``begin``; with ``only``, of packets that were in one of these namespaces (inodes)."""
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
        events = joined(parts)
        if only:
            events = of_namespaces(events, only)
        told = self._addresses.tell(events)
        if told:
            self.symbols = Symbols(
                {**self.symbols.symbols, **told.symbols},
                {**self.symbols.calls, **told.calls},
                {**self.symbols.jumps, **told.jumps},
            )
            self.learn(told)
        self.learn(names)
        return Take(events, names, losses, self._state, self._begin, time.monotonic_ns())

    def learn(self, table: Symbols | Names) -> None:
        """Told of each table that belongs to the events; here nothing is made of it."""

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
        """A capture file of one take, as small as it can be. Raises CaptureWriteError."""
        columns = ("ip", "caller", "dst_input", "dst_output", "arg")
        used = {int(a) for column in columns for a in np.unique(take.events[column])}
        functions = {s.name for a, s in self.symbols.symbols.items() if a in used}
        symbols = Symbols(
            {a: s for a, s in self.symbols.symbols.items() if a in used},
            {a: target for a, target in self.symbols.calls.items() if a in used},
            {name: targets for name, targets in self.symbols.jumps.items() if name in functions},
        )
        with CaptureWriter.create(path, self.header(take, command)) as out:
            out.facts(self.facts)
            if take.state is not None:
                out.facts({"namespaces": take.state})
            out.symbols(symbols)
            out.names(used_names(take))
            for loss in take.losses:  # before the events: who reads on the fly must know by then
                out.loss(loss)
            out.events(take.events)
            out.close(Footer("duration", take.end, received=len(take.events)))


def of_namespaces(events: Events, inodes: Collection[int]) -> Events:
    """Without the packets that were seen in other namespaces and never in one of these; the others stay whole.

    A packet's events are those of its buffer in one life (address and birth). What was seen in no namespace stays:
    frames around others, and buffers without a device, which others are copied from. Numbers close up where events are
    left out, so that gaps remain only where events were lost.
    """
    if not len(events):
        return events
    here = np.isin(events["netns"], np.fromiter(inodes, np.uint32))
    elsewhere = ~here & (events["netns"] != 0)
    _, life = np.unique(events[["skb", "birth"]], return_inverse=True)
    ours, theirs = np.zeros((2, life.max() + 1), np.bool_)
    ours[life[here]] = True
    theirs[life[elsewhere]] = True
    packet = events["skb"] != 0
    left_out = np.where(packet, theirs[life] & ~ours[life], elsewhere)
    if not left_out.any():
        return events
    events = raw(events).copy().view(EVENT)
    for cpu in np.unique(events["cpu"]):
        of_cpu = np.flatnonzero(events["cpu"] == cpu)
        in_order = of_cpu[np.argsort(events["seq"][of_cpu], kind="stable")]
        events["seq"][in_order] -= np.cumsum(left_out[in_order]).astype(np.uint64)
    kept: Events = raw(events)[~left_out].view(EVENT)
    return kept


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


# ---- scenarios into files ----


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one scenario: a capture file at ``path``; or ``missing``, what it needs and this machine has not;
    or ``failed``, why its traffic did not do what it is meant to do."""

    scenario: Scenario
    path: Path | None = None
    missing: str = ""
    failed: str = ""
    events: int = 0
    lost: bool = False
    """Events were lost, or probes missed, while it was played."""


def record(
    names: Sequence[str],
    directory: Path,
    options: Options | None = None,
    say: Callable[[str], None] | None = None,
    ready: Callable[[Recorder], None] | None = None,
) -> Iterator[Taken]:
    """Play scenarios (by default all that can be recorded) and write ``<directory>/<name>.kpath`` of each.

    Other traffic of the machine is left out. ``say`` is told what takes time before the first; ``ready`` is called
    when the probes are attached. Closing the iterator, or any exception, takes networks and probes away.

    Raises UnknownScenarioError before anything is done, LabSetupError, CaptureSetupError or KernelError when this
    machine cannot do it at all, CaptureWriteError.
    """
    chosen = wanted(names)
    return _record(chosen, directory, options, say, ready)


def _record(
    chosen: Sequence[Scenario],
    directory: Path,
    options: Options | None,
    say: Callable[[str], None] | None,
    ready: Callable[[Recorder], None] | None,
) -> Iterator[Taken]:
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        networks = stack.enter_context(lab())
        recorder: Recorder | None = None
        for scenario in chosen:
            if missing := scenario.missing():
                yield Taken(scenario, missing=missing)
                continue
            if recorder is None:  # nothing is attached when nothing can be played
                recorder = stack.enter_context(Recorder(options, say))
                if ready:
                    ready(recorder)
            takes: list[Take] = []
            try:
                play(
                    scenario, networks, lambda r=recorder: r.begin(snapshot=True),  # type: ignore[misc]
                    lambda r=recorder, t=takes: t.append(r.end(networks.inodes())),  # type: ignore[misc]
                )  # fmt: skip
            except (LabError, OSError) as error:
                yield Taken(scenario, failed=str(error))
                continue
            take = takes[0]
            path = directory / f"{scenario.name}.kpath"
            path.unlink(missing_ok=True)
            recorder.write(_private(take, networks.inodes()), path, ("kpath", "lab", scenario.name))
            yield Taken(scenario, path, events=len(take.events), lost=bool(take.losses))


def _private(take: Take, inodes: Collection[int]) -> Take:
    """Without what the machine's other namespaces are like."""
    if take.state is not None:
        take.state = {key: value for key, value in take.state.items() if not isinstance(key, int) or key in inodes}
    return take
