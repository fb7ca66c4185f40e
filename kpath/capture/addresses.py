"""What the addresses in events are: symbols, what call sites call, which function may jump to which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from kpath.capture.fresh import Fresh, pairs, runs
from kpath.capture.records import Events
from kpath.capture.resolve import Probe
from kpath.capture.schema import Class, Kind
from kpath.capture.tables import INDIRECT, Symbol, Symbols
from kpath.kernel.symbols import Symbols as KernelSymbols
from kpath.kernel.text import CallKind, KernelText


class Addresses:
    """Makes the Symbols chunk that must stand before some events: what no earlier one has told."""

    def __init__(self, symbols: KernelSymbols, text: KernelText | None, probes: Iterable[Probe]) -> None:
        """``text`` is None where the kernel's code cannot be read: then calls and jumps stay unknown."""
        self._symbols = symbols
        self._text = text
        self._addresses = Fresh()
        self._callers = Fresh()
        self._pairs = Fresh()
        self._probed: dict[int, Probe] = {}
        self._told: set[int] = set()
        self.add_probes(probes)

    def add_probes(self, probes: Iterable[Probe], symbols: KernelSymbols | None = None) -> Symbols | None:
        """More functions are probed. Jumps told before may now lead to them: a chunk that says so, if any."""
        self._probed |= {probe.address: probe for probe in probes if probe.program}
        if symbols is not None:
            self._symbols = symbols
            if self._text is not None:
                self._text = KernelText(self._text.read, symbols)
        jumps = self._jumps(sorted(self._told))
        return Symbols(jumps=jumps) if jumps else None

    def tell(self, events: Events) -> Symbols | None:
        """What is to be told before these events, None if nothing."""
        # Every event is asked, so first comes what rules nearly all of them out.
        looked = events[self._pairs.rows(pairs(events["ip"], events["caller"], events["kind"]))]
        fresh = self._addresses.take(looked["ip"]) + self._addresses.take(looked["caller"])
        callers = self._callers.take(looked["caller"][looked["kind"] == Kind.ENTRY]) if self._text else []
        for column in (events["dst_input"], events["dst_output"]):
            fresh += self._addresses.take(column[runs(column)])
        fresh += self._addresses.take(events["arg"][np.flatnonzero(events["cls"] == Class.HOOK)])
        if not fresh and not callers:
            return None
        symbols: dict[int, Symbol] = {}
        functions: list[int] = []
        for address in fresh:
            found = self._symbols.resolve(address)
            if found is None:
                continue
            size = self._symbols.end(found.address) - found.address
            symbols[address] = Symbol(self._name(found.address, found.name), found.module or "", found.offset, size)
            if found.address in self._probed and found.address not in self._told:
                functions.append(found.address)
        self._told.update(functions)
        return Symbols(symbols, self._calls(callers), self._jumps(functions))

    def _name(self, start: int, name: str) -> str:
        """A function may have several names; the one that the plan knows counts."""
        probe = self._probed.get(start)
        return probe.symbol if probe else name

    def _calls(self, callers: Sequence[int]) -> dict[int, str]:
        if self._text is None:
            return {}
        calls: dict[int, str] = {}
        for caller in callers:
            site = self._text.call_target(caller)
            if site.kind is CallKind.INDIRECT:
                calls[caller] = INDIRECT
            elif site.target is not None and (found := self._symbols.resolve(site.target)):
                calls[caller] = self._name(found.address, found.name)
        return calls

    def _jumps(self, functions: Sequence[int]) -> dict[str, tuple[str, ...]]:
        if self._text is None:
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for function in functions:
            jumps = self._text.reach(function, self._probed)
            names = sorted(self._probed[target].symbol for target in jumps.targets)
            found[self._probed[function].symbol] = (*names, INDIRECT) if jumps.indirect else tuple(names)
        return found
