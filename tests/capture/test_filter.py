"""Filters: what libpcap compiles, our interpreter and our C all say the same of every packet."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpath.capture import filter as filter_module
from kpath.capture.cbpf import Instruction, Interpreter, Program, run
from kpath.capture.errors import FilterError
from kpath.capture.filter import compile_filter, to_c
from tests.capture.filter_samples import EXPRESSIONS, Libpcap, Native, build_native, must_have, packets, random_program

SIZE = 128
RANDOM = tuple(random_program(seed) for seed in range(300))


@pytest.fixture(scope="module")
def libpcap() -> Libpcap:
    """libpcap's own interpreter."""
    try:
        return Libpcap()
    except OSError:
        must_have("libpcap0.8", False)
        raise


@pytest.fixture(scope="module")
def programs(libpcap: Libpcap) -> tuple[Program, ...]:
    """Each expression compiled."""
    return tuple(compile_filter(e) for e in EXPRESSIONS)


@pytest.fixture(scope="module")
def native(programs: tuple[Program, ...], tmp_path_factory: pytest.TempPathFactory) -> Native:
    """The C of the expressions and of the random programs after them."""
    return build_native(programs + RANDOM, tmp_path_factory.mktemp("native"), SIZE)


def _buffer(packet: bytes) -> bytes:
    return packet[:SIZE].ljust(SIZE, b"\0")


@settings(max_examples=300, deadline=None)
@given(packet=packets, more=st.sampled_from([0, 0, 1, 1000]))
def test_expressions(
    libpcap: Libpcap, programs: tuple[Program, ...], native: Native, packet: bytes, more: int
) -> None:
    wirelen = len(packet) + more
    seen = packet[:SIZE]
    for number, program in enumerate(programs):
        expected = libpcap.run(program, packet, wirelen)
        assert run(program, packet, wirelen) == expected, program.expression
        expected = libpcap.run(program, seen, wirelen)
        found = native(number, _buffer(packet), len(seen), wirelen)
        assert found == int(expected != 0), program.expression


@settings(max_examples=150, deadline=None)
@given(packet=packets, more=st.sampled_from([0, 7]))
def test_programs_that_no_expression_makes(
    libpcap: Libpcap, programs: tuple[Program, ...], native: Native, packet: bytes, more: int
) -> None:
    seen = packet[:SIZE]
    wirelen = len(packet) + more
    for number, program in enumerate(RANDOM):
        expected = libpcap.run(program, seen, wirelen)
        assert Interpreter(program).run(seen, wirelen) == expected, program
        assert native(len(programs) + number, _buffer(packet), len(seen), wirelen) == int(expected != 0), (
            program
        )


def test_some_packets_match_and_some_do_not(programs: tuple[Program, ...]) -> None:
    """The comparison above is worth something only if both answers occur."""
    syn = bytes.fromhex("4500003c12344000040600000a0000010a000002d431005000000001000000005002000000000000")
    matching = {p.expression for p in programs if run(p, syn)}
    assert {"tcp", "port 80", "ip[8] < 5", "tcp[tcpflags] & tcp-syn != 0", "host 10.0.0.1", ""} <= matching
    assert not {"udp", "icmp", "len > 100", "ip6", "tcp[tcpflags] == tcp-rst"} & matching


def test_a_field_beyond_the_buffer_is_absent(programs: tuple[Program, ...], tmp_path: Path) -> None:
    program = compile_filter("ip[200] = 7")
    packet = b"\x45" + bytes(199) + b"\x07" + bytes(50)
    assert run(program, packet)
    assert not run(program, packet[:SIZE])
    assert not build_native([program], tmp_path, SIZE)(0, _buffer(packet), SIZE, 251)


