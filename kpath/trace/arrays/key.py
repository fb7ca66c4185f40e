"""The key of a group: equal for groups of which the slow assembler and the model make the same.

Everything that they ask is in it, reduced as kpath.model.seen reduces it: which function was called from where, in
whose frame, for which buffer of which packet, and the facts that decide. Times, addresses of buffers and packets, and
lengths are not. 128 bits with a seed that nobody knows: no file can be made that has two paths under one key.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kpath.capture.schema import Class, Flag, Kind
from kpath.trace.arrays.tables import COMPARED, ODD, ORPHAN, READDRESSED, SAME_ID, TAIL, compiled, lean, mix

DROP, VERDICT = int(Kind.DROP), int(Kind.VERDICT)
IP, HOOK, ORIGIN = int(Class.IP), int(Class.HOOK), int(Class.ORIGIN)
FRAME, ROOT, END, RELEASE = int(Class.FRAME), int(Class.ROOT), int(Class.END), int(Class.RELEASE)
HEADER, MATCHED = int(Flag.HEADER), int(Flag.MATCHED)
CUT, LATE = int(Flag.CUT), int(Flag.LATE)
# Of big-endian fields, as this machine reads them.
_DF, _FRAGMENT = 0x0040, 0xFF3F
_REROUTED = 1 << 4


@lean
def facts(e: Any, bits: Any, ttl: Any) -> Any:
    """Two words with what decides at an event."""
    header = e.flags & HEADER != 0
    plain = header and e.arp_op == 0 and e.cls != ORIGIN
    meaningful = e.skb != 0 and not (
        e.cls == ORIGIN or e.cls == END or e.cls == RELEASE or e.cls == FRAME or e.cls == ROOT
    )
    one = np.uint64(e.kind) | (np.uint64(e.cls) << np.uint64(4)) | (np.uint64(e.hook) << np.uint64(8))
    one |= (np.uint64(e.pf) << np.uint64(16)) | (np.uint64(e.nud_state) << np.uint64(24))
    one |= np.uint64(e.arp_op) << np.uint64(32)
    kept = bits & (TAIL | ORPHAN | COMPARED | READDRESSED | SAME_ID)
    one |= np.uint64(kept) << np.uint64(40)
    one |= np.uint64(e.flags & (CUT | LATE)) << np.uint64(48)
    two = np.uint64(0)
    if header:
        two |= np.uint64(1)
    if e.flags & MATCHED:
        two |= np.uint64(1 << 18)
    if plain:
        two |= np.uint64(e.proto) << np.uint64(8)
        if e.frag_off & _DF:
            two |= np.uint64(2)
        if e.frag_off & _FRAGMENT:
            two |= np.uint64(4)
        if e.ttl <= 1:
            two |= np.uint64(8)
        if bits & SAME_ID and not bits & READDRESSED:
            two |= np.uint64(np.int64(ttl) & 0xFFFF) << np.uint64(48)
    if meaningful:
        two |= np.uint64(e.protocol) << np.uint64(32)
        if e.dst_xfrm != 0:
            two |= np.uint64(16)
        if e.mtu != 0:
            two |= np.uint64(64 if e.len > e.mtu else 32)
        if e.gso_size != 0:
            two |= np.uint64(128)
    if e.cls == IP:
        if e.frag_max != 0:
            two |= np.uint64(1 << 16)
        if e.ipcb & _REROUTED:
            two |= np.uint64(1 << 17)
    return one, two, meaningful


@compiled
def keys(events: Any, order: Any, starts: Any, frames: Any, lives: Any, seed: Any) -> Any:
    """Two numbers for each group. ``lives``: kpath.trace.arrays.tables.LIFE."""
    groups = len(starts) - 1
    found = np.empty((groups, 2), np.uint64)
    ordinal = np.empty(len(frames), np.int64)
    life_group = np.full(len(lives) + 1, -1, np.int64)
    life_ordinal = np.empty(len(lives) + 1, np.int64)
    packets = np.empty(len(lives) + 1, np.int64)
    row = np.empty(8, np.uint64)
    for group in range(groups):
        a, b = seed[0], seed[1]
        many_lives, many_packets, odd = 0, 0, False
        for at in range(starts[group], starts[group + 1]):
            i = order[at]
            e = events[i]
            ordinal[i] = at - starts[group] + 1
            bits = frames[i].bits
            odd |= bits & ODD != 0
            life, other, journey = frames[i].life, frames[i].other, 0
            if life >= 0 and life_group[life] != group:
                life_group[life] = group
                many_lives += 1
                life_ordinal[life] = many_lives
                number = lives[life].journey
                if number > 0:
                    while journey < many_packets and packets[journey] != number:
                        journey += 1
                    if journey == many_packets:
                        packets[journey] = number
                        many_packets += 1
                    journey += 1
            row[0], row[1], meaningful = facts(e, bits, frames[i].ttl)
            parent = frames[i].parent
            row[2] = np.uint64(ordinal[parent] if parent >= 0 else 0) | np.uint64(
                (life_ordinal[life] if life >= 0 else 0) << 32
            )
            # The other buffer was in the group before this event, or it would have no life.
            row[3] = np.uint64(life_ordinal[other] if other >= 0 else 0) | np.uint64(journey << 32)
            row[4] = e.caller
            row[5] = e.ip
            row[6] = e.dst_input if meaningful else np.uint64(0)
            row[7] = e.dst_output if meaningful else np.uint64(0)
            if e.kind == VERDICT:
                row[6] = np.uint64(2 if e.value > 0 else 1 if e.value == 0 else 0)
            elif e.kind == DROP:
                row[6] = np.uint64(np.int64(e.value) & 0xFFFFFFFF)
            elif e.cls == HOOK:
                row[7] ^= mix(e.arg)
            for word in row:
                a = (a ^ word) * np.uint64(0x9E3779B97F4A7C15)
                a ^= a >> np.uint64(32)
                b = ((b << np.uint64(31)) | (b >> np.uint64(33))) + word
                b *= np.uint64(0xD6E8FEB86659FD93)
                b ^= b >> np.uint64(29)
        if odd:  # what the order of time would tell is not in the key: such a group is like no other
            a, b = mix(np.uint64(order[starts[group]]) ^ a), mix(events[order[starts[group]]].time ^ b)
        found[group, 0], found[group, 1] = mix(a), mix(b)
    return found
