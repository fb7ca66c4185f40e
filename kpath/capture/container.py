"""The container of a capture file: a prefix, then numbered and checksummed chunks of compressed bytes.

This module knows bytes, not meanings: ``docs/capture-file.md`` gives the format and its reasons.
Everything read is untrusted until its checksum and its limits have been checked.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import IO

import zstandard

from kpath.capture.errors import (
    CaptureDamaged,
    CaptureNewer,
    CaptureReadError,
    CaptureTruncated,
    CaptureWriteError,
    NotACapture,
)

FORMAT_VERSION = 1
"""Version of the container and of the kinds of chunk; the event record has its own in the schema."""

MAX_CONTENT = 64 << 20
"""Most bytes that one chunk may hold uncompressed."""

MAX_META = 8 << 20
"""Most bytes of msgpack in one chunk: small, because msgpack grows tenfold when it becomes objects."""

KINDS = frozenset({b"HEAD", b"EVNT", b"LOSS", b"SYMB", b"NAME", b"FACT", b"FOOT"})
"""The chunks of this format version. A new kind needs a new FORMAT_VERSION: skipping one could hide loss."""

LEVEL = -1
"""zstd's level: a higher one gains little and costs time that the recorder owes to the ring buffer."""

_CHECKSUM_BYTES, _CHECKSUM_FLAG = 4, 1 << 2
"""Of a zstd frame (RFC 8878, 3.1.1): the checksum at its end, and the bit of its fifth byte that says it is there."""

# Both heads are zstd skippable frames, so that `zstd -t` checks the file and `zstd -d` skips them.
_PREFIX_MAGIC = 0x184D2A5B
_CHUNK_MAGIC = 0x184D2A5C
# As in PNG, the line end and the control-Z show a file that was mangled as text.
_SIGNATURE = b"kpath\r\n\x1a"
_PREFIX = struct.Struct("<II8sII")  # frame magic, frame size, signature, format version, crc32
# frame magic, frame size, kind, number, compressed size, content size, crc32 of the body, crc32 of the head
_HEAD = struct.Struct("<II4sIIIII")
_PARTS = struct.Struct("<II")  # bytes of msgpack, bytes of payload
_SKIPPABLE = 8
_CRC = 4

# zstd's own bound for MAX_CONTENT of bytes that do not compress.
_MAX_PACKED = MAX_CONTENT + (MAX_CONTENT >> 8) + 1024


@dataclass(frozen=True, slots=True)
class RawChunk:
    """One checked chunk: its kind, its msgpack bytes, its payload, and where in the file it begins."""

    kind: bytes
    meta: bytes
    payload: memoryview
    offset: int


def encode_prefix(version: int = FORMAT_VERSION) -> bytes:
    """The bytes that a capture file begins with."""
    raw = _PREFIX.pack(_PREFIX_MAGIC, _PREFIX.size - _SKIPPABLE, _SIGNATURE, version, 0)[:-_CRC]
    return raw + struct.pack("<I", zlib.crc32(raw))


