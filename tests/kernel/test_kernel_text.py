"""Calls and jumps in machine code: made to order, and as recorded from real kernels."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpath.kernel.symbols import Symbols
from kpath.kernel.text import ENDBR64, CallKind, CallSite, Jumps, KernelText
from tests.kernel.frozen_kernels import SERIES, kernel

BASE = 0xFFFFFFFF81000000
SIZE = 0x100  # of each made-up function
NAMES = ("a", "b", "c", "d", "a.cold", "__x86_indirect_thunk_rax", "__x86_return_thunk", "__SCT__pick")
AT = {name: BASE + i * SIZE for i, name in enumerate(NAMES)}
THUNK_WITHOUT_SYMBOL = 0xFFFFFFFFC0002000
"""As the kernel allocates them at run time, among the modules."""
UNKNOWN = CallSite(CallKind.UNKNOWN)
INDIRECT = CallSite(CallKind.INDIRECT)


class Memory:
    """A little kernel: functions full of int3, into which tests write."""

    def __init__(self, retpolines: bool = True) -> None:
        names = [n for n in NAMES if retpolines or not n.startswith("__x86_indirect")]
        lines = [f"{AT[name]:x} t {name}" for name in names]
        lines += [f"{BASE + len(NAMES) * SIZE:x} t end", "ffffffffc0000000 t module_function\t[module]"]
        self.code = bytearray(b"\xcc" * SIZE * len(NAMES))
        self.text = KernelText(self.read, Symbols.from_lines(lines))

    def read(self, address: int, size: int) -> bytes:
        if address == THUNK_WITHOUT_SYMBOL:
            return b"\x41\xff\xe3\xcc"[:size]
        if address < BASE:
            return b""
        return bytes(self.code[address - BASE :][:size])

    def put(self, address: int, code: bytes) -> int:
        """Write code; returns the address behind it."""
        self.code[address - BASE : address - BASE + len(code)] = code
        return address + len(code)


def relative(opcode: bytes, at: int, target: int) -> bytes:
    return opcode + struct.pack("<i", target - (at + len(opcode) + 4))


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_direct_call(memory: Memory) -> None:
    at = AT["a"] + 9
    back = memory.put(at, relative(b"\xe8", at, AT["b"]))
    assert memory.text.call_target(back) == CallSite(CallKind.DIRECT, AT["b"])


def test_direct_call_past_the_landing_pad(memory: Memory) -> None:
    at = AT["a"] + 9
    back = memory.put(at, relative(b"\xe8", at, AT["b"] + 4))
    assert memory.text.call_target(back) == UNKNOWN  # into the middle of something
    memory.put(AT["b"], ENDBR64)
    assert memory.text.call_target(back) == CallSite(CallKind.DIRECT, AT["b"])


@pytest.mark.parametrize("target", ["__x86_indirect_thunk_rax", "__SCT__pick"])
def test_call_through_a_thunk_is_indirect(memory: Memory, target: str) -> None:
    back = memory.put(AT["a"] + 9, relative(b"\xe8", AT["a"] + 9, AT[target]))
    assert memory.text.call_target(back) == INDIRECT


def test_call_through_a_thunk_without_symbol_is_indirect(memory: Memory) -> None:
    back = memory.put(AT["a"] + 9, relative(b"\xe8", AT["a"] + 9, THUNK_WITHOUT_SYMBOL))
    assert memory.text.call_target(back) == INDIRECT


@pytest.mark.parametrize(
    "code",
    [
        "ff d0",  # call *%rax
        "41 ff d3",  # call *%r11
        "ff 10",  # call *(%rax)
        "ff 50 28",  # call *0x28(%rax)
        "41 ff 54 24 30",  # call *0x30(%r12)
        "ff 90 80 01 00 00",  # call *0x180(%rax)
        "ff 15 10 20 30 40",  # call *0x40302010(%rip)
        "ff 14 c5 00 10 20 82",  # call *table(,%rax,8)
        "ff 94 c3 88 00 00 00",  # call *0x88(%rbx,%rax,8)
    ],
)
def test_indirect_calls(memory: Memory, code: str) -> None:
    back = memory.put(AT["a"] + 9, bytes.fromhex(code))
    assert memory.text.call_target(back) == INDIRECT


def test_what_is_no_call_is_unknown(memory: Memory) -> None:
    assert memory.text.call_target(AT["a"] + 20) == UNKNOWN
    assert memory.text.call_target(0x1000) == UNKNOWN
    assert memory.text.call_target(BASE + 3) == UNKNOWN


def test_jumps_out_of_a_function(memory: Memory) -> None:
    at = AT["a"]
    at = memory.put(at, relative(b"\xe9", at, AT["b"]))
    at = memory.put(at, relative(b"\x0f\x84", at, AT["c"]))
    at = memory.put(at, relative(b"\xe9", at, AT["a"] + 2))  # inside
    at = memory.put(at, relative(b"\xe9", at, AT["d"] + 1))  # into the middle
    at = memory.put(at, relative(b"\xe9", at, AT["__x86_return_thunk"]))  # a patched ret
    assert memory.text.jumps(AT["a"], AT["b"]) == Jumps(frozenset({AT["b"], AT["c"]}), False)


@pytest.mark.parametrize("target", [AT["__x86_indirect_thunk_rax"], AT["__SCT__pick"], THUNK_WITHOUT_SYMBOL])
def test_jump_through_a_thunk_is_blind(memory: Memory, target: int) -> None:
    memory.put(AT["a"], relative(b"\xe9", AT["a"], target))
    assert memory.text.jumps(AT["a"], AT["b"]) == Jumps(frozenset(), True)


@pytest.mark.parametrize("code", ["ff e0", "41 ff e3"])
def test_jump_through_a_register_is_blind(memory: Memory, code: str) -> None:
    memory.put(AT["a"], bytes.fromhex(code))
    assert memory.text.jumps(AT["a"], AT["b"]).indirect


def test_jump_through_memory_counts_only_without_retpolines(memory: Memory) -> None:
    for each in (memory, without := Memory(retpolines=False)):
        each.put(AT["a"], bytes.fromhex("ff 60 10"))
    assert not memory.text.jumps(AT["a"], AT["b"]).indirect
    assert without.text.jumps(AT["a"], AT["b"]).indirect


def test_code_that_cannot_be_read_is_blind(memory: Memory) -> None:
    assert memory.text.jumps(0x1000, 0x1100) == Jumps(frozenset(), True)


def test_can_jump_follows_jumps(memory: Memory) -> None:
    memory.put(AT["a"], relative(b"\xe9", AT["a"], AT["b"]))
    memory.put(AT["b"], relative(b"\xe9", AT["b"], AT["c"]))
    memory.put(AT["c"], relative(b"\xe9", AT["c"], AT["a"]))  # a circle ends too
    can_jump = memory.text.can_jump
    assert can_jump(AT["a"], AT["c"]) is True
    assert can_jump(AT["a"] + 50, AT["b"]) is True  # from anywhere in the function
    assert can_jump(AT["a"], AT["d"]) is False


def test_can_jump_through_the_cold_part(memory: Memory) -> None:
    memory.put(AT["a.cold"] + 7, relative(b"\xe9", AT["a.cold"] + 7, AT["d"]))
    assert memory.text.can_jump(AT["a"], AT["d"]) is True
    assert memory.text.can_jump(AT["b"], AT["d"]) is False


def test_can_jump_does_not_know_where_blind_jumps_lead(memory: Memory) -> None:
    memory.put(AT["a"], relative(b"\xe9", AT["a"], AT["b"]))
    memory.put(AT["b"], relative(b"\x0f\x85", AT["b"], AT["__x86_indirect_thunk_rax"]))
    assert memory.text.can_jump(AT["a"], AT["c"]) is None
    assert memory.text.can_jump(AT["a"], AT["b"]) is True
    assert memory.text.can_jump(0x1000, AT["b"]) is None


def test_another_machine_is_unknown(memory: Memory) -> None:
    text = KernelText(memory.read, Symbols.from_lines([f"{AT['a']:x} t a"]), "aarch64")
    back = memory.put(AT["a"] + 9, relative(b"\xe8", AT["a"] + 9, AT["a"]))
    assert text.call_target(back) == UNKNOWN
    assert text.can_jump(AT["a"], AT["b"]) is None


@given(st.integers(8, SIZE - 8), st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["a", "b", "c", "d"]))
def test_every_direct_call_is_found(offset: int, caller: str, callee: str) -> None:
    memory = Memory()
    at = AT[caller] + offset
    back = memory.put(at, relative(b"\xe8", at, AT[callee]))
    assert memory.text.call_target(back) == CallSite(CallKind.DIRECT, AT[callee])


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), max_size=8))
def test_can_jump_is_reachability(edges: list[tuple[str, str]]) -> None:
    memory = Memory()
    end = {name: AT[name] for name in "abcd"}
    for source, target in edges:
        end[source] = memory.put(end[source], relative(b"\xe9", end[source], AT[target]))
    reached = {name: {t for s, t in edges if s == name and t != name} for name in "abcd"}
    for _ in range(4):
        for name in reached:
            reached[name] = reached[name].union(*(reached[other] for other in reached[name]))
    for source in "abcd":
        for target in "abcd":
            if source != target:
                assert memory.text.can_jump(AT[source], AT[target]) is (target in reached[source])


@given(st.binary(max_size=SIZE))
def test_any_bytes_get_an_answer(code: bytes) -> None:
    memory = Memory()
    memory.put(AT["a"], code)
    jumps = memory.text.jumps(AT["a"], AT["b"])
    assert all(memory.text.can_jump(AT["a"], target) is True for target in jumps.targets)
    for address in range(AT["a"], AT["b"]):
        memory.text.call_target(address)


def _start(series: str, name: str) -> int:
    return kernel(series).symbols.functions(name)[0].address


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("ip_rcv", "ip_local_deliver"),
        ("ip_forward", "ip_forward_finish"),
        ("ip_finish_output", "ip_finish_output2"),
        ("xfrm4_rcv", "xfrm_input"),
    ],
)
def test_tail_jumps_of_real_kernels(series: str, source: str, target: str) -> None:
    assert kernel(series).text.can_jump(_start(series, source), _start(series, target)) is True


@pytest.mark.parametrize("series", SERIES)
def test_calls_of_real_kernels(series: str) -> None:
    frozen = kernel(series)
    start = _start(series, "ip_rcv")
    called = set()
    for offset in range(8, len(frozen.code[start])):
        site = frozen.text.call_target(start + offset)
        if site.target is not None:
            called.add(str(frozen.symbols.resolve(site.target)))
    assert {"ip_rcv_core", "nf_hook_slow"} <= called


@pytest.mark.parametrize("series", SERIES)
def test_a_jump_through_a_pointer_is_never_denied(series: str) -> None:
    # dst_input(skb) at the end of ip_rcv calls ip_local_deliver by name and everything else by pointer.
    assert kernel(series).text.can_jump(_start(series, "ip_rcv"), _start(series, "ip_forward")) is None
