"""Events become frames, in arrays: the fast twin of kpath.trace.frames, rule by rule.

``tests/trace/test_arrays.py`` holds the two together. Whoever changes a rule there changes it here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kpath.capture.schema import Class, Flag, Kind
from kpath.trace.arrays import lives as packets
from kpath.trace.arrays.tables import (
    CLOSED,
    CURRENTS,
    EPOCH,
    FRAGMENTS,
    LAST,
    LATE,
    LIVES,
    NOW,
    ODD,
    ORPHAN,
    QUEUES,
    SERIAL,
    SLOTS,
    STACKS,
    TAIL,
    USED,
    WAITING,
    lean,
    place,
    spread,
)

ENTRY, VERDICT = int(Kind.ENTRY), int(Kind.VERDICT)
ROOT, HOOK = int(Class.ROOT), int(Class.HOOK)
COPY, RELEASE, END = int(Class.COPY), int(Class.RELEASE), int(Class.END)
SAME_SLOT, HOLE, HEADER, STASHED = int(Flag.SAME_SLOT), int(Flag.HOLE), int(Flag.HEADER), int(Flag.STASHED)

ITSELF, LATE_CALLER, DEFRAG, VALIDATE, XMIT, ENQUEUE, CUT, ATTACHED = 1, 2, 4, 8, 16, 32, 64, 128
"""Bits of Code.roles: what the rules say of a function by its name; ATTACHED: it is in ``Knowledge.attached``."""


@lean
def find_code(addresses: Any, address: Any) -> Any:
    """The number of an address, -1 when it is not known."""
    mask = np.int64(len(addresses) - 1)
    at = np.int64(spread(address)) & mask
    while addresses[at].number >= 0 and addresses[at].key != address:
        at = (at + 1) & mask
    return addresses[at].number


@lean
def unknown(events: Any, addresses: Any, found: Any) -> Any:
    """Writes the addresses that are not in the table yet into ``found``; returns how many (some more than once)."""
    count = 0
    for i in range(len(events)):
        e = events[i]
        if count + 2 > len(found):
            break
        if find_code(addresses, e.ip) < 0:
            found[count] = e.ip
            count += 1
        if find_code(addresses, e.caller) < 0:
            found[count] = e.caller
            count += 1
    return count


@lean
def slot_of(slots: Any, stack: Any, sp: Any) -> Any:
    """Where the slot stands in the table, or where it would go."""
    mask = np.int64(len(slots) - 1)
    at = np.int64(spread(sp + (stack >> np.uint64(12)) * np.uint64(0xD6E8FEB86659FD93))) & mask
    while slots[at].event != -1 and (slots[at].sp != sp or slots[at].stack != stack):
        at = (at + 1) & mask
    return at


@lean
def stack_of(stacks: Any, stack: Any, counters: Any) -> Any:
    """The stack's place in the table; made when it is new."""
    at = place(stacks, stack)
    if not stacks[at].used:
        counters[STACKS] += 1
        stacks[at].used = True
        stacks[at].key = stack
        stacks[at].root = 0
        stacks[at].first = -1
    return at


@lean
def outside(frames: Any, i: Any) -> Any:
    """As ``_outside`` in kpath.trace.frames."""
    while frames[i].bits & TAIL and frames[i].parent >= 0:
        i = frames[i].parent
    return frames[i].parent


@lean
def same_header(a: Any, b: Any) -> Any:
    """As ``_same_header`` in kpath.trace.frames."""
    if a.flags & b.flags & HEADER == 0:
        return False
    return a.saddr == b.saddr and a.daddr == b.daddr and a.proto == b.proto and a.ip_id == b.ip_id


