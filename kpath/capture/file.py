"""The capture file: written while events come in, read anywhere afterwards.

``docs/capture-file.md`` gives the format and its reasons. Whatever a file holds, reading it raises nothing
but CaptureError. This module is the front: ``writer`` and ``reader`` do the work, ``tables`` has the classes
kept in a file, ``records`` converts older events and ``container`` knows the bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kpath.capture.errors import CaptureTooLarge
from kpath.capture.reader import CaptureReader, Chunk
from kpath.capture.records import Events
from kpath.capture.schema import EVENT
from kpath.capture.tables import (
    INDIRECT,
    Fact,
    Facts,
    Footer,
    Header,
    Loss,
    Names,
    PlannedProbe,
    Symbol,
    Symbols,
)
from kpath.capture.writer import CaptureWriter

__all__ = [
    "INDIRECT",
    "Capture",
    "CaptureReader",
    "CaptureWriter",
    "Chunk",
    "Events",
    "Fact",
    "Facts",
    "Footer",
    "Header",
    "Loss",
    "Names",
    "PlannedProbe",
    "Symbol",
    "Symbols",
    "read",
]

DEFAULT_LIMIT = 4 << 30
"""Most bytes that ``read`` brings into memory unless told otherwise: some twenty million events."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A whole capture in memory."""

    header: Header
    events: Events
    """All events in the order written, read-only. Times may go back a little between CPUs."""
    symbols: Symbols = field(default_factory=Symbols)
    names: Names = field(default_factory=Names)
    loss: Sequence[Loss] = ()
    facts: Mapping[str | int, Fact] = field(default_factory=dict)
    footer: Footer | None = None
    complete: bool = False
    """The footer was read, and nothing stands after it."""
    problem: str | None = None
    """Why it is not complete, as one sentence."""


def read(path: str | os.PathLike[str], *, salvage: bool = False, limit: int = DEFAULT_LIMIT) -> Capture:
    """The whole capture at ``path`` ("-" is stdin).

    A file cut short is read as far as it goes; ``problem`` says so. A damaged chunk raises CaptureDamaged, or
    with ``salvage`` ends the reading there. More than ``limit`` bytes in memory raise CaptureTooLarge.
    """
    records = bytearray()  # grows in place, where joining arrays at the end would need the memory twice
    symbols, names, loss = _SymbolTables(), _NameTables(), list[Loss]()
    facts: dict[str | int, Fact] = {}
    footer: Footer | None = None
    with CaptureReader(path, salvage=salvage) as reader:
        too_large = CaptureTooLarge(
            f"{reader.name} holds more than {limit >> 20} MiB, the most that is read into memory at once"
        )
        try:
            for chunk in reader:
                if reader.weight > limit:
                    raise too_large
                match chunk:
                    case Symbols():
                        symbols.add(chunk)
                    case Names():
                        names.add(chunk)
                    case Loss():
                        loss.append(chunk)
                    case Facts():
                        facts.update(chunk.values)
                    case Footer():
                        footer = chunk
                    case _:
                        records += chunk.view(np.uint8).data
        except MemoryError as error:
            raise too_large from error
    events = np.frombuffer(records, EVENT)
    events.setflags(write=False)
    return Capture(
        reader.header,
        events,
        Symbols(symbols.symbols, symbols.calls, symbols.jumps),
        Names(names.netns, names.devices, names.comms),
        tuple(loss),
        facts,
        footer,
        reader.complete,
        reader.problem,
    )


@dataclass(slots=True)
class _SymbolTables:
    symbols: dict[int, Symbol] = field(default_factory=dict)
    calls: dict[int, str] = field(default_factory=dict)
    jumps: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, more: Symbols) -> None:
        self.symbols.update(more.symbols)
        self.calls.update(more.calls)
        self.jumps.update(more.jumps)


@dataclass(slots=True)
class _NameTables:
    netns: dict[int, str] = field(default_factory=dict)
    devices: dict[tuple[int, int], str] = field(default_factory=dict)
    comms: dict[int, str] = field(default_factory=dict)

    def add(self, more: Names) -> None:
        self.netns.update(more.netns)
        self.devices.update(more.devices)
        self.comms.update(more.comms)
