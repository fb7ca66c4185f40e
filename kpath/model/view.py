"""What could be seen where a capture was made: the probe plan's outcome as the lineage asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from kpath.capture.reader import CaptureReader
from kpath.capture.tables import Header, PlannedProbe, Symbols
from kpath.flow import Became, Entry, How, Resolution, resolve
from kpath.flow.citation import builds
from kpath.trace.knowledge import plain

ABSENT = "absent"
"""The planner's word for a function that the kernel does not have (kpath.kernel.probeable)."""
UNLOADED = "module not loaded"
"""Its word for one that came with no module when the capture began."""


def build(header: Header) -> str:
    """Release and build of the kernel of a capture: ``6.1.0-56-amd64 (#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (…))``.

    A compiler inlines otherwise from build to build, so evidence of inlining names the build."""
    return f"{header.kernel_release} ({header.kernel_build})" if header.kernel_build else header.kernel_release


class CaptureView:
    """A :class:`kpath.flow.KernelView` of the kernel that a capture was made on.

    Only planned functions are known. Of any other nothing is claimed: neither that it is there nor that it is not.
    """

    def __init__(self, probes: Iterable[PlannedProbe], kernel: str = "", symbols: Iterable[str] = ()) -> None:
        """``kernel``: its release and build, as :func:`build` says it. ``symbols``: functions that it is known to
        have beside the planned ones."""
        self.kernel = kernel
        self._symbols: set[str] = set(symbols)
        self._attached: set[str] = set()
        self._absent: set[str] = set()
        self._unloaded: set[str] = set()
        self._clones: dict[str, str] = {}
        self.planned: dict[str, str] = {}
        """Every planned function → why it is not seen; empty text for one that is."""
        for probe in probes:
            seen = bool(probe.program)
            self.planned[probe.name] = "" if seen else probe.reason or probe.state
            if seen:
                self._attached |= {probe.name, probe.symbol or probe.name}
                if probe.symbol and probe.symbol != probe.name:
                    self._clones[probe.name] = probe.symbol
            if probe.state == UNLOADED:
                self._unloaded |= {probe.name, probe.symbol or probe.name}
            if probe.state == ABSENT:
                self._absent.add(probe.name)
            else:
                self._symbols |= {probe.name, probe.symbol or probe.name}
        self._plainly = {plain(symbol) for symbol in self._attached}

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> CaptureView:
        """Of a recording: its probe plan, and every function that one of its addresses lies in.

        Raises CaptureError when the file cannot be read."""
        with CaptureReader(path) as reader:
            tables = [chunk for chunk in reader if isinstance(chunk, Symbols)]
            names = {symbol.name for table in tables for symbol in table.symbols.values()}
            return cls(reader.header.probes, build(reader.header), names)

    @classmethod
    def of_names(cls, attached: Iterable[str], absent: Iterable[str] = ()) -> CaptureView:
        """A view that is given outright: for tests, and for captures without a header."""
        probes = [PlannedProbe(n, n, 0, "", "attachable", program="frame") for n in attached]
        return cls([*probes, *(PlannedProbe(n, "", 0, "", ABSENT) for n in absent)])

    def has_symbol(self, name: str) -> bool:
        """Whether the kernel is known to have the function."""
        return name in self._symbols

    def probed(self, name: str) -> bool:
        """Whether its entry was probed."""
        return name in self._attached

    def knows(self, name: str) -> bool:
        """Whether anything is known of the function here: that the kernel has it, or that it has not."""
        return name in self.planned or name in self._symbols or name in builds().get(self.kernel, ())

    def resolve(self, entry: Entry) -> Resolution:
        """How a documented function is seen here, in the words of the capture's plan."""
        found = resolve(entry, self)
        if clones := [self._clones[name] for name in found.symbols if name in self._clones]:
            return replace(found, reason=f"{found.reason} (probed as {', '.join(clones)})")
        if found.how is How.CALLER and (why := self.planned.get(found.symbols[0])):
            if found.symbols[0] in self._unloaded:
                return Resolution(entry.name, How.NEVER, reason=f"{found.symbols[0]} is not there: {why}")
            return replace(found, reason=f"{found.symbols[0]} is not probed: {why}")
        if found.how is How.NEVER and entry.became not in (Became.NEVER, Became.MACRO):
            candidates = dict.fromkeys((entry.name, *entry.symbols))
            if not any(self.knows(name) for name in candidates):
                return replace(found, reason="no probe was planned for it, so whether its kernel has it is not known")
        return found

    def absent(self, name: str) -> bool:
        """Whether the kernel is known not to have the function, nor a compiler's clone of it."""
        return name in self._absent

    def attached(self, name: str) -> bool:
        """Whether frames of this function, by its plain name, are seen."""
        return name in self._attached or name in self._plainly
