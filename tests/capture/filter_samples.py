"""Expressions, packets and programs to try filters on, and libpcap's own interpreter to compare with."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import strategies as st

from kpath.capture.cbpf import ALU_OPS, JUMPS, SCRATCH, Instruction, Program
from kpath.capture.filter import to_c

EXPRESSIONS = (
    "",
    "ip",
    "ip6",
    "icmp",
    "tcp",
    "udp",
    "not tcp",
    "tcp or udp",
    "ip proto 50",
    "ip proto \\icmp",
    "host 10.0.0.1",
    "src host 10.0.0.1",
    "dst host 10.0.0.2 and not src 10.0.0.1",
    "net 10.0.0.0/8",
    "src net 10.0 and dst net 192.168.0.0 mask 255.255.0.0",
    "port 80",
    "src port 53 or dst port 53",
    "tcp port 80 and host 10.0.0.1",
    "udp portrange 50-60",
    "portrange 1-1023",
    "tcp[tcpflags] & tcp-syn != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "tcp[tcpflags] == tcp-rst",
    "icmp[icmptype] == icmp-echo",
    "icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply",
    "ip[8] < 5",
    "ip[6:2] & 0x3fff != 0",
    "ip[6] & 0x40 != 0",
    "ip[0] & 0xf > 5",
    "ip[1] & 0xfc >> 2 = 46",
    "ip[4:2] = 0x1234",
    "len > 100",
    "greater 60",
    "less 60",
    "len - 20 >= ip[2:2]",
    "ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0",
    "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
    "(host 10.0.0.1 or host 10.0.0.2) and (port 53 or port 80) and not icmp",
    "not (src net 10.0.0.0/24 and dst net 10.0.0.0/24)",
    "ip[ip[8]] = 4",
    "ip[ip[8]:4] > 5 or udp[4:2] * 3 < 100",
    "udp[4:2] / udp[7] = 2",
    "tcp[12:4] % tcp[3] = 2",
    "ip[12:4] ^ ip[16:4] = 3",
    "ip[9] << ip[8] = 64 or ip[9] >> ip[8] = 1",
    "ip[100] = 0 or icmp",
    "tcp[60:2] = 7",
    "-ip[8] = -1",
    "ip multicast",
    "dst 255.255.255.255",
    "src or dst 10.0.0.1",
    "sctp port 9",
    "icmp6 or ip6 host ::1 or icmp",
)

_ADDRESSES = [bytes(a) for a in ([10, 0, 0, 1], [10, 0, 0, 2], [192, 168, 7, 7], [255] * 4, [224, 0, 0, 1])]


@st.composite
def _ipv4(draw: st.DrawFn) -> bytes:
    words = draw(st.sampled_from([5, 5, 5, 6, 15, 0, 4]))
    proto = draw(st.sampled_from([1, 6, 17, 50, 132, 0, 255]))
    fragment = draw(st.sampled_from([0, 0, 0, 0x4000, 0x2000, 0x00B9, 0x1FFF]))
    ttl = draw(st.sampled_from([0, 1, 4, 5, 64, 120, 255]))
    address = st.sampled_from(_ADDRESSES) | st.binary(min_size=4, max_size=4)
    ports = st.sampled_from([0, 7, 53, 55, 80, 1023, 1024, 65535])
    start = struct.pack(">HHHH", draw(ports), draw(ports), draw(ports), draw(ports))
    if proto == 1:
        start = bytes([draw(st.sampled_from([0, 3, 8, 11])), 0]) + start
    rest = draw(st.binary(max_size=120))
    length = draw(st.sampled_from([20, 40, 60, 1500]))
    tos = draw(st.integers(0, 255))
    fixed = struct.pack(">BBHHHBBH", 0x40 | words, tos, length, 0x1234, fragment, ttl, proto, 0)
    options = draw(st.binary(min_size=max(words * 4 - 20, 0), max_size=max(words * 4 - 20, 0)))
    packet = fixed + draw(address) + draw(address) + options + start + rest
    return packet[: draw(st.integers(0, len(packet)))] if draw(st.booleans()) else packet


packets = _ipv4() | st.binary(max_size=200)
"""IPv4 packets whole and cut, some with impossible headers, and bytes of any kind."""


def random_program(seed: int) -> Program:
    """A program that no expression compiles to: every instruction, jumps everywhere forward."""
    dice = random.Random(seed)
    length = dice.randrange(4, 25)
    # libpcap's interpreter does not clear the scratch memory
    clear = [Instruction(0x02, 0, 0, n) for n in range(SCRATCH)]
    made: list[Instruction] = []
    for at in range(length - 2):
        after = length - at - 1
        k = dice.choice([dice.randrange(16), dice.randrange(200), dice.randrange(1 << 32), (1 << 32) - 1])
        offset = dice.choice([dice.randrange(24), dice.randrange(140)])
        match dice.randrange(8):
            case 0:
                made.append(Instruction(dice.choice([0x20, 0x28, 0x30]), 0, 0, offset))
            case 1:
                made.append(Instruction(dice.choice([0x40, 0x48, 0x50]), 0, 0, offset))
            case 2:
                code = dice.choice([0x00, 0x01, 0x80, 0x81, 0xB1])
                made.append(Instruction(code, 0, 0, offset if code == 0xB1 else k))
            case 3:
                code = dice.choice([0x60, 0x61, 0x02, 0x03])
                made.append(Instruction(code, 0, 0, dice.randrange(SCRATCH)))
            case 4 | 5:
                op = dice.choice(list(ALU_OPS))
                by_x = 0 if op == 0x80 else dice.choice([0, 8])
                # libpcap's interpreter leaves a constant shift of 32 and more undefined
                k = k % 32 if op in (0x60, 0x70) else k or 1
                made.append(Instruction(4 | op | by_x, 0, 0, k))
            case 6:
                op = dice.choice(list(JUMPS))
                if op == 0:
                    made.append(Instruction(5, 0, 0, dice.randrange(min(after, 5))))
                else:
                    jt, jf = (dice.randrange(min(after, 6)) for _ in range(2))
                    made.append(Instruction(5 | op | dice.choice([0, 8]), jt, jf, k))
            case _:
                made.append(Instruction(dice.choice([0x07, 0x87]), 0, 0, 0))
    made.append(Instruction(0x16, 0, 0, 0))
    made.append(Instruction(0x06, 0, 0, dice.randrange(2)))
    return Program(tuple(clear + made))


def must_have(what: str, there: bool) -> None:
    """Skips the test where something is not installed; in CI everything is."""
    if not there:
        if os.environ.get("CI"):
            pytest.fail(f"CI must install {what}")
        pytest.skip(f"{what} is not installed")


class _Insn(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class Libpcap:
    """``bpf_filter()`` of the installed libpcap."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libpcap.so.0.8")
        self._lib.bpf_filter.restype = ctypes.c_uint

    def run(self, program: Program, packet: bytes, wirelen: int) -> int:
        """What libpcap says of the packet."""
        array = (_Insn * len(program.instructions))(*(_Insn(*i) for i in program.instructions))
        result: int = self._lib.bpf_filter(array, packet, wirelen, len(packet))
        return result


Native = Callable[[int, bytes, int, int], int]
"""``native(number of the program, buffer, caplen, wirelen)``"""

_START = """
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
"""


def build_native(programs: Sequence[Program], folder: Path, size: int) -> Native:
    """The programs' C, compiled for this machine; warnings are errors."""
    compiler = shutil.which("cc")
    must_have("a C compiler (gcc)", compiler is not None)
    assert compiler
    parts = [_START]
    for n, program in enumerate(programs):
        parts.append(to_c(program, f"match_{n}", size))
        parts.append(f"int f{n}(const u8 *p, u32 c, u32 w) {{ return match_{n}(p, c, w); }}\n")
        parts.append("")
    source, library = folder / "filters.c", folder / "filters.so"
    source.write_text("\n".join(parts))
    flags = [
        "-std=gnu11",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Wno-type-limits",
        "-Werror",
        "-shared",
        "-fPIC",
    ]
    subprocess.run([compiler, *flags, "-o", library, source], check=True)
    lib = ctypes.CDLL(str(library))
    functions = [lib[f"f{n}"] for n in range(len(programs))]

    def native(number: int, packet: bytes, caplen: int, wirelen: int) -> int:
        result: int = functions[number](packet, caplen, wirelen)
        return result

    return native
