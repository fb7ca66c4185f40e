"""Writing a capture file (``docs/capture-file.md``)."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from kpath.capture.container import ChunkEncoder, encode_prefix
from kpath.capture.errors import CaptureWriteError
from kpath.capture.records import Events
from kpath.capture.schema import EVENT
from kpath.capture.tables import (
    Fact,
    Facts,
    Footer,
    Header,
    Loss,
    Names,
    Symbols,
    footer_to_map,
    header_to_map,
    loss_to_map,
    names_to_map,
    pack,
    symbols_to_map,
)

_CHUNK_EVENTS = (4 << 20) // EVENT.itemsize
_CHUNK_ROWS = 20_000

_K = TypeVar("_K")
_V = TypeVar("_V")

_WHY = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file has reached the largest size allowed",
    errno.EPIPE: "nobody reads the output any more",
}


class CaptureWriter:
    """Appends chunks to a new capture file, each with one write, so that a crash costs at most the last one.

    Every method that writes raises CaptureWriteError when it cannot, and from then on always; what was
    written before stays readable. (One fact too large for a chunk is refused so and changes nothing.)
    Leaving the ``with`` block without ``close`` ends the file without a footer: an interrupted capture.
    """

    def __init__(self, fd: int, name: str, *, owned: bool) -> None:
        """For ``create``; ``owned`` descriptors are closed at the end."""
        self._fd = fd
        self._name = name
        self._owned = owned
        self._open = True
        self._failed: CaptureWriteError | None = None
        self._writing = False
        self._chunks = 0
        self._encoder = ChunkEncoder()
        self._can_truncate = owned and stat.S_ISREG(os.fstat(fd).st_mode)
        self.size = 0
        """Bytes in the file."""
        self.events_written = 0
        """Events in the file."""

    @classmethod
    def create(cls, path: str | os.PathLike[str], header: Header) -> Self:
        """Creates or overwrites a file; "-" is stdout.

        A new file can be read by its owner alone, for it holds the kernel's addresses.
        """
        if os.fspath(path) == "-":
            if sys.stdout.isatty():
                raise CaptureWriteError("a capture is binary data, so it is not written to a terminal")
            writer = cls(sys.stdout.fileno(), "standard output", owned=False)
        else:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                fd = os.open(path, flags, 0o600)
            except (OSError, ValueError) as error:
                raise CaptureWriteError(f"{path} cannot be written: {_reason(error)}") from error
            writer = cls(fd, os.fspath(path), owned=True)
        try:
            chunk = writer._encoder.encode(b"HEAD", 0, pack(header_to_map(header)))
            writer._write(encode_prefix() + chunk)
        except BaseException:
            writer._release()
            raise
        return writer

    def events(self, events: Events) -> None:
        """Appends records of ``schema.EVENT`` (TypeError for others); many at once compress better."""
        # np.concatenate makes the big-endian fields native: the same values in other bytes
        if events.ndim != 1 or not np.can_cast(events.dtype, EVENT, "equiv"):
            raise TypeError("events must be a one-dimensional array of schema.EVENT records")
        for start in range(0, len(events), _CHUNK_EVENTS):
            part = np.ascontiguousarray(events[start : start + _CHUNK_EVENTS], EVENT)
            meta = {"count": len(part), "first": int(part["time"].min()), "last": int(part["time"].max())}
            self._append(b"EVNT", meta, part.view(np.uint8).data)
            self.events_written += len(part)

    def loss(self, loss: Loss) -> None:
        """Appends what was lost since the last time."""
        self._append(b"LOSS", loss_to_map(loss))

    def symbols(self, symbols: Symbols) -> None:
        """Appends to the tables of symbols, call sites and tail jumps."""
        for part in _slices(symbols.symbols):
            self._append(b"SYMB", symbols_to_map(Symbols(symbols=part)))
        for calls in _slices(symbols.calls):
            self._append(b"SYMB", symbols_to_map(Symbols(calls=calls)))
        for jumps in _slices(symbols.jumps):
            self._append(b"SYMB", symbols_to_map(Symbols(jumps=jumps)))

    def names(self, names: Names) -> None:
        """Appends to the tables of names."""
        for netns in _slices(names.netns):
            self._append(b"NAME", names_to_map(Names(netns=netns)))
        for devices in _slices(names.devices):
            self._append(b"NAME", names_to_map(Names(devices=devices)))
        for comms in _slices(names.comms):
            self._append(b"NAME", names_to_map(Names(comms=comms)))

    def facts(self, values: Mapping[str | int, Fact]) -> None:
        """Appends facts; ValueError when they are not plain data. A key given before gets a new value."""
        self._append(b"FACT", dict(Facts(values).values))

    def close(self, footer: Footer) -> None:
        """Writes the footer (``events`` filled in), brings the file to the disk and closes it.

        After a CaptureWriteError it only closes: the file then says of itself that it is incomplete.
        """
        if not self._open:
            return
        try:
            self._settle()
            if self._failed is None:
                self._append(b"FOOT", footer_to_map(replace(footer, events=self.events_written)))
                if self._can_truncate:
                    try:
                        os.fsync(self._fd)
                    except OSError as error:
                        raise self._fail(_reason(error)) from error
        finally:
            self._release()

    def _append(self, kind: bytes, meta: Mapping[Any, object], payload: memoryview | bytes = b"") -> None:
        self._settle()
        if self._failed is not None:
            raise self._failed
        if not self._open:
            raise ValueError("the capture is closed")
        self._write(self._encoder.encode(kind, self._chunks, pack(meta), payload))

    def _settle(self) -> None:
        """A signal's exception (Ctrl-C) may have left a write half done: nothing may follow it."""
        if self._writing:
            self._fail("the writing of a chunk was interrupted")

    def _write(self, data: bytes) -> None:
        """One write; more only where the system takes less at once (a pipe, a disk that is just full)."""
        rest = memoryview(data)
        self._writing = True
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise self._fail(_reason(error)) from error
        self.size += len(data)
        self._chunks += 1
        self._writing = False

    def _fail(self, why: str) -> CaptureWriteError:
        if self._can_truncate:
            with suppress(OSError):  # a half chunk does no harm: a reader stops before it
                os.ftruncate(self._fd, self.size)
        self._writing = False
        self._failed = CaptureWriteError(
            f"{self._name} cannot be written any more: {why}; what was captured before is whole and readable"
        )
        return self._failed

    def _release(self) -> None:
        self._open = False
        if self._owned and self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return _WHY.get(error.errno or 0) or error.strerror or str(error)
    return str(error)


def _slices(table: Mapping[_K, _V]) -> Iterator[dict[_K, _V]]:
    """The table in parts that each fit a chunk."""
    rows = iter(table.items())
    while part := dict(islice(rows, _CHUNK_ROWS)):
        yield part
