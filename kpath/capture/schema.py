"""The event schema: the only thing that the BPF program and Python share.

One list of fields makes both the C structure that ``bpf/kpath.bpf.c`` fills and the numpy
dtype that everything else reads, so the two cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np

SCHEMA_VERSION = 1
"""Raised whenever a field is added, dropped or changes its meaning."""


class Kind(IntEnum):
    """What an event is: which sort of probe made it."""

    ENTRY = 0
    """Entry of a probed function."""
    VERDICT = 1
    """Return of ``nf_hook_slow``: ``value`` is its return value (1 accept, <0 dropped, 0 stolen or queued)."""
    DROP = 2
    """Tracepoint ``skb:kfree_skb``: ``value`` is the drop reason, ``caller`` the location that dropped."""


class Class(IntEnum):
    """How a probed function is handled; chosen by the probe plan, one BPF program for each argument position."""

    FRAME = 0
    """No packet among the arguments: a frame around or inside a packet's frames."""
    ROOT = 1
    """Like FRAME, and nothing below it on its stack can still be alive (driver poll, timer, system call)."""
    ORIGIN = 2
    """A packet being made: no header yet; device and dst of the buffer mean nothing yet."""
    IP = 3
    """A packet, certainly IPv4."""
    LINK = 4
    """A packet of any protocol: only IPv4 and ARP are followed."""
    COPY = 5
    """Two packets: the first argument becomes a clone, copy, segment or fragment of the second."""
    MERGE = 6
    """Two packets: the second argument is absorbed by the first (GRO)."""
    HOOK = 7
    """``nf_hook_slow``: a packet and a ``struct nf_hook_state``."""
    NEIGHBOUR = 8
    """A ``struct neighbour`` and a packet."""
    END = 9
    """The end of a buffer's life."""
    RELEASE = 10
    """A buffer is let go of; only its identity is read, its fields may be in use for something else."""


class Flag(IntFlag):
    """Bits of the field ``flags``."""

    HEADER = 1
    """The IP header fields were read from a header that looked like IPv4."""
    MATCHED = 2
    """The packet matched the filter, or descends from one that did."""
    SAME_SLOT = 4
    """The frame before on this stack had the same ``sp`` and the same ``caller``: a tail jump or a loop."""
    BORN = 8
    """First sight of this buffer: ``birth`` equals ``time``."""
    END = 16
    """The buffer's life ends here."""
    CLONED = 32
    """``skb->cloned`` was set."""
    TRACK_FULL = 64
    """The table of tracked packets was full, so this packet has no ``birth``."""
    STASHED = 128
    """Kept back in the kernel until its packet matched the filter, then sent up."""
    HOLE = 256
    """What was kept back before it on the same stack is gone: the room for it was full."""
    CUT = 512
    """A packet that the filter rejects, or that is left out, was handled on the same stack while this was kept back, or
    may have stood between this and its caller: whose helper this was is not known."""
    LATE = 1024
    """The packet matched only after it had been rejected (translated meanwhile, say): its past is not known."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the event record; ``ctype`` is the C type, ``doc`` its meaning and unit."""

    name: str
    ctype: str
    doc: str


_NUMPY = {"u64": "<u8", "u32": "<u4", "u16": "<u2", "u8": "u1", "s32": "<i4", "be32": ">u4", "be16": ">u2"}
_C = {"be32": "u32", "be16": "u16", "s32": "int"}