@lean
def jumper(events: Any, i: Any, before: Any, frames: Any, code: Any, jumps: Any, caller: Any) -> Any:
    """As ``FrameBuilder._jumper``."""
    name = code[frames[i].ip].name
    callee = code[caller].callee
    if callee == name:
        return np.int64(-1)
    candidate = np.int64(before)
    while candidate >= 0:
        jump = jumps[code[frames[candidate].ip].name, name]
        if jump == 1:
            return candidate
        if jump == 2 and code[frames[candidate].ip].name != name:
            one, other = events[candidate].skb, events[i].skb
            if callee >= 0 or one == 0 or other == 0 or one == other or same_header(events[candidate], events[i]):
                return candidate
        candidate = frames[candidate].parent if frames[candidate].bits & TAIL else np.int64(-1)
    return np.int64(-1)


@lean
def above(state: Any, stack: Any, sp: Any, start: Any) -> Any:
    """The newest frame further out on the stack whose function begins at ``start``: its slot, -1 if none."""
    slots = state.slots
    best, at = np.int64(-1), state.stacks[stack].first
    while at >= 0:
        if slots[at].epoch == state.counters[EPOCH] and slots[at].sp > sp and slots[at].start == start:  # noqa: SIM102
            if best < 0 or slots[at].serial > slots[best].serial:
                best = at
        at = slots[at].next
    return best


@lean
def has_probe(e: Any, code: Any, state: Any) -> Any:
    """As ``FrameBuilder._has_probe``."""
    return state.probed[code.start] or (e.flags & STASHED and code.roles & ATTACHED)


@lean
def caller_of(events: Any, i: Any, alive: Any, frames: Any, state: Any, caller: Any, stack: Any) -> Any:
    """As ``FrameBuilder._caller``; CLOSED when it is no longer in memory."""
    code = state.code
    if code[caller].roles & LATE_CALLER:
        return np.int64(-1)
    cls = events[i].cls
    if cls != COPY and cls != RELEASE and cls != END:
        while alive >= 0 and (
            events[alive].cls == COPY or events[alive].cls == RELEASE or events[alive].cls == END
        ):
            alive = outside(frames, alive)
    start = code[caller].start
    if not has_probe(events[i], code[caller], state):
        if alive >= 0 and code[frames[alive].ip].roles & ITSELF:
            return outside(frames, alive)
        return np.int64(alive)
    if alive == CLOSED:
        return np.int64(CLOSED)
    candidate = np.int64(alive)
    while candidate >= 0 and code[frames[candidate].ip].start != start:
        candidate = outside(frames, candidate)
    if candidate < 0 and not events[i].flags & STASHED:
        slot = above(state, stack, events[i].sp, start)
        if slot >= 0:
            return state.slots[slot].event
    return candidate


@lean
def newest(state: Any, stack: Any, at: Any) -> Any:
    """The frame in a slot if it was entered since the newest root on its stack, else -1."""
    slots = state.slots
    if slots[at].event == -1 or slots[at].epoch != state.counters[EPOCH]:
        return np.int64(-1)
    return slots[at].event if slots[at].serial >= state.stacks[stack].root else np.int64(-1)


@lean
def forget(state: Any, stack: Any) -> None:
    """Believe nothing of what was seen before on a stack."""
    slots = state.slots
    at = state.stacks[stack].first
    while at >= 0:
        slots[at].epoch = state.counters[EPOCH] - 1
        at = slots[at].next


