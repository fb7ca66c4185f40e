"""What the addresses and numbers in events mean: the tables of a capture, as the tree builder asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from kpath.capture.tables import INDIRECT, Names, Symbol, Symbols

_SUFFIXES = (".isra.", ".constprop.")


def plain(name: str) -> str:
    """A function's name without what a compiler's clone adds: ``ip_fragment.constprop.0`` is ``ip_fragment``."""
    for suffix in _SUFFIXES:
        name = name.partition(suffix)[0]
    return name


@dataclass(slots=True)
class Knowledge:
    """Symbols, call sites, tail jumps and names of one kernel; grows while a capture is read."""

    symbols: dict[int, Symbol] = field(default_factory=dict)
    calls: dict[int, str] = field(default_factory=dict)
    jumps: dict[str, tuple[str, ...]] = field(default_factory=dict)
    netns: dict[int, str] = field(default_factory=dict)
    devices: dict[tuple[int, int], str] = field(default_factory=dict)
    comms: dict[int, str] = field(default_factory=dict)
    drop_reasons: dict[int, str] = field(default_factory=dict)
    attached: set[int] = field(default_factory=set)
    """Where the functions begin that had a probe, as far as the capture says."""
    packets_only: bool = False
    """Functions without a packet were not probed, so what a tree's root stands in is never known."""

    def add(self, chunk: Symbols | Names) -> None:
        """Take in what a chunk tells."""
        if isinstance(chunk, Symbols):
            self.symbols.update(chunk.symbols)
            self.calls.update(chunk.calls)
            self.jumps.update(chunk.jumps)
        else:
            self.netns.update(chunk.netns)
            self.devices.update(chunk.devices)
            self.comms.update(chunk.comms)

    def add_facts(self, values: Mapping[str | int, object]) -> None:
        """Take in the names of drop reasons, and what has a probe."""
        rows = values.get("attached")
        if isinstance(rows, list):
            known = (row[2] for row in rows if isinstance(row, list) and len(row) > 2)
            self.attached.update(address for address in known if isinstance(address, int))
        reasons = values.get("drop_reasons")
        if isinstance(reasons, Mapping):
            named = cast(Mapping[object, object], reasons)
            self.drop_reasons.update({k: v for k, v in named.items() if isinstance(k, int) and isinstance(v, str)})

    def function(self, address: int) -> str:
        """The function that an address lies in, as documents name it; "" for 0, hexadecimal if unknown."""
        if not address:
            return ""
        symbol = self.symbols.get(address)
        return plain(symbol.name) if symbol else f"{address:#x}"

    def place(self, address: int) -> str:
        """The address as ``function+0x12``."""
        symbol = self.symbols.get(address)
        return str(symbol) if symbol else f"{address:#x}"

    def start(self, address: int) -> int:
        """Where the function begins that an address lies in; 0 when it is not known."""
        symbol = self.symbols.get(address)
        return address - symbol.offset if symbol else 0

    def callee(self, return_address: int) -> str | None:
        """What the call before this return address names: a function, INDIRECT, or None when it is not known."""
        target = self.calls.get(return_address)
        return plain(target) if target else None

    def may_jump(self, source: str, target: str) -> bool | None:
        """Can ``source`` tail-jump to ``target``, directly or through functions without a probe? None: not known."""
        found = self.jumps.get(source)
        barred = handed_only(source, target)
        if found is None:
            found = next((v for k, v in self.jumps.items() if plain(k) == source), None)
            if found is None:
                return False if barred else None
            self.jumps[source] = found
        if any(plain(name) == target for name in found):
            return True
        return None if INDIRECT in found and not barred else False

    def device(self, netns: int, ifindex: int) -> str:
        """A device's name, ``if7`` when it has none known; "" for none."""
        if not ifindex:
            return ""
        return self.devices.get((netns, ifindex), f"if{ifindex}")

    def namespace(self, inode: int) -> str:
        """A namespace's name, ``netns:4026531840`` when it has none known."""
        return self.netns.get(inode, f"netns:{inode}") if inode else ""

    def drop_reason(self, value: int) -> str:
        """The kernel's name of a drop reason, without its prefix; "" where the kernel has no reasons."""
        return self.drop_reasons.get(value, f"reason {value}" if value else "")


RECEIVERS = frozenset({"packet_rcv", "tpacket_rcv", "packet_rcv_spkt", "ip_rcv", "ip_list_rcv", "arp_rcv"})
"""What a packet_type's func holds. The functions that call through it are net/core/dev.c's: where they call several,
one after the other from one place, one does not jump to the next."""
HOLDERS = frozenset({"deliver_skb", "dev_queue_xmit_nit", "netif_receive_skb", "netif_receive_skb_internal"})


def handed_only(source: str, target: str) -> bool:
    """Can ``source`` not have jumped to ``target`` through a pointer, because it never has that pointer?"""
    return target in RECEIVERS and source not in HOLDERS and not source.startswith("__netif_receive_skb")
