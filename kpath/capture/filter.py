"""tcpdump expressions: compiled by libpcap to classic BPF, then translated to C for the BPF program.

The expression sees each packet from its IPv4 header on, so words about the link layer (``ether``, ``vlan``,
``arp``) are errors, with libpcap's own message; ``inbound`` and ``protochain`` are refused too, for they need
what is not in the packet's bytes or a loop; ``ip6`` compiles and never matches. See ``man pcap-filter`` for
the language. A sub-expression that looks beyond the end of the packet ends the whole filter with no match.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache

from kpath.capture.cbpf import (
    ABS,
    ALU_OPS,
    IMM,
    IND,
    JUMPS,
    LD,
    LEN,
    MEM,
    MSH,
    RET_A,
    SOURCE_X,
    TXA,
    Instruction,
    Program,
)
from kpath.capture.errors import FilterError

MAX_EXPRESSION = 16_384
"""Longest expression, in bytes: libpcap's parser recurses."""

MAX_INSTRUCTIONS = 1_024
"""Longest program. The kernel's verifier walks every branch of it, in every probe."""

MIN_SIZE, MAX_SIZE = 64, 16_384
"""Bounds of the packet buffer, in bytes: room for an IPv4 header with options at least."""

_DLT_RAW = 12
_SNAPLEN = 262_144
_NETMASK_UNKNOWN = 0xFFFFFFFF
_REMEDY = (
    'It is written as for tcpdump ("man pcap-filter"), for packets that begin with their IPv4 header: '
    "for example 'host 10.0.0.1 and tcp port 80'."
)


class _Insn(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Insn)))


@cache
def _libpcap() -> ctypes.CDLL:
    """Raises FilterError when libpcap is not installed."""
    for name in ("libpcap.so.0.8", "libpcap.so.1"):  # Debian's name, everybody else's
        try:
            lib = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise FilterError(
            "filter expressions need libpcap, which is not installed: apt install libpcap0.8 "
            "(or libpcap0.8t64, or your distribution's libpcap)"
        )
    lib.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
    lib.pcap_open_dead.restype = ctypes.c_void_p
    lib.pcap_compile.argtypes = (
        ctypes.c_void_p,
        ctypes.POINTER(_Program),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
    )
    lib.pcap_compile.restype = ctypes.c_int
    lib.pcap_geterr.argtypes = (ctypes.c_void_p,)
    lib.pcap_geterr.restype = ctypes.c_char_p
    lib.pcap_freecode.argtypes = (ctypes.POINTER(_Program),)
    lib.pcap_freecode.restype = None
    lib.pcap_close.argtypes = (ctypes.c_void_p,)
    lib.pcap_close.restype = None
    return lib


def compile_filter(expression: str) -> Program:
    """The expression as a classic BPF program; an empty one matches every packet.

    Host and service names in it are looked up, as tcpdump does, which may take as long as the resolver takes.
    Raises FilterError: the expression is wrong, asks for what is not in the packet, or is too long.
    """
    raw = expression.encode(errors="surrogateescape")
    if len(raw) > MAX_EXPRESSION or b"\0" in raw:
        raise FilterError(
            f"the filter is longer than {MAX_EXPRESSION} bytes or holds a zero byte: shorten it"
        )
    lib = _libpcap()
    handle = lib.pcap_open_dead(_DLT_RAW, _SNAPLEN)
    if not handle:
        raise FilterError("libpcap could not be started: there is no memory left")
    code = _Program()
    try:
        if lib.pcap_compile(handle, ctypes.byref(code), raw, 1, _NETMASK_UNKNOWN) != 0:
            message = (lib.pcap_geterr(handle) or b"").decode(errors="replace")
            raise FilterError(f"the filter {expression!r} is not valid: {message}. {_REMEDY}")
        try:
            found = code.instructions[: code.length]
            instructions = tuple(Instruction(i.code, i.jt, i.jf, i.k) for i in found)
        finally:
            lib.pcap_freecode(ctypes.byref(code))
    finally:
        lib.pcap_close(handle)
    if len(instructions) > MAX_INSTRUCTIONS:
        raise FilterError(
            f"the filter compiles to {len(instructions)} instructions, more than the {MAX_INSTRUCTIONS} "
            "that the kernel is asked to run for each packet: shorten it (nets instead of lists of hosts, "
            "portrange instead of lists of ports)"
        )
    try:
        return Program(instructions, expression)
    except ValueError as error:
        raise FilterError(f"the filter {expression!r} cannot be used here: {error}. {_REMEDY}") from error


