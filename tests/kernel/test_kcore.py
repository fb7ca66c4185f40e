from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kpath.kernel.errors import NoTextError
from kpath.kernel.kcore import Kcore

TEXT = 0xFFFFFFFF81000000
MODULES = 0xFFFFFFFFC0000000


def core(segments: list[tuple[int, bytes]], note: bool = True) -> bytes:
    """An ELF core file with these segments, as /proc/kcore is one."""
    table = [(4, 0, 0, 0)] if note else []  # PT_NOTE, which has no address
    offset = 64 + 56 * (len(segments) + len(table))
    body = b""
    for address, data in segments:
        table.append((1, offset + len(body), address, len(data)))
        body += data
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(table), 0, 0, 0,
    )  # fmt: skip
    programs = b"".join(
        struct.pack("<IIQQQQQQ", kind, 0, where, address, 0, size, size, 0)
        for kind, where, address, size in table
    )
    return header + programs + body


def test_reads_by_virtual_address(tmp_path: Path) -> None:
    path = tmp_path / "kcore"
    path.write_bytes(core([(MODULES, b"module code"), (TEXT, b"kernel text")]))
    with Kcore(path) as kcore:
        assert kcore.read(TEXT, 6) == b"kernel"
        assert kcore.read(TEXT + 7, 100) == b"text"  # stops at the end of the segment
        assert kcore.read(MODULES + 7, 4) == b"code"
        assert kcore.read(TEXT - 1, 4) == b""
        assert kcore.read(TEXT + 1000, 4) == b""
        assert kcore.read(0, 4) == b""


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"junk" * 40, core([(TEXT, b"x")])[:80]])
def test_refuses_what_is_no_core(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "kcore"
    path.write_bytes(data)
    with pytest.raises(NoTextError):
        Kcore(path)


def test_says_why_it_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(NoTextError, match="needs root"):
        Kcore(tmp_path / "none")