class ChunkEncoder:
    """Makes the bytes of chunks."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)

    def encode(self, kind: bytes, number: int, meta: bytes, payload: bytes | memoryview = b"") -> bytes:
        """One whole chunk, to be written with one write; ``number`` counts the file's chunks from 0.

        Raises CaptureWriteError when it would pass the limits that a reader keeps to.
        """
        padded = meta + bytes(-len(meta) % 8)  # so that records lie on multiples of 8 in the content
        size = _PARTS.size + len(padded) + len(payload)
        if len(meta) > MAX_META or size > MAX_CONTENT:
            raise CaptureWriteError(
                f"a capture file cannot hold a {kind.decode()} chunk of {len(meta)} + {len(payload)} bytes"
            )
        content = b"".join((_PARTS.pack(len(meta), len(payload)), padded, payload))
        body = self._zstd.compress(content)
        head = _HEAD.pack(
            _CHUNK_MAGIC, _HEAD.size - _SKIPPABLE, kind, number, len(body), size, zlib.crc32(body), 0
        )[:-_CRC]
        return b"".join((head, struct.pack("<I", zlib.crc32(head)), body))


class ChunkDecoder:
    """Reads successive chunks from a binary stream, forward only, so that a pipe will do.

    ``offset`` is the number of bytes consumed as whole chunks; ``tail`` is empty until the end of the stream,
    then says what was left unread there, if anything.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        """Reads the prefix. Raises NotACapture, CaptureNewer, CaptureTruncated or CaptureReadError."""
        self._stream = stream
        self._name = name
        self._number = 0
        self._zstd = zstandard.ZstdDecompressor(max_window_size=MAX_CONTENT)
        self.tail = ""
        self._read_prefix()
        self.offset = _PREFIX.size

    def _read(self, size: int) -> bytes:
        parts: list[bytes] = []
        try:
            while size > 0 and (part := self._stream.read(size)):
                parts.append(part)
                size -= len(part)
        except OSError as error:
            raise CaptureReadError(f"{self._name} cannot be read: {error.strerror}") from error
        return b"".join(parts)

    def _read_prefix(self) -> None:
        raw = self._read(_PREFIX.size)
        whole = encode_prefix()
        if len(raw) < _PREFIX.size:
            if raw and whole.startswith(raw):
                raise self.no_header()
            what = "is not a kpath capture" if raw else "is empty: it is no kpath capture"
            raise NotACapture(f"{self._name} {what}")
        signature_end = _SKIPPABLE + len(_SIGNATURE)
        if raw[:signature_end] != whole[:signature_end]:
            raise NotACapture(f"{self._name} is not a kpath capture")
        *_, version, crc = _PREFIX.unpack(raw)
        if zlib.crc32(raw[:-_CRC]) != crc:
            raise self.damaged("the checksum is wrong", 0)
        if version != FORMAT_VERSION:
            raise CaptureNewer(
                f"{self._name} was written by a newer kpath (file format {version}, this kpath reads "
                f"{FORMAT_VERSION}): update kpath"
            )

    def next(self) -> RawChunk | None:
        """The next chunk, or None at the end of what can be read.

        Raises CaptureDamaged or CaptureNewer; after an error the stream is of no more use.
        """
        head = self._read(_HEAD.size)
        if len(head) < _HEAD.size:
            self._cut(len(head))
            return None
        magic, size, kind, number, packed, content, body_crc, crc = _HEAD.unpack(head)
        if zlib.crc32(head[:-_CRC]) != crc or magic != _CHUNK_MAGIC or size != _HEAD.size - _SKIPPABLE:
            if self._only_zeros(head):
                return None
            raise self.damaged("what stands there is no chunk")
        if kind not in KINDS:
            raise CaptureNewer(f"{self._name} holds chunks of a kind unknown to this kpath: update kpath")
        if number != self._number:
            raise self.damaged(f"chunk {self._number} is missing, number {number} stands in its place")
        if packed > _MAX_PACKED or not _PARTS.size <= content <= MAX_CONTENT:
            raise self.damaged("the chunk says that it is larger than a chunk can be")
        body = self._read(packed)
        if len(body) < packed:
            self._cut(_HEAD.size + len(body))
            return None
        if zlib.crc32(body) != body_crc:
            raise self.damaged("the checksum is wrong")
        chunk = self._split(kind, self._unpack(body, content))
        self._number += 1
        self.offset += _HEAD.size + packed
        return chunk

    def _unpack(self, body: bytes, content: int) -> bytes:
        """Decompresses; the size is checked beforehand, for zstd allocates what the frame says."""
        try:
            frame = zstandard.get_frame_parameters(body)
            if frame.content_size != content:
                raise self.damaged("the chunk's two sizes differ")
            data = _without_checksum(body) if frame.has_checksum else body
            raw = self._zstd.decompress(data, max_output_size=content, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise self.damaged("the compressed data is not valid") from error
        if len(raw) != content:
            raise self.damaged("the chunk is not as long as it says")
        return raw

    def _split(self, kind: bytes, content: bytes) -> RawChunk:
        meta, payload = _PARTS.unpack_from(content)
        padded = meta + (-meta % 8)
        if meta > MAX_META or _PARTS.size + padded + payload != len(content):
            raise self.damaged("the chunk's parts do not add up")
        start = _PARTS.size
        payload_view = memoryview(content)[start + padded :]
        return RawChunk(kind, content[start : start + meta], payload_view, self.offset)

    def _cut(self, left: int) -> None:
        if left:
            self.tail = f"the file ends in the middle of a chunk: the last {left} bytes were not read"

    def _only_zeros(self, head: bytes) -> bool:
        """A power failure can leave a tail of zeros, which is a file cut short, not a damaged one."""
        size, block = 0, head
        while block:
            if any(block):
                return False
            size += len(block)
            block = self._read(1 << 16)
        self.tail = f"the file ends in {size} zero bytes, as after a power failure: they were not read"
        return True

    def no_header(self) -> CaptureTruncated:
        """The error for a file that is too short to tell anything."""
        return CaptureTruncated(f"{self._name} ends before its header was whole: nothing can be read from it")

    def damaged(self, why: str, offset: int | None = None) -> CaptureDamaged:
        """The error for the chunk at ``offset``, by default the one now being read."""
        at = self.offset if offset is None else offset
        return CaptureDamaged(f"{self._name} is damaged at byte {at}: {why}", at)


def _without_checksum(frame: bytes) -> bytearray:
    """The frame without its content's checksum, which takes a quarter of the time to read it, and says nothing more
    once the compressed bytes are known to be right."""
    plain = bytearray(memoryview(frame)[:-_CHECKSUM_BYTES])
    plain[4] &= ~_CHECKSUM_FLAG
    return plain
