"""pcapng: a packet wherever it came in, left, was delivered or dropped; the rest of the way in its comment.

Each device of each namespace is an interface, and so is each namespace itself (``NAMESPACE/local``): packets are made
and delivered there. All sightings of one packet carry the same packet id, the number of its journey.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import kpath
from kpath.capture.schema import Class, Flag
from kpath.report import words
from kpath.report.export.blocks import INBOUND, OUTBOUND, Blocks
from kpath.report.export.headers import rebuilt
from kpath.report.export.paths import summary
from kpath.report.export.source import Packet, Source
from kpath.trace.frames import Event
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import Traversal

LOCAL = "local"

_ABOUT = (
    "Headers rebuilt from what kpath saw in the kernel; payload, IP options, TCP flags and checksums were not captured "
    "(the IP checksum is computed, ICMP's is 0)."
)

_SHOWING = frozenset({Class.IP, Class.LINK, Class.HOOK, Class.NEIGHBOUR})
_ENDS_HERE = frozenset({"delivered", "dropped"})


@dataclass(order=True, slots=True)
class Sighting:
    """A packet at a place, as one packet of the pcapng file. Sightings are in the order of time."""

    time: int
    number: int
    event: Event = field(compare=False)
    journey: int = field(compare=False)
    netns: int = field(compare=False)
    device: int = field(compare=False)
    """ifindex; 0 for the namespace itself."""
    direction: int = field(compare=False)
    comment: str = field(compare=False)


def write(source: Source, out: IO[bytes]) -> None:
    """Write the packets of ``source``, held back only until no older one can come."""
    header = source.header
    blocks = Blocks(out)
    blocks.section(
        os=f"Linux {header.kernel_release} {header.kernel_build} {header.arch}",
        application=f"kpath {kpath.__version__}",
        comment=_ABOUT + (f" Filter: {header.filter}" if header.filter else ""),
    )
    writer = _Writer(source, blocks)
    waiting: list[Sighting] = []
    for packet in source.packets():
        for sighting in sightings(packet, source.knowledge):
            heapq.heappush(waiting, sighting)
        while waiting and waiting[0].time < source.horizon:
            writer.put(heapq.heappop(waiting))
    while waiting:
        writer.put(heapq.heappop(waiting))
    writer.losses()


class _Writer:
    def __init__(self, source: Source, blocks: Blocks) -> None:
        self._source = source
        self._blocks = blocks
        self._interfaces: dict[tuple[int, int], int] = {}
        self._last = 0

    def put(self, sighting: Sighting) -> None:
        data, length = rebuilt(sighting.event)
        self._last = sighting.time
        self._blocks.packet(
            self._interface(sighting.netns, sighting.device),
            max(self._source.wall(sighting.time), 0),
            data,
            length,
            direction=sighting.direction,
            comment=sighting.comment,
            packet_id=sighting.journey,
        )

    def losses(self) -> None:
        """What was lost, as the statistics of the first interface: there is no other place for it."""
        source = self._source
        if not (source.lost or source.missed or source.problem):
            return
        comment = f"kpath: {source.lost} events lost and {source.missed} probe hits missed in the whole capture"
        comment += f"; {source.problem}" if source.problem else ""
        number = next(iter(self._interfaces.values())) if self._interfaces else self._interface(0, 0)
        time = max(source.wall(self._last or source.header.monotonic_ns), 0)
        self._blocks.statistics(number, time, dropped=source.lost, comment=comment)

    def _interface(self, netns: int, device: int) -> int:
        key = (netns, device)
        if key not in self._interfaces:
            know = self._source.knowledge
            namespace = words.printable(know.namespace(netns)) or "unknown"
            name = words.printable(know.device(netns, device)) or LOCAL
            what = f"device {name} (ifindex {device})" if device else "made, delivered or dropped"
            self._interfaces[key] = self._blocks.interface(
                f"{namespace}/{name}", f"{what} in network namespace {namespace} (inode {netns})"
            )
        return self._interfaces[key]


def sightings(packet: Packet, know: Knowledge) -> Iterator[Sighting]:
    """Where a packet came in, left, was delivered or dropped. One of ARP has none: it is no IPv4."""
    number = packet.journey.number
    for traversal in packet.traversals:
        netns = traversal.netns
        shown = [f for f in traversal.frames if _shows(f.event)]
        if not shown:
            continue
        about = f"kpath #{number} {words.headline(traversal, know)}"

        def sighting(
            e: Event, time: int, device: int, direction: int, what: str, netns: int = netns, about: str = about
        ) -> Sighting:
            flags = f" [{words.packet(e)}]" if e.proto == 6 else ""
            return Sighting(time, e.seq, e, number, netns, device, direction, f"{about}: {what}{flags}")

        first = shown[0].event
        if traversal.entered:
            yield sighting(first, first.time, traversal.device_in, INBOUND, f"came in; {summary(traversal)}")
        else:
            yield sighting(first, first.time, 0, OUTBOUND, f"made here; {summary(traversal)}")
        for frame in shown:
            if frame.name == "dev_hard_start_xmit":
                yield sighting(frame.event, frame.time, frame.event.ifindex, OUTBOUND, "left")
        if traversal.end.how in _ENDS_HERE:
            last, time = _at_end(traversal, shown[-1].event)
            yield sighting(last, time, 0, INBOUND, words.ending(traversal, know))


def _shows(e: Event) -> bool:
    """Does this event hold a whole IPv4 header?"""
    return bool(e.flags & Flag.HEADER and not e.arp_op and e.cls in _SHOWING and (e.tot_len or e.len > 0xFFFF))


def _at_end(traversal: Traversal, last: Event) -> tuple[Event, int]:
    """The header as last seen, and when the packet came to its end."""
    drop = traversal.life.drop
    if traversal.end.how == "dropped" and drop is not None:
        return last, int(drop.event.time)
    return last, int(last.time)
