"""pcapng: headers are those that the kernel had, places and times are right, nothing is made up."""

from __future__ import annotations

import io
import ipaddress
import struct
from pathlib import Path
from typing import Any

import pytest

from kpath.capture.schema import FIELDS
from kpath.capture.tables import Loss
from kpath.report.export import pcapng
from kpath.report.export.headers import rebuilt
from kpath.report.export.source import Source
from kpath.trace.frames import Event
from tests.export import pcapng_reader
from tests.export.pcapng_reader import Packet, Section
from tests.export.samples import ALL, KERNELS, MONOTONIC, WALL, capture, hostile


def exported(path: Path, **options: Any) -> Section:
    out = io.BytesIO()
    with Source(path, **options) as source:
        pcapng.write(source, out)
    return pcapng_reader.read(out.getvalue())


def checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(">10H", header))
    return (total & 0xFFFF) + (total >> 16)


def ttl(packet: Packet) -> int:
    return int(packet.data[8])


@pytest.mark.parametrize("path", ALL[:: max(1, len(ALL) // 60)], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_capture_makes_a_valid_file(path: Path) -> None:
    section = exported(path)
    assert section.packets
    times = [p.time for p in section.packets]
    assert times == sorted(times)
    for packet in section.packets:
        assert packet.interface.linktype == 228 and packet.interface.resolution == 9
        assert packet.data[0] == 0x45 and checksum(packet.data[:20]) == 0xFFFF
        assert len(packet.data) <= packet.length
        assert packet.comment.startswith(f"kpath #{struct.unpack('<Q', packet.options[5])[0]} ")
    names = [i.name for i in section.interfaces]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_ping_is_seen_at_each_device(kernel: str) -> None:
    section = exported(capture("ping", kernel))
    request = [p for p in section.packets if p.comment.startswith("kpath #1 ")]
    assert [p.interface.name for p in request] == [
        "kp-near/local", "kp-near/va", "kp-router/ra", "kp-router/rb", "kp-far/vb", "kp-far/local",
    ]  # fmt: skip
    assert [ttl(p) for p in request] == [64, 64, 64, 63, 63, 63]
    assert [struct.unpack("<I", p.options[2])[0] for p in request] == [2, 2, 1, 2, 1, 1]
    for packet in request:
        assert (packet.length, len(packet.data)) == (84, 28)
        assert ipaddress.ip_address(packet.data[12:16]) == ipaddress.ip_address("10.1.0.1")
        kind, code, unknown, _id, sequence = struct.unpack(">BBHHH", packet.data[20:])
        assert (kind, code, unknown, sequence) == (8, 0, 0, 1)
    assert request[-1].comment.endswith("delivered to icmp_rcv")


def test_a_drop_is_seen_where_it_happened() -> None:
    *_, last = exported(capture("nft-drop")).packets
    assert last.interface.name == "kp-router/local"
    assert "dropped: NETFILTER_DROP at nft_do_chain" in last.comment


def test_fragments_are_seen_as_they_left() -> None:
    left = [p for p in exported(capture("fragments-router")).packets if p.interface.name == "kp-router/rb"]
    offsets = [(struct.unpack_from(">H", p.data, 6)[0] & 0x1FFF) * 8 for p in left]
    assert offsets == [0, 976] and [p.length for p in left] == [996, 452]
    assert len(left[1].data) == 20, "a later fragment has no ports"
    assert len(left[0].data) == 24, "the first one's UDP length is not known"


def test_addresses_change_across_nat() -> None:
    forwarded = [p for p in exported(capture("nft-dnat")).packets if p.interface.name.startswith("kp-router/")]
    assert len({p.data[16:20] for p in forwarded}) == 2


def test_times_are_of_the_wall_clock_and_losses_are_said(tmp_path: Path) -> None:
    loss = Loss(MONOTONIC, MONOTONIC + 5, {0: 3})
    section = exported(hostile(tmp_path / "a.kpath", losses=(loss,)))
    assert section.packets[0].time - WALL == 1_001_000 - MONOTONIC
    assert section.interfaces[0].comments == ["kpath: 3 events lost and 0 probe hits missed in the whole capture"]
    assert "<script>" in section.packets[0].comment and "\x1b" not in section.packets[0].comment


def event(**fields: int) -> Event:
    made: Event = Event._make([fields.get(field.name, 0) for field in FIELDS])
    return made


@pytest.mark.parametrize(
    ("fields", "rest", "length"),
    [
        ({"proto": 6, "tot_len": 60, "sport": 1, "dport": 80, "l4": 0xFFFFFFFF}, "00010050ffffffff", 60),
        ({"proto": 17, "tot_len": 128, "sport": 5, "dport": 53}, "00050035006c", 128),
        ({"proto": 17, "tot_len": 128, "sport": 5, "dport": 53, "frag_off": 0x2000}, "00050035", 128),
        ({"proto": 17, "tot_len": 128, "sport": 5, "dport": 53, "frag_off": 0x00B9}, "", 128),
        ({"proto": 1, "tot_len": 84, "sport": 0x0800, "l4": 0x00070001}, "0800000000070001", 84),
        ({"proto": 1, "tot_len": 84, "sport": 0x0303}, "0303", 84),
        ({"proto": 50, "tot_len": 140}, "", 140),
        ({"proto": 17, "tot_len": 22, "sport": 5, "dport": 53}, "0005", 22),
        ({"proto": 6, "len": 100_000, "sport": 1, "dport": 2}, "0001000200000000", 100_000),
        ({"proto": 6, "tot_len": 1}, "", 20),
    ],
)
def test_headers_hold_what_is_known_and_no_more(fields: dict[str, int], rest: str, length: int) -> None:
    data, whole = rebuilt(event(saddr=0x0A010001, daddr=0x0A020001, ttl=64, **fields))
    assert (data[20:].hex(), whole) == (rest, length)
    assert checksum(data[:20]) == 0xFFFF
