"""Room in the tables: made when one of them is full, without what is of no more use."""

from __future__ import annotations

import numpy as np

from kpath.trace.arrays import closing
from kpath.trace.arrays.tables import (
    ADDRESS,
    CODE,
    CURRENT,
    CURRENTS,
    FRAGMENT,
    FRAGMENTS,
    LIFE,
    LIVES,
    NOW,
    QUEUE,
    QUEUES,
    SLOT,
    SLOTS,
    STACK,
    STACKS,
    WAITER,
    WAITING,
    State,
    new,
)
from kpath.trace.lives import REASSEMBLY_NS, WIRE_NS

LEAST = 1 << 10
"""Rows of a table in the beginning."""
MANY_SLOTS = 1 << 17
"""More stack slots than this, and those that were entered longest ago are forgotten."""


def size_for(entries: int) -> int:
    """Rows of a hash table that has so many entries, and is to be full only when it has half as many again."""
    return max(LEAST, 1 << int(3 * entries).bit_length())


def empty() -> State:
    """The state before the first event."""
    jumps, probed = np.zeros((0, 0), np.int8), np.zeros(0, np.bool_)
    slots, stacks, addresses = (new(kind, LEAST) for kind in (SLOT, STACK, ADDRESS))
    lives, current, queues, waiters, fragments = (
        new(kind, LEAST) for kind in (LIFE, CURRENT, QUEUE, WAITER, FRAGMENT)
    )
    counters = np.zeros(FRAGMENTS + 1, np.int64)
    return State(
        slots, stacks, addresses, new(CODE, 0), jumps, probed, lives, current, queues, waiters, fragments, counters
    )


def roomier(state: State) -> State:
    """The same state with room in every table that is more than a third full."""
    counters = state.counters
    if 3 * max(counters[SLOTS], counters[STACKS] * len(state.slots) // len(state.stacks)) > len(state.slots):
        state = _slots(state)
    if 3 * int(counters[LIVES]) > 2 * len(state.lives):
        lives = new(LIFE, 2 * len(state.lives))
        lives[: len(state.lives)] = state.lives
        state = state._replace(lives=lives)
    if 3 * int(counters[CURRENTS]) > len(state.current):
        current = new(CURRENT, size_for(int(np.count_nonzero(state.current["life"] >= 0))))
        counters[CURRENTS] = closing.move_current(state.current, current)
        state = state._replace(current=current)
    if 3 * int(counters[QUEUES]) > len(state.queues) or 3 * int(counters[WAITING]) > 2 * len(state.waiters):
        state = _wire(state)
    if 3 * int(counters[FRAGMENTS]) > len(state.fragments):
        since = int(counters[NOW]) - REASSEMBLY_NS
        young = int(np.count_nonzero(state.fragments["used"] & (state.fragments["time"].astype(np.int64) >= since)))
        fragments = new(FRAGMENT, size_for(young))
        counters[FRAGMENTS] = closing.move_fragments(state.fragments, fragments, since)
        state = state._replace(fragments=fragments)
    return state


def _slots(state: State) -> State:
    counters, slots = state.counters, state.slots
    oldest = -1
    if counters[SLOTS] > MANY_SLOTS:
        serials = slots["serial"][slots["event"] != -1]
        oldest = int(np.partition(serials, len(serials) // 2)[len(serials) // 2])
    wider = new(SLOT, size_for(int(np.count_nonzero((slots["event"] != -1) & (slots["serial"] >= oldest)))))
    stacks = new(STACK, size_for(int(counters[STACKS])))
    counters[SLOTS], counters[STACKS] = closing.move_slots(slots, wider, state.stacks, stacks, oldest)
    return state._replace(slots=wider, stacks=stacks)


def _wire(state: State) -> State:
    counters = state.counters
    since = int(counters[NOW]) - WIRE_NS
    waiting = state.waiters["time"][: counters[WAITING]].astype(np.int64)
    young = int(np.count_nonzero(waiting >= since))
    queues, waiters = new(QUEUE, size_for(young)), new(WAITER, size_for(young))
    counters[QUEUES], counters[WAITING] = closing.move_queues(state.queues, state.waiters, queues, waiters, since)
    return state._replace(queues=queues, waiters=waiters)
