"""Classic BPF, the language that tcpdump expressions are compiled to, and its reference interpreter.

The machine: accumulator A, index X, 16 words of scratch memory, jumps only forward. It looks at a packet and
returns how many bytes of it to keep; 0 means no match. Meaning and opcodes are those of libpcap's
``bpf_filter()`` (McCanne and Jacobson, "The BSD Packet Filter", 1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

SCRATCH = 16
"""Words of scratch memory."""

WORD = (1 << 32) - 1

ANCILLARY = 0xFFE00000
"""Offsets from here on are Linux' extensions (SKF_LL_OFF, SKF_NET_OFF, SKF_AD_OFF), no packet bytes."""

# Instruction classes (the low three bits of the code).
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)

# Modes of LD and LDX.
IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0

SIZES = {0x00: 4, 0x08: 2, 0x10: 1}
"""Bytes of a packet load, by the size bits of the code."""

ALU_OPS = {
    0x00: "+", 0x10: "-", 0x20: "*", 0x30: "/", 0x40: "|", 0x50: "&",
    0x60: "<<", 0x70: ">>", 0x80: "neg", 0x90: "%", 0xA0: "^",
}  # fmt: skip
JUMPS = {0x00: "ja", 0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&"}

SOURCE_X = 0x08
"""In ALU and JMP: the operand is X instead of the constant."""
RET_A = 0x10
TXA = 0x80


class Instruction(NamedTuple):
    """One instruction, as ``struct bpf_insn``; ``jt`` and ``jf`` count from the next one."""

    code: int
    jt: int
    jf: int
    k: int

    @property
    def cls(self) -> int:
        """Instruction class."""
        return self.code & 7

    @property
    def mode(self) -> int:
        """Mode of a load."""
        return self.code & 0xE0

    @property
    def size(self) -> int:
        """Bytes of a packet load."""
        return SIZES[self.code & 0x18]

    @property
    def op(self) -> int:
        """Operation of ALU and JMP."""
        return self.code & 0xF0


@dataclass(frozen=True, slots=True)
class Program:
    """A checked program: making one raises ValueError when an instruction is unknown or could go astray."""

    instructions: tuple[Instruction, ...]
    expression: str = ""
    """What it was compiled from."""

    def __post_init__(self) -> None:
        check(self.instructions)


_MODES = {
    LD: {IMM, ABS, IND, MEM, LEN},
    LDX: {IMM, MEM, LEN, MSH},
}


def check(instructions: Sequence[Instruction]) -> None:
    """Raises ValueError, naming the instruction, unless all are known, stay inside and end in a return."""
    if not instructions or instructions[-1].cls != RET:
        raise ValueError("the program does not end in a return")
    for at, instruction in enumerate(instructions):
        why = _wrong(instruction, len(instructions) - at - 1)
        if why:
            raise ValueError(f"instruction {at} (code {instruction.code:#x}) {why}")


def _wrong(i: Instruction, after: int) -> str:
    """What is wrong with the instruction, given how many come after it; "" if nothing."""
    if not (0 <= i.code <= 0xFFFF and 0 <= i.jt <= 255 and 0 <= i.jf <= 255 and 0 <= i.k <= WORD):
        return "has a field out of range"
    if i.code > 0xFF:
        return "is not known"
    match i.cls:
        case 0 | 1:
            return _wrong_load(i)
        case 2 | 3:
            if i.code not in (ST, STX):
                return "is not known"
            return "" if i.k < SCRATCH else "stores outside the scratch memory"
        case 4:
            if i.op not in ALU_OPS:
                return "is not known"
            by_constant = not i.code & SOURCE_X
            if ALU_OPS[i.op] == "neg" and not by_constant:
                return "is not known"
            if ALU_OPS[i.op] in "/%" and by_constant and i.k == 0:
                return "divides by zero"
            return ""
        case 5:
            if i.op not in JUMPS:
                return "is not known"
            if JUMPS[i.op] == "ja":
                if i.code & SOURCE_X:
                    return "is not known"
                return "" if i.k < after else "jumps back, in a loop, or past the end"
            return "" if max(i.jt, i.jf) < after else "jumps past the end"
        case 6:
            return "" if i.code in (RET, RET | RET_A) else "is not known"
        case _:
            return "" if i.code in (MISC, MISC | TXA) else "is not known"


def _wrong_load(i: Instruction) -> str:
    if i.mode not in _MODES[i.cls] or i.code & 0x18 not in SIZES:
        return "is not known"
    if i.mode == MEM and i.k >= SCRATCH:
        return "loads from outside the scratch memory"
    if i.mode in (IMM, MEM, LEN) and i.size != 4:
        return "is not known"
    if i.mode == MSH and i.size != 1:
        return "is not known"
    if i.mode in (ABS, IND, MSH) and i.k >= ANCILLARY:
        return "asks for what is not in a packet's bytes"
    return ""


class Interpreter:
    """Runs programs as ``bpf_filter()`` does; plain and slow, to test the fast ones against."""

    def __init__(self, program: Program) -> None:
        self._program = program.instructions

    def run(self, packet: bytes, wirelen: int | None = None) -> int:
        """What the program returns, 0 for no match. ``packet`` is what was captured of ``wirelen`` bytes."""
        a = x = pc = 0
        scratch = [0] * SCRATCH
        length = len(packet) if wirelen is None else wirelen
        while True:
            i = self._program[pc]
            pc += 1
            match i.cls:
                case 0 | 1:
                    value = self._load(i, packet, length, x, scratch)
                    if value is None:
                        return 0
                    if i.cls == LD:
                        a = value
                    else:
                        x = value
                case 2:
                    scratch[i.k] = a
                case 3:
                    scratch[i.k] = x
                case 4:
                    operand = x if i.code & SOURCE_X else i.k
                    if ALU_OPS[i.op] in "/%" and operand == 0:
                        return 0
                    a = _calculate(ALU_OPS[i.op], a, operand)
                case 5:
                    operand = x if i.code & SOURCE_X else i.k
                    op = JUMPS[i.op]
                    pc += i.k if op == "ja" else i.jt if _holds(op, a, operand) else i.jf
                case 6:
                    return a if i.code & RET_A else i.k
                case _:
                    if i.code & TXA:
                        a = x
                    else:
                        x = a

    @staticmethod
    def _load(i: Instruction, packet: bytes, length: int, x: int, scratch: list[int]) -> int | None:
        """The value, or None when it lies outside the packet."""
        match i.mode:
            case 0x00:
                return i.k
            case 0x60:
                return scratch[i.k]
            case 0x80:
                return length & WORD
        # Not modulo 2^32: an index that would wrap lies outside.
        at = i.k + x if i.mode == IND else i.k
        if at + i.size > len(packet):
            return None
        value = int.from_bytes(packet[at : at + i.size], "big")
        return 4 * (value & 0xF) if i.mode == MSH else value


def run(program: Program, packet: bytes, wirelen: int | None = None) -> int:
    """``Interpreter(program).run(packet, wirelen)``."""
    return Interpreter(program).run(packet, wirelen)


def _calculate(op: str, a: int, operand: int) -> int:
    match op:
        case "+":
            value = a + operand
        case "-":
            value = a - operand
        case "*":
            value = a * operand
        case "/":
            value = a // operand
        case "%":
            value = a % operand
        case "&":
            value = a & operand
        case "|":
            value = a | operand
        case "^":
            value = a ^ operand
        case "<<":
            value = a << operand if operand < 32 else 0
        case ">>":
            value = a >> operand if operand < 32 else 0
        case _:
            value = -a
    return value & WORD


def _holds(op: str, a: int, operand: int) -> bool:
    match op:
        case "==":
            return a == operand
        case ">":
            return a > operand
        case ">=":
            return a >= operand
        case _:
            return bool(a & operand)
