"""Nothing in a file is trusted: cut, changed, foreign, older, newer and hostile files."""

from __future__ import annotations

import io
import itertools
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpath.capture.container import MAX_CONTENT, encode_prefix
from kpath.capture.errors import (
    CaptureDamaged,
    CaptureError,
    CaptureNewer,
    CaptureTruncated,
    NotACapture,
)
from kpath.capture.file import Capture, CaptureReader, read
from kpath.capture.schema import EVENT, SCHEMA_VERSION
from kpath.capture.tables import footer_to_map, header_to_map, pack
from tests.capture.capture_samples import (
    FOOTER,
    HEADER,
    build,
    chunk_offsets,
    head,
    raw_chunk,
    some_events,
    write_sample,
)

UNHURRIED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)

FIELDS = [(n, EVENT[n].str) for n in EVENT.names or ()]


def _read(tmp_path: Path, raw: bytes, **how: Any) -> Capture:
    path = tmp_path / "a.kpath"
    path.write_bytes(raw)
    return read(path, **how)


@pytest.fixture
def sample(tmp_path: Path) -> bytes:
    """The bytes of a whole capture."""
    write_sample(tmp_path / "sample.kpath", (2, 3))
    return (tmp_path / "sample.kpath").read_bytes()


def test_cut_anywhere(tmp_path: Path, sample: bytes) -> None:
    whole = _read(tmp_path, sample).events.tobytes()
    offsets = chunk_offsets(sample)
    for end in range(len(sample)):
        if end == 0:
            with pytest.raises(NotACapture, match="is empty"):
                _read(tmp_path, b"")
        elif end < offsets[1]:
            with pytest.raises(CaptureTruncated, match="before its header was whole"):
                _read(tmp_path, sample[:end])
        else:
            capture = _read(tmp_path, sample[:end])
            assert not capture.complete and capture.footer is None
            assert whole.startswith(capture.events.tobytes())
            left = end - max(o for o in offsets if o <= end)
            if left:
                assert capture.problem == (
                    f"the file ends in the middle of a chunk: the last {left} bytes were not read"
                )
            else:
                assert capture.problem and "no footer" in capture.problem


def test_every_bit_counts(tmp_path: Path) -> None:
    write_sample(tmp_path / "small.kpath", (1,))
    sample = (tmp_path / "small.kpath").read_bytes()
    for position in range(len(sample)):
        changed = bytearray(sample)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(CaptureError):
            _read(tmp_path, bytes(changed))


def test_a_damaged_chunk_is_located_and_what_is_before_it_can_be_saved(tmp_path: Path, sample: bytes) -> None:
    offsets = chunk_offsets(sample)
    for number in range(1, len(offsets) - 1):
        changed = bytearray(sample)
        changed[offsets[number] + 40] ^= 0x10
        with pytest.raises(CaptureDamaged, match=f"at byte {offsets[number]}: the checksum") as caught:
            _read(tmp_path, bytes(changed))
        assert caught.value.offset == offsets[number]
        saved = _read(tmp_path, bytes(changed), salvage=True)
        before = _read(tmp_path, sample[: offsets[number]])
        assert saved.events.tobytes() == before.events.tobytes()
        assert (saved.symbols, saved.names, saved.loss) == (before.symbols, before.names, before.loss)
        assert saved.problem == str(caught.value) and not saved.complete


def test_a_chunk_missing_repeated_or_moved(tmp_path: Path, sample: bytes) -> None:
    offsets = chunk_offsets(sample)
    chunks = [sample[a:b] for a, b in itertools.pairwise(offsets)]
    start = sample[: offsets[0]]
    for wrong in (
        chunks[:3] + chunks[4:],
        [*chunks[:3], chunks[2], *chunks[3:]],
        [*chunks[:3], chunks[4], chunks[3], *chunks[5:]],
    ):
        with pytest.raises(CaptureDamaged, match="is missing, number"):
            _read(tmp_path, start + b"".join(wrong))


@pytest.mark.parametrize("tail", [b"x", b"x" * 100, b"\0" * 5, b"\0" * 5000])
def test_data_after_the_footer(tmp_path: Path, sample: bytes, tail: bytes) -> None:
    with pytest.raises(CaptureDamaged, match=f"at byte {len(sample)}"):
        _read(tmp_path, sample + tail)
    saved = _read(tmp_path, sample + tail, salvage=True)
    assert saved.footer is not None and not saved.complete


