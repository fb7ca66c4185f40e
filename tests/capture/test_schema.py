"""The schema: what C fills is what numpy reads."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest

from kpath.capture import schema

_CTYPES: dict[str, type] = {
    "u64": ctypes.c_uint64,
    "u32": ctypes.c_uint32,
    "u16": ctypes.c_uint16,
    "u8": ctypes.c_uint8,
    "int": ctypes.c_int,
}


def members() -> list[tuple[str, str]]:
    text = schema.c_struct()
    body = text[text.index("{") + 1 : text.index("};")]
    return [(m[2], m[1]) for m in re.finditer(r"^\s+(\w+) (\w+);", body, re.M)]


def test_c_layout_is_numpy_layout() -> None:
    compiled = type("E", (ctypes.Structure,), {"_fields_": [(name, _CTYPES[kind]) for name, kind in members()]})
    assert ctypes.sizeof(compiled) == schema.EVENT.itemsize
    for name, _ in members():
        assert getattr(compiled, name).offset == schema.EVENT.fields[name][1], name  # type: ignore[index]


def test_every_field_is_explained() -> None:
    assert all(len(field.doc) > 3 for field in schema.FIELDS)
    assert len({field.name for field in schema.FIELDS}) == len(schema.FIELDS)


@pytest.mark.parametrize("field", [f for f in schema.FIELDS if f.ctype.startswith("be")])
def test_network_order_reads_as_host_order(field: schema.Field) -> None:
    raw = np.zeros(1, schema.EVENT)
    size = schema.EVENT[field.name].itemsize
    offset = schema.EVENT.fields[field.name][1]  # type: ignore[index]
    raw.view(np.uint8)[offset : offset + size] = list(range(1, size + 1))
    assert int(raw[field.name][0]) == int.from_bytes(bytes(range(1, size + 1)), "big")


def test_constants_of_the_c_text_are_the_enums() -> None:
    text = schema.c_struct()
    for enum, prefix in ((schema.Kind, "KIND"), (schema.Class, "CLASS"), (schema.Flag, "FLAG")):
        for member in enum:
            assert f"#define {prefix}_{member.name} {member.value}\n" in text
