"""The lines above the list: what is watched, how much comes, what is lost; and where one is in a recording."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text

from kpath.capture.looks import PATHS
from kpath.capture.tables import Header
from kpath.dashboard import theme, units
from kpath.dashboard.snapshot import Counting, Omitted, Snapshot
from kpath.report.words import printable

NARROW, ROOMY = 100, 140
"""Below so many cells the lines say less; and below so many a running capture has three of them, for two have no room
for all."""

Cost = Callable[[Snapshot], str]
"""Asked when the screen is drawn, so it must answer at once."""


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the view is open."""

    title: str
    """The interface, or the file."""
    live: bool
    kernel: str = ""
    attached: int = 0
    silent: int = 0
    """Planned functions that are not there, or cannot be probed."""
    filter: str = ""
    cost: Cost | None = None
    """What the capture costs the kernel, in a few words, if somebody knows."""

    @classmethod
    def of(cls, title: str, live: bool, header: Header | None, cost: Cost | None = None) -> About:
        """From the header of the capture."""
        if header is None:
            return cls(printable(title), live, cost=cost)
        attached = sum(bool(probe.program) for probe in header.probes)
        return cls(
            printable(title),
            live,
            printable(header.kernel_release),
            attached,
            len(header.probes) - attached,
            printable(header.filter),
            cost,
        )


def lines(
    about: About, snapshot: Snapshot, width: int, document: str = "", paused: bool = False, playing: bool = False
) -> list[Text]:
    """Two lines, and one more in a recording and where there is little room.

    ``document`` is whose verdicts are counted.
    """
    counts, verdicts, cost = _counts(about, snapshot, width), _verdicts(snapshot, document), _cost(about, snapshot)
    out = [_first(about, snapshot, width, paused)]
    if about.live and width < ROOMY:
        out += [counts, _right(Text(" ") + verdicts, cost, width)]
    else:
        out.append(_right(counts + verdicts, cost, width))
    if not about.live:
        out.append(_timeline(snapshot, width, playing))
    return out


def _first(about: About, snapshot: Snapshot, width: int, paused: bool) -> Text:
    state, style = ("● COUNTING", theme.SKY) if snapshot.mode == PATHS else ("● LIVE", theme.GREEN)
    if not about.live:
        state, style = "■ RECORDING", theme.SKY
    if snapshot.state:
        state, style = ("… READING", theme.YELLOW) if snapshot.state == "reading" else ("■ ENDED", theme.ORANGE)
    if snapshot.failed:
        state, style = "✗ FAILED", theme.STYLES[theme.DIVERGES]
    if paused:
        state, style = "‖ PAUSED", theme.YELLOW
    text = Text().append(" kpath ", f"bold {theme.PAPER} on {theme.SKY}")
    text.append(f" {about.title}", f"bold {theme.INK}")
    if about.kernel:
        # What a distribution adds to the release says little, and takes much room.
        release = re.split(r"[-+]", about.kernel)[0] if width < NARROW else f"Linux {about.kernel}"
        attached, silent = snapshot.probes or (about.attached, about.silent)
        text.append(f" · {release} · {attached} probes, {silent} silent", theme.FAINT)
    if about.filter:  # last, because it may be long, and the user knows it
        text.append(f" · {about.filter}", theme.INK)
    return _right(text, Text(f"{state} ", style), width)


def _counts(about: About, snapshot: Snapshot, width: int) -> Text:
    text = Text(" ")
    live = about.live and not snapshot.state
    if snapshot.mode == PATHS and snapshot.counting is not None:
        return _counted(snapshot, snapshot.counting, live)
    for name, number, per_second in (
        ("packets", snapshot.packets, snapshot.packet_rate),
        ("events", snapshot.events, snapshot.event_rate),
    ):
        text.append(f"{name} ", theme.FAINT)
        if not (live and width < NARROW and name == "events"):  # their number says less than how many come
            text.append(f"{units.count(number)} ", f"bold {theme.INK}")
        text.append(f"{units.rate(per_second)}/s  " if live else " ", theme.INK)
    for name, number in (("lost", snapshot.lost), ("missed", snapshot.missed), ("tables full", snapshot.full)):
        if number or name != "tables full":
            text.append(f"{name} ", theme.FAINT)
            mark = "! " if number else ""
            text.append(f"{mark}{units.count(number)}  ", f"bold {theme.ORANGE}" if number else theme.INK)
    return text


def _counted(snapshot: Snapshot, counting: Counting, live: bool) -> Text:
    """The account of counted paths: what is not as it should be is said, the rest is left out."""
    text = Text(" packets ", theme.FAINT)
    text.append(f"{units.count(snapshot.packets)} ", f"bold {theme.INK}")
    text.append(f"{units.rate(snapshot.packet_rate)}/s  " if live else " ", theme.INK)
    text.append("paths ", theme.FAINT).append(f"{units.count(counting.paths)}  ", f"bold {theme.INK}")
    one_in = counting.governed.one_in if counting.governed else 1
    text.append("followed ", theme.FAINT)
    text.append("all  " if one_in == 1 else f"! 1 in {one_in}  ", theme.INK if one_in == 1 else f"bold {theme.ORANGE}")
    for name, number, always in (
        ("missed", snapshot.missed, True),
        ("lost", snapshot.lost, False),
        ("unlisted", counting.unlisted, False),
        ("cut", counting.cut, False),
        ("transient", counting.transient, False),
        ("no room", counting.no_room, False),
    ):
        if number or always:
            mark = "! " if number else ""
            text.append(f"{name} ", theme.FAINT)
            text.append(f"{mark}{units.count(number)}  ", f"bold {theme.ORANGE}" if number else theme.INK)
    return text