FIELDS: tuple[Field, ...] = (
    Field("time", "u64", "CLOCK_MONOTONIC, ns"),
    Field("seq", "u64", "number of this event on its CPU; counts the lost ones too"),
    Field("ip", "u64", "instruction pointer in the probed function; 0 for a tracepoint"),
    Field("caller", "u64", "return address at entry: who really called; for DROP the location"),
    Field("sp", "u64", "stack pointer at entry: address of the return address; 0 for a tracepoint"),
    Field("stack", "u64", "which stack: base of the task's stack, or the CPU number for the interrupt stack"),
    Field("parent_sp", "u64", "sp of the innermost frame that is still alive on this stack, 0 if none"),
    Field("skb", "u64", "address of the sk_buff, 0 for a function without one"),
    Field("birth", "u64", "time (ns) at which this buffer was first seen in this life; 0 when not tracked"),
    Field("other", "u64", "second sk_buff: the original of a COPY; what a MERGE was absorbed by"),
    Field("head", "u64", "skb->head"),
    Field("dst_input", "u64", "skb dst->input, 0 without dst"),
    Field("dst_output", "u64", "skb dst->output, 0 without dst"),
    Field("dst_xfrm", "u64", "skb dst->xfrm, 0 without dst or transform"),
    Field("arg", "u64", "okfn at a HOOK, the struct neighbour at NEIGHBOUR, birth of `other` at COPY and MERGE"),
    Field("netns", "u32", "inode number of the network namespace of skb->dev (or of the hook, or of the dst)"),
    Field("ifindex", "u32", "skb->dev->ifindex, 0 without device"),
    Field("out_ifindex", "u32", "dst->dev->ifindex (at a hook: state->out), 0 if none"),
    Field("pid", "u32", "thread that ran (its stack or interrupted); 0 is the idle task"),
    Field("mark", "u32", "skb->mark"),
    Field("saddr", "be32", "source address"),
    Field("daddr", "be32", "destination address"),
    Field("len", "u32", "skb->len, bytes, as the function sees it (with or without link header)"),
    Field("mtu", "u32", "MTU of the dst's device, bytes; 0 without dst"),
    Field("l4", "u32", "TCP sequence number; ICMP identifier << 16 | sequence; else 0 (host order)"),
    Field("value", "s32", "VERDICT: return value; DROP: reason; else function's own"),
    Field("sport", "be16", "source port (TCP, UDP), or ICMP type << 8 | code"),
    Field("dport", "be16", "destination port (TCP, UDP)"),
    Field("ip_id", "be16", "IP identification"),
    Field("frag_off", "be16", "IP fragment bits and offset (offset in units of 8 bytes)"),
    Field("tot_len", "be16", "IP total length, bytes"),
    Field("protocol", "be16", "skb->protocol (0x0800 IPv4, 0x0806 ARP)"),
    Field("gso_size", "u16", "bytes of payload per segment, 0 when not GSO"),
    Field("gso_segs", "u16", "number of GSO segments"),
    Field("ipcb", "u16", "IPCB(skb)->flags (IPSKB_*), meaningful between ip_rcv or ip_output and the device"),
    Field("frag_max", "u16", "IPCB(skb)->frag_max_size: largest fragment it was reassembled from, bytes"),
    Field("cpu", "u16", "number of the CPU; of what was kept back (STASHED), of the one that sent it up"),
    Field("flags", "u16", "bits of Flag"),
    Field("kind", "u8", "Kind"),
    Field("ttl", "u8", "IP time to live"),
    Field("proto", "u8", "IP protocol"),
    Field("tos", "u8", "IP type of service"),
    Field("hook", "u8", "netfilter hook number at nf_hook_slow, else 255"),
    Field("pf", "u8", "netfilter family at nf_hook_slow (2 is IPv4), else 0"),
    Field("nud_state", "u8", "neighbour state (NUD_*) where a neighbour is at hand, else 0"),
    Field("tcp_flags", "u8", "TCP flag byte, else 0"),
    Field("pkt_type", "u8", "skb->pkt_type: 0 to this host, 1 broadcast, 2 multicast, 3 other host, 4 outgoing"),
    Field("arp_op", "u8", "ARP operation: 1 request, 2 reply; saddr and daddr are then the ARP addresses"),
    Field("cls", "u8", "class of the handler that made this event (Class)"),
    Field("spare", "u8", "always 0"),
)

EVENT: np.dtype[np.void] = np.dtype([(f.name, _NUMPY[f.ctype]) for f in FIELDS])
"""The record as numpy sees it; packed, because the fields are ordered by falling size."""


def c_struct() -> str:
    """The record as the BPF program sees it: ``struct event``, plus the constants of this module."""
    lines = ["struct event {"]
    lines += [f"    {_C.get(f.ctype, f.ctype)} {f.name}; /* {f.doc} */" for f in FIELDS]
    lines += ["};"]
    lines += [f"#define KIND_{k.name} {k.value}" for k in Kind]
    lines += [f"#define CLASS_{k.name} {k.value}" for k in Class]
    lines += [f"#define FLAG_{k.name} {k.value}" for k in Flag]
    return "\n".join(lines) + "\n"


def _check() -> None:
    """Packed in numpy must mean packed in C: each field aligned to its own size, no tail padding."""
    offset = 0
    for f in FIELDS:
        size = np.dtype(_NUMPY[f.ctype]).itemsize
        if offset % size:
            raise AssertionError(f"field {f.name} would be padded in C")
        offset += size
    if offset % 8:
        raise AssertionError(f"the record's size {offset} is not a multiple of 8")


_check()
