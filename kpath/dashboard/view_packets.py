"""The list of the last packets."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

from rich.text import Text

from kpath.capture.looks import PATHS
from kpath.dashboard import theme, units
from kpath.dashboard.digest import NO_TIME, Packet, Pass
from kpath.dashboard.look import Look
from kpath.dashboard.rows import Cell, Column, Row, line
from kpath.dashboard.signature import ARROW
from kpath.dashboard.snapshot import Snapshot

_SAMPLE = "The kernel counts each packet, and the hops of one in 64 come up: this is a list of those."


class Packets:
    """Packet by packet, the newest on top."""

    name = "Packets"
    sorts = ("number", "life", "summary")

    def badge(self, snapshot: Snapshot) -> str:
        """Those in the list, which are not all."""
        return units.count(len(snapshot.recent)) if snapshot.recent else ""

    def columns(self, snapshot: Snapshot, look: Look) -> Sequence[Column]:
        """Its ways only where there is room."""
        out = [Column("number", "#", 7, right=True), Column("age", "AGE", 4, right=True)]
        out.append(Column("life", "LIFE", 7, right=True))
        if look.judged:
            out.append(Column("verdict", "V", 1))
        return [*out, Column("summary", "PACKET", 0), Column("ways", "WAYS", 0, 110), Column("end", "END", 17, 70)]

    def rows(self, snapshot: Snapshot, look: Look) -> list[Row]:
        """One for each packet."""
        columns = self.columns(snapshot, look)
        sort, descending = look.sort.get(self.name, (self.sorts[0], True))
        keys = {"number": lambda p: p.number, "life": lambda p: p.last - p.begin, "summary": lambda p: p.summary}
        ordered = sorted(snapshot.recent, key=keys[sort], reverse=descending)
        return [
            Row(packet.number, _searchable(packet), partial(_draw, columns, packet, snapshot.now, look))
            for packet in ordered
        ]

    def inspect(self, key: Hashable, snapshot: Snapshot, look: Look) -> list[Text]:
        """Its passes, one a line."""
        packet = next((p for p in snapshot.recent if p.number == key), None)
        sample = [Text(_SAMPLE, theme.FAINT)] if snapshot.mode == PATHS else []
        return about(packet) + sample if packet else []

    def packets(self, key: Hashable, snapshot: Snapshot) -> tuple[Packet, ...]:
        """All in the list, up to this one and back to the oldest: one can go on from it to its neighbours."""
        return tuple(p for p in snapshot.recent if p.number == key)

    def concerns(self, key: Hashable, one: Pass) -> bool:
        """Any of them."""
        return True

    def begin(self, key: Hashable, one: Pass) -> int:
        """The packet's first step."""
        return 0

    def empty(self, snapshot: Snapshot, look: Look) -> str:
        """Nothing yet."""
        if snapshot.mode == PATHS:
            return "The kernel counts packets; no hops have come up yet, those of one in 64 do."
        return "No packet has come to its end yet." if not snapshot.state else "There are no packets."


def about(packet: Packet) -> list[Text]:
    """A packet and its passes."""
    out = [title(packet)]
    for one in packet.passes:
        text = Text(f"{one.netns}: ", theme.FAINT)
        text.append(one.words, theme.INK)
        if one.latency != NO_TIME:
            text.append(f"  {units.duration(one.latency)}", theme.SKY)
        out.append(text)
    return out


def title(packet: Packet) -> Text:
    """One line that says which packet it is."""
    text = Text(f"#{packet.number} {packet.summary}", f"bold {theme.INK}")
    if packet.length:
        text.append(f"  {packet.length} bytes", "not bold")
    text.append(f"  {units.duration(packet.last - packet.begin)}", f"not bold {theme.SKY}")
    if packet.retransmission:
        text.append(f"  retransmission {packet.retransmission}", f"not bold {theme.YELLOW}")
    if not packet.timed:
        text.append("  hops not timed", f"not bold {theme.FAINT}")
    if packet.caused_by:
        text.append(f"  caused by #{packet.caused_by}", f"not bold {theme.FAINT}")
    return text


def verdict(packet: Packet, document: str) -> str:
    """The verdict against a document that wants attention most, over all passes; empty when there is none."""
    found = {o.verdict for one in packet.passes for o in one.opinions if o.document == document}
    return next((v for v in theme.WORST_FIRST if v in found), "")


def _searchable(packet: Packet) -> str:
    ways = " ".join(f"{one.netns} {one.words} {one.end}" for one in packet.passes)
    verdicts = " ".join({o.verdict for one in packet.passes for o in one.opinions})
    return f"#{packet.number} {packet.summary} {ways} {verdicts}"


def _end(one: Pass) -> str:
    """How it ended, as short as can be."""
    if one.end_how == "dropped":
        return f"✗ {one.end_reason or 'dropped'}"
    if one.end_how in ("sent", "delivered"):
        return f"{one.end_how} {one.words.rpartition(ARROW)[2]}"
    return one.end_how


def _draw(columns: Sequence[Column], packet: Packet, now: int, look: Look, width: int) -> Text:
    last = packet.passes[-1]
    found = verdict(packet, look.name)
    cells: dict[str, Cell] = {
        "number": (str(packet.number), "bold"),
        "age": (units.age(now - packet.last), theme.FAINT),
        "life": (units.duration(packet.last - packet.begin), ""),
        "verdict": (theme.SYMBOLS[found], theme.STYLES[found]),
        "summary": (packet.summary, ""),
        "ways": (" ⇒ ".join(one.words for one in packet.passes), theme.FAINT),
        "end": (_end(last), theme.end_style(last.end_how)),
    }
    return line(columns, width, cells)
