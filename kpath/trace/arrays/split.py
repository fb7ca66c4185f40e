"""The stream of events is split into groups that can be looked at one by one, and each gets its key."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kpath.capture.schema import EVENT
from kpath.capture.tables import INDIRECT
from kpath.trace.arrays import closing, tables
from kpath.trace.arrays.frames import (
    ATTACHED,
    CUT,
    DEFRAG,
    ENQUEUE,
    ITSELF,
    LATE_CALLER,
    VALIDATE,
    XMIT,
    advance,
    full,
    unknown,
)
from kpath.trace.arrays.key import keys
from kpath.trace.arrays.room import empty, roomier, size_for
from kpath.trace.arrays.tables import JOURNEYS, LATE, LIVES, NATIVE, NOW
from kpath.trace.frames import ITSELF as ITSELF_NAMES
from kpath.trace.frames import LATE as LATE_NAMES
from kpath.trace.knowledge import RECEIVERS, Knowledge, handed_only, plain
from kpath.trace.lives import REASSEMBLY_NS, SOCKET_QUEUES

BLOCK = 1 << 16
"""Events that are worked on at once; more gain nothing and leave the processor's caches."""
QUIET_NS = 100_000_000
"""A group whose buffers are all gone is closed when nothing was added to it for so long (ns of the stream)."""
HELD = 1 << 20
"""More events than this in open groups, and those that were silent for REASSEMBLY_NS are closed as they are."""
_ROLES = {
    **dict.fromkeys(SOCKET_QUEUES, ENQUEUE),
    "ip_defrag": DEFRAG,
    "validate_xmit_skb": VALIDATE,
    "dev_hard_start_xmit": XMIT,
    "ip_do_fragment": CUT,
}


@dataclass(frozen=True, slots=True)
class Group:
    """One group, to be rebuilt with Python objects. All arrays have a row for each event, in the order of time."""

    events: Any
    parent: list[int]
    """Place of the parent in the group; of a VERDICT: of the frame that it belongs to. -1 for none."""
    tail: list[bool]
    orphan: list[bool]
    life: list[int]
    """Number of the buffer in the group, in the order of sight; -1 for none."""
    other: list[int]
    journey: dict[int, int]
    """Number of the buffer → number of its journey; 0 for none."""


class Batch:
    """The groups that were closed at one time. It is good until the splitter is given more events."""

    def __init__(self, events: Any, frames: Any, order: Any, starts: Any, journeys: Any, key: Any) -> None:
        self.starts = starts
        """Place of each group's first event, and the end."""
        self.keys = key
        """Two numbers for each group."""
        self._events = events
        self._frames = frames
        self._order = order
        self._journeys = journeys

    def __len__(self) -> int:
        return len(self.starts) - 1

    def forms(self) -> Iterator[tuple[bytes, Any]]:
        """The numbers of groups that have the same key, with that, in the order of the first of each."""
        order = np.lexsort(self.keys.T)
        ordered = self.keys[order]
        other = np.flatnonzero((ordered[1:] != ordered[:-1]).any(axis=1)) + 1
        for groups in sorted(np.split(order, other), key=lambda found: int(found[0])):
            yield self.keys[groups[0]].tobytes(), groups

    def times(self, at: Any) -> Any:
        """Times (ns) of events, by their place."""
        return self._events["time"][self._order[at]]

    def journeys(self, at: Any) -> Any:
        """Numbers of the journeys that events belong to, by the events' place."""
        return self._journeys[self._frames["life"][self._order[at]]]

    def group(self, number: int) -> Group:
        """One group, in Python's terms."""
        order = self._order[self.starts[number] : self.starts[number + 1]]
        frames = self._frames
        places = {int(event): place for place, event in enumerate(order.tolist())}
        lives: dict[int, int] = {}
        own = frames["life"][order].tolist()
        life = [lives.setdefault(n, len(lives)) if n >= 0 else -1 for n in own]
        bits = frames["bits"][order]
        return Group(
            self._events[order].view(EVENT),
            [places.get(p, -1) for p in frames["parent"][order].tolist()],
            ((bits & tables.TAIL) != 0).tolist(),
            ((bits & tables.ORPHAN) != 0).tolist(),
            life,
            [lives.get(n, -1) for n in frames["other"][order].tolist()],
            {number: int(self._journeys[n]) for n, number in lives.items()},
        )