def to_c(program: Program, name: str = "pcap_match", size: int = 128) -> str:
    """The program as C: an inline ``int NAME(const u8 *packet, u32 caplen, u32 wirelen)``.

    ``packet`` must point to ``size`` readable bytes, of which ``caplen`` are the packet's first ones; the
    types u8, u32 and u64 must be known. The function returns 1 for a match, 0 for
    none. A field beyond ``caplen`` or ``size`` is absent, and looking at it ends the filter with no match, as
    in classic BPF: ``tcp[100] = 1 or icmp`` misses short TCP packets, and no packet is seen beyond ``size``.
    ``wirelen`` is what ``len`` means. Raises ValueError for an impossible name or size.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name for a C function")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"the size must be from {MIN_SIZE} to {MAX_SIZE} bytes")
    return _Translator(program, name, size).function()


class _Translator:
    """Statement by statement; every jump is a goto forward, which the kernel's verifier can follow."""

    def __init__(self, program: Program, name: str, size: int) -> None:
        self._program = program.instructions
        self._name = name
        self._size = size

    def function(self) -> str:
        reached = self._reached()
        body: list[str] = []
        targets: set[int] = set()
        for at, i in enumerate(self._program):
            if at in reached:
                targets.update(self._gotos(at, i))
        for at, i in enumerate(self._program):
            if at not in reached:
                continue
            if at in targets:
                body.append(f"l{at}:")
            body += [f"    {line}" for line in self._statement(at, i)]
        text = "\n".join(body)
        words = [w for w in ("a", "x", *(f"m{n}" for n in range(16))) if re.search(rf"\b{w}\b", text)]
        start = [
            "static inline __attribute__((always_inline))",
            f"int {self._name}(const u8 *packet, u32 caplen, u32 wirelen)",
            "{",
            *([f"    u32 {', '.join(f'{w} = 0' for w in words)};"] if words else []),
            f"    if (caplen > {self._size})",
            f"        caplen = {self._size};",
            # whichever of them this filter has no use for
            "    (void)packet; (void)wirelen;" + "".join(f" (void){w};" for w in words),
        ]
        return "\n".join([*start, text, "}", ""])

    def _reached(self) -> set[int]:
        """Instructions that a packet can come to: clang warns of the others, and libpcap leaves some."""
        reached: set[int] = set()
        waiting = [0]
        while waiting:
            at = waiting.pop()
            if at not in reached:
                reached.add(at)
                waiting += self._next(at, self._program[at])
        return reached

    @staticmethod
    def _next(at: int, i: Instruction) -> list[int]:
        if i.cls == 5:
            return [at + 1 + i.k] if JUMPS[i.op] == "ja" else [at + 1 + i.jt, at + 1 + i.jf]
        return [] if i.cls == 6 else [at + 1]

    @staticmethod
    def _gotos(at: int, i: Instruction) -> list[int]:
        """Where the statement of this instruction jumps to, falling through excepted."""
        return [n for n in _Translator._next(at, i) if n != at + 1] if i.cls == 5 else []

    def _statement(self, at: int, i: Instruction) -> list[str]:
        operand = "x" if i.code & SOURCE_X else _number(i.k)
        match i.cls:
            case 0 | 1:
                return self._load(i)
            case 2 | 3:
                return [f"m{i.k} = {'ax'[i.cls - 2]};"]
            case 4:
                return _calculate(i, operand)
            case 5:
                return self._jump(at, i, operand)
            case 6:
                return ["return a != 0;" if i.code & RET_A else f"return {int(i.k != 0)};"]
            case _:
                return ["a = x;" if i.code & TXA else "x = a;"]

    def _jump(self, at: int, i: Instruction, operand: str) -> list[str]:
        if JUMPS[i.op] == "ja":
            return [f"goto l{at + 1 + i.k};"] if i.k else []
        condition = f"a {JUMPS[i.op]} {operand}"
        if i.jt == i.jf:
            return [f"goto l{at + 1 + i.jt};"] if i.jt else []
        if not i.jt:
            return [f"if (!({condition}))", f"    goto l{at + 1 + i.jf};"]
        lines = [f"if ({condition})", f"    goto l{at + 1 + i.jt};"]
        return [*lines, f"goto l{at + 1 + i.jf};"] if i.jf else lines

    def _load(self, i: Instruction) -> list[str]:
        into = "a" if i.cls == LD else "x"
        if i.mode == IMM:
            return [f"{into} = {_number(i.k)};"]
        if i.mode == MEM:
            return [f"{into} = m{i.k};"]
        if i.mode == LEN:
            return [f"{into} = wirelen;"]
        if i.mode == IND:
            return self._indexed(i)
        assert i.mode in (ABS, MSH)
        if i.k + i.size > self._size:
            return ["return 0;"]
        value = _big_endian([f"packet[{i.k + n}]" for n in range(i.size)])
        if i.mode == MSH:
            value = f"4 * ({value} & 15)"
        return [f"if (caplen < {i.k + i.size})", "    return 0;", f"{into} = {value};"]

    def _indexed(self, i: Instruction) -> list[str]:
        # The empty asm hides i's origin from clang, which then compares the very register that it adds to
        # packet: only so does the verifier know the bounds of that sum.
        value = _big_endian([f"packet[i + {n}]" if n else "packet[i]" for n in range(i.size)])
        return [
            "{",
            f"    u64 i = (u64)x + {_number(i.k)};",
            f"    if (i + {i.size} > caplen)",
            "        return 0;",
            '    asm volatile("" : "+r"(i));',
            f"    if (i > {self._size - i.size})",
            "        return 0;",
            f"    a = {value};",
            "}",
        ]


def _calculate(i: Instruction, operand: str) -> list[str]:
    op = ALU_OPS[i.op]
    by_x = bool(i.code & SOURCE_X)
    if op == "neg":
        return ["a = -a;"]
    if op in "/%":
        guard = ["if (x == 0)", "    return 0;"] if by_x else []
        return [*guard, f"a = a {op} {operand};"]
    if op in ("<<", ">>"):
        # C leaves shifts by the width undefined; libpcap's interpreter makes them 0
        if by_x:
            return [f"a = x < 32 ? a {op} (x & 31) : 0;"]
        return [f"a = a {op} {i.k};" if i.k < 32 else "a = 0;"]
    return [f"a = a {op} {operand};"]


def _number(value: int) -> str:
    return f"{value:#x}U"


def _big_endian(parts: list[str]) -> str:
    last = len(parts) - 1
    return " | ".join(
        f"(u32){p} << {8 * (last - n)}" if n < last else f"(u32){p}" for n, p in enumerate(parts)
    )
