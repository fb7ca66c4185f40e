"""Questions to the kernel's machine code: what does this call site call; can this function jump to that one?

They decide what a frame with an old return address means (docs/internals.md, "Tail jumps"). The code is read
as it runs now, that is after the kernel patched itself at boot.

There is no disassembler here. Jumps are found by their opcode bytes at any position, and count only when
their target is exactly where a function begins; four random bytes hit one of 10^5 functions in a space of
2^32 with odds of 1 in 40,000, and then only add an edge that is not there to a function that was looked at.
Call sites need no search: the return address tells where the instruction ends.

x86-64 only. On another machine the answers are "unknown".
"""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from kpath.kernel.kcore import Kcore
from kpath.kernel.symbols import MAX_EXTENT, Symbols

ENDBR64 = b"\xf3\x0f\x1e\xfa"
"""Landing pad of an indirect call; direct calls and jumps may be patched to skip its four bytes."""

MAX_DEPTH = 8
"""How many jumps in a row `can_jump` follows. Chains seen on the IPv4 path have two or three."""

Reader = Callable[[int, int], bytes]
"""``read(address, size)``: up to size bytes at an address, fewer where nothing is mapped."""


class CallKind(Enum):
    """How a call site names what it calls."""

    DIRECT = "direct"
    INDIRECT = "indirect"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call; ``target`` is the address of the function called, None unless it is direct."""

    kind: CallKind
    target: int | None = None


@dataclass(frozen=True, slots=True)
class Jumps:
    """Where a function jumps out of itself; ``indirect``: also to where only a register knows."""

    targets: frozenset[int]
    indirect: bool


_INDIRECT = CallSite(CallKind.INDIRECT)
_UNKNOWN = CallSite(CallKind.UNKNOWN)

_THUNK = re.compile(
    r"(__pi_)?(__x86_indirect_|__SCT__)"  # retpolines and their kin; static calls, which change at run time
)
_RETURN = re.compile(r".*return_thunk$")  # a patched `ret` is a jump to one of these

# The end of an indirect call, anchored at the return address: FF /2 with each addressing form.
_INDIRECT_CALL = re.compile(
    rb"(?s)(?:"
    rb"\xff[\xd0-\xd7]"  # call *%reg (41 before it for r8-r15)
    rb"|\xff[\x10-\x13\x16\x17]"  # call *(%reg)
    rb"|\xff\x14.(?:....)?"  # call *(%reg,%reg,scale), call *table(,%reg,scale)
    rb"|\xff[\x50-\x53\x55-\x57]."  # call *disp8(%reg)
    rb"|\xff\x54.."
    rb"|\xff[\x90-\x93\x95-\x97]...."  # call *disp32(%reg)
    rb"|\xff\x94....."
    rb"|\xff\x15...."  # call *disp32(%rip)
    rb")\Z"
)

_JUMP_RELATIVE = re.compile(rb"(?s)(?=(?:\xe9|\x0f[\x80-\x8f])(....))")
_JUMP_REGISTER = re.compile(rb"\xff[\xe0-\xe7]")
_JUMP_MEMORY = re.compile(rb"\xff[\x20-\x27\x60-\x67\xa0-\xa7]")


class KernelText:
    """The code of the running kernel, or of any other for which there are bytes and symbols."""

    def __init__(self, read: Reader, symbols: Symbols, machine: str = "x86_64") -> None:
        self._read = read
        self._symbols = symbols
        self._known = machine == "x86_64"
        self._jumps: dict[int, Jumps] = {}
        # A kernel compiled with retpolines has no jump through memory. Their opcode bytes are common as the
        # tail of other instructions, so they are looked for only in a kernel that may have them.
        self._memory_jumps = not symbols.addresses("__x86_indirect_thunk_rax")

    @classmethod
    def open(cls, symbols: Symbols | None = None) -> KernelText:
        """The running kernel. Raises NoTextError (no /proc/kcore) or NoSymbolsError."""
        symbols = symbols or Symbols.load()
        return cls(Kcore().read, symbols, platform.machine())

    def read(self, address: int, size: int) -> bytes:
        """Up to ``size`` bytes of kernel memory; fewer, or none, where nothing is mapped."""
        return self._read(address, size)

    def call_target(self, return_address: int) -> CallSite:
        """What the call that returns to this address calls."""
        if not self._known:
            return _UNKNOWN
        before = self._read(return_address - 8, 8)
        if len(before) < 8:
            return _UNKNOWN
        if before[3] == 0xE8:
            target = return_address + _signed(before[4:])
            if self._is_thunk(target):
                return _INDIRECT
            start = self._function_at(target)
            if start is not None:
                return CallSite(CallKind.DIRECT, start)
        return _INDIRECT if _INDIRECT_CALL.search(before) else _UNKNOWN

    def jumps(self, start: int, end: int) -> Jumps:
        """Functions that the code in [start, end) jumps to, conditionally or not; whether it jumps blindly.

        Code that cannot be read counts as jumping blindly.
        """
        code = self._read(start, end - start)
        targets: set[int] = set()
        indirect = len(code) < end - start or bool(_JUMP_REGISTER.search(code))
        indirect = indirect or (self._memory_jumps and bool(_JUMP_MEMORY.search(code)))
        for match in _JUMP_RELATIVE.finditer(code):
            target = start + match.end(1) + _signed(match[1])
            if start <= target < end:
                continue
            if self._is_thunk(target):
                indirect = True
                continue
            function = self._function_at(target)
            if function is not None and not _RETURN.match(self._name(function)):
                targets.add(function)
        return Jumps(frozenset(targets), indirect)

    def can_jump(self, from_address: int, to_address: int) -> bool | None:
        """Can the function around one address reach the entry of the other by jumps alone, however many?

        None when it cannot be told: some function on the way jumps through a register, or cannot be read.
        """
        origin = self._symbols.resolve(from_address)
        if not self._known or origin is None:
            return None
        seen = {origin.address}
        edge = [origin.address]
        blind = False
        for _ in range(MAX_DEPTH):
            following: list[int] = []
            for function in edge:
                jumps = self._function_jumps(function)
                if to_address in jumps.targets:
                    return True
                blind = blind or jumps.indirect
                following += sorted(jumps.targets - seen)
                seen |= jumps.targets
            edge = following
        return None if blind or edge else False

    def reach(self, address: int, among: Collection[int]) -> Jumps:
        """Which functions of ``among`` (their addresses) the function around an address reaches by jumps alone.

        The way does not lead through another of them. ``indirect``: there may be more, for some function on the
        way jumps through a register, cannot be read, or is too far away.
        """
        origin = self._symbols.resolve(address)
        if not self._known or origin is None:
            return Jumps(frozenset(), True)
        found: set[int] = set()
        seen = {origin.address}
        edge = [origin.address]
        blind = False
        for _ in range(MAX_DEPTH):
            following: list[int] = []
            for function in edge:
                jumps = self._function_jumps(function)
                blind = blind or jumps.indirect
                fresh = jumps.targets - seen
                # A function that jumps to itself from its cold part is reached, too.
                found |= {target for target in jumps.targets if target in among}
                following += sorted(target for target in fresh if target not in among)
                seen |= fresh
            edge = following
        return Jumps(frozenset(found), blind or bool(edge))

    def _function_jumps(self, function: int) -> Jumps:
        """Jumps of a function and of its unlikely part, which the compiler puts elsewhere (``.cold``)."""
        known = self._jumps.get(function)
        if known is not None:
            return known
        found = self.jumps(function, min(self._symbols.end(function), function + MAX_EXTENT))
        symbol = self._symbols.resolve(function)
        name = symbol.name if symbol else ""
        cold = self._symbols.functions(f"{name}.cold") if not name.endswith(".cold") else []
        # A function may enter its cold part in the middle, where no symbol is; so that part always counts.
        parts = {part.address for part in cold if symbol and part.module == symbol.module}
        known = self._jumps[function] = Jumps(found.targets | parts, found.indirect)
        return known

    def _function_at(self, target: int) -> int | None:
        """The function that begins at the target, or four bytes before it with an ENDBR64 in between."""
        if self._symbols.is_function_start(target):
            return target
        before = target - len(ENDBR64)
        if self._symbols.is_function_start(before) and self._read(before, len(ENDBR64)) == ENDBR64:
            return before
        return None

    def _is_thunk(self, target: int) -> bool:
        symbol = self._symbols.resolve(target)
        if symbol is not None and symbol.offset <= len(ENDBR64):
            return bool(_THUNK.match(symbol.name))
        if not 0 < target < 1 << 64 or (symbol is not None and not symbol.module):
            return False
        # Thunks against indirect target selection are allocated at run time, among the modules, without a
        # symbol: jmp *%reg.
        code = self._read(target, 3)
        return bool(_JUMP_REGISTER.match(code) or (code[:1] == b"\x41" and _JUMP_REGISTER.match(code, 1)))

    def _name(self, address: int) -> str:
        symbol = self._symbols.resolve(address)
        return symbol.name if symbol else ""


def _signed(four: bytes) -> int:
    (value,) = struct.unpack("<i", four)
    return int(value)