class Splitter:
    """Takes events in the order of time (kpath.trace.order) and gives groups that are complete."""

    def __init__(self, knowledge: Knowledge, seed: Any = None) -> None:
        """``seed``: two numbers, for keys that can be compared with another splitter's; else nobody knows them."""
        self._know = knowledge
        self._names: dict[str, int] = {}
        self._starts: dict[int, int] = {0: 0}
        self._addresses: list[int] = []
        self._state = empty()
        self._state.counters[JOURNEYS] = 1
        self._events = np.empty(0, NATIVE)
        self._frames = tables.new(tables.FRAME, 0)
        self._count = 0
        self._fate: Any = None
        self._gaps: list[int] = []
        self._seed = _seed() if seed is None else seed

    @property
    def late(self) -> int:
        """Frames whose caller was in a group that had been closed: they are shown as partial."""
        return int(self._state.counters[LATE])

    def take(self, events: Any, gaps: Iterable[int] = ()) -> Batch:
        """Takes in events in the order of time, one array or several; ``gaps``: when losses ended (ns) that are new.

        Returns the groups that are closed by it. BLOCK events at a time are worked on fastest."""
        self._settle()
        ends = np.array(sorted((*self._gaps, *gaps)), np.int64)
        self._gaps = []
        for part in [events] if isinstance(events, np.ndarray) else events:
            self._take_part(part, ends)
        self._gaps = [int(end) for end in ends if end]
        count = self._count
        now = int(self._state.counters[NOW])
        forced = now - REASSEMBLY_NS if count > HELD else -1
        return self._close(now - QUIET_NS, forced, False)

    def _take_part(self, events: Any, ends: Any) -> None:
        if events.dtype != EVENT:  # numpy turns big-endian fields round when it joins arrays
            events = events.astype(EVENT)
        incoming = events.view(NATIVE)
        incoming.setflags(write=False)  # some are: so all are, or all is compiled for both
        first = at = self._count
        self._count += len(incoming)
        if len(self._events) < self._count:
            self._grow(first)
        while (at := advance(incoming, self._events, first, at, self._frames, self._state, ends)) < self._count:
            if full(self._state):
                self._state = roomier(self._state)
            else:
                self._learn_addresses(incoming[at - first :])

    def flush(self) -> Batch:
        """The stream is over: all groups that are left."""
        self._settle()
        return self._close(0, 0, True)

    def relearn(self) -> None:
        """What is known of addresses may have changed: paths that hold them may be others now."""
        before = self._state.code.copy(), self._state.jumps
        self._describe()
        after = self._state.code, self._state.jumps
        if not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
            self.forget_keys()

    def forget_keys(self) -> None:
        """From now on no group has the key of one before."""
        self._seed = _seed()

    def frames(self) -> Any:
        """What was made of each event that is in memory (kpath.trace.arrays.tables.FRAME), in their order."""
        return self._frames[: self._count]

    # ---- blocks ----

    def _close(self, quiet: int, forced: int, everything: bool) -> Batch:
        count, state = self._count, self._state
        frames = self._frames[:count]
        events = self._events[:count]
        self._fate = closing.decide(events, count, frames, state, quiet, forced, everything)
        order, starts = closing.arrange(self._fate, frames, count)
        lives = state.lives[: state.counters[LIVES]]
        key = keys(events, order, starts, frames, lives, self._seed)
        return Batch(events, frames, order, starts, lives["journey"], key)

    def _settle(self) -> None:
        if self._fate is not None:
            frames = self._frames[: self._count]
            self._count = closing.pack(self._events, self._count, frames, self._state, self._fate)
            self._fate = None

    def _grow(self, used: int) -> None:
        events, frames = np.empty(2 * self._count, NATIVE), tables.new(tables.FRAME, 2 * self._count)
        _raw(events)[:used] = _raw(self._events)[:used]
        frames[:used] = self._frames[:used]
        self._events, self._frames = events, frames

    # ---- addresses ----

    def _learn_addresses(self, events: Any) -> None:
        found = np.empty(1 << 10, np.uint64)
        while count := unknown(events, self._state.addresses, found):
            known = set(self._addresses)
            self._addresses += [a for a in dict.fromkeys(found[:count].tolist()) if a not in known]
            self._describe()

    def _describe(self) -> None:
        """Fills the table of addresses with what is known of them."""
        know, names, starts = self._know, self._names, self._starts
        rows = []
        for address in self._addresses:
            name = know.function(address)
            callee = know.callee(address)
            of_callee = -1 if callee is None else -2 if callee == INDIRECT else names.setdefault(callee, len(names))
            roles = _ROLES.get(name, 0)
            roles |= ITSELF if name in ITSELF_NAMES else 0
            roles |= LATE_CALLER if name in LATE_NAMES else 0
            roles |= ATTACHED if know.start(address) in know.attached else 0
            start = starts.setdefault(know.start(address), len(starts))
            rows.append((start, names.setdefault(name, len(names)), of_callee, roles))
        addresses = tables.new(tables.ADDRESS, size_for(len(rows)))
        for number, address in enumerate(self._addresses):
            at = int(tables.spread(np.uint64(address))) & (len(addresses) - 1)
            while addresses["number"][at] >= 0:
                at = (at + 1) & (len(addresses) - 1)
            addresses[at] = address, number
        probed = np.zeros(len(starts), np.bool_)
        probed[: len(self._state.probed)] = self._state.probed
        code = np.array(rows, tables.CODE)
        self._state = self._state._replace(addresses=addresses, code=code, jumps=self._jumps(), probed=probed)

    def _jumps(self) -> Any:
        """Who can tail-jump to whom, as ``Knowledge.may_jump`` tells."""
        names = self._names
        table = np.full((len(names), len(names)), 2, np.int8)
        by_plain: dict[str, tuple[str, ...]] = {}
        for symbol, targets in self._know.jumps.items():
            by_plain.setdefault(plain(symbol), targets)
        for name, row in names.items():
            found = self._know.jumps.get(name, by_plain.get(name))
            if found is None:
                continue
            table[row] = 2 if INDIRECT in found else 0
            for target in found:
                to = names.get(plain(target))
                if to is not None:
                    table[row, to] = 1
        for name, row in names.items():
            for target in RECEIVERS & names.keys():
                if table[row, names[target]] == 2 and handed_only(name, target):
                    table[row, names[target]] = 0
        return table


def _seed() -> Any:
    return np.array([secrets.randbits(64), secrets.randbits(64)], np.uint64)


def _raw(events: Any) -> Any:
    """The records as rows of numbers: numpy copies records field by field, and these at once."""
    return np.ascontiguousarray(events).view(np.uint8).reshape(len(events), EVENT.itemsize)


__all__ = ["BLOCK", "Batch", "Group", "Splitter"]
