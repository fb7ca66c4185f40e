"""What the mode "paths" tells: looks at the kernel's counts, and that a capture went from one mode to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kpath.capture.records import Events
from kpath.capture.tables import Facts, Header, Loss, Names, Symbols

EVENTS, PATHS = "events", "paths"
"""The modes of a capture."""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the packets, by the kernel's own count.

    ``born`` = ``ended`` + those that are under way (or whose end was missed); ``ended`` = ``counted`` + ``unlisted`` +
    ``passed`` (left out by a filter) + ``transient`` (under way when probes or the sampling changed).
    """

    hits: int
    born: int
    ended: int
    counted: int
    unlisted: int
    no_packet: int
    cut: int
    told: int
    untold: int
    passed: int
    transient: int
    busy: int = 0
    """Hits that came while another program was running on that CPU."""


@dataclass(frozen=True, slots=True)
class Told:
    """One record: of which path, its events, and the address in them that stands for the packet's own buffer."""

    path: int
    events: Events
    skb: int
    timed: bool
    cut: bool
    """It had more hops than a record holds, so it shows only the first."""
    begin: int = 0
    last: int = 0
    """When the packet was first and last seen (CLOCK_MONOTONIC, ns), also where its hops were not timed."""


@dataclass(frozen=True, slots=True)
class Governed:
    """What counting takes, and what is done about it."""

    one_in: int = 1
    """One packet in so many is followed."""
    share: float | None = None
    """Of all CPUs, by the last measurement."""
    budget: float | None = None
    """Of all CPUs; None for no limit."""
    why: str = ""
    """Why not all packets are followed, or why more of them are again."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the kernel's tables gave. ``paths``: rows of :data:`kpath.capture.paths.PATH`, all of them.

    ``tables`` are to be learnt before the records are read; ``losses`` are all since the start.
    """

    when: int
    paths: Any
    account: Account
    records: Sequence[Told]
    tables: Sequence[Symbols | Names | Facts]
    losses: Sequence[Loss] = field(default=())
    governed: Governed = Governed()


@dataclass(frozen=True, slots=True)
class Switched:
    """From here on the stream is of ``mode`` (chunks of events, or looks), for a reason in words.

    ``header`` describes the capture that begins; None where none does, for the mode stays as it is and only the words
    are to be told.
    """

    mode: str
    words: str
    header: Header | None = None
