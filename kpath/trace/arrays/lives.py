"""Frames become lives and journeys, in arrays: the fast twin of kpath.trace.lives, rule by rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from kpath.capture.schema import Class, Flag
from kpath.trace.arrays.tables import (
    COMPARED,
    CURRENTS,
    FRAGMENTS,
    JOURNEYS,
    LIVES,
    QUEUES,
    READDRESSED,
    SAME_ID,
    USED,
    WAITING,
    lean,
    mix,
    place,
)
from kpath.trace.lives import REASSEMBLY_NS, WIRE_NS

ORIGIN, IP, COPY, MERGE = int(Class.ORIGIN), int(Class.IP), int(Class.COPY), int(Class.MERGE)
HOOK, NEIGHBOUR, END = int(Class.HOOK), int(Class.NEIGHBOUR), int(Class.END)
HEADER = int(Flag.HEADER)
DEFRAG, VALIDATE, XMIT, ENQUEUE, CUT = 4, 8, 16, 32, 64
"""Bits of Code.roles; see kpath.trace.arrays.frames."""
MOST = 64
"""Most packets that wait under one key of the wire."""
_FRAG = 0xFF3F  # the bits 0x3FFF of a big-endian field, as this machine reads it


@lean
def root_of(frames: Any, i: Any) -> Any:
    """The event that stands for the group."""
    while frames[i].link != i:
        frames[i].link = frames[frames[i].link].link
        i = frames[i].link
    return i


@lean
def unite(frames: Any, one: Any, other: Any) -> Any:
    """Two events belong to one group; the older stands for it."""
    one, other = root_of(frames, one), root_of(frames, other)
    if one < other:
        frames[other].link = one
    else:
        frames[one].link = other


@lean
def life_of(events: Any, i: Any, frames: Any, state: Any) -> Any:
    """As ``Lives.life``."""
    e, current, lives = events[i], state.current, state.lives
    at = place(current, e.skb)
    life = current[at].life if current[at].used else np.int64(-1)
    if life >= 0 and not (lives[life].birth != e.birth and e.birth != 0):
        on_the_way = e.cls == ORIGIN or e.cls == IP or e.cls == HOOK or e.cls == NEIGHBOUR
        if not (lives[life].queued and on_the_way):
            return life
    if life >= 0:
        lives[life].open = False
    life = state.counters[LIVES]
    state.counters[LIVES] += 1
    lives[life].skb, lives[life].birth = e.skb, e.birth
    lives[life].journey, lives[life].next, lives[life].header, lives[life].source = 0, life, False, -1
    lives[life].shown, lives[life].open, lives[life].queued = False, True, False
    lives[life].netns, lives[life].ifindex = -1, -1
    lives[life].event = i
    if not current[at].used:
        state.counters[CURRENTS] += 1
    current[at].key, current[at].used, current[at].life = e.skb, True, life
    return life


@lean
def now_at(state: Any, skb: Any) -> Any:
    """The life at a buffer's address, -1 for none."""
    at = place(state.current, skb)
    return state.current[at].life if state.current[at].used else np.int64(-1)


@lean
def ensure(lives: Any, counters: Any, life: Any) -> Any:
    """As ``Lives._ensure_journey``: the number."""
    if lives[life].journey == 0:
        lives[life].journey = counters[JOURNEYS]
        counters[JOURNEYS] += 1
    return lives[life].journey


@lean
def renumber(lives: Any, life: Any, number: Any) -> Any:
    """Gives all lives of the journey another number."""
    lives[life].journey = number
    other = lives[life].next
    while other != life:
        lives[other].journey = number
        other = lives[other].next


@lean
def join(lives: Any, counters: Any, one: Any, other: Any) -> Any:
    """As ``Lives._join``."""
    keep = ensure(lives, counters, one)
    gone = ensure(lives, counters, other)
    if keep == gone:
        return
    if keep > gone:
        renumber(lives, one, gone)
    else:
        renumber(lives, other, keep)
    lives[one].next, lives[other].next = lives[other].next, lives[one].next


