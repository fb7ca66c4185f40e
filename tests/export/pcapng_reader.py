"""A strict reader of pcapng, written from the format's draft and not from the writer."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


@dataclass
class Interface:
    """An interface description and what was said of it at the end."""

    linktype: int
    name: str
    description: str
    resolution: int
    comments: list[str] = field(default_factory=list)


@dataclass
class Packet:
    """An enhanced packet."""

    interface: Interface
    time: int
    data: bytes
    length: int
    options: dict[int, bytes]

    @property
    def comment(self) -> str:
        """The packet's comment."""
        return self.options[1].decode()


@dataclass
class Section:
    """A file with one section."""

    options: dict[int, bytes]
    interfaces: list[Interface] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)


def options(raw: bytes) -> dict[int, bytes]:
    """Options up to their end; raises AssertionError for what is not as it must be."""
    found: dict[int, bytes] = {}
    while raw:
        code, length = struct.unpack_from("<HH", raw)
        if code == 0:
            assert length == 0 and len(raw) == 4, "the end of options is not the end of the block"
            break
        value = raw[4 : 4 + length]
        padding = raw[4 + length : 4 + length + -length % 4]
        assert len(value) == length and not any(padding)
        found[code] = value
        raw = raw[4 + length + -length % 4 :]
    return found


def read(raw: bytes) -> Section:
    """The whole file; raises AssertionError for what is not as it must be."""
    section: Section | None = None
    while raw:
        kind, length = struct.unpack_from("<II", raw)
        assert length % 4 == 0 and length >= 12
        body, (again,) = raw[8 : length - 4], struct.unpack_from("<I", raw, length - 4)
        assert again == length
        raw = raw[length:]
        if kind == 0x0A0D0D0A:
            assert section is None
            magic, major, minor, section_length = struct.unpack_from("<IHHq", body)
            assert (magic, major, minor, section_length) == (0x1A2B3C4D, 1, 0, -1)
            section = Section(options(body[16:]))
            continue
        assert section is not None, "a block stands before the section header"
        if kind == 1:
            linktype, reserved, _snaplen = struct.unpack_from("<HHI", body)
            assert reserved == 0
            said = options(body[8:])
            section.interfaces.append(Interface(linktype, said[2].decode(), said[3].decode(), said[9][0]))
        elif kind == 6:
            interface, high, low, captured, length = struct.unpack_from("<IIIII", body)
            assert captured <= length
            data, rest = body[20 : 20 + captured], body[20 + captured + -captured % 4 :]
            assert len(data) == captured
            packet = Packet(section.interfaces[interface], high << 32 | low, data, length, options(rest))
            section.packets.append(packet)
        else:
            assert kind == 5, f"block of kind {kind}"
            (interface,) = struct.unpack_from("<I", body)
            section.interfaces[interface].comments.append(options(body[12:])[1].decode())
    assert section is not None
    return section
