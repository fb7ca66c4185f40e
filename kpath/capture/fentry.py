"""Programs at the entry of functions by way of fentry: a call in the function itself, without a breakpoint's registers.

The kernel ties such a program to one function when it is loaded (``attach_btf_id``), so the same bytecode is loaded
once for each function, with that function's numbers filled in: which class it is of, where its packet is among the
arguments, its address, and how far its return address is from where the program finds the arguments. The text marks
these places by calls of helpers, and reads of arguments, that do not exist.

That distance follows from how the kernel saves arguments (arch/x86/net/bpf_jit_comp.c: arch_prepare_bpf_trampoline):
from the first argument on, upwards, all arguments, the value returned (only where something runs at the function's
return, too), the saved frame pointer, the address in the function that called the trampoline, and then what was on top
of the stack when the function was entered, its return address.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from kpath.capture import loader
from kpath.capture.bytecode import WIDTH
from kpath.capture.loader import Loaded
from kpath.kernel.btf import Btf, BtfKind
from kpath.kernel.libbpf import libbpf

MARKS = {
    "FENTRY_ADDRESS": 27505, "FENTRY_CLASS": 27506, "FENTRY_DISTANCE": 27507, "FENTRY_JUMPED": 27508,
    "FENTRY_LOW": 27509, "FENTRY_INSIDE": 0x7B00, "FENTRY_CALLER": 0x7C00,
    "FENTRY_RETURNED": 0x7D00, "FENTRY_SECOND": 0x7E00, "FENTRY_FIRST": 0x7F00,
}  # fmt: skip
"""Helpers and offsets of arguments that stand, in the text, for what is filled in."""

_FENTRY, _FEXIT = 24, 25  # BPF_TRACE_FENTRY, BPF_TRACE_FEXIT
_WORD = 8
_ABOVE_ARGUMENTS = 2 * _WORD  # the frame pointer and the address in the function
_IN_REGISTERS = 6
_REGISTERS = {"ctx->di": 0, "ctx->si": 1, "ctx->dx": 2, "ctx->cx": 3}
_CALL = 0x85
_SET = 0xB7  # dst = immediate, sign-extended to 64 bits
_LOAD = 0x79  # dst = *(u64 *)(src + offset)
_LOAD_HALF = 0x61  # dst = *(u32 *)(src + offset)
_SET_LOW = 0xB4  # dst = immediate, zero-extended to 64 bits
_LOAD_IMM64 = 0x18
_LOW = 0xFFFFFFFF
_ENTRY_PROGRAM = re.compile(
    r"^int (\w+)\(struct pt_regs \*ctx\) \{ return (?:enter|pass)\(ctx, (\w+)(?: \+ (\w+))?, "
    r"([\w>-]+)(?:, ([\w>-]+))?\); \}",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Site:
    """A function that can be traced so. ``arguments`` counts them, ``btf_id`` is its number in the kernel's BTF."""

    name: str
    address: int
    btf_id: int
    arguments: int


@dataclass(frozen=True, slots=True)
class Kind:
    """What a program of the text tells ``enter``: its class, and which arguments matter (None: none)."""

    cls: int
    first: int | None
    second: int | None


def kinds(text: str) -> dict[str, Kind]:
    """The programs at the entry of functions, by name, from the C text."""
    numbers = {name: int(value) for name, value in re.findall(r"^#define (CLASS_\w+) (\d+)", text, re.MULTILINE)}
    found = {}
    for name, cls, more, first, second in _ENTRY_PROGRAM.findall(text):
        number = numbers[cls] + (numbers[more] if more else 0)
        found[name] = Kind(number, _REGISTERS.get(first), _REGISTERS.get(second))
    return found


def site(btf: Btf, name: str, symbol: str, address: int, module: str) -> Site | None:
    """How to trace that function; None if the kernel's BTF does not tell enough of it."""
    if module or symbol != name:
        return None
    prototype = btf.function(name)
    number = btf.find_id(name, BtfKind.FUNC)
    if prototype is None or not number or len(prototype.params) > _IN_REGISTERS:
        return None
    return Site(name, address, number, len(prototype.params))


def distance(arguments: int, returns: bool) -> int:
    """From a function's first argument to its return address, bytes; ``returns``: something runs at its return, too."""
    return (arguments + returns) * _WORD + _ABOVE_ARGUMENTS


def jumped(arguments: int, returns: bool) -> int:
    """The same where the function jumps to the trampoline, so that no address in it is on the stack.

    Kernels with CONFIG_DYNAMIC_FTRACE_WITH_JMP do so wherever something runs at a function's return; when that is
    somebody else's, the value returned has its place all the same."""
    return distance(arguments, returns) - (_WORD if returns else 0)


