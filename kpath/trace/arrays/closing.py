"""Which groups of events are finished, and what is left of the tables when they go.

A *group* is all events that belong together: frames by their parents, buffers by their frames, copies and merges by
both. Nothing that the slow assembler makes of a group depends on an event outside it, but for what the tables of
kpath.trace.arrays.tables know.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kpath.trace.arrays.frames import slot_of
from kpath.trace.arrays.lives import root_of
from kpath.trace.arrays.tables import CLOSED, LIVES, USED, WAITING, compiled, lean, place

KEEP, CLOSE, DISCARD = 0, 1, 2


@compiled
def decide(events: Any, count: Any, frames: Any, state: Any, quiet: Any, forced: Any, everything: Any) -> Any:
    """KEEP, CLOSE or DISCARD for each event, by its group.

    A group is closed when all its buffers have come to their end and nothing happened since ``quiet`` (ns), or when
    nothing happened since ``forced``. A frame without packets stays while it is the newest in its slot.
    """
    lives, slots = state.lives, state.slots
    fate = np.zeros(count, np.uint8)
    last = np.zeros(count, np.int64)
    packets = np.zeros(count, np.bool_)
    open_lives = np.zeros(count, np.bool_)
    held = np.zeros(count, np.bool_)
    for i in range(count):
        root = root_of(frames, i)
        frames[i].link = root
        last[root] = i
        packets[root] |= frames[i].life >= 0
    for life in range(state.counters[LIVES]):
        if lives[life].open:
            open_lives[frames[lives[life].event].link] = True
    for at in range(len(slots)):
        if slots[at].event >= 0:
            held[frames[slots[at].event].link] = True
    for i in range(count):
        root = frames[i].link
        if not frames[i].bits & USED:
            fate[i] = DISCARD
        elif packets[root]:
            time = np.int64(events[last[root]].time)
            done = (not open_lives[root] and time < quiet) or time < forced
            fate[i] = CLOSE if everything or done else KEEP
        elif everything or not held[root]:
            fate[i] = DISCARD
    return fate


@compiled
def arrange(fate: Any, frames: Any, count: Any) -> Any:
    """The closed events, group by group, each in the order of time; and where each group begins, with the end."""
    number = np.full(count, -1, np.int64)
    groups = 0
    for i in range(count):
        if fate[i] == CLOSE and frames[i].link == i:
            number[i] = groups
            groups += 1
    starts = np.zeros(groups + 1, np.int64)
    for i in range(count):
        if fate[i] == CLOSE:
            starts[number[frames[i].link] + 1] += 1
    for group in range(groups):
        starts[group + 1] += starts[group]
    at = starts[:groups].copy()
    order = np.empty(starts[groups], np.int64)
    for i in range(count):
        if fate[i] == CLOSE:
            group = number[frames[i].link]
            order[at[group]] = i
            at[group] += 1
    return order, starts


@compiled
def pack(events: Any, count: Any, frames: Any, state: Any, fate: Any) -> Any:
    """Forgets what was closed and moves the rest together; returns how many events are left."""
    slots = state.slots
    moved = np.full(count, -1, np.int64)
    left = 0
    for i in range(count):
        if fate[i] == KEEP:
            moved[i] = left
            left += 1
    life_at = _pack_lives(frames, state, fate, moved)
    for i in range(count):
        to = moved[i]
        if to < 0:
            continue
        if to != i:
            events[to] = events[i]
            frames[to] = frames[i]
        frame = frames[to]
        frame.link = moved[frame.link]
        if frame.parent >= 0:
            frame.parent = moved[frame.parent]
        if frame.life >= 0:
            frame.life = life_at[frame.life]
        if frame.other >= 0:
            frame.other = life_at[frame.other]
    for at in range(len(slots)):
        if slots[at].event >= 0:
            slots[at].event = moved[slots[at].event] if moved[slots[at].event] >= 0 else CLOSED
    return left


@compiled
def _pack_lives(frames: Any, state: Any, fate: Any, moved: Any) -> Any:
    lives, current = state.lives, state.current
    many = state.counters[LIVES]
    at = np.full(many, -1, np.int64)
    left = 0
    for life in range(many):
        if fate[lives[life].event] == KEEP:
            at[life] = left
            left += 1
    for entry in range(state.counters[WAITING]):
        _move_life(state.waiters[entry], lives, at)
    for entry in range(len(state.fragments)):
        _move_life(state.fragments[entry], lives, at)
    for entry in range(len(current)):
        if current[entry].life >= 0:
            current[entry].life = at[current[entry].life]
    rings = np.empty(left, np.int64)
    for life in range(many):
        if at[life] >= 0:
            other = lives[life].next
            while at[other] < 0:
                other = lives[other].next
            rings[at[life]] = at[other]
    for life in range(many):
        to = at[life]
        if to < 0:
            continue
        if to != life:
            lives[to] = lives[life]
        lives[to].event = moved[lives[to].event]
        lives[to].next = rings[to]
        if lives[to].source >= 0:
            lives[to].source = at[lives[to].source]
    state.counters[LIVES] = left
    return at


@lean
def _move_life(entry: Any, lives: Any, at: Any) -> Any:
    if entry.life >= 0:
        if at[entry.life] < 0:
            entry.journey = lives[entry.life].journey
        entry.life = at[entry.life]


# ---- tables that grew: copied into larger ones without what is of no more use ----


@lean
def move_slots(old: Any, new: Any, stacks: Any, fresh: Any, oldest: Any) -> Any:
    """Slots and stacks into new tables, but for slots whose frame has a serial below ``oldest``; returns how many."""
    many, many_stacks = 0, 0
    for at in range(len(stacks)):
        slot = stacks[at].first if stacks[at].used else np.int64(-1)
        to = np.int64(-1)
        while slot >= 0:
            if old[slot].serial >= oldest:
                if to < 0:
                    to = place(fresh, stacks[at].key)
                    fresh[to] = stacks[at]
                    fresh[to].first = -1
                    many_stacks += 1
                goes = slot_of(new, old[slot].stack, old[slot].sp)
                new[goes] = old[slot]
                new[goes].next = fresh[to].first
                fresh[to].first = goes
                many += 1
            slot = old[slot].next
    return many, many_stacks


@lean
def move_current(old: Any, new: Any) -> Any:
    """The buffers that are alive; returns how many."""
    many = 0
    for at in range(len(old)):
        if old[at].used and old[at].life >= 0:
            new[place(new, old[at].key)] = old[at]
            many += 1
    return many


@lean
def move_queues(old: Any, waiters: Any, new: Any, fresh: Any, since: Any) -> Any:
    """The packets that were sent since then (ns); returns how many queues and packets."""
    entries, many = 0, 0
    for at in range(len(old)):
        entry = old[at].head
        to = np.int64(-1)
        for _turn in range(old[at].count if old[at].used else 0):
            if np.int64(waiters[entry].time) >= since:
                fresh[entries] = waiters[entry]
                fresh[entries].next = -1
                if to < 0:
                    to = place(new, old[at].key)
                    new[to] = old[at]
                    new[to].head, new[to].count = entries, 0
                    many += 1
                else:
                    fresh[new[to].tail].next = entries
                new[to].tail = entries
                new[to].count += 1
                entries += 1
            entry = waiters[entry].next
    return many, entries


@lean
def move_fragments(old: Any, new: Any, since: Any) -> Any:
    """The fragments that were seen since then (ns); returns how many."""
    many = 0
    for at in range(len(old)):
        if old[at].used and np.int64(old[at].time) >= since:
            new[place(new, old[at].key)] = old[at]
            many += 1
    return many
