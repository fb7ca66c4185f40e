"""Events become frames: one activation of a function each, with its parent.

The kernel side has already told for each event which frame below it is alive (``parent_sp``); see
docs/internals.md. What is left to decide is what it means when a frame's slot is the same as the one before: a tail
jump or another call from the same place.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kpath.capture.schema import EVENT, Class, Flag
from kpath.capture.tables import INDIRECT
from kpath.trace.knowledge import Knowledge

MANY_STACKS = 8192
"""More stacks than this, and those that were silent for longest are forgotten."""

_make: Any = namedtuple  # the checker wants the fields spelt out; they stand in the schema
_Row: Any = _make("_Row", EVENT.names or ())


class Event(_Row):  # type: ignore[misc]
    """One event as plain Python numbers; fields by attribute, as in :mod:`kpath.capture.schema`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


@dataclass(eq=False, slots=True)
class Frame:
    """One activation of a probed function.

    ``parent`` is the frame that called it, or, when ``tail``, that jumped to it; None at the bottom of a stack or when
    the caller was not seen (``orphan``: the kernel side knew a caller whose event is missing). ``via`` names a
    function without event that was called at the call site and jumped here.
    """

    index: int
    name: str
    event: Event
    caller: str
    parent: Frame | None = None
    tail: bool = False
    orphan: bool = False
    via: str = ""
    verdict: int | None = None
    drop: Drop | None = None
    life: Any = None
    children: list[Frame] = field(default_factory=list)

    @property
    def time(self) -> int:
        """Time of entry, ns."""
        return int(self.event.time)

    @property
    def cls(self) -> Class:
        """How the function is handled."""
        return Class(self.event.cls)

    def ancestors(self) -> Iterator[Frame]:
        """Parent, its parent, and so on."""
        frame = self.parent
        while frame is not None:
            yield frame
            frame = frame.parent

    def walk(self) -> Iterator[Frame]:
        """This frame and all below it, in the order of time."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __repr__(self) -> str:
        return f"<Frame {self.index} {self.name}>"


@dataclass(frozen=True, slots=True)
class Drop:
    """The kernel dropped a packet: ``name`` of the reason ("" where it has none), the address and the function."""

    event: Event
    name: str
    place: int
    by: str = ""


LIFE = frozenset({Class.COPY, Class.RELEASE, Class.END})
"""What copies or frees a buffer."""


ITSELF = frozenset({"process_backlog"})
"""Calls what it calls itself, never by way of functions without a probe. On 5.10 net_rx_action calls all polls from one
place: when a driver's poll, which has no probe, follows this one, the slot holds the same return address again."""

LATE = frozenset({"inet_sock_destruct", "tcp_compressed_ack_kick", "neigh_proxy_process"})
"""What runs from an RCU callback or a timer without a probe: in a softirq after others on the same stack, where a frame
of the one before may still seem to be alive. What these call stands alone: nothing is lost by that."""