@lean
def entered(events: Any, i: Any, number: Any, caller: Any, frames: Any, state: Any) -> Any:
    """As ``FrameBuilder.entry``. ``number``, ``caller``: the numbers of the addresses."""
    e, code, slots = events[i], state.code, state.slots
    frames[i].ip = number
    serial = state.counters[SERIAL]
    state.counters[SERIAL] += 1
    stack = stack_of(state.stacks, e.stack, state.counters)
    if e.flags & HOLE:
        forget(state, stack)
    root = e.cls == ROOT
    if root:
        state.stacks[stack].root = serial
    at = slot_of(slots, e.stack, e.sp)
    parent = np.int64(-1)
    tail = False
    late = False
    if e.flags & SAME_SLOT:
        before = newest(state, stack, at)
        if before >= 0:
            parent = jumper(events, i, before, frames, code, state.jumps, caller)
            tail = parent >= 0
        late = before == CLOSED
    bits = np.uint8(TAIL if tail else 0)
    if not tail and not root:
        alive = newest(state, stack, slot_of(slots, e.stack, e.parent_sp))
        parent = caller_of(events, i, alive, frames, state, caller, stack)
        told = e.parent_sp != 0 or has_probe(e, code[caller], state)
        if parent == CLOSED:
            late = True
            parent = np.int64(-1)
        if late or (told and parent < 0 and not code[caller].roles & LATE_CALLER):
            bits |= np.uint8(ORPHAN)
    if late:
        state.counters[LATE] += 1
    frames[i].bits = bits
    frames[i].parent = parent
    if parent >= 0:
        packets.unite(frames, i, parent)
    if slots[at].event == -1:
        state.counters[SLOTS] += 1
        slots[at].stack = e.stack
        slots[at].sp = e.sp
        slots[at].next = state.stacks[stack].first
        state.stacks[stack].first = at
    slots[at].event = i
    slots[at].serial = serial
    slots[at].start = code[number].start
    slots[at].epoch = state.counters[EPOCH]
    state.probed[code[number].start] = True


@lean
def full(state: Any) -> Any:
    """Could a table be more than half full, or have no row left, after one more event?"""
    counters = state.counters
    return (
        2 * counters[SLOTS] + 2 >= len(state.slots)
        or 2 * counters[STACKS] + 2 >= len(state.stacks)
        or 2 * counters[CURRENTS] + 2 >= len(state.current)
        or 2 * counters[QUEUES] + 4 >= len(state.queues)
        or 2 * counters[FRAGMENTS] + 2 >= len(state.fragments)
        or counters[LIVES] + 1 >= len(state.lives)
        or counters[WAITING] + 2 >= len(state.waiters)
    )


@lean
def advance(incoming: Any, events: Any, first: Any, begin: Any, frames: Any, state: Any, gaps: Any) -> Any:
    """Takes in the incoming events, whose places are from ``first`` on: as ``Assembler._one`` for each that is not
    before ``begin``; returns where it stopped.

    It stops early when a table is full, or an address is not known. ``gaps``: ends of losses, in order; those that it
    has passed become 0."""
    counters = state.counters
    gap = 0
    while gap < len(gaps) and gaps[gap] == 0:
        gap += 1
    for i in range(begin, first + len(incoming)):
        if full(state):
            return i
        events[i] = incoming[i - first]
        e = events[i]
        number = caller = np.int64(-1)
        if e.kind == ENTRY:
            number = find_code(state.addresses, e.ip)
            caller = find_code(state.addresses, e.caller)
            if number < 0 or caller < 0:
                return i
        time = np.int64(e.time)
        frames[i].link = i
        frames[i].life = -1
        frames[i].other = -1
        frames[i].parent = -1
        frames[i].bits = np.uint8(ODD if time < counters[LAST] else 0)
        frames[i].ttl = 0
        odd = frames[i].bits
        counters[LAST] = time
        counters[NOW] = max(counters[NOW], time)
        if gap < len(gaps) and np.int64(gaps[gap]) <= time:
            while gap < len(gaps) and np.int64(gaps[gap]) <= time:
                gaps[gap] = 0
                gap += 1
            counters[EPOCH] += 1
        if e.kind == ENTRY:
            entered(events, i, number, caller, frames, state)
            frames[i].bits |= np.uint8(odd | USED)
            if e.skb != 0:
                packets.entered(events, i, frames, state)
        elif e.kind == VERDICT:
            at = slot_of(state.slots, e.stack, e.sp)
            frame = state.slots[at].event
            if (
                frame >= 0
                and state.slots[at].epoch == counters[EPOCH]
                and events[frame].cls == HOOK
                and events[frame].skb == e.skb
            ):
                frames[i].parent = frame
                frames[i].bits = np.uint8(odd | USED)
                packets.unite(frames, i, frame)
        else:
            packets.dropped(events, i, frames, state)
            frames[i].bits |= odd
    return first + len(incoming)