def _verdicts(snapshot: Snapshot, document: str) -> Text:
    text = Text()
    for verdict, number in snapshot.verdicts.get(document, {}).items():
        text.append(f"{theme.SYMBOLS[verdict]}{units.count(number)} ", theme.STYLES[verdict])
    return text


def _cost(about: About, snapshot: Snapshot) -> Text:
    text = Text()
    governed = snapshot.counting.governed if snapshot.counting is not None else None
    if snapshot.mode == PATHS and governed is not None:
        if governed.share is not None:
            text.append("kpath ", theme.FAINT).append(f"{governed.share:.1%} of the machine", theme.INK)
            allowed = f", {governed.budget:.1%} allowed " if governed.budget is not None else " "
            text.append(allowed, theme.FAINT)
        return text
    if snapshot.cpu is not None and about.live:
        text.append("kpath ", theme.FAINT).append(f"{snapshot.cpu:.0%} cpu ", theme.INK)
    if about.cost is not None and (cost := about.cost(snapshot)):
        text.append(" probes ", theme.FAINT).append(f"{printable(cost)} ", theme.INK)
    return text


def _timeline(snapshot: Snapshot, width: int, playing: bool) -> Text:
    position, length = snapshot.position
    seconds = (snapshot.now - snapshot.started) / 1e9 if snapshot.now else 0.0
    after = Text(f" {position:,} of {length:,} packets, {seconds:.3f} s ", theme.INK)
    before = Text(" ▶ " if playing else " ‖ ", theme.GREEN if playing else theme.FAINT)
    cells = max(8, width - before.cell_len - after.cell_len)
    done = round(cells * position / length) if length else 0
    line = before + Text("━" * done, theme.SKY) + Text("─" * (cells - done), theme.FAINT)
    return line + after


def _right(left: Text, right: Text, width: int) -> Text:
    """Both on one line; where there is no room for both, the left one is cut."""
    room = width - right.cell_len
    if left.cell_len > room:
        left.truncate(max(0, room - 1), overflow="ellipsis")
    left.append(" " * max(0, room - left.cell_len))
    return left + right


def mode(snapshot: Snapshot) -> list[Text]:
    """Why packets are captured as they are, where that has changed; and why not all of them are followed."""
    out = [Text(f" {printable(snapshot.said)}", theme.SKY)] if snapshot.said else []
    governed = snapshot.counting.governed if snapshot.counting is not None else None
    if snapshot.mode == PATHS and governed is not None and governed.one_in > 1:
        why = f", for {governed.why}" if governed.why else ""
        words = f" ! 1 in {governed.one_in} packets is followed and counted{why}."
        out.append(Text(words, theme.ORANGE))
    return out


def notice(snapshot: Snapshot) -> Text | None:
    """What the user must know of the numbers on the screen; None when there is nothing."""
    if snapshot.failed or (snapshot.state and snapshot.state != "reading"):
        style = theme.STYLES[theme.DIVERGES] if snapshot.failed else theme.ORANGE
        text = Text(f" {printable(snapshot.state)}", style)
        more = left_out(snapshot.omitted)
        return text.append(f"  ({more})" if more else "", theme.ORANGE)
    words = []
    if snapshot.lag >= 1:
        words.append(f"{snapshot.lag:.0f} s behind the kernel, try a filter")
    if more := left_out(snapshot.omitted):
        words.append(more)
    if snapshot.counting is not None:
        words += _uncounted(snapshot.counting)
    return Text(" ! " + "; ".join(words), theme.ORANGE) if words else None


def _uncounted(counting: Counting) -> list[str]:
    """What of the packets cannot be told, each in a few words."""
    said = (
        (counting.unknown, "on paths whose hops have not come up"),
        (counting.unlisted, "on further paths, for the kernel's table is full"),
        (counting.cut, "with more hops than are kept, of which the first are shown"),
        (counting.transient, "not counted, being under way when probes or the sampling changed"),
        (counting.no_room, "not followed, for the kernel's table of packets was full"),
    )
    return [f"{units.plural(number, 'packet')} {words}" for number, words in said if number]


def left_out(omitted: Omitted) -> str:
    """In words what is not shown; empty when everything is."""
    parts = []
    if omitted.packets:
        parts.append(f"{units.plural(omitted.packets, 'packet')} only counted")
    if omitted.details:
        parts.append(f"{units.plural(omitted.details, 'packet')} without steps")
    if omitted.verdicts:
        parts.append(f"{units.plural(omitted.verdicts, 'pass', 'passes')} not judged")
    if omitted.paths:
        parts.append(f"{units.plural(omitted.paths, 'pass', 'passes')} beyond the table of paths")
    if omitted.rows:
        parts.append(f"{units.plural(omitted.rows, 'drop or finding', 'drops and findings')} without a row")
    return "left out: " + ", ".join(parts) if parts else ""
