"""A record of the mode "paths" as the events that it stands for, so that whatever reads events reads records, too.

The record holds what the model asks, not every field; what it does not hold is made up so that it says the same: a
packet that was longer than the MTU gets a length that is, a TTL that fell by one gets one that did.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import numpy as np

from kpath.capture import paths
from kpath.capture.paths import Bit, Fact
from kpath.capture.records import Events
from kpath.capture.resolve import Probe
from kpath.capture.schema import EVENT, Class, Flag, Kind

KERNEL = 0xFFFFFFFF_00000000
"""The upper half of every address in the kernel's text."""
_STACK, _STACK_BYTES = 0xFFFF_8880_0000_0000, 1 << 20
_BUFFER, _BUFFER_BYTES = 0xFFFF_8881_0000_0000, 256
_MTU, _SHORT, _LONG, _TTL = 1500, 100, 3000, 64
_REROUTED = 1 << 4
_ENTRY = 16
"""Bytes from a function's address within which its probe is hit."""


class Unfolder:
    """Knows which class of function is at an address."""

    def __init__(self, probes: Iterable[Probe]) -> None:
        self._addresses: list[int] = []
        """In order."""
        self._classes: dict[int, Class] = {}
        self.add(probes)

    def add(self, probes: Iterable[Probe]) -> None:
        """More functions are probed."""
        self._classes |= {p.address: p.planned.cls for p in probes if p.program}
        self._addresses = sorted(self._classes)

    def _class_of(self, ip: int) -> Class | None:
        at = bisect_right(self._addresses, ip) - 1
        if at < 0 or ip - self._addresses[at] >= _ENTRY:
            return None
        return self._classes[self._addresses[at]]

    def events(self, record: Any) -> tuple[Events, int]:
        """The record's events, and the address that stands for the packet's own buffer: a copy has its original's past.

        Times are true to the nanosecond where hops were timed; else a hop is one after the other.
        """
        hops = record["hops"][: min(int(record["count"]), paths.HOPS)]
        events = np.zeros(len(hops), EVENT)
        writer = _Writer(record)
        for number, (event, hop) in enumerate(zip(events, hops, strict=True)):
            ip = KERNEL | int(hop["ip"])
            cls = self._class_of(ip) if hop["ip"] else None
            writer.write(event, hop, number, ip, cls)
        return events, writer.skb


class _Writer:
    """What goes from hop to hop."""

    def __init__(self, record: Any) -> None:
        self._record = record
        self._birth = int(record["birth"])
        self._life = 0
        self._life_birth = self._birth
        self._stack = _STACK
        self._sps: list[int] = []
        self._header: dict[str, int] = {"saddr": int(record["saddr"]), "daddr": int(record["daddr"])}
        self._ttl, self._id, self._seen = _TTL, 1, False

    @property
    def skb(self) -> int:
        return _BUFFER + self._life * _BUFFER_BYTES

    def write(self, e: Any, hop: Any, number: int, ip: int, cls: Class | None) -> None:
        e["seq"] = number
        e["time"] = self._birth + (int(hop["after"]) if self._record["timed"] else number)
        e["hook"] = 255
        e["caller"] = KERNEL | int(hop["caller"])
        if not hop["ip"]:
            e["kind"], e["value"] = Kind.DROP, int(hop["facts"]) & 0x7FFFFFFF
            self._sps.append(0)
            self._identify(e)
            return
        if cls is Class.COPY:
            e["other"], e["arg"] = self.skb, self._life_birth
            self._life += 1
            self._life_birth = int(e["time"])
        if hop["bits"] & Bit.NEW_STACK:
            self._stack += _STACK_BYTES
        e["ip"], e["cls"] = ip, cls if cls is not None else Class.FRAME
        e["stack"] = self._stack
        e["sp"] = self._stack + int(hop["sp"]) * 8
        self._sps.append(int(e["sp"]))
        if hop["parent"]:
            e["parent_sp"] = self._sps[int(hop["parent"]) - 1]
        if hop["bits"] & Bit.SAME_SLOT:
            e["flags"] |= Flag.SAME_SLOT
        self._identify(e)
        if cls is Class.END:
            e["flags"] |= Flag.END
        if hop["bits"] & Bit.LIGHT:
            return
        e["netns"], e["ifindex"] = hop["netns"], hop["ifindex"]
        e["dst_output"] = KERNEL | int(hop["out"]) if hop["out"] else 0
        if cls is Class.HOOK:
            e["arg"] = KERNEL | int(hop["in"]) if hop["in"] else 0
        else:
            e["dst_input"] = KERNEL | int(hop["in"]) if hop["in"] else 0
        self._facts(e, int(hop["facts"]), cls)

    def _identify(self, e: Any) -> None:
        e["skb"], e["birth"] = self.skb, self._life_birth
        e["flags"] |= Flag.MATCHED
        if e["time"] == e["birth"] or not e["seq"]:
            e["flags"] |= Flag.BORN

    def _facts(self, e: Any, facts: int, cls: Class | None) -> None:
        e["protocol"] = (0, 0x0800, 0x0806, 0x86DD)[facts >> paths.ETHER & 3]
        e["nud_state"] = facts >> paths.NUD & 0xFF
        if cls is Class.HOOK:
            e["hook"], e["pf"] = facts >> paths.HOOK & 0xFF, facts >> paths.PF & 0xFF
        if facts & Fact.XFRM:
            e["dst_xfrm"] = 1
        e["mtu"] = _MTU if facts & (Fact.WITHIN_MTU | Fact.OVER_MTU) else 0
        e["len"] = _LONG if facts & Fact.OVER_MTU else _SHORT
        e["gso_size"] = _SHORT if facts & Fact.GSO else 0
        e["frag_max"] = _SHORT if facts & Fact.WAS_FRAGMENTS else 0
        e["ipcb"] = _REROUTED if facts & Fact.REROUTED else 0
        arp = facts >> paths.ARP & 3
        if arp:
            e["arp_op"] = arp
            self._addresses(e)
        if facts & Fact.HEADER:
            self._show(e, facts)

    def _show(self, e: Any, facts: int) -> None:
        e["flags"] |= Flag.HEADER
        e["proto"] = facts & 0xFF
        if self._seen and facts & Fact.READDRESSED:
            self._header["daddr"] = self._header["daddr"] ^ 1 << 31
        elif self._seen and not facts & Fact.SAME_ID:
            self._id += 1
        step = facts >> paths.TTL & 0xFF
        if facts & Fact.SAME_ID:
            self._ttl += step - 256 if step > 127 else step
        if facts & Fact.EXPIRED:
            self._ttl = 1
        self._seen = True
        e["ttl"], e["ip_id"], e["tot_len"] = max(1 if facts & Fact.EXPIRED else 2, self._ttl & 0xFF), self._id, e["len"]
        e["frag_off"] = (0x4000 if facts & Fact.DF else 0) | (0x2000 if facts & Fact.FRAGMENT else 0)
        self._addresses(e)
        if not facts & Fact.FRAGMENT and facts & 0xFF == int(self._record["first_proto"]):
            ports = int(self._record["ports"])
            e["sport"], e["dport"] = _swap16(ports & 0xFFFF), _swap16(ports >> 16)

    def _addresses(self, e: Any) -> None:
        # As the kernel side read them: network order in a word of this machine's.
        e["saddr"] = int.from_bytes(self._header["saddr"].to_bytes(4, "little"))
        e["daddr"] = int.from_bytes(self._header["daddr"].to_bytes(4, "little"))


def _swap16(value: int) -> int:
    return int.from_bytes(value.to_bytes(2, "little"))