def test_a_caplen_larger_than_the_buffer_is_cut(tmp_path: Path, libpcap: Libpcap) -> None:
    program = compile_filter("ip[ip[8]] = 7")
    buffer = b"\x45" + bytes(7) + b"\xc8" + bytes(SIZE - 9)
    assert not build_native([program], tmp_path, SIZE)(0, buffer, 1 << 31, 1 << 31)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("foo bar", "syntax error"),
        ("host", "syntax error"),
        ("ether host 00:11:22:33:44:55", "ethernet addresses supported only on"),
        ("vlan 5", "no VLAN support for Raw IP"),
        ("arp", "rejects all packets"),
        ("port 70000", "illegal port number"),
        ("host 10.0.0.300", "unknown host|invalid"),
        ("inbound", "not in a packet's bytes|not supported"),
        ("ip protochain 6", "in a loop"),
        ("1 / 0 = 1", "division by zero"),
        ("ip broadcast", "netmask not known"),
    ],
)
def test_expressions_that_cannot_be(libpcap: Libpcap, expression: str, message: str) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        compile_filter(expression)
    assert expression in str(caught.value) and "pcap-filter" in str(caught.value)


@pytest.mark.parametrize("expression", ["a" * 20_000, "tcp\0udp"])
def test_expressions_that_libpcap_is_not_shown(expression: str) -> None:
    with pytest.raises(FilterError, match="longer than 16384 bytes or holds a zero byte"):
        compile_filter(expression)


def test_a_filter_too_long_for_every_packet(libpcap: Libpcap) -> None:
    with pytest.raises(FilterError, match="instructions, more than the 1024"):
        compile_filter(" or ".join(f"host 10.{n // 250}.{n % 250}.{n % 7}" for n in range(400)))


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ip tcp[]()0123456789:&|=!<>+-*/ not and or port net ."), max_size=40))
def test_any_text_compiles_or_is_refused(libpcap: Libpcap, expression: str) -> None:
    try:
        program = compile_filter(expression)
    except FilterError:
        return
    to_c(program)


def test_libpcap_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    filter_module._libpcap.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(FilterError, match=r"apt install libpcap0\.8"):
        compile_filter("tcp")


RETURN = Instruction(0x06, 0, 0, 1)


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ((), "does not end in a return"),
        ((Instruction(0x00, 0, 0, 1),), "does not end in a return"),
        ((Instruction(0x05, 0, 0, 1), RETURN), "in a loop, or past the end"),
        ((Instruction(0x05, 0, 0, 0xFFFFFFFE), RETURN), "in a loop"),
        ((Instruction(0x15, 0, 1, 1), RETURN), "past the end"),
        ((Instruction(0x02, 0, 0, 16), RETURN), "outside the scratch"),
        ((Instruction(0x61, 0, 0, 16), RETURN), "outside the scratch"),
        ((Instruction(0x34, 0, 0, 0), RETURN), "divides by zero"),
        ((Instruction(0x94, 0, 0, 0), RETURN), "divides by zero"),
        ((Instruction(0x30, 0, 0, 0xFFFFF004), RETURN), "not in a packet's bytes"),
        ((Instruction(0x50, 0, 0, 0xFFF00000), RETURN), "not in a packet's bytes"),
        ((Instruction(0x1234, 0, 0, 0), RETURN), "not known"),
        ((Instruction(0x38, 0, 0, 0), RETURN), "not known"),
        ((Instruction(0x30, 0, 0, -1), RETURN), "out of range"),
    ],
)
def test_programs_that_cannot_be(instructions: tuple[Instruction, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Program(instructions)


def test_every_code_is_known_to_all_or_none(tmp_path: Path) -> None:
    """Whatever passes the check can be run and translated: 13 loads, 2 stores, 21 sums, 9 jumps, 4 others."""
    accepted = []
    for code in range(256):
        try:
            program = Program((Instruction(code, 0, 0, 1), Instruction(0x16, 0, 0, 0), RETURN))
        except ValueError:
            continue
        accepted.append(program)
        run(program, bytes(64))
    build_native(accepted, tmp_path, SIZE)
    assert len(accepted) == 49


@pytest.mark.parametrize(("name", "size"), [("a b", 128), ("", 128), ("f);", 128), ("f", 63), ("f", 1 << 20)])
def test_impossible_functions(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=r"name|size"):
        to_c(Program((RETURN,)), name, size)