def filled(
    code: bytes, numbers: Mapping[str, int], arguments: Mapping[str, int | None], places: Mapping[str, int]
) -> bytes:
    """The code with what differs from function to function, each by the mark that it takes the place of: ``numbers``,
    ``arguments`` (their position; None reads as 0), and ``places`` on the stack (bytes from the first argument)."""
    calls = {MARKS[name]: value for name, value in numbers.items()}
    reads = {MARKS[name]: value for name, value in arguments.items()}
    looks = {MARKS[name]: value for name, value in places.items()}
    changed, wide = bytearray(code), False
    for at in range(0, len(code), WIDTH):
        word = int.from_bytes(code[at : at + WIDTH], "little")
        opcode, source, offset, immediate = word & 0xFF, word >> 12 & 0xF, word >> 16 & 0xFFFF, word >> 32
        if wide:  # the second half of a 64-bit constant
            wide = False
            continue
        wide = opcode == _LOAD_IMM64
        if opcode == _CALL and not source and immediate in calls:
            word = (_SET_LOW if immediate == MARKS["FENTRY_LOW"] else _SET) | (calls[immediate] & _LOW) << 32
        elif opcode in (_LOAD, _LOAD_HALF) and offset in looks:
            word = word & ~(0xFFFF << 16) | looks[offset] << 16
        elif opcode == _LOAD and offset in reads:
            position = reads[offset]
            word = _SET | word & 0xF00 if position is None else word & ~(0xFFFF << 16) | position * _WORD << 16
        changed[at : at + WIDTH] = word.to_bytes(WIDTH, "little")
    return bytes(changed)


class Programs:
    """Loads the text's programs for one function after another."""

    def __init__(self, loaded: Loaded, text: str, cast: int, jumps: bool) -> None:
        """``cast``: see :meth:`kpath.capture.loader.Loaded.load`; ``jumps``: see :func:`jumped`."""
        self._loaded, self._cast, self._jumps = loaded, cast, jumps
        self._kinds = kinds(text)
        self._filtered = "#define FILTERED 1\n" in text and "int decide(" in text
        # Each function takes two or three descriptors, and there are hundreds of functions.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def attach(self, program: str, site: Site, returns: bool) -> Link:
        """Run this program of the text at the function's entry; ``returns``: something runs at its return, too.

        Raises OSError, or CaptureSetupError with the verifier's words.
        """
        kind = self._kinds[program]
        caller = distance(site.arguments, returns)
        change = partial(
            filled,
            numbers={
                "FENTRY_ADDRESS": site.address, "FENTRY_LOW": site.address, "FENTRY_CLASS": kind.cls,
                "FENTRY_DISTANCE": caller,
                "FENTRY_JUMPED": jumped(site.arguments, returns) if self._jumps else 0,
            },
            arguments={"FENTRY_FIRST": kind.first, "FENTRY_SECOND": kind.second},
            places={"FENTRY_CALLER": caller, "FENTRY_INSIDE": caller - _WORD},
        )  # fmt: skip
        instead = {}
        if self._filtered:
            # One program may go on to another only if both are tied to the same function (28ead3eaabc1, 6.12).
            table = self._loaded.another("bodies")
            decide = self._loaded.load("decide", loader.TRACING, _FENTRY, self._cast, site.btf_id)
            self._loaded.to_call(table, 1, decide)
            instead["bodies"] = table
        load = self._loaded.load
        traced = "traced_light" if "_light_" in program else "traced"
        return Link(load(traced, loader.TRACING, _FENTRY, self._cast, site.btf_id, change, instead))

    def attach_verdict(self, site: Site) -> Link:
        """See what the function returns. To be attached before, and detached after, what runs at its entry."""
        change = partial(
            filled,
            numbers={"FENTRY_DISTANCE": (jumped if self._jumps else distance)(site.arguments, True)},
            arguments={"FENTRY_RETURNED": site.arguments},
            places={},
        )
        return Link(self._loaded.load("verdict_traced", loader.TRACING, _FEXIT, self._cast, site.btf_id, change))


class Link:
    """One program at work at its function; closing the descriptor detaches."""

    def __init__(self, program_fd: int) -> None:
        """Raises OSError."""
        fd = int(libbpf().bpf_raw_tracepoint_open(None, program_fd))
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        self.fd, self._program = fd, program_fd

    def missed(self) -> int:
        """Hits for which nothing ran, as the same program was running on that CPU."""
        from kpath.capture.attach import recursion_misses

        return recursion_misses(self._program)

    def close(self) -> None:
        """Detach."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
