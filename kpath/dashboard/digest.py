"""A packet as the view shows it: frozen, in words, safe to print, and apart from frames and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from sys import intern

from kpath.capture.schema import Class
from kpath.dashboard import signature
from kpath.dashboard.judge import Finding, Opinion
from kpath.report import words
from kpath.trace.frames import Frame
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.traversal import Node, Traversal

NO_TIME = -1

_HOOK, _LEAVING = int(Class.HOOK), (int(Class.END), int(Class.RELEASE))
safe = lru_cache(4096)(words.printable)
"""Names come again and again."""


@dataclass(frozen=True, slots=True)
class Step:
    """One frame of a packet's life."""

    index: int
    """The frame's index: what findings and citations refer to."""
    depth: int
    function: str
    own: bool
    """It has the packet; else it stands around it."""
    tail: bool
    """It was jumped to, not called."""
    at: int
    """ns since the packet's life began; NO_TIME for a poll that was running before."""
    gap: int
    """ns since the step before."""
    where: str
    """CPU and thread, where they change; else empty."""
    hook: str = ""
    verdict: str = ""
    stopped: bool = False
    """The hook did not let the packet go on."""
    pointers: tuple[str, ...] = ()
    """What ``dst`` and the neighbour say, where that changes."""
    caller: str = ""
    """Who called, where the tree does not say it."""
    drop: str = ""


@dataclass(frozen=True, slots=True)
class Pass:
    """One traversal: its path, its steps, its end, and what documents say of it."""

    netns: str
    words: str
    headline: str
    direction: str
    end: str
    end_how: str
    end_reason: str
    end_place: str
    latency: int
    """ns from the pass's first event to the last before the buffer is freed; NO_TIME when its steps were not timed."""
    variant: int
    """Number of the exact path; passes with the same number took the same path."""
    steps: tuple[Step, ...]
    incomplete: tuple[str, ...] = ()
    opinions: tuple[Opinion, ...] = ()
    judged: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The row of the table of paths that this pass counts in."""
        return self.netns, self.words


@dataclass(frozen=True, slots=True)
class Packet:
    """One journey."""

    number: int
    summary: str
    length: int
    begin: int
    """CLOCK_MONOTONIC, ns."""
    last: int
    """CLOCK_MONOTONIC, ns."""
    passes: tuple[Pass, ...]
    caused_by: int = 0
    retransmission: int = 0
    timed: bool = True
    """Is it known when each step was?"""

    @property
    def detailed(self) -> bool:
        """Are its steps kept?"""
        return all(one.steps for one in self.passes)


def began(traversals: Sequence[Traversal]) -> int:
    """When a journey began: at the first call on its behalf, not at the poll that happened to bring it (ns)."""
    first = traversals[0]
    times = [first.frames[0].time]
    for root in first.roots:
        if not root.own and (root.frame.cls is not Class.ROOT or first.direction == "output"):
            times.append(root.frame.time)
    return min(times)


def latency(traversal: Traversal) -> int:
    """ns that the pass took. That a socket's owner frees the buffer some time later is no part of it."""
    way = [f.time for f in traversal.frames if f.event.cls not in _LEAVING]
    return max(way) - min(way) if way else 0


def packet(journey: Journey, passes: Sequence[Pass], begin: int, cause: Journey | None, offset: int = 0) -> Packet:
    """The digest of a journey whose passes are digested; ``cause`` is the packet in answer to which it was made.

    ``offset`` is added to numbers.
    """
    header = words.best_header(journey)
    repeats = max((life.transmission for life in journey.lives), default=0)
    return Packet(
        number=journey.number + offset,
        summary=words.packet(header) if header else "a packet without a header",
        length=words.length(header) if header else 0,
        begin=begin,
        last=journey.last,
        passes=tuple(passes),
        caused_by=cause.number + offset if cause else 0,
        retransmission=max(0, repeats - 1),
    )


def endpoints(journey: Journey) -> str:
    """Which packet it is, where only addresses, protocol and ports are known."""
    header = words.best_header(journey)
    return words.endpoints(header) if header else "a packet without a header"


