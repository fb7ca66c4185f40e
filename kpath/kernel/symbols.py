"""The kernel's symbols, from /proc/kallsyms: names to addresses and back.

A quarter of a million lines are loaded at the start of every live run, so addresses are decoded by numpy in
one sweep and names stay bytes until somebody asks for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kpath.kernel.errors import NoSymbolsError
from kpath.kernel.names import Names

KALLSYMS = Path("/proc/kallsyms")

TEXT_TYPES = frozenset(b"tTwW")
"""kallsyms types of code: local, global, weak."""

_PADDING = (b"__pfx_", b"__cfi_")
"""Names of the padding before a function, not of anything that runs."""

MAX_EXTENT = 1 << 20
"""Bytes: an address farther than this above the nearest symbol lies in none; no function is so long."""

_NIBBLE = np.zeros(256, np.uint64)
for _i, _c in enumerate(b"0123456789abcdef"):
    _NIBBLE[_c] = _i


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol; ``offset`` is how many bytes past ``address`` the address that was asked for lies."""

    name: str
    address: int
    module: str | None
    offset: int

    def __str__(self) -> str:
        return f"{self.name}+{self.offset:#x}" if self.offset else self.name


class Symbols:
    """All symbols of one kernel, in the order of kallsyms."""

    def __init__(self, data: bytes) -> None:
        """``data`` is text in the format of kallsyms. Raises NoSymbolsError when its addresses are hidden."""
        if data and not data.endswith(b"\n"):
            data += b"\n"
        width = data.find(b" ")
        if width <= 0:
            raise NoSymbolsError(f"No symbols in {KALLSYMS}: run as root.")
        raw = np.frombuffer(data, np.uint8)
        stops = np.flatnonzero(raw == ord("\n"))
        starts = np.concatenate(([0], stops[:-1] + 1))
        addresses = np.zeros(len(starts), np.uint64)
        for column in range(width):
            addresses = (addresses << np.uint64(4)) | _NIBBLE[raw[starts + column]]
        if not addresses.any():
            raise NoSymbolsError(
                f"{KALLSYMS} hides its addresses: run as root, with kernel.kptr_restrict at 0 or 1."
            )
        self._data = data
        self._raw = raw
        # What follows address and type: "name", or "name\t[module]".
        self._begin = starts + width + 3
        self._stop = stops
        self._type: npt.NDArray[np.uint8] = raw[starts + width + 1]
        self._address: npt.NDArray[np.uint64] = addresses
        self._order = np.argsort(addresses, kind="stable")
        self._sorted: npt.NDArray[np.uint64] = addresses[self._order]

    @classmethod
    def load(cls, path: str | Path = KALLSYMS) -> Symbols:
        """Read kallsyms. Raises NoSymbolsError when it cannot be read or hides its addresses."""
        try:
            return cls(Path(path).read_bytes())
        except OSError as error:
            raise NoSymbolsError(
                f"{path}: {error.strerror}; kpath needs CONFIG_KALLSYMS and root."
            ) from error

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Symbols:
        """Symbols from lines such as ``ffffffff81000000 T _text`` or ``... t esp_output\\t[esp4]``."""
        return cls("".join(line.rstrip("\n") + "\n" for line in lines).encode())

    def __len__(self) -> int:
        return len(self._begin)

    # -- names to addresses -------------------------------------------------------------------------------

    def addresses(self, name: str) -> list[int]:
        """Addresses of all symbols of exactly this name, in all modules; functions and data alike."""
        return [int(self._address[i]) for i in self._indices(name.encode())]

    def functions(self, name: str) -> list[Symbol]:
        """The code symbols of exactly this name; more than one means that the name is ambiguous."""
        return [self._symbol(i) for i in self._indices(name.encode()) if self._type[i] in TEXT_TYPES]

    def aliases(self, base: str) -> list[str]:
        """What the compiler made of a function: ``base.isra.0``, ``.constprop.0``, ``.part.0``, ``.cold``."""
        places, bases = self._suffixed
        return sorted({self._name(places[i]).decode() for i in bases.find(base.encode())})

    @cached_property
    def modules(self) -> frozenset[str]:
        """Names of the loaded modules that have symbols, as kallsyms spells them (with ``_``)."""
        owned = np.flatnonzero(self._raw[self._stop - 1] == ord("]"))
        owners = {self._rest(i).partition(b"\t[")[2].rstrip(b"]") for i in owned.tolist()}
        # Generated code has owners too that are no modules.
        return frozenset(o.decode() for o in owners if o != b"bpf" and not o.startswith(b"__builtin__"))

    def matching(self, pattern: str) -> list[str]:
        """Names that match the regular expression from their first letter; slow, for occasional questions."""
        match = re.compile(pattern.encode()).match
        names = (self._name(i) for i in range(len(self)))
        return sorted({name.decode() for name in names if match(name)})

    def _rest(self, i: int) -> bytes:
        return self._data[self._begin[i] : self._stop[i]]

    def _name(self, i: int) -> bytes:
        return self._rest(i).partition(b"\t")[0]

    def _indices(self, name: bytes) -> list[int]:
        """Places of this name, in the order of the file."""
        return self._names.find(name)

    @cached_property
    def _names(self) -> Names:
        length = self._stop - self._begin
        for i in np.flatnonzero(self._raw[self._stop - 1] == ord("]")).tolist():
            length[i] = len(self._name(i))
        return Names(self._data, self._begin, np.maximum(length, 0))

    @cached_property
    def _suffixed(self) -> tuple[npt.NDArray[np.intp], Names]:
        """Places of the names with a dot, and what stands before the first of each."""
        dots = np.flatnonzero(self._raw == ord("."))
        places, first = np.unique(np.searchsorted(self._stop, dots), return_index=True)
        length = dots[first] - self._begin[places]
        places, length = places[length > 0], length[length > 0]
        return places, Names(self._data, self._begin[places], length)

    # -- addresses to names -------------------------------------------------------------------------------

    def resolve(self, address: int) -> Symbol | None:
        """The symbol that covers this address: the nearest that does not lie above it; None if there is none.

        Where several share an address, a function is preferred to data and to the padding before one.
        """
        best = self._covering(address)
        return None if best is None else self._symbol(best, address)

    def end(self, address: int) -> int:
        """Where the symbol that covers this address ends: the address of the next one; 2**64 at the last."""
        end = self._at_or_below(address)
        return int(self._sorted[end]) if end < len(self._sorted) else 1 << 64

    def is_function_start(self, address: int) -> bool:
        """Does a code symbol (other than padding) begin exactly here?"""
        best = self._covering(address)
        return best is not None and int(self._address[best]) == address and self._rank(best)[0] < 2

    def _covering(self, address: int) -> int | None:
        end = self._at_or_below(address)
        if end == 0:
            return None
        nearest = self._sorted[end - 1]
        if address - int(nearest) > MAX_EXTENT:
            return None
        begin = int(np.searchsorted(self._sorted, nearest, "left"))
        return min((int(self._order[i]) for i in range(begin, end)), key=self._rank)

    def _at_or_below(self, address: int) -> int:
        """How many symbols begin at or below; an address from damaged input may be no u64 at all."""
        if address < 0:
            return 0
        return int(np.searchsorted(self._sorted, np.uint64(min(address, (1 << 64) - 1)), "right"))

    def _rank(self, i: int) -> tuple[int, bool, int]:
        name = self._rest(i)
        if name.startswith(_PADDING):
            return 3, False, i
        kind = 0 if self._type[i] in b"TW" else 1 if self._type[i] in TEXT_TYPES else 2
        # __pi_f is an alias of f for code that runs before the kernel is relocated.
        return kind, name.startswith(b"__pi_"), i

    def _symbol(self, i: int, address: int | None = None) -> Symbol:
        name, _, module = self._rest(i).partition(b"\t[")
        start = int(self._address[i])
        owner = module.rstrip(b"]").decode() or None
        return Symbol(name.decode(), start, owner, 0 if address is None else address - start)
