"""Captures made up for tests, and the strategies that vary them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from hypothesis import strategies as st

from kpath.capture.container import ChunkEncoder, encode_prefix
from kpath.capture.file import (
    INDIRECT,
    CaptureWriter,
    Events,
    Fact,
    Facts,
    Footer,
    Header,
    Loss,
    Names,
    PlannedProbe,
    Symbol,
    Symbols,
)
from kpath.capture.schema import EVENT, Kind
from kpath.capture.tables import header_to_map, pack

HEADER = Header(
    kernel_release="6.1.0-28-amd64",
    kernel_build="#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1",
    arch="x86_64",
    kpath_version="0.1.0",
    monotonic_ns=1_000,
    wall_ns=1_700_000_000_000_000_000,
    hostname="router",
    command=("kpath", "record", "-f", "icmp"),
    filter="icmp",
    options={"duration": 3.5, "cpus": [0, 1]},
    probes=(
        PlannedProbe("ip_rcv", "ip_rcv", 0xFFFFFFFF81A00000, "IP", "attachable", program="ip_0"),
        PlannedProbe("ip_mkroute_input", "", 0, "FRAME", "missing", "inlined"),
    ),
)
SYMBOLS = Symbols(
    {0xFFFFFFFF81A00000: Symbol("ip_rcv", "", 0, 1234), (1 << 64) - 1: Symbol("br_handle", "bridge", 16)},
    {0xFFFFFFFF81A00123: "ip_local_deliver", 0xFFFFFFFF81A00200: INDIRECT},
    {"ip_rcv": ("ip_local_deliver", INDIRECT)},
)
NAMES = Names({4026531840: "init"}, {(4026531840, 2): "eth0"}, {1234: "ping"})
LOSS = Loss(1_500, 2_500, {0: 3, 7: 1}, {"ip_rcv": 2}, {1: 4})
FACTS: dict[str | int, Fact] = {"reasons": {2: "NOT_SPECIFIED"}, "routes": ["default"], "raw": b"\0"}
FOOTER = Footer("interrupt", 9_000, 0, 23, {0: 20, 7: 7}, {0: 3, 7: 1}, {"ip_rcv": 2}, {1: 4})


def some_events(count: int, seed: int = 1) -> Events:
    """Records of random bytes, valid in the one field that has few values."""
    raw = np.random.default_rng(seed).integers(0, 256, count * EVENT.itemsize, np.uint8)
    events = raw.view(EVENT)
    events["kind"] %= max(Kind) + 1
    return events


def write_sample(path: Path, batches: Sequence[int] = (3, 20), *, footer: bool = True) -> Events:
    """A capture with a chunk of every kind; returns the events in it."""
    written = []
    with CaptureWriter.create(path, HEADER) as writer:
        writer.symbols(SYMBOLS)
        writer.names(NAMES)
        for seed, count in enumerate(batches):
            events = some_events(count, seed)
            writer.events(events)
            written.append(events)
            writer.loss(LOSS)
        writer.facts(FACTS)
        if footer:
            writer.close(FOOTER)
    return np.concatenate(written, dtype=EVENT)  # without dtype, numpy turns the big-endian fields round


def chunk_offsets(raw: bytes) -> list[int]:
    """Where each chunk of a whole file begins, and its end."""
    offsets = [len(encode_prefix())]
    while offsets[-1] < len(raw):
        (packed,) = struct.unpack_from("<I", raw, offsets[-1] + 16)
        offsets.append(offsets[-1] + 32 + packed)
    return offsets


def build(*chunks: tuple[bytes, Any] | tuple[bytes, Any, bytes]) -> bytes:
    """A file of (kind, value for msgpack, payload): well-formed bytes, whatever they mean."""
    encoder = ChunkEncoder()
    raw = encode_prefix()
    for number, (kind, value, *payload) in enumerate(chunks):
        raw += encoder.encode(kind, number, pack(value), *payload)
    return raw


def head(**changes: object) -> tuple[bytes, dict[str, object]]:
    """The header's chunk for ``build``, with some keys changed."""
    return b"HEAD", header_to_map(HEADER) | changes


def raw_chunk(
    kind: bytes, number: int, content: bytes, size: int | None = None, body: bytes | None = None
) -> bytes:
    """A chunk whose checksums are right and whose content need not be."""
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    packed = compressor.compress(content) if body is None else body
    fields = (0x184D2A5C, 24, kind, number, len(packed), len(content) if size is None else size)
    start = struct.pack("<II4sIIII", *fields, zlib.crc32(packed))
    return start + struct.pack("<I", zlib.crc32(start)) + packed


u64 = st.integers(0, (1 << 64) - 1)
u32 = st.integers(0, (1 << 32) - 1)
cpus = st.integers(0, 1 << 16)
texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=20)
cpu_counts = st.dictionaries(cpus, u64, max_size=4)
named_counts = st.dictionaries(texts, u64, max_size=4)
fact_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | u32, inner, max_size=3),
    max_leaves=8,
)
fact_maps: st.SearchStrategy[Any] = st.dictionaries(texts, fact_values, max_size=4)
probes = st.builds(PlannedProbe, texts, texts, u64, texts, texts, texts, texts, texts)
headers = st.builds(
    Header,
    texts,
    texts,
    texts,
    texts,
    u64,
    u64,
    texts,
    st.lists(texts, max_size=3).map(tuple),
    texts,
    fact_maps,
    st.lists(probes, max_size=3).map(tuple),
)
losses = (
    st.tuples(u64, u64)
    .map(sorted)
    .flatmap(lambda span: st.builds(Loss, st.just(span[0]), st.just(span[1]), cpu_counts, named_counts))
)
symbol_tables = st.builds(
    Symbols,
    st.dictionaries(u64, st.builds(Symbol, texts, texts, u64, u64), max_size=4),
    st.dictionaries(u64, texts, max_size=4),
    st.dictionaries(texts, st.lists(texts, max_size=3).map(tuple), max_size=4),
)
name_tables = st.builds(
    Names,
    st.dictionaries(u32, texts, max_size=4),
    st.dictionaries(st.tuples(u32, u32), texts, max_size=4),
    st.dictionaries(u32, texts, max_size=4),
)
event_arrays = st.builds(some_events, st.integers(0, 40), st.integers(0, 1 << 30))
footers = st.builds(Footer, texts, u64, st.just(0), u64, cpu_counts, cpu_counts, named_counts)
parts = st.lists(
    event_arrays | losses | symbol_tables | name_tables | st.builds(Facts, fact_maps), max_size=6
)