def test_two_captures_in_one_file(tmp_path: Path, sample: bytes) -> None:
    with pytest.raises(CaptureDamaged):
        _read(tmp_path, sample + sample)


def test_a_tail_of_zeros_is_a_cut(tmp_path: Path, sample: bytes) -> None:
    offset = chunk_offsets(sample)[4]
    capture = _read(tmp_path, sample[:offset] + bytes(20_000))
    assert (
        capture.problem == "the file ends in 20000 zero bytes, as after a power failure: they were not read"
    )
    with pytest.raises(CaptureDamaged, match="no chunk"):
        _read(tmp_path, sample[:offset] + bytes(100) + b"x")


@pytest.mark.parametrize(
    "raw",
    [b"#!/bin/sh\n", b"\xd4\xc3\xb2\xa1" + bytes(20), bytes(500), b"\x5b\x2a\x4d\x19"],
)
def test_foreign_files(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(NotACapture, match="is not a kpath capture"):
        _read(tmp_path, raw)


def test_a_newer_format(tmp_path: Path, sample: bytes) -> None:
    offset = chunk_offsets(sample)[0]
    with pytest.raises(CaptureNewer, match=r"written by a newer kpath \(file format 2, .*: update kpath"):
        _read(tmp_path, encode_prefix(2) + sample[offset:])


def test_an_unknown_kind_of_chunk(tmp_path: Path) -> None:
    raw = build(head()) + raw_chunk(b"XTRA", 1, bytes(8))
    with pytest.raises(CaptureNewer, match="update kpath"):
        _read(tmp_path, raw)
    assert _read(tmp_path, raw, salvage=True).header == HEADER


def test_a_newer_schema_with_anything_in_its_header(tmp_path: Path) -> None:
    header = {"schema_version": SCHEMA_VERSION + 1, "fields": {"new": "shape"}}
    with pytest.raises(CaptureNewer, match=r"written by a newer kpath \(event schema"):
        _read(tmp_path, build((b"HEAD", header)))


def _file_with(fields: list[tuple[str, str]], version: int, events: np.ndarray[Any, Any]) -> bytes:
    time = events["time"]
    announced = {"count": len(events), "first": int(time.min()), "last": int(time.max())}
    return build(
        head(schema_version=version, fields=[list(f) for f in fields]),
        (b"EVNT", announced, events.tobytes()),
        (b"FOOT", footer_to_map(FOOTER) | {"events": len(events)}),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=UNHURRIED)
@given(data=st.data())
def test_an_older_schema_reads_field_by_field(tmp_path: Path, data: st.DataObject) -> None:
    optional = [f for f in FIELDS if f[0] not in ("time", "kind")]
    absent = data.draw(st.lists(st.sampled_from(optional), unique=True, max_size=5))
    order = data.draw(st.permutations([f for f in FIELDS if f not in absent]))
    gone = [("was_here_once", "<u4")] if data.draw(st.booleans()) else []
    narrow = [(n, "|u1" if n == "pid" else t) for n, t in order]
    new = some_events(7)
    old = np.zeros(7, np.dtype(narrow + gone))
    for name, _ in order:
        old[name] = new[name].astype(old.dtype[name])
    capture = _read(tmp_path, _file_with(narrow + gone, SCHEMA_VERSION - 1, old))
    assert capture.complete and capture.events.dtype == EVENT
    for name, _ in FIELDS:
        expected = old[name] if name in dict(order) else np.zeros(7)
        assert (capture.events[name] == expected).all()
    assert capture.header.fields == tuple(narrow + gone)


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        (FIELDS[:-1], SCHEMA_VERSION),
        ([], 0),
        (FIELDS + FIELDS[:1], 0),
        ([("time", "<f8")], 0),
        ([("time", "|O8")], 0),
        ([("time", "|V1000000")], 0),
        ([("time", "<u8"), ("cpu", "<u8")], 0),
        ([("Time out", "<u8")], 0),
        ([(f"f{n}", "<u8") for n in range(1000)], 0),
    ],
)
def test_impossible_records(tmp_path: Path, fields: list[tuple[str, str]], version: int) -> None:
    with pytest.raises(CaptureDamaged, match="the header is not valid"):
        _read(tmp_path, build(head(schema_version=version, fields=[list(f) for f in fields])))