class FrameBuilder:
    """Builds frames of one stream of events, which must come in the order of time."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        # For each stack the newest frame at each stack pointer. Older ones at other depths are harmless: a
        # parent is looked up only by the stack pointer that the kernel side saw alive.
        self._stacks: dict[int, dict[int, Frame]] = {}
        # The newest root on each stack: of what was seen before it, only a probed caller is still believed to be there.
        self._roots: dict[int, int] = {}
        self._probed: set[int] = set()
        self._next = 0

    def entry(self, event: Event) -> Frame:
        """The frame of an ENTRY event."""
        know = self._knowledge
        frame = Frame(self._next, know.function(event.ip), event, know.function(event.caller))
        self._next += 1
        if event.flags & Flag.HOLE:
            # Callers whose events are gone stood where older frames, which have returned, would be found.
            self._stacks.pop(event.stack, None)
        stack = self._stacks.setdefault(event.stack, {})
        if len(self._stacks) > MANY_STACKS:
            self._forget_old(event.stack)
        if event.cls == Class.ROOT:
            self._roots[event.stack] = frame.index
        sp, parent_sp = event.sp, event.parent_sp
        before = self._since_root(stack.get(sp))
        parent = self._jumper(frame, before) if before and event.flags & Flag.SAME_SLOT else None
        if parent is not None:
            frame.tail = True
        elif event.cls != Class.ROOT:
            parent = self._caller(frame, self._since_root(stack.get(parent_sp)), stack)
            told = parent_sp != 0 or self._has_probe(event, know.start(event.caller))
            frame.orphan = told and parent is None and frame.caller not in LATE
        hang(frame, parent, know)
        stack[sp] = frame
        self._probed.add(know.start(event.ip))
        return frame

    def verdict(self, event: Event) -> Frame | None:
        """The frame of ``nf_hook_slow`` that a VERDICT event belongs to, with its verdict set."""
        frame = self._stacks.get(event.stack, {}).get(event.sp)
        if frame is None or frame.cls is not Class.HOOK or frame.event.skb != event.skb:
            return None
        frame.verdict = event.value
        return frame

    def _forget_old(self, keep: int) -> None:
        """Stacks of tasks that are gone would pile up: of each two, the one that was silent for longer goes."""
        last = {key: max((f.time for f in stack.values()), default=0) for key, stack in self._stacks.items()}
        for key in sorted(last, key=last.__getitem__)[: MANY_STACKS // 2]:
            if key != keep:
                del self._stacks[key]
                self._roots.pop(key, None)

    def forget(self) -> None:
        """Drop the stacks: after a loss nothing that was alive before can be trusted to be there."""
        self._stacks.clear()

    def _since_root(self, frame: Frame | None) -> Frame | None:
        return frame if frame and frame.index >= self._roots.get(frame.event.stack, 0) else None

    def _has_probe(self, event: Event, function: int) -> bool:
        """Would the caller of this event have been seen, if it was of a packet that is followed?"""
        kept_back = event.flags & Flag.STASHED and function in self._knowledge.attached
        return bool(kept_back) or function in self._probed

    def _caller(self, frame: Frame, alive: Frame | None, stack: dict[int, Frame]) -> Frame | None:
        """The frame that called, given the innermost that the kernel side took for alive (None: none).

        A slot in a gap between the locals or arguments of later calls may stay as it was, so that a frame seems to be
        alive that has returned. And a root inside another (a poll in net_rx_action) made the kernel side forget the
        outer one (not asked of what a filter kept back: the caller may be of a packet that was passed over, unseen, in
        the place of one before). But what copies or frees a buffer calls nothing else of the plan; and where the call
        stands in a probed function, only a frame of that function can have made it.
        """
        if frame.caller in LATE:
            return None
        if frame.cls not in LIFE:
            while alive is not None and alive.cls in LIFE:
                alive = _outside(alive)
        start = self._knowledge.start
        caller = start(frame.event.caller)
        if not self._has_probe(frame.event, caller):
            return _outside(alive) if alive is not None and alive.name in ITSELF else alive
        candidate = alive
        while candidate is not None and start(candidate.event.ip) != caller:
            candidate = _outside(candidate)
        if candidate is None and not frame.event.flags & Flag.STASHED:
            above = (f for f in stack.values() if f.event.sp > frame.event.sp and start(f.event.ip) == caller)
            candidate = max(above, key=lambda f: f.index, default=None)
        return candidate

    def _jumper(self, frame: Frame, before: Frame) -> Frame | None:
        """The frame before at the same slot, if it (or what it had jumped from) jumped here; None for a new call."""
        callee = self._knowledge.callee(frame.event.caller)
        if callee == frame.name:
            return None
        direct = callee not in (None, INDIRECT)
        candidate: Frame | None = before
        while candidate is not None:
            jump = self._knowledge.may_jump(candidate.name, frame.name)
            if jump or (jump is None and self._plausible(candidate, frame, direct)):
                return candidate
            candidate = candidate.parent if candidate.tail else None
        return None

    @staticmethod
    def _plausible(before: Frame, frame: Frame, direct: bool) -> bool:
        """The code does not tell: what a direct call named jumped here; after an indirect one the packet decides."""
        if before.name == frame.name:
            return False
        same_packet = not before.event.skb or not frame.event.skb or before.event.skb == frame.event.skb
        return direct or same_packet or _same_header(before.event, frame.event)


def _same_header(a: Event, b: Event) -> bool:
    """Is the one packet a clone of the other? While somebody else holds a received packet, it goes on as a clone."""
    if not a.flags & b.flags & Flag.HEADER:
        return False
    return (a.saddr, a.daddr, a.proto, a.ip_id) == (b.saddr, b.daddr, b.proto, b.ip_id)


def hang(frame: Frame, parent: Frame | None, know: Knowledge) -> None:
    """Put a frame below the one that called it, or that jumped to it (``tail`` is set)."""
    callee = know.callee(frame.event.caller)
    if not frame.tail and callee not in (None, INDIRECT, frame.name):
        frame.via = callee or ""
    frame.parent = parent
    if parent is not None:
        parent.children.append(frame)


def _outside(frame: Frame) -> Frame | None:
    """The frame that is alive if this one is not: whoever jumped here has returned with it."""
    while frame.tail and frame.parent is not None:
        frame = frame.parent
    return frame.parent


def events_of(rows: Any) -> Iterator[Event]:
    """The events of a numpy array as Python tuples; the fast way out of numpy."""
    return (Event._make(row) for row in rows.tolist())
