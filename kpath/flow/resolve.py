"""How a documented function can be seen on a given kernel: decided by what the kernel has, not by its
version."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from kpath.flow.lineage import Became, Entry


class KernelView(Protocol):
    """What must be known of a kernel, or of the kernel that a capture was made on."""

    def has_symbol(self, name: str) -> bool:
        """Whether a function of exactly this name is in its symbol table."""
        ...

    def probed(self, name: str) -> bool:
        """Whether its entry is probed, or, before a capture, could be."""
        ...


class How(StrEnum):
    """How a function is seen, best first."""

    FRAME = "own frame"
    IMPLIED = "implied by a callee"
    FACT = "recorded pointer"
    CALLER = "name of a caller"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Resolution:
    """How one function is seen on one kernel."""

    function: str
    how: How
    symbols: tuple[str, ...] = ()
    """The symbols whose frames are, or imply, the function; for CALLER the symbol that names it."""
    certain: bool = False
    """Whether that no such frame was seen proves that the function did not run. Only ever true of FRAME."""
    fact: str = ""
    reason: str = ""
    """One sentence for people."""

    @property
    def visible(self) -> bool:
        """Whether the function has frames of its own here."""
        return self.how is How.FRAME


_SUFFIXES = ("", ".constprop.0", ".isra.0", ".constprop.0.isra.0", ".isra.0.constprop.0", ".constprop.1", ".isra.1")
"""What compilers add to the name of a function whose parameters they changed. Not ``.part``, which is only a
part of it, nor ``.cold``."""


def variants(name: str) -> tuple[str, ...]:
    """The names under which a compiler may have left a function."""
    return (name,) if "." in name else tuple(name + suffix for suffix in _SUFFIXES)


def _present(names: Iterable[str], kernel: KernelView) -> list[str]:
    return [variant for name in names for variant in variants(name) if kernel.has_symbol(variant)]


def _probed(names: Iterable[str], kernel: KernelView) -> list[str]:
    return list(dict.fromkeys(name for name in _present(names, kernel) if kernel.probed(name)))


def _free(symbols: Iterable[str], entry: Entry, named: Collection[str]) -> list[str]:
    """Candidates for the function's frame that the document does not give a step of their own."""
    return [symbol for symbol in symbols if symbol.partition(".")[0] == entry.name or symbol not in named]


def resolve(entry: Entry, kernel: KernelView, named: Collection[str] = ()) -> Resolution:
    """How ``entry``'s function is seen on ``kernel``.

    ``named`` are the functions that the document at hand names (``document.functions()``). Each of them
    stands for itself only: in ``linux-6``, which has both, a frame of ``__tcp_transmit_skb`` is not one of
    ``tcp_transmit_skb``; in the documents of 2.6, which have no ``__tcp_transmit_skb``, it is."""
    if entry.became in (Became.NEVER, Became.MACRO):
        words = "no kernel had it" if entry.became is Became.NEVER else "the preprocessor replaces it"
        return Resolution(entry.name, How.NEVER, reason=f"{words}, so it has no frame")
    own = _probed(_free(entry.frames, entry, named), kernel) or _probed(_free(entry.frame, entry, named), kernel)[:1]
    if own:
        certain = not any(symbol.partition(".")[0] in entry.partial for symbol in own)
        reason = f"seen as {', '.join(own)}"
        if not certain:
            reason += ", but it is inlined at some places, so that it is not seen proves nothing"
        return Resolution(entry.name, How.FRAME, tuple(own), certain, entry.fact, reason)
    implied = _probed(entry.implied, kernel)
    if implied:
        reason = f"no frame of its own; it ran when {' or '.join(implied)} is seen in its place"
        return Resolution(entry.name, How.IMPLIED, tuple(implied), False, entry.fact, reason)
    if entry.fact:
        reason = f"no frame of its own; {entry.fact} tells which way it went"
        return Resolution(entry.name, How.FACT, (), False, entry.fact, reason)
    present = _present(_free((*entry.frames, *entry.frame), entry, named), kernel)[:1]
    if present:
        reason = f"{present[0]} is there but not probed; it is seen as the caller of what is"
        return Resolution(entry.name, How.CALLER, tuple(present), False, "", reason)
    where = f", it is part of {' or '.join(entry.inside)}" if entry.inside else ""
    return Resolution(entry.name, How.NEVER, reason=f"this kernel has no symbol for it{where}")


class Symbols:
    """A KernelView of a list of symbols: everything in it could be probed. For tests and for ``kpath
    explain``."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    @classmethod
    def of_kallsyms(cls, path: Path = Path("/proc/kallsyms")) -> Symbols:
        """The functions of the running kernel, modules included. Raises OSError where there is no such
        file."""
        names = set()
        with path.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                parts = line.split()
                if len(parts) >= 3 and parts[1] in "tTwW":
                    names.add(parts[2])
        return cls(names)

    def has_symbol(self, name: str) -> bool:
        """Whether the name is in the list."""
        return name in self._names

    def probed(self, name: str) -> bool:
        """The same: nothing more is known."""
        return name in self._names