_EVENT = some_events(1)
_TIME = int(_EVENT["time"][0])
_ANNOUNCED = {"count": 1, "first": _TIME, "last": _TIME}
_OTHER_KIND = _EVENT.copy()
_OTHER_KIND["kind"] = 99


@pytest.mark.parametrize(
    "chunk",
    [
        (b"HEAD", header_to_map(HEADER)),
        (b"LOSS", {}),
        (b"LOSS", {"start": 2, "end": 1, "lost": {}, "missed": {}}),
        (b"LOSS", {"start": 1, "end": 2, "lost": {"0": 1}, "missed": {}}),
        (b"LOSS", {"start": 1, "end": 2, "lost": {0: -1}, "missed": {}}),
        (b"LOSS", {"start": True, "end": 2, "lost": {}, "missed": {}}),
        (b"LOSS", {"start": 1, "end": 2, "lost": [], "missed": {}}),
        (b"LOSS", {"start": 1, "end": 2, "lost": {}, "missed": {}}, b"more"),
        (b"LOSS", []),
        (b"LOSS", 7),
        (b"SYMB", {"symbols": [[1, "a", "b", 0]], "calls": {}, "jumps": {}}),
        (b"SYMB", {"symbols": [[[], "a", "b", 0, 0]], "calls": {}, "jumps": {}}),
        (b"SYMB", {"symbols": [[1, "a" * 5000, "b", 0, 0]], "calls": {}, "jumps": {}}),
        (b"SYMB", {"symbols": [], "calls": {1: 2}, "jumps": {}}),
        (b"SYMB", {"symbols": [], "calls": {}, "jumps": {"a": "bc"}}),
        (b"NAME", {"netns": {}, "devices": [[1, [], "a"]], "comms": {}}),
        (b"NAME", {"netns": {}, "devices": [], "comms": {1 << 40: "a"}}),
        (b"FACT", {b"bytes": 1}),
        (b"FOOT", footer_to_map(FOOTER) | {"events": 5}),
        (b"EVNT", _ANNOUNCED, b""),
        (b"EVNT", _ANNOUNCED, _EVENT.tobytes()[:-1]),
        (b"EVNT", _ANNOUNCED | {"count": 2}, _EVENT.tobytes()),
        (b"EVNT", _ANNOUNCED | {"last": 0}, _EVENT.tobytes()),
        (b"EVNT", {}, _EVENT.tobytes()),
        (b"EVNT", _ANNOUNCED, _OTHER_KIND.tobytes()),
    ],
)
def test_chunks_that_say_what_cannot_be(tmp_path: Path, chunk: Any) -> None:
    raw = build(head(), chunk)
    offset = chunk_offsets(raw)[1]
    with pytest.raises(CaptureDamaged, match=f"damaged at byte {offset}: "):
        _read(tmp_path, raw)


@pytest.mark.parametrize(
    "change",
    [
        {"kernel_release": 7},
        {"command": "abc"},
        {"probes": [["a"]]},
        {"probes": [["a", "b", -1, "c", "d", "e", "", ""]]},
        {"monotonic_ns": 1 << 63, "wall_ns": "now"},
        {"schema_version": "1"},
        {"fields": None},
        {"options": {"deep": [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}},
    ],
)
def test_headers_that_say_what_cannot_be(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(CaptureDamaged, match="the header is not valid"):
        _read(tmp_path, build(head(**change)))


def _content(meta: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<II", len(meta), len(payload)) + meta + bytes(-len(meta) % 8) + payload


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        b"\xc1",
        b"\x80\x80",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\x81\xa1a" + b"\x91" * 30 + b"\xc0",
        b"\x81\xa1a\xd6\xff\0\0\0\0",
        b"\x81\x90\xc0",
        b"\x81\xa1a\xc7\x05\x01hello",
    ],
)
def test_hostile_msgpack(tmp_path: Path, meta: bytes) -> None:
    with pytest.raises(CaptureDamaged):
        _read(tmp_path, build(head()) + raw_chunk(b"FACT", 1, _content(meta)))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(MAX_CONTENT * 2))
    for size in (MAX_CONTENT * 2, 100):
        with pytest.raises(CaptureDamaged, match=r"larger than a chunk can be|two sizes differ"):
            _read(tmp_path, build(head()) + raw_chunk(b"FACT", 1, b"", size, bomb))


