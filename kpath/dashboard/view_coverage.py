"""A document as a tree that lights up where traffic goes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial

from rich.text import Text

from kpath.capture.looks import PATHS
from kpath.dashboard import theme, units
from kpath.dashboard.coverage import Place, Share, chart, is_frame, seen, shares
from kpath.dashboard.digest import Packet, Pass
from kpath.dashboard.look import Look
from kpath.dashboard.rows import Column, Row
from kpath.dashboard.snapshot import Snapshot
from kpath.flow import Document, KernelView, Kind, Lineage, NoteKind, Role
from kpath.flow.unparser import note_line
from kpath.report.words import printable

_STYLES = {Kind.HOOK: theme.YELLOW, Kind.QUEUE: theme.PURPLE, Kind.CHOICE: theme.SKY, Kind.GROUP: theme.SKY}


class Coverage:
    """● seen, ○ not yet, ◌ passed unseen, ∅ cannot be seen on this kernel."""

    name = "Coverage"
    sorts: Sequence[str] = ()

    def __init__(self, kernel: KernelView | None = None) -> None:
        self._kernel = kernel
        self._charts: dict[str, tuple[Place, ...]] = {}

    def chart(self, document: Document) -> tuple[Place, ...]:
        """The lines of a document, made once."""
        if document.name not in self._charts:
            self._charts[document.name] = chart(document, Lineage.load(), self._kernel)
        return self._charts[document.name]

    def badge(self, snapshot: Snapshot) -> str:
        """Nothing: it depends on the document."""
        return ""

    def columns(self, snapshot: Snapshot, look: Look) -> Sequence[Column]:
        """It is a tree."""
        return ()

    def rows(self, snapshot: Snapshot, look: Look) -> list[Row]:
        """The lines of the document chosen."""
        if not look.documents:
            return []
        document = look.documents[look.document]
        places = self.chart(document)
        witnessed = witnessed_of(snapshot, look)
        passed = snapshot.passed.get(document.name, {})
        share = shares(places, snapshot.functions, witnessed, passed)
        out = [Row("", "", partial(_title, document.name, share[""], _remark(snapshot, witnessed is not None)))]
        for place in places:
            if place.step is None:
                flow = share.get(place.flow.name)
                out.append(Row(place.id, f"flow {place.text}", partial(_flow, place, flow)))
                continue
            count = seen(place, snapshot.functions, witnessed)
            state = "seen" if count else "passed" if passed.get(place.id) else "unseen" if place.counts else ""
            draw = partial(_line, place, count, passed.get(place.id, 0))
            out.append(Row(place.id, f"{place.text} {place.lines} {state}", draw))
        return out

    def inspect(self, key: Hashable, snapshot: Snapshot, look: Look) -> list[Text]:
        """What the document says there, and what became of the function."""
        if not look.documents:
            return []
        place = next((p for p in self.chart(look.documents[look.document]) if p.id == key), None)
        if place is None:
            by = "by the model" if witnessed_of(snapshot, look) is not None else "by function names"
            return [Text(f"● seen  ○ not yet  ◌ passed unseen  ∅ cannot be seen here  (told {by})", theme.FAINT)]
        passed = snapshot.passed.get(look.name, {}).get(place.id, 0)
        return list(_about(place, passed, seen(place, snapshot.functions, witnessed_of(snapshot, look))))

    def packets(self, key: Hashable, snapshot: Snapshot) -> tuple[Packet, ...]:
        """The newest packet with a frame of the function."""
        place = self._place(key)
        names = set(place.functions) if place else set()
        found = (p for row in snapshot.paths for p in row.examples[-1:] if names & _functions(p))
        newest = max(found, key=lambda packet: packet.last, default=None)
        return (newest,) if newest else ()

    def _place(self, key: Hashable) -> Place | None:
        return next((place for places in self._charts.values() for place in places if place.id == key), None)

    def concerns(self, key: Hashable, one: Pass) -> bool:
        """It went through the function."""
        place = self._place(key)
        return place is not None and any(step.function in place.functions for step in one.steps)

    def begin(self, key: Hashable, one: Pass) -> int:
        """The first step in that function."""
        place = self._place(key)
        names = set(place.functions) if place else set()
        return next((number for number, step in enumerate(one.steps) if step.function in names), 0)

    def empty(self, snapshot: Snapshot, look: Look) -> str:
        """No document."""
        return "There is no document to show."


def witnessed_of(snapshot: Snapshot, look: Look) -> Mapping[str, int] | None:
    """What the judge says was seen of the document chosen; None without a judge."""
    if not look.judged:
        return None
    return snapshot.witnessed.get(look.name, {})


def _functions(packet: Packet) -> set[str]:
    return {step.function for one in packet.passes for step in one.steps}


def _about(place: Place, passed: int, count: int) -> list[Text]:
    if place.step is None:
        return [Text(printable(place.flow.about) or f"flow {place.flow.name}", theme.INK)]
    step = place.step
    out = [Text(f"{place.text}  {place.lines}".rstrip(), f"bold {theme.INK}")]
    if place.hidden:
        often = f"◌ passed {units.plural(passed, 'time')}, unseen: " if passed else "∅ "
        out.append(Text(often + place.hidden, theme.SKY if passed else theme.FAINT))
    elif passed and not count:
        out.append(Text(f"◌ passed {units.plural(passed, 'time')}, without a frame of its own", theme.SKY))
    elif place.flow.role is Role.SETUP:
        out.append(Text("done when the kernel starts: no packet's step", theme.FAINT))
    elif is_frame(place):
        often = f"● seen {units.plural(count, 'time')}" if count else "○ not seen yet"
        out.append(Text(often, theme.GREEN if count else theme.FAINT))
    for target in step.targets[:2]:
        entry = Lineage.load().entries.get(target)
        if entry is not None:
            became = "" if entry.became.value == "same" else f" (today: {entry.became.value})"
            out.append(Text(f"{target}: {entry.does}{became}", theme.INK))
    out += [Text(printable(note_line(note)), theme.FAINT) for note in step.notes if note.kind is not NoteKind.REMARK]
    return out


def _remark(snapshot: Snapshot, exact: bool) -> str:
    if snapshot.mode == PATHS:
        return "(counting paths: only functions that have a packet are seen)"
    return "" if exact else "(by function's name)"


def _title(name: str, share: Share, remark: str, width: int) -> Text:
    text = Text(name, f"bold {theme.INK}")
    text.append(f"  {units.bar(share.share, 20)}", theme.GREEN)
    text.append(f" {share.seen} of {share.of} steps seen", theme.INK)
    if remark:
        text.append(f"  {remark}", theme.FAINT)
    return text


def _flow(place: Place, share: Share | None, width: int) -> Text:
    text = Text("flow ", theme.FAINT)
    text.append(place.text, f"bold {theme.INK}")
    if share is not None and share.of:
        text.append(f"  {units.bar(share.share, 8)}", theme.GREEN)
        text.append(f" {share.seen}/{share.of}", theme.INK if share.seen else theme.FAINT)
    text.append(f"  {place.lines}", theme.FAINT)
    return text


def _line(place: Place, count: int, passed: int, width: int) -> Text:
    mark, style = ("●", theme.GREEN) if count else ("○", theme.FAINT) if place.counts else (" ", theme.FAINT)
    if passed and not count and place.step is not None and place.step.is_frame:
        mark, style = "◌", theme.SKY
    elif place.hidden and not count:
        mark, style = "∅", theme.FAINT
    often = count or (passed if mark == "◌" else 0)
    text = Text(f"{units.count(often) if often else '':>7} ", theme.INK)
    text.append(f"{mark} ", style)
    text.append("  " * (place.depth - 1))
    assert place.step is not None
    faint = is_frame(place) and not count
    text.append(place.text, theme.FAINT if faint else _STYLES.get(place.step.kind, "bold" if count else ""))
    if place.lines:
        text.append(f"  {place.lines}", theme.FAINT)
    return text