@lean
def join_gone(lives: Any, counters: Any, number: Any, life: Any) -> Any:
    """The same with a journey that is no longer in memory."""
    mine = ensure(lives, counters, life)
    if number == 0:
        counters[JOURNEYS] += 1
    elif number < mine:
        renumber(lives, life, number)


@lean
def entered(events: Any, i: Any, frames: Any, state: Any) -> Any:
    """As ``Lives.frame``."""
    e, lives, counters = events[i], state.lives, state.counters
    life = life_of(events, i, frames, state)
    frames[i].life = life
    unite(frames, i, lives[life].event)
    header = e.flags & HEADER != 0
    roles = state.code[frames[i].ip].roles
    if e.cls == COPY:
        original = now_at(state, e.other) if e.other != 0 else np.int64(-1)
        if original >= 0 and not (e.arg != 0 and lives[original].birth != e.arg):
            frames[i].other = original
            unite(frames, i, lives[original].event)
            if lives[life].source < 0:
                lives[life].source = original
            if lives[original].shown:
                join(lives, counters, original, life)
    elif e.cls == MERGE:
        into = now_at(state, e.other)
        if into >= 0:
            frames[i].other = into
            unite(frames, i, lives[into].event)
            join(lives, counters, into, life)
    elif not lives[life].shown and (header or e.arp_op != 0) and e.cls != ORIGIN:
        first_header(events, i, life, frames, state)
    if header and e.arp_op == 0 and e.cls != ORIGIN:
        compare(e, i, life, frames, lives)
    if roles & DEFRAG and header:
        reassembled(e, life, state)
    elif roles & (VALIDATE | XMIT) and header:
        sent(e, life, roles & XMIT != 0, state)
    elif roles & ENQUEUE:
        lives[life].queued = True
    elif e.cls == END:
        lives[life].open = False
        at = place(state.current, e.skb)
        if state.current[at].life == life:
            state.current[at].life = -1


@lean
def dropped(events: Any, i: Any, frames: Any, state: Any) -> Any:
    """As ``Lives.drop``."""
    e, lives = events[i], state.lives
    if e.skb == 0:
        return
    life = life_of(events, i, frames, state)
    frames[i].life = life
    frames[i].bits |= np.uint8(USED)
    unite(frames, i, lives[life].event)
    if not lives[life].shown and e.flags & HEADER:
        lives[life].shown = True
        ensure(lives, state.counters, life)


@lean
def compare(e: Any, i: Any, life: Any, frames: Any, lives: Any) -> Any:
    """What kpath.model.seen asks of a packet and its header before: the same addresses, the same packet, the TTL."""
    seen = lives[life]
    if seen.header:
        bits = np.uint8(COMPARED)
        if seen.saddr != e.saddr or seen.daddr != e.daddr:
            bits |= np.uint8(READDRESSED)
        if seen.proto == e.proto and seen.ip_id == e.ip_id:
            bits |= np.uint8(SAME_ID)
        frames[i].bits |= bits
        frames[i].ttl = np.int16(np.int64(e.ttl) - np.int64(seen.ttl))
    seen.header = True
    seen.saddr, seen.daddr, seen.proto, seen.ip_id, seen.ttl = e.saddr, e.daddr, e.proto, e.ip_id, e.ttl


@lean
def first_header(events: Any, i: Any, life: Any, frames: Any, state: Any) -> Any:
    """As ``Lives._first_header``."""
    lives, counters = state.lives, state.counters
    lives[life].shown = True
    ensure(lives, counters, life)
    source = lives[life].source
    if source >= 0 and lives[source].shown:
        join(lives, counters, source, life)
        return
    frame = frames[i].parent
    while frame >= 0:
        around = frames[frame].life
        if state.code[frames[frame].ip].roles & CUT and around >= 0 and around != life:
            lives[life].source = around
            join(lives, counters, around, life)
            return
        frame = frames[frame].parent
    from_wire(events[i], life, state)


# ---- the wire ----


@lean
def short_key(e: Any) -> Any:
    """What tells a packet on a wire, without its transport header."""
    one = mix((np.uint64(e.saddr) << np.uint64(32)) | np.uint64(e.daddr))
    parts = (np.uint64(e.ip_id) << np.uint64(24)) | (np.uint64(e.frag_off & _FRAG) << np.uint64(8)) | np.uint64(e.proto)
    return mix(one ^ parts)


