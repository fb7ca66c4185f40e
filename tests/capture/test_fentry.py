"""Programs for fentry: what is filled in, from the real text."""

from __future__ import annotations

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpath.capture import paths, program, schema
from kpath.capture.fentry import MARKS, Kind, distance, filled, jumped, kinds
from kpath.capture.program import Selection, Sizes
from kpath.capture.schema import Class

GATE, LIGHT_IP = 64, 100
R0, R1, R6, R7 = 0, 1, 6, 7


def text(mode: str) -> str:
    return program.text("", Selection(), Sizes(), "mapped", mode=mode, through_fentry=True)


def word(opcode: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, source << 4 | destination, offset, immediate)


def test_every_program_at_an_entry_is_known() -> None:
    found = kinds(text("events"))
    assert set(found) == program.entry_programs()
    assert found["frame"] == Kind(Class.FRAME, None, None)
    assert found["ip_2"] == Kind(Class.IP, 2, None)
    assert found["ip_gate_1"] == Kind(Class.IP + GATE, 1, None)
    assert found["neighbour_1"] == Kind(Class.NEIGHBOUR, 1, 0)
    assert found["copy"] == Kind(Class.COPY, 0, 1)


def test_paths_have_light_programs_and_no_gates() -> None:
    found = kinds(text("paths"))
    assert found["ip_light_3"] == Kind(LIGHT_IP, 3, None)
    assert found["ip_gate_1"] == Kind(Class.IP, 1, None)
    names = program.entry_programs()
    assert {paths.lighten(name, function, {function}) for name in names for function in ("ip_rcv", "x")} <= set(found)


def test_light_programs_have_a_text_of_their_own_where_there_are_any() -> None:
    for mode, names in (("events", {"traced"}), ("paths", {"traced", "traced_light"})):
        assert set(re.findall(r"^int (traced\w*)\(", text(mode), re.MULTILINE)) == names
        assert ("traced_light" in names) == any("_light_" in name for name in kinds(text(mode)))


def test_marks_in_the_text_are_those_that_are_filled_in() -> None:
    whole = text("events")
    for name, value in MARKS.items():
        assert re.search(rf"^#define {name} {value}$", whole, re.MULTILINE)
    assert len(schema.c_struct()) > 0 and len(set(MARKS.values())) == len(MARKS)


def test_numbers_take_the_place_of_calls() -> None:
    code = word(0x85, immediate=MARKS["FENTRY_CLASS"]) + word(0x85, immediate=5)
    assert filled(code, {"FENTRY_CLASS": 7}, {}, {}) == word(0xB7, R0, immediate=7) + word(0x85, immediate=5)


def test_an_address_of_the_kernel_is_its_lower_half_with_its_sign() -> None:
    code = word(0x85, immediate=MARKS["FENTRY_ADDRESS"])
    wanted = word(0xB7, R0, immediate=0x81A2B3C4 - (1 << 32))
    assert filled(code, {"FENTRY_ADDRESS": 0xFFFFFFFF81A2B3C4}, {}, {}) == wanted


def test_the_lower_half_of_an_address_has_no_sign() -> None:
    code = word(0x85, immediate=MARKS["FENTRY_LOW"])
    assert filled(code, {"FENTRY_LOW": 0xFFFFFFFF81A2B3C4}, {}, {}) == word(0xB4, R0, immediate=0x81A2B3C4 - (1 << 32))


def test_places_on_the_stack_are_read_in_any_width() -> None:
    code = word(0x79, R7, R1, MARKS["FENTRY_INSIDE"]) + word(0x61, R6, R1, MARKS["FENTRY_CALLER"])
    wanted = word(0x79, R7, R1, 32) + word(0x61, R6, R1, 40)
    assert filled(code, {}, {}, {"FENTRY_INSIDE": 32, "FENTRY_CALLER": 40}) == wanted


def test_arguments_are_read_where_they_are() -> None:
    code = word(0x79, R7, R1, MARKS["FENTRY_FIRST"]) + word(0x79, R6, R1, MARKS["FENTRY_SECOND"])
    wanted = word(0x79, R7, R1, 16) + word(0xB7, R6)
    assert filled(code, {}, {"FENTRY_FIRST": 2, "FENTRY_SECOND": None}, {}) == wanted


def test_a_constant_that_looks_like_a_mark_stays() -> None:
    mark = word(0x85, immediate=MARKS["FENTRY_CLASS"])
    code = word(0x18, R1, immediate=1) + mark + word(0x85, 0, 1, immediate=MARKS["FENTRY_CLASS"])
    assert filled(code, {"FENTRY_CLASS": 7}, {}, {}) == code


@pytest.mark.parametrize(("arguments", "returns", "bytes_"), [(0, False, 16), (1, False, 24), (3, True, 48)])
def test_distance(arguments: int, returns: bool, bytes_: int) -> None:
    assert distance(arguments, returns) == bytes_


@pytest.mark.parametrize(("arguments", "returns", "bytes_"), [(1, False, 24), (3, True, 40)])
def test_distance_where_it_jumps(arguments: int, returns: bool, bytes_: int) -> None:
    """Where something runs at the return, the address in the function is not there; else it is the value returned that
    is there on top of what was expected."""
    assert jumped(arguments, returns) == bytes_


@given(st.lists(st.binary(min_size=8, max_size=8), max_size=30))
def test_the_rest_stays_as_it_is(words: list[bytes]) -> None:
    code = b"".join(words)
    assert filled(code, {}, {}, {}) == code
    assert len(filled(code, {"FENTRY_CLASS": 1}, {"FENTRY_FIRST": None}, {})) == len(code)
