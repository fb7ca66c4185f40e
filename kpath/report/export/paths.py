"""Paths: traversals that took the same way are counted together, with the distribution of their latencies.

Two measures of "the same": milestones are what people tell paths by; signatures, under them, compare whole trees.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field

from kpath.capture.schema import Class
from kpath.report import words
from kpath.trace.knowledge import Knowledge
from kpath.trace.traversal import Node, Traversal

Signature = str
"""Eight hexadecimal digits that are equal for traversals which took the same way, in every capture and kernel."""

MILESTONES = frozenset({
    "ip_rcv", "ip_local_deliver", "ip_forward", "ip_output", "ip_mc_output", "ip_do_fragment", "ip_defrag",
    "xfrm_output", "xfrm_input", "br_handle_frame", "neigh_resolve_output", "__dev_queue_xmit", "ip_mr_input",
    "tcp_v4_rcv", "udp_rcv", "icmp_rcv", "igmp_rcv", "raw_rcv", "udp_sendmsg", "raw_sendmsg", "tcp_sendmsg",
})  # fmt: skip
"""The functions by which people tell one path from another; see ``summary``."""


def signature(traversal: Traversal) -> Signature:
    """Which way: direction, the packet's own functions as a tree, hooks with their verdicts, and the end."""
    parts = [traversal.direction, *_end_words(traversal)]
    stack = [(0, root) for root in reversed(traversal.roots)]
    while stack:
        depth, node = stack.pop()
        frame = node.frame
        if node.own:
            parts.append(f"{depth} {frame.name}")
            if frame.cls is Class.HOOK:
                parts.append(f"{words.hook_name(frame.event.pf, frame.event.hook)} {words.verdict_name(frame.verdict)}")
        stack += [(depth + node.own, child) for child in reversed(node.children)]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:8]


def summary(traversal: Traversal) -> str:
    """The way in one line: its direction, the milestones passed, how it ended."""
    passed: list[str] = []
    for frame in traversal.frames:
        if frame.name in MILESTONES and (not passed or passed[-1] != frame.name):
            passed.append(frame.name)
    return " → ".join([traversal.direction, *passed, " ".join(filter(None, _end_words(traversal)))])


def _end_words(traversal: Traversal) -> tuple[str, str, str]:
    end = traversal.end
    # A device's number says nothing of the way, nor does the place of a free.
    where = end.where if end.how in ("delivered", "handed on") else ""
    # Of a packet that a raw socket got a copy of, the rest may have been dropped: that is not how it ended.
    reason = end.reason if end.how == "dropped" else ""
    return end.how, words.printable(where), words.printable(reason)


def latency(traversal: Traversal) -> int:
    """Time (ns) from the packet's first function in this traversal to its last."""
    times = [frame.time for frame in traversal.frames]
    return max(times) - min(times)


class Latencies:
    """A histogram whose buckets are less than 1 % wide, so that it stays small whatever is counted."""

    _BITS = 7

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0

    def add(self, value: int) -> None:
        """Count one value, ns."""
        self.count += 1
        shift = max(0, value.bit_length() - self._BITS - 1)
        self._buckets[(value >> shift) << shift] += 1

    def quantile(self, share: float) -> int:
        """The value (ns) that this share of the values does not exceed, less than 1 % too low; 0 without values."""
        left = max(1, math.ceil(self.count * share))
        for value in sorted(self._buckets):
            left -= self._buckets[value]
            if left <= 0:
                return value
        return 0


@dataclass(slots=True)
class Step:
    """One line of a path's tree, as the first packet took it. Plain values: frames would keep everything alive."""

    name: str
    own: bool
    tail: bool
    since_ns: int | None
    """Since the first call on the packet's behalf; None for what was running before."""
    note: str = ""
    drop: str = ""
    children: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class Variant:
    """All traversals of one signature."""

    signature: Signature
    example: str
    """The first packet that took it."""
    place: str
    """Namespace and devices of the first."""
    ending: str
    steps: list[Step]
    incomplete: tuple[str, ...] = ()
    """Why the first was not seen whole."""
    latencies: Latencies = field(default_factory=Latencies)


@dataclass(slots=True)
class Path:
    """All traversals with the same milestones; those that differ in between are its variants."""

    summary: str
    direction: str
    end: str
    latencies: Latencies = field(default_factory=Latencies)
    incomplete: int = 0
    variants: dict[Signature, Variant] = field(default_factory=dict)
    more: int = 0
    """Traversals of variants for which there was no room."""


def describe(traversal: Traversal, know: Knowledge, sign: Signature) -> Variant:
    """The variant that this traversal is the first of."""
    header = words.best_header(traversal.journey)
    return Variant(
        sign,
        f"#{traversal.journey.number} {words.packet(header) if header else 'a packet without a header'}",
        words.headline(traversal, know),
        words.ending(traversal, know),
        _steps(traversal.roots, know, _begin(traversal), [(0, 0)]),
        tuple(traversal.partial),
    )


def _begin(traversal: Traversal) -> int:
    """A system call is made for its packet; a poll that happened to bring it began for others."""
    calls = (r.frame.time for r in traversal.roots if not r.own and traversal.direction == "output")
    return min(traversal.frames[0].time, min(calls, default=traversal.frames[0].time))


def _steps(nodes: list[Node], know: Knowledge, begin: int, route: list[tuple[int, int]]) -> list[Step]:
    return [_step(node, know, begin, route) for node in nodes]


def _step(node: Node, know: Knowledge, begin: int, route: list[tuple[int, int]]) -> Step:
    """``route`` holds the pointers shown last: they are shown again only when they have changed."""
    frame, e = node.frame, node.frame.event
    since = frame.time - begin
    said = note(node, know)
    if node.own and e.dst_input and route[0] != (e.dst_input, e.dst_output):
        route[0] = (e.dst_input, e.dst_output)
        said += f"  dst->input={know.function(e.dst_input)} dst->output={know.function(e.dst_output)}"
    dropped = frame.drop is not None and frame.drop.name != "CONSUMED"
    return Step(
        words.printable(frame.name),
        node.own,
        frame.tail,
        since if since >= 0 else None,
        words.printable(said.strip()),
        (words.printable(frame.drop.name) or "dropped") if frame.drop is not None and dropped else "",
        _steps(node.children, know, begin, route),
    )


def note(node: Node, know: Knowledge) -> str:
    """What a frame shows beside its name: the hook and its verdict, a caller that has no frame, the neighbour."""
    frame, e = node.frame, node.frame.event
    said: list[str] = []
    if frame.cls is Class.HOOK:
        said.append(f"{words.hook_name(e.pf, e.hook)} → {words.verdict_name(frame.verdict)}")
    if frame.via:
        said.append(f"← {frame.via} ← {frame.caller}")
    elif frame.caller and not frame.tail and (frame.parent is None or frame.parent.name != frame.caller):
        said.append(f"← {frame.caller}")
    if e.nud_state:
        said.append(f"neighbour {words.NUD.get(e.nud_state, hex(e.nud_state))}")
    return words.printable("  ".join(filter(None, said)))