def test_frames_that_do_not_say_their_size_or_go_on(tmp_path: Path) -> None:
    content = _content(pack({"a": 1}))
    with io.BytesIO() as out:
        with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as stream:
            stream.write(content)
        unsized = out.getvalue()
    whole = zstandard.ZstdCompressor().compress(content)
    for body in (unsized, whole + whole, whole[:-2], b"", b"\x50\x2a\x4d\x18\0\0\0\0", whole + b"x"):
        with pytest.raises(CaptureDamaged):
            _read(tmp_path, build(head()) + raw_chunk(b"FACT", 1, content, None, body))


def test_parts_that_do_not_add_up(tmp_path: Path) -> None:
    parts = [(100, 0), (0, 1), (9, 0)]
    for content in (*(struct.pack("<II", *p) + bytes(p[0] % 10) for p in parts), b"abc"):
        with pytest.raises(CaptureDamaged):
            _read(tmp_path, build(head()) + raw_chunk(b"FACT", 1, content))


def _either(path: Path, salvage: bool) -> None:
    try:
        read(path, salvage=salvage)
        with CaptureReader(path, salvage=salvage) as reader:
            for _ in reader:
                pass
    except CaptureError as error:
        message = str(error)
        assert "\n" not in message and str(path) in message


@settings(max_examples=200, deadline=None, suppress_health_check=UNHURRIED)
@given(
    raw=st.binary(max_size=300), after=st.sampled_from(["nothing", "prefix", "header"]), salvage=st.booleans()
)
def test_random_bytes_raise_nothing_else(tmp_path: Path, raw: bytes, after: str, salvage: bool) -> None:
    start = {"nothing": b"", "prefix": encode_prefix(), "header": build(head())}[after]
    path = tmp_path / "a.kpath"
    path.write_bytes(start + raw)
    _either(path, salvage)


_KINDS = st.sampled_from([b"HEAD", b"EVNT", b"LOSS", b"SYMB", b"NAME", b"FACT", b"FOOT"])
_MSGPACK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner)
    ),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    [
        "start",
        "end",
        "lost",
        "missed",
        "symbols",
        "calls",
        "jumps",
        "netns",
        "devices",
        "comms",
        "reason",
        "monotonic_ns",
        "events",
        "received",
        "counted",
        "count",
        "first",
        "last",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=UNHURRIED)
@given(
    kind=_KINDS,
    meta=st.dictionaries(_KEYS, _MSGPACK).map(pack) | st.binary(max_size=40),
    payload=st.binary(max_size=20),
    salvage=st.booleans(),
)
def test_random_meaning_raises_nothing_else(
    tmp_path: Path, kind: bytes, meta: bytes, payload: bytes, salvage: bool
) -> None:
    path = tmp_path / "a.kpath"
    path.write_bytes(build(head()) + raw_chunk(kind, 1, _content(meta, payload)))
    _either(path, salvage)


def test_random_changes_are_noticed(tmp_path: Path, sample: bytes) -> None:
    """Bytes changed, swapped, dropped or added, at random places: noticed, every time."""
    whole = _read(tmp_path, sample)
    dice = random.Random(7)
    for _ in range(400):
        changed = bytearray(sample)
        at = dice.randrange(len(changed))
        match dice.randrange(3):
            case 0:
                changed[at] ^= dice.randrange(1, 256)
            case 1:
                del changed[at : at + dice.randrange(1, 50)]
            case _:
                changed[at:at] = dice.randbytes(dice.randrange(1, 50))
        if bytes(changed) == sample:
            continue
        try:
            capture = _read(tmp_path, bytes(changed))
        except CaptureError:
            continue
        assert not capture.complete and capture.problem
        assert whole.events.tobytes().startswith(capture.events.tobytes())
