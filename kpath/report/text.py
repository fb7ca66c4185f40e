"""Journeys as text for a terminal: one tree for each traversal, times in µs since the journey began."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from kpath.capture.schema import Class
from kpath.report import words
from kpath.trace.frames import Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.traversal import Node, Traversal

Notes = Callable[[Traversal], Sequence[Text]]
"""What another part of kpath has to say about a traversal (verdicts), as lines."""

def _bar(rest: Text) -> Text:
    # Appended, for the style that a Text is made with holds for all that is added to it.
    return Text().append("│ ", style="dim").append_text(rest)



def render(
    journey: Journey, traversals: Sequence[Traversal], know: Knowledge, notes: Notes | None = None
) -> list[Text]:
    """The lines of one journey."""
    begin = _begin(traversals)
    lines = [_title(journey, traversals, begin)]
    for traversal in traversals:
        lines += _traversal(traversal, know, begin)
        lines += [_bar(note) for note in (notes(traversal) if notes else ())]
    return [*lines, Text("╵", style="dim")]


def _begin(traversals: Sequence[Traversal]) -> int:
    """When the journey began: at the first call on its behalf, not at the poll that happened to bring it."""
    first = traversals[0]
    times = [first.frames[0].time]
    for root in first.roots:
        frame = root.frame
        if not root.own and (frame.cls is not Class.ROOT or first.direction == "output"):
            times.append(frame.time)
    return min(times)


def _title(journey: Journey, traversals: Sequence[Traversal], begin: int) -> Text:
    header = words.best_header(journey)
    text = Text().append(f"#{journey.number} ", style="bold")
    text.append(words.packet(header) if header else "a packet without a header", style="bold")
    if header:
        text.append(f"  {words.length(header)} bytes")
    last = max(f.time for t in traversals for f in t.frames)
    text.append(f"  {(last - begin) / 1000:.1f} µs", style="cyan")
    repeats = next((life.transmission for life in journey.lives if life.transmission > 1), 0)
    if repeats:
        text.append(f"  retransmission {repeats - 1}", style="yellow")
    cause = traversals[0].cause
    if cause is not None:
        text.append(f"  caused by #{cause.number}", style="dim")
    return text


def _traversal(traversal: Traversal, know: Knowledge, begin: int) -> list[Text]:
    lines = [_bar(Text("▸ " + words.headline(traversal, know), style="bold blue"))]
    seen = _Seen(traversal)
    for root in traversal.roots:
        for depth, node in _walk(root, 0):
            lines.append(_bar(_line(node, depth, know, begin, seen, root=depth == 0)))
    style = {"dropped": "bold red", "open": "yellow"}.get(traversal.end.how, "green")
    end = Text().append("            ⇒ ", style="dim").append(words.ending(traversal, know), style=style)
    lines.append(_bar(end))
    lines += [_bar(Text(f"            incomplete: {why}", style="yellow")) for why in traversal.partial]
    return lines


def _walk(node: Node, depth: int) -> list[tuple[int, Node]]:
    out: list[tuple[int, Node]] = []
    stack = [(depth, node)]
    while stack:
        level, current = stack.pop()
        out.append((level, current))
        stack += [(level + 1, child) for child in reversed(current.children)]
    return out


class _Seen:
    """What was shown last, so that pointers are shown only where they change."""

    def __init__(self, traversal: Traversal) -> None:
        self.first = traversal.frames[0].time
        self.came_in = traversal.entered
        self.input = self.output = 0
        self.stack = -1


def _line(node: Node, depth: int, know: Knowledge, begin: int, seen: _Seen, root: bool) -> Text:
    frame = node.frame
    e = frame.event
    since = (frame.time - begin) / 1000
    # A poll that was running before the packet came has no time of this packet's.
    timed = since >= 0 and (node.own or frame.time >= seen.first or not seen.came_in)
    text = Text().append(f"{since:10.1f}  " if timed else " " * 12, style="cyan")
    text.append("  " * depth)
    text.append(frame.name, style="" if node.own else "dim")
    if frame.cls is Class.HOOK:
        style = "red" if frame.verdict is not None and frame.verdict < 0 else "magenta"
        text.append(f" {words.hook_name(e.pf, e.hook)}", style="magenta")
        text.append(f" → {words.verdict_name(frame.verdict)}", style=style)
    _caller(text, frame)
    if e.dst_input and (e.dst_input, e.dst_output) != (seen.input, seen.output):
        seen.input, seen.output = e.dst_input, e.dst_output
        pointers = f"dst->input={know.function(e.dst_input)} dst->output={know.function(e.dst_output)}"
        text.append(f"  {pointers}" + ("  dst->xfrm" if e.dst_xfrm else ""), style="yellow")
    if e.nud_state:
        text.append(f"  neighbour {words.NUD.get(e.nud_state, hex(e.nud_state))}", style="yellow")
    if root and e.stack != seen.stack:
        seen.stack = e.stack
        text.append(f"  [{words.where(frame, know)}]", style="dim")
    if frame.drop is not None and frame.drop.name != "CONSUMED":
        text.append(f"  ✗ {words.printable(frame.drop.name) or 'dropped'}", style="bold red")
    return text


def _caller(text: Text, frame: Frame) -> None:
    """Who called, where the tree does not say it: a function that has no event of its own."""
    parent = frame.parent
    if frame.via:
        text.append(f"  ← {frame.via} ← {frame.caller}", style="dim")
    elif not frame.tail and (parent is None or parent.name != frame.caller):
        # After a tail jump the return address is the jumper's caller: that is no news.
        jumper = parent
        while jumper is not None and jumper.tail:
            jumper = jumper.parent
        if jumper is None or jumper.name != frame.caller:
            text.append(f"  ← {frame.caller}", style="dim")