def digest(
    traversal: Traversal,
    know: Knowledge,
    begin: int,
    before: int,
    variant: int,
    opinions: Sequence[Opinion] | None,
    steps: bool = True,
    timed: bool = True,
) -> Pass:
    """The digest of one pass.

    ``begin`` is when the journey began, ``before`` when its step before this pass was (ns). ``opinions`` is None
    when it was not judged; ``steps`` is off to leave details out, ``timed`` when frames' times only put them in order.
    """
    end = traversal.end
    return Pass(
        netns=intern(safe(know.namespace(traversal.netns))),
        words=intern(signature.in_words(traversal, know)),
        headline=words.headline(traversal, know),
        direction=traversal.direction,
        end=words.ending(traversal, know),
        end_how=end.how,
        end_reason=safe(end.reason),
        end_place=safe(know.place(end.place)) if end.place else "",
        latency=latency(traversal) if timed else NO_TIME,
        variant=variant,
        steps=tuple(_steps(traversal, know, begin, before, timed)) if steps else (),
        incomplete=tuple(traversal.partial),
        opinions=tuple(opinions or ()),
        judged=opinions is not None,
    )


def findings(one: Pass) -> list[tuple[Opinion, Finding]]:
    """What documents find wrong with a pass."""
    return [(opinion, finding) for opinion in one.opinions for finding in opinion.divergences]


def _steps(traversal: Traversal, know: Knowledge, begin: int, before: int, clock: bool) -> list[Step]:
    out: list[Step] = []
    pointers = (0, 0)
    stack = NO_TIME
    first = traversal.frames[0].time
    for depth, node in signature.walk(traversal.roots):
        frame, e = node.frame, node.frame.event
        timed = clock and frame.time >= begin and (node.own or frame.time >= first or not traversal.entered)
        gap = max(0, frame.time - before) if timed else 0
        before = frame.time if timed else before
        said: list[str] = []
        if e.dst_input and (e.dst_input, e.dst_output) != pointers:
            pointers = (e.dst_input, e.dst_output)
            said.append(f"dst->input={know.function(e.dst_input)}")
            said.append(f"dst->output={know.function(e.dst_output)}")
            said += ["dst->xfrm"] if e.dst_xfrm else []
        if e.nud_state:
            said.append(f"neighbour {words.NUD.get(e.nud_state, hex(e.nud_state))}")
        # A record does not say on which CPU and in which thread a hop was.
        where = words.where(frame, know) if depth == 0 and e.stack != stack and not know.packets_only else ""
        stack = e.stack if depth == 0 else stack
        out.append(_step(node, depth, frame.time - begin if timed else NO_TIME, gap, where, said))
    return out


def _step(node: Node, depth: int, at: int, gap: int, where: str, pointers: list[str]) -> Step:
    frame, e = node.frame, node.frame.event
    hook = verdict = drop = ""
    if e.cls == _HOOK:
        hook, verdict = words.hook_name(e.pf, e.hook), words.verdict_name(frame.verdict)
    if frame.drop is not None and frame.drop.name != "CONSUMED":
        drop = safe(frame.drop.name) or "dropped"
    return Step(
        index=frame.index,
        depth=depth,
        function=intern(safe(frame.name)),
        own=node.own,
        tail=frame.tail,
        at=at,
        gap=gap,
        where=where,
        hook=hook,
        verdict=verdict,
        stopped=frame.verdict is not None and frame.verdict < 0,
        pointers=tuple(map(safe, pointers)),
        caller=safe(_caller(frame)),
        drop=drop,
    )


def _caller(frame: Frame) -> str:
    """Who called, where the tree does not say it: a function that has no event of its own."""
    if frame.via:
        return f"{frame.via} ← {frame.caller}"
    parent = frame.parent
    if frame.tail or (parent is not None and parent.name == frame.caller):
        return ""
    # After a tail jump the return address is the jumper's caller: that is no news.
    while parent is not None and parent.tail:
        parent = parent.parent
    return frame.caller if parent is None or parent.name != frame.caller else ""
