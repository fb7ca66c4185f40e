"""Paths assembled in the kernel: the structures that ``bpf/paths.bpf.c`` and Python share, and the tables mapped.

One list of fields makes both the C structures and the numpy dtypes, as in :mod:`kpath.capture.schema`. A *record* is
what the kernel keeps of one packet: its hops and what decided at each. A *path* is all packets with equal records.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from kpath.capture.counters import Counts
from kpath.capture.looks import Account
from kpath.capture.plan import Planned
from kpath.capture.schema import Class

HOPS = 96
"""Hops that a record holds; a packet with more is counted by all of them, but shown with the first."""
OPEN = 32
"""Frames of one packet that may be alive at once; a power of two."""
PATHS = 1024
"""Distinct paths that one CPU counts; a power of two."""
SLOTS = 64
"""Records on their way to userspace, for each CPU; a power of two."""
BUCKETS = 64
"""Of the histogram of how long packets took: two for each doubling, from 1 ns to 4.3 s."""


GRACE = 1_000_000_000
"""Packets that are first met so soon (ns) after the sampling changed are not counted: they may have begun before."""
_NOT_YET = 1 << 62


class Bit(IntFlag):
    """Bits of a hop."""

    SAME_SLOT = 1
    """As the flag of that name of an event."""
    NEW_STACK = 2
    """The packet came to another stack, or back to one that had been left meanwhile."""
    LIGHT = 4
    """The packet was not looked at: only ``ip``, ``caller``, ``sp``, ``parent``, ``bits``, ``after`` were written."""


class Fact(IntFlag):
    """Facts of a hop, beside the IP protocol in the lowest byte: what the model asks (kpath/model/seen.py)."""

    HEADER = 1 << 8
    DF = 1 << 9
    FRAGMENT = 1 << 10
    EXPIRED = 1 << 11
    COMPARED = 1 << 12
    READDRESSED = 1 << 13
    SAME_ID = 1 << 14
    XFRM = 1 << 15
    WITHIN_MTU = 1 << 16
    OVER_MTU = 1 << 17
    GSO = 1 << 18
    WAS_FRAGMENTS = 1 << 19
    REROUTED = 1 << 20


_SHIFTS = {"ETHER": 21, "ARP": 23, "NUD": 32, "HOOK": 40, "PF": 48, "TTL": 56}
ETHER, ARP, NUD, HOOK, PF, TTL = _SHIFTS.values()
"""Where in the facts stand: 1 IPv4, 2 ARP, 3 another; the ARP operation; the neighbour's state; the hook's number and
family; by how much the TTL is more than at the hop before (two's complement)."""

_HOP = (
    ("ip", "u32"), ("caller", "u32"), ("after", "u32"), ("in", "u32"), ("out", "u32"), ("netns", "u32"),
    ("ifindex", "u32"), ("sp", "u16"), ("parent", "u8"), ("bits", "u8"), ("facts", "u64"),
)  # fmt: skip
_HEAD = (
    ("birth", "u64"), ("last", "u64"), ("hash", "u64"), ("skb", "u64"), ("base", "u64"), ("life", "u64"),
    ("origin", "u64"), ("saddr", "u32"), ("daddr", "u32"), ("last_saddr", "u32"), ("last_daddr", "u32"),
    ("ports", "u32"), ("count", "u32"), ("scratch", "u32"), ("found", "u32"), ("inherited", "u32"), ("ip_id", "u16"),
    ("ttl", "u8"), ("proto", "u8"), ("first_proto", "u8"), ("shown", "u8"), ("matched", "u8"), ("timed", "u8"),
    ("transient", "u8"), ("full", "u8"), ("spare", "u16"),
)  # fmt: skip
_PATH = (("hash", "u64"), ("count", "u64"), ("took", "u64"), ("last", "u64"), ("told", "u64"))
_NUMPY = {"u64": "<u8", "u32": "<u4", "u16": "<u2", "u8": "u1"}
_COUNTERS = (
    "hits", "born", "ended", "counted", "unlisted", "no_packet", "cut", "told", "untold", "passed", "transient",
    "busy",
)  # fmt: skip


def _dtype(fields: Iterable[tuple[str, str]], *more: Any) -> np.dtype[np.void]:
    return np.dtype([*((name, _NUMPY[kind]) for name, kind in fields), *more])


HOP = _dtype(_HOP)
"""One hop; addresses (``ip``, ``caller``, ``in``, ``out``) without their upper half, which is all ones in the kernel's
text; ``after`` ns since the packet's birth, if the record says ``timed``; ``sp`` in words from the bottom of the stack;
``parent`` one more than the number of the hop that it stands in, 0 for none; ``in`` is the continuation at a hook. A
hop without ``ip`` is a drop: ``caller`` is the place, ``facts`` the reason."""
RECORD = _dtype(_HEAD, ("hops", HOP, HOPS))
"""What the kernel keeps of one packet. Addresses and ports (network order) are of its first header."""
PATH = _dtype(_PATH, ("buckets", "<u4", BUCKETS))
"""One CPU's count of a path; ``took`` is the sum of ns from birth to end."""
COUNTERS = np.dtype([*((name, "<u8") for name in _COUNTERS), ("spare", "<u8", 16 - len(_COUNTERS))])
CONTROL = np.dtype([("sample_mask", "<u8"), ("changed", "<u8"), ("spare", "<u8", 6)])


def c_structs() -> str:
    """The same for the BPF program."""

    def struct(name: str, fields: Iterable[tuple[str, str]], *more: str) -> str:
        return f"struct {name} {{ {' '.join(f'{kind} {field};' for field, kind in fields)} {' '.join(more)} }};"

    numbers = {"HOPS": HOPS, "OPEN": OPEN, "PATHS": PATHS, "BUCKETS": BUCKETS}
    numbers |= {f"HOP_{bit.name}": int(bit) for bit in Bit}
    text = [f"#define {name} {value}" for name, value in numbers.items()]
    text += [f"#define FACT_{fact.name} {int(fact)}ULL" for fact in Fact]
    text += [f"#define FACT_{name}_SHIFT {value}" for name, value in _SHIFTS.items()]
    text += ["#define KERNEL_HALF 0xffffffff00000000ULL", "#define SEED 0x6b70617468ULL"]
    text += [
        struct("hop", _HOP),
        struct("head", _HEAD),
        f"struct record {{ struct head head; struct hop hops[{HOPS}]; }};",
        struct("path", _PATH, f"u32 buckets[{BUCKETS}];"),
    ]
    return "\n".join(text) + "\n"


LOOKED_AT = frozenset({
    "ip_rcv_core", "ip_rcv_finish_core", "ip_local_deliver", "ip_forward", "ip_forward_options", "ip_error",
    "ip_mr_input", "ip_mr_forward", "ip_output", "ip_mc_output", "xfrm4_output", "__xfrm4_output", "xfrm_output",
    "xfrm_output2", "xfrm_output_resume", "__ip_finish_output", "ip_fragment", "ip_do_fragment", "ip_defrag",
    "dev_hard_start_xmit", "tcp_v4_rcv", "udp_rcv", "icmp_rcv", "igmp_rcv", "raw_rcv", "xfrm4_esp_rcv",
    "xfrm4_ah_rcv", "xfrm4_ipcomp_rcv", "xfrm4_udp_encap_rcv", "xfrm4_transport_finish", "xfrm_input",
    "xfrm_input_resume", "xfrm_rcv_cb", "gre_rcv", "tunnel4_rcv", "ipip_rcv", "ip_tunnel_rcv",
    "gro_cells_receive", "ip_tunnel_xmit", "ipip_tunnel_xmit", "ipgre_xmit", "xfrmi_xmit", "esp_output",
    "ah_output", "ipcomp_output", "esp_input", "ah_input", "ipcomp_input", "tcf_classify", "do_xdp_generic",
    "__netif_receive_skb_core", "napi_gro_receive", "gro_receive_skb", "netif_rx", "arp_rcv", "arp_process",
    "arp_xmit", "lwtunnel_xmit", "lwtunnel_output", "packet_rcv", "ip_rt_send_redirect", "__icmp_send",
    "icmp_send", "icmp_reply",
})  # fmt: skip
"""Functions at which a packet is looked at: where the model decides by facts, where a header may have changed, and
where the packet comes in or goes out. At all others that it was there is all that counts."""

SECOND = {"ip_rcv": "ip_rcv_core", "ip_finish_output": "__ip_finish_output"}
"""Functions at which a packet is looked at only where the other one has no probe."""


def lighten(program: str, name: str, probed: Collection[str]) -> str:
    """The program for a function of this mode: ``ip_0`` becomes ``ip_light_0`` where the packet is not looked at.

    ``probed`` names all functions that have a probe.
    """
    kind, _, position = program.rpartition("_")
    looked_at = name in LOOKED_AT or (name in SECOND and SECOND[name] not in probed)
    if kind in ("ip", "link") and not looked_at:
        return f"{kind}_light_{position}"
    return program


def planned(plan: Iterable[Planned]) -> tuple[Planned, ...]:
    """Of the plan, the functions that have a packet among their arguments."""
    return tuple(p for p in plan if p.cls not in (Class.FRAME, Class.ROOT))


class Tables:
    """The kernel's tables of this mode, mapped: a system call that reads a map makes its CPU skip probes."""

    def __init__(self, bpf: Any, cpus: int, rings: int) -> None:
        """``cpus`` can exist here, ``rings`` of them have a table of paths."""
        self._memories: list[mmap.mmap] = []
        self._counts = self._map(bpf["counts"].map_fd, COUNTERS, cpus)
        self._paths = self._map(bpf["paths"].map_fd, PATH, rings * PATHS)
        self._places = self._map(bpf["places"].map_fd, RECORD, rings * SLOTS).reshape(rings, SLOTS)
        self._taken = self._map(bpf["taken"].map_fd, np.dtype("<u8"), cpus * 8, write=True)[::8]
        self._control = self._map(bpf["controls"].map_fd, CONTROL, 1, write=True)
        self._control["changed"] = _NOT_YET

    def _map(self, fd: int, dtype: np.dtype[Any], count: int, write: bool = False) -> npt.NDArray[Any]:
        size = -(-count * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))
        self._memories.append(memory)
        return np.frombuffer(memory, dtype, count)

    def paths(self) -> npt.NDArray[np.void]:
        """What was counted up to now, one row a path, over all CPUs."""
        rows = self._paths[self._paths["hash"] != 0].copy()
        hashes, where = np.unique(rows["hash"], return_inverse=True)
        found = np.zeros(len(hashes), PATH)
        found["hash"] = hashes
        for name in ("count", "took", "buckets"):
            np.add.at(found[name], where, rows[name])
        for name in ("last", "told"):
            np.maximum.at(found[name], where, rows[name])
        return found

    def records(self) -> npt.NDArray[np.void]:
        """Records that came since the last call."""
        parts = []
        told = self._counts["told"].copy()
        for cpu in np.flatnonzero(told[: len(self._places)] != self._taken[: len(self._places)]):
            at = np.arange(int(self._taken[cpu]), int(told[cpu])) % SLOTS
            parts.append(self._places[cpu][at])
            self._taken[cpu] = told[cpu]
        return np.concatenate(parts) if parts else np.empty(0, RECORD)

    def account(self) -> Account:
        """The account now."""
        rows = self._counts.copy()
        return Account(**{name: int(rows[name].sum()) for name in _COUNTERS})

    def read(self) -> Counts:
        """The same as a session asks for it: no event is ever on its way here."""
        rows = self._counts.copy()
        tables = rows["no_packet"] + rows["unlisted"]
        return Counts({}, {}, {int(c): int(tables[c]) for c in np.flatnonzero(tables)}, int(rows["hits"].sum()),
                      int(rows["busy"].sum()))  # fmt: skip

    def begin(self, now: int) -> None:
        """All probes are attached (CLOCK_MONOTONIC, ns). A packet that was met before may have had hops, and even its
        end, where there was none yet: it is not counted."""
        self._control["changed"] = now - GRACE

    def sample(self, one_in: int, now: int) -> None:
        """Follow one packet in so many, a power of two. ``now``: CLOCK_MONOTONIC, ns."""
        self._control["changed"] = now
        self._control["sample_mask"] = one_in - 1

    def close(self) -> None:
        """Unmap."""
        del self._counts, self._paths, self._places, self._taken, self._control
        for memory in self._memories:
            memory.close()
