"""Made-up events for tests of the trace: a small kernel whose functions have round addresses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kpath.capture.schema import EVENT, Class, Flag, Kind
from kpath.capture.tables import INDIRECT, Symbol
from kpath.trace.assemble import Assembler
from kpath.trace.knowledge import Knowledge

SIZE = 0x1000


class Stream:
    """Writes events; functions are made when they are first named."""

    def __init__(self) -> None:
        self.knowledge = Knowledge()
        self.rows: list[npt.NDArray[np.void]] = []
        self.time = 1_000_000
        self._functions: dict[str, int] = {}
        self._seq: dict[int, int] = {}

    def function(self, name: str) -> int:
        """The function's address."""
        if name not in self._functions:
            self._functions[name] = 0xFFFF_0000_0000 + SIZE * (len(self._functions) + 1)
            self.knowledge.symbols[self._functions[name]] = Symbol(name)
        return self._functions[name]

    def site(self, caller: str, callee: str | None, at: int = 0x10) -> int:
        """A return address in ``caller``, after a call of ``callee`` (None: through a pointer)."""
        address = self.function(caller) + at
        self.knowledge.symbols[address] = Symbol(caller, "", at)
        self.knowledge.calls[address] = callee or INDIRECT
        return address

    def jumps(self, source: str, *targets: str) -> None:
        """What ``source`` can tail-jump to."""
        self.knowledge.jumps[source] = targets

    def event(
        self,
        name: str,
        *,
        caller: int = 0,
        sp: int = 0x8000,
        parent_sp: int = 0,
        stack: int = 0,
        skb: int = 0,
        birth: int = 0,
        cls: Class = Class.IP,
        flags: int = 0,
        cpu: int = 0,
        kind: Kind = Kind.ENTRY,
        header: tuple[int, int] | None = None,
        **fields: int,
    ) -> None:
        """One event, 1 µs after the one before."""
        self.time += 1000
        row = np.zeros(1, EVENT)
        self._seq[cpu] = self._seq.get(cpu, -1) + 1
        values = {
            "time": self.time, "seq": self._seq[cpu], "ip": self.function(name) if name else 0, "caller": caller,
            "sp": sp, "parent_sp": parent_sp, "stack": stack, "skb": skb, "birth": birth or (self.time if skb else 0),
            "cls": cls, "cpu": cpu, "kind": kind, "hook": 255, "flags": flags | Flag.MATCHED, "netns": 1,
        }  # fmt: skip
        if header:
            values |= {"saddr": header[0], "daddr": header[1], "protocol": 0x0800, "proto": 17}
            values |= {"tot_len": 100, "ttl": 64}
            values["flags"] |= Flag.HEADER
        for key, value in (values | fields).items():
            row[key] = value
        self.rows.append(row)

    def lose(self, count: int = 1, cpu: int = 0) -> None:
        """Events of this CPU that were counted and never arrived."""
        self._seq[cpu] = self._seq.get(cpu, -1) + count

    def assemble(self) -> Assembler:
        """An assembler that has been fed everything, with its journeys in ``.journeys``."""
        assembler = Assembler(self.knowledge)
        journeys = assembler.feed(np.concatenate(self.rows, dtype=EVENT)) + assembler.flush()
        assembler.journeys = journeys  # type: ignore[attr-defined]
        return assembler
