"""What could be seen where a capture was made: the probe plan's outcome as the lineage asks for it."""

from __future__ import annotations

from collections.abc import Iterable

from kpath.capture.tables import Header, PlannedProbe
from kpath.trace.knowledge import plain

ABSENT = "absent"
"""The planner's word for a function that the kernel does not have (kpath.kernel.probeable)."""


def build(header: Header) -> str:
    """Release and build of the kernel of a capture: ``6.1.0-56-amd64 (#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (…))``.

    A compiler inlines otherwise from build to build, so evidence of inlining names the build."""
    return f"{header.kernel_release} ({header.kernel_build})" if header.kernel_build else header.kernel_release


class CaptureView:
    """A :class:`kpath.flow.KernelView` of the kernel that a capture was made on.

    Only planned functions are known. Of any other nothing is claimed: neither that it is there nor that it is not.
    """

    def __init__(self, probes: Iterable[PlannedProbe], kernel: str = "") -> None:
        """``kernel``: its release and build, as :func:`build` says it."""
        self.kernel = kernel
        self._symbols: set[str] = set()
        self._attached: set[str] = set()
        self._absent: set[str] = set()
        self.planned: dict[str, str] = {}
        """Every planned function → why it is not seen; empty text for one that is."""
        for probe in probes:
            seen = bool(probe.program)
            self.planned[probe.name] = "" if seen else probe.reason or probe.state
            if seen:
                self._attached |= {probe.name, probe.symbol or probe.name}
            if probe.state == ABSENT:
                self._absent.add(probe.name)
            else:
                self._symbols |= {probe.name, probe.symbol or probe.name}

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

    def absent(self, name: str) -> bool:
        """Whether the kernel is known not to have the function, nor a compiler's clone of it."""
        return name in self._absent

    def attached(self, name: str) -> bool:
        """Whether frames of this function, by its plain name, are seen."""
        return name in self._attached or any(plain(symbol) == name for symbol in self._attached)