@lean
def full_key(e: Any) -> Any:
    """The same with it."""
    ports = (np.uint64(e.sport) << np.uint64(48)) | (np.uint64(e.dport) << np.uint64(32)) | np.uint64(e.l4)
    return mix(short_key(e) + np.uint64(0x9E3779B97F4A7C15) ^ ports)


@lean
def wait(key: Any, e: Any, life: Any, state: Any) -> Any:
    """Puts a packet at the end of a queue of the wire."""
    waiters = state.waiters
    at = place(state.queues, key)
    queue = state.queues[at]
    if not queue.used:
        queue.used, queue.key, queue.head, queue.count = True, key, -1, 0
        state.counters[QUEUES] += 1
    entry = state.counters[WAITING]
    state.counters[WAITING] += 1
    waiter = waiters[entry]
    waiter.time, waiter.netns, waiter.ifindex = e.time, np.int64(e.netns), np.int64(e.ifindex)
    waiter.life, waiter.journey, waiter.next = life, 0, -1
    if queue.count == MOST:
        queue.head = waiters[queue.head].next
        queue.count -= 1
    if queue.count == 0:
        queue.head = entry
    else:
        waiters[queue.tail].next = entry
    queue.tail = entry
    queue.count += 1


@lean
def sent(e: Any, life: Any, xmit: Any, state: Any) -> Any:
    """As ``Lives._sent``."""
    lives = state.lives
    same = lives[life].netns == np.int64(e.netns) and lives[life].ifindex == np.int64(e.ifindex)
    if xmit:
        lives[life].netns, lives[life].ifindex = -1, -1
    else:
        lives[life].netns, lives[life].ifindex = np.int64(e.netns), np.int64(e.ifindex)
    if not (xmit and same):
        wait(full_key(e), e, life, state)
        wait(short_key(e), e, life, state)


@lean
def from_wire(e: Any, life: Any, state: Any) -> Any:
    """As ``Lives._from_wire``."""
    lives = state.lives
    key = full_key(e) if e.sport != 0 or e.dport != 0 or e.l4 != 0 else short_key(e)
    queue = state.queues[place(state.queues, key)]
    if not queue.used:
        return
    while queue.count > 0:
        waiter = state.waiters[queue.head]
        sender = waiter.life
        number = lives[sender].journey if sender >= 0 else waiter.journey
        old = e.time > waiter.time and e.time - waiter.time > np.uint64(WIRE_NS)
        if sender == life or number == lives[life].journey or old:
            queue.head = waiter.next
            queue.count -= 1
            continue
        if e.time >= waiter.time and (waiter.netns != np.int64(e.netns) or waiter.ifindex != np.int64(e.ifindex)):
            queue.head = waiter.next
            queue.count -= 1
            if sender >= 0:
                join(lives, state.counters, sender, life)
            else:
                join_gone(lives, state.counters, number, life)
        return


@lean
def reassembled(e: Any, life: Any, state: Any) -> Any:
    """As ``Lives._reassembled``."""
    table, lives = state.fragments, state.lives
    addresses = mix((np.uint64(e.saddr) << np.uint64(32)) | np.uint64(e.daddr))
    parts = (np.uint64(e.netns) << np.uint64(24)) | (np.uint64(e.ip_id) << np.uint64(8)) | np.uint64(e.proto)
    key = mix(addresses ^ parts)
    at = place(table, key)
    if table[at].used:
        known = table[at].life
        number = lives[known].journey if known >= 0 else table[at].journey
        young = np.int64(e.time) - np.int64(table[at].time) < REASSEMBLY_NS
        if young and number != 0:
            if known >= 0:
                join(lives, state.counters, known, life)
            else:
                join_gone(lives, state.counters, number, life)
            return
    if not table[at].used:
        state.counters[FRAGMENTS] += 1
    table[at].used, table[at].key = True, key
    table[at].time, table[at].life, table[at].journey = e.time, life, 0
