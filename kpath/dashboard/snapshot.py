"""What the view draws: frozen pictures of the aggregates at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kpath.capture.looks import EVENTS, Governed
from kpath.dashboard.digest import Packet
from kpath.dashboard.judge import Finding

CHAIN = " ⇒ "
"""Between the passes of a packet, where a row stands for the whole of its way."""
OTHER_PATHS = "(other paths: the table is full)"


@dataclass(frozen=True, slots=True)
class PathRow:
    """One row of the table of paths: all passes with the same words in the same namespace.

    Where the kernel counts, a row stands for the whole way of a packet's buffer, which may be several passes.
    """

    netns: str
    words: str
    count: int
    rate: float
    """Passes a second."""
    p50: int
    """ns."""
    p99: int
    """ns."""
    last: int
    """CLOCK_MONOTONIC, ns."""
    end: str
    """How the newest one ended, in words."""
    end_how: str
    variants: int
    """How many exact paths the words stand for."""
    verdicts: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    """For each document the verdicts with their counts, the one that wants attention most first."""
    judged: int
    examples: tuple[Packet, ...]
    """Packets that took it, newest last."""
    slowest: Packet
    counted: int = 0
    """How many of them the kernel counted; the others were seen event by event."""
    latencies: tuple[tuple[int, int], ...] = ()
    """From where (ns) to its double, and how many; only where the kernel counted."""

    @property
    def key(self) -> tuple[str, str]:
        """Tells rows apart."""
        return self.netns, self.words


@dataclass(frozen=True, slots=True)
class DropRow:
    """Packets dropped at one place for one reason."""

    netns: str
    reason: str
    place: str
    count: int
    rate: float
    last: int
    words: str
    """The path of the newest one."""
    example: Packet

    @property
    def key(self) -> tuple[str, str, str]:
        """Tells rows apart."""
        return self.netns, self.reason, self.place


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A divergence or an evolution, with how often it was met."""

    document: str
    finding: Finding
    divergence: bool
    count: int
    last: int
    words: str
    example: Packet

    @property
    def key(self) -> tuple[str, bool, str]:
        """Tells rows apart."""
        return self.document, self.divergence, self.finding.title


@dataclass(frozen=True, slots=True)
class Omitted:
    """What the view leaves out, because there was too much."""

    details: int = 0
    """Packets whose steps were not kept."""
    verdicts: int = 0
    """Passes that were not judged although there is a judge."""
    packets: int = 0
    """Packets that were only counted."""
    paths: int = 0
    """Passes counted under "other paths", because the table was full."""
    rows: int = 0
    """Drops and findings without a row of their own, because those tables were full."""


@dataclass(frozen=True, slots=True)
class Counting:
    """The account of the packets that the kernel counted by their paths."""

    packets: int = 0
    """Counted under a path."""
    arp: int = 0
    """Counted besides, of ARP, whose paths are not shown."""
    unlisted: int = 0
    """Counted, but under no path, because the kernel's table is full."""
    transient: int = 0
    """Not counted, because they were under way when probes or the sampling changed."""
    passed: int = 0
    """Left out by the filter."""
    cut: int = 0
    """With more hops than are kept."""
    no_room: int = 0
    """Not followed, because the kernel's table of packets was full."""
    unknown: int = 0
    """On paths whose hops have not come up yet."""
    missed: int = 0
    """Hits at which a probe did not run."""
    under_way: int = 0
    paths: int = 0
    """Exact paths."""
    governed: Governed | None = None
    """None while nothing is counted."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment. Times are CLOCK_MONOTONIC, ns; rates a second."""

    now: int = 0
    started: int = 0
    packets: int = 0
    passes: int = 0
    events: int = 0
    packet_rate: float = 0.0
    event_rate: float = 0.0
    lost: int = 0
    missed: int = 0
    full: int = 0
    """Packets and stacks for which the kernel side's tables had no room."""
    verdicts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Document → verdict → passes, the verdict that wants attention most first."""
    paths: tuple[PathRow, ...] = ()
    recent: tuple[Packet, ...] = ()
    """The last packets, newest last."""
    drops: tuple[DropRow, ...] = ()
    findings: tuple[FindingRow, ...] = ()
    functions: Mapping[str, int] = field(default_factory=dict)
    """Function → passes that went through it."""
    witnessed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Document → id of its step → how often it was seen."""
    passed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Document → id of its step → how often a pass went through it that cannot be seen on this kernel."""
    omitted: Omitted = Omitted()
    probes: tuple[int, int] | None = None
    """How many planned functions are attached and silent; None where only the capture's header says it."""
    cpu: float | None = None
    """Share of one CPU that kpath itself uses, 0 to 1 and more; None when not known."""
    lag: float = 0.0
    """Seconds by which the view is behind the kernel."""
    state: str = ""
    """Why the stream has ended; empty while it has not."""
    failed: bool = False
    """It ended with an error."""
    mode: str = EVENTS
    """How packets are captured now: events, or paths."""
    said: str = ""
    """Why that is so, where it was not so from the beginning; or why it cannot be otherwise."""
    counting: Counting | None = None
    """None when nothing was counted by the kernel so far."""
    position: tuple[int, int] = (0, 0)
    """In a recording: which of how many packets are shown."""
