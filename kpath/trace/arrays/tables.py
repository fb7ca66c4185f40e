"""The state of the fast twin: arrays that compiled code can work on.

Everything is a plain array, so that it can be looked at and compared. An index of -1 means "none". Events are named
by their place in the block that is being worked on; ``pack`` (kpath.trace.arrays.groups) renames them when it closes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from kpath.capture.schema import EVENT
from kpath.trace.arrays.cache import directory

# The compiler has no types, nor has it big-endian numbers: addresses and ports are only compared and hashed.
NATIVE: np.dtype[np.void] = np.dtype([(name, EVENT[name].newbyteorder("=")) for name in EVENT.names or ()])
"""``schema.EVENT`` with every number taken as this machine's own."""

CLOSED = -2
"""In place of an event that is no longer in memory."""

Array = Any
_place = directory(numba.__version__)
_numba: Any = numba  # its own types do not know these options
_numba.config.CACHE_DIR = _place
compiled: Callable[[Any], Any] = _numba.njit(cache=bool(_place), nogil=True)
"""Compiles a function when it is first called, or takes what was compiled before."""
lean: Callable[[Any], Any] = _numba.njit(cache=bool(_place), nogil=True, _nrt=False, forceinline=True)
"""The same for what makes no arrays: without it, counting references to arrays takes most of the time. Always inlined:
to hand over a State in a call is to copy its hundred words."""


def _record(*fields: tuple[str, str]) -> np.dtype[np.void]:
    return np.dtype(list(fields), align=True)


SLOT = _record(
    ("stack", "u8"), ("sp", "u8"), ("event", "i8"), ("serial", "i8"), ("next", "i8"), ("epoch", "i4"), ("start", "i4")
)
"""Hash table: the newest frame at each (stack, sp). ``event``: its place, CLOSED, or -1 for an empty row. ``start``:
number of its function's start. ``epoch``: after a loss the stacks are forgotten; what has an older one is not there.
``next``: the next slot of the same stack, in no order."""

STACK = _record(("key", "u8"), ("root", "i8"), ("first", "i8"), ("used", "?"))
"""Hash table: stacks. ``root``: serial of the newest root. ``first``: a slot."""

ADDRESS = _record(("key", "u8"), ("number", "i8"))
"""Hash table: addresses that events mention; ``number`` is -1 for an empty row."""

CODE = _record(("start", "i8"), ("name", "i8"), ("callee", "i8"), ("roles", "i8"))
"""What is known of an address. ``callee``: the name that the call before this return address names, -1 when it is not
known, -2 through a pointer."""

FRAME = _record(
    ("parent", "i4"), ("life", "i4"), ("other", "i4"), ("link", "i4"), ("ip", "i4"), ("ttl", "i2"), ("bits", "u1")
)
"""What was made of an event. ``parent``: the frame that called or jumped here; of a VERDICT the frame of
nf_hook_slow. ``other``: of COPY and MERGE the other buffer's life. ``link``: union-find of the events of one group.
``ip``: number of the function's address. ``ttl``: TTL less that of the same buffer's header before."""

TAIL, ORPHAN, COMPARED, READDRESSED, SAME_ID, USED, ODD = 1, 2, 4, 8, 16, 32, 64
"""Bits of a frame. USED: it belongs to a group. ODD: it is older than the event before."""

LIFE = _record(
    ("skb", "u8"), ("birth", "u8"), ("journey", "i8"), ("next", "i8"), ("source", "i8"), ("event", "i8"),
    ("saddr", "u4"), ("daddr", "u4"), ("netns", "i8"), ("ifindex", "i8"), ("ip_id", "u2"), ("proto", "u1"),
    ("ttl", "u1"), ("header", "?"), ("shown", "?"), ("open", "?"), ("queued", "?"),
)  # fmt: skip
"""A buffer (kpath.trace.lives.Life). ``journey``: its number, 0 for none. ``next``: ring of the lives of a journey.
``event``: one of its events. ``saddr`` to ``ttl``: the header seen last, if ``header``. ``shown``: Life.header is set.
``netns``, ``ifindex``: Life.validated, -1 for none."""

CURRENT = _record(("key", "u8"), ("life", "i8"), ("used", "?"))
"""Hash table: buffer's address → its life now."""

QUEUE = _record(("key", "u8"), ("head", "i8"), ("tail", "i8"), ("count", "i8"), ("used", "?"))
"""Hash table: packets on their way to a device, first in, first out."""

WAITER = _record(
    ("time", "u8"), ("netns", "i8"), ("ifindex", "i8"), ("life", "i8"), ("journey", "i8"), ("next", "i8")
)
"""A packet in such a queue; ``journey`` counts when its life is no longer in memory (-1)."""

FRAGMENT = _record(("key", "u8"), ("time", "u8"), ("life", "i8"), ("journey", "i8"), ("used", "?"))
"""Hash table: what waits for its other fragments."""

SERIAL, NOW, EPOCH, LIVES, JOURNEYS, WAITING, LATE, LAST, SLOTS, STACKS, CURRENTS, QUEUES, FRAGMENTS = range(13)
"""Counters. LATE: frames whose caller was no longer in memory. LAST: time of the event before. LIVES, WAITING and
those from SLOTS on: rows in use of the tables."""


class State(NamedTuple):
    """Everything that is kept from event to event. The tables are powers of two long, and never full."""

    slots: Array
    stacks: Array
    addresses: Array
    code: Array
    jumps: Array
    """[source name, target name] → 1 can tail-jump there, 0 cannot, 2 not known."""
    probed: Array
    """Start of a function → it was seen entered."""
    lives: Array
    current: Array
    queues: Array
    waiters: Array
    fragments: Array
    counters: Array


def new(kind: np.dtype[np.void], size: int) -> Array:
    """A table without entries."""
    table = np.zeros(size, kind)
    empty = {"event": -1, "number": -1, "first": -1, "head": -1, "next": -1, "life": -1, "parent": -1}
    for name in kind.names or ():
        if name in empty:
            table[name] = empty[name]
    return table


@lean
def mix(value: Any) -> Any:
    """A number's bits well mixed (the finaliser of MurmurHash3)."""
    value = np.uint64(value)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@lean
def spread(value: Any) -> Any:
    """Where a number belongs in a hash table: addresses need no better mixing, and every event asks for it often."""
    value = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)
    return value ^ (value >> np.uint64(32))


@lean
def place(table: Any, wanted: Any) -> Any:
    """Where a key stands in a hash table, or where it would go."""
    mask = np.int64(len(table) - 1)
    at = np.int64(spread(wanted)) & mask
    while table[at].used and table[at].key != wanted:
        at = (at + 1) & mask
    return at
