"""Reading a capture file chunk by chunk (``docs/capture-file.md``)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from kpath.capture.container import ChunkDecoder, RawChunk
from kpath.capture.errors import CaptureError, CaptureNewer, CaptureReadError
from kpath.capture.records import Events, RecordReader
from kpath.capture.schema import SCHEMA_VERSION
from kpath.capture.tables import (
    Facts,
    Footer,
    Header,
    Loss,
    Names,
    Symbols,
    footer_from_map,
    header_from_map,
    loss_from_map,
    names_from_map,
    symbols_from_map,
    unpack,
)

Chunk = Events | Loss | Symbols | Names | Facts | Footer
"""What CaptureReader yields."""

_META_WEIGHT = 16  # bytes of Python objects that a byte of msgpack may become

_DECODERS: dict[bytes, Callable[[dict[str | int, Any]], Loss | Symbols | Names | Facts | Footer]] = {
    b"LOSS": loss_from_map,
    b"SYMB": symbols_from_map,
    b"NAME": names_from_map,
    b"FACT": Facts,
    b"FOOT": footer_from_map,
}


class CaptureReader:
    """Reads a capture chunk by chunk, in the order written, with no more than one chunk in memory.

    ``complete`` and ``problem`` are known once the iteration has ended. Iterate once. Opening raises
    CaptureError when there is no readable header. Iterating raises it when a chunk is damaged; with
    ``salvage`` it ends there instead and tells in ``problem``.
    """

    def __init__(self, path: str | os.PathLike[str], *, salvage: bool = False) -> None:
        """Opens the file ("-" is stdin) and reads its header."""
        self.name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
        self._salvage = salvage
        self.complete = False
        """The footer was read, and nothing stands after it."""
        self.problem: str | None = None
        """Why the capture is not complete, as one sentence."""
        self.weight = 0
        """Estimate of the memory, in bytes, that all chunks yielded so far take."""
        self.events_read = 0
        self._stream = self._open(path)
        try:
            self._decoder = ChunkDecoder(self._stream, self.name)
            self.header: Header = self._read_header()
        except BaseException:
            self.close()
            raise

    def _open(self, path: str | os.PathLike[str]) -> IO[bytes]:
        if os.fspath(path) == "-":
            return sys.stdin.buffer
        try:
            return Path(path).open("rb", buffering=1 << 20)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise CaptureReadError(f"{self.name} cannot be read: {why}") from error

    def _read_header(self) -> Header:
        chunk = self._decoder.next()
        if chunk is None:
            raise self._decoder.no_header()
        if chunk.kind != b"HEAD":
            raise self._decoder.damaged("the header is missing", chunk.offset)
        try:
            values = unpack(chunk.meta)
            version = values["schema_version"]
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise CaptureNewer(
                    f"{self.name} was written by a newer kpath (event schema {version}, this kpath knows "
                    f"{SCHEMA_VERSION}): update kpath"
                )
            header = header_from_map(values)
            self._records = RecordReader(header.schema_version, header.fields)
        except (ValueError, TypeError, KeyError) as error:
            raise self._decoder.damaged(f"the header is not valid ({_why(error)})", chunk.offset) from error
        return header

    def __iter__(self) -> Iterator[Chunk]:
        footer = False
        try:
            while (raw := self._decoder.next()) is not None:
                if footer:
                    raise self._decoder.damaged("there is data after the footer", raw.offset)
                chunk = self._decode(raw)
                if isinstance(chunk, np.ndarray):
                    self.events_read += len(chunk)
                    self.weight += chunk.nbytes
                elif isinstance(chunk, Footer):
                    footer = True
                    if chunk.events != self.events_read:
                        why = f"the footer counts {chunk.events} events, there are {self.events_read}"
                        raise self._decoder.damaged(why, raw.offset)
                self.weight += _META_WEIGHT * len(raw.meta)
                yield chunk
            self.problem = self._decoder.tail or None
            if footer and self.problem:
                raise self._decoder.damaged("there is data after the footer")
        except CaptureError as error:
            if not self._salvage:
                raise
            self.problem = str(error)
        self.complete = footer and not self.problem
        if not footer and not self.problem:
            self.problem = "the file has no footer: the capture did not end in an orderly way"

    def _decode(self, raw: RawChunk) -> Chunk:
        try:
            values = unpack(raw.meta, lines=raw.kind == b"FACT")
            if raw.kind == b"EVNT":
                return self._events(values, raw.payload)
            decode = _DECODERS.get(raw.kind)
            if decode is None:
                raise ValueError("a second header")
            if len(raw.payload):
                raise ValueError("bytes after a table")
            return decode(values)
        except (ValueError, TypeError, KeyError) as error:
            raise self._decoder.damaged(f"the chunk is not valid ({_why(error)})", raw.offset) from error

    def _events(self, values: Mapping[str | int, Any], payload: memoryview) -> Events:
        events = self._records.read(payload)
        if not len(events):
            raise ValueError("no events")
        time = events["time"]
        announced = values["count"], values["first"], values["last"]
        if announced != (len(events), int(time.min()), int(time.max())):
            raise ValueError("the events are not those that the chunk announces")
        return events

    def close(self) -> None:
        """Closes the file; harmless when called twice."""
        if self._stream is not sys.stdin.buffer:
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _why(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
