"""What passes by is kept, so that the user of a running view can save it: as much of it as there is room for.

    keeper = Keeper(header)
    run(keeper.pass_on(source.chunks(ending)), ..., save=keeper.save)
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic_ns

import numpy as np

from kpath.capture.errors import CaptureWriteError
from kpath.capture.records import Events, joined
from kpath.capture.tables import Facts, Footer, Header, Loss, Names, Symbols
from kpath.capture.writer import CaptureWriter

ROOM = 512 << 20
"""Events (bytes) that are kept; of more, the newest."""
_PIECE = 1 << 20
"""Events that come in small pieces are put together up to so many bytes."""

Table = Symbols | Names | Facts


class Keeper:
    """Keeps a stream's chunks. ``pass_on`` runs in one thread, ``save`` in any other."""

    def __init__(self, header: Header, room: int = ROOM) -> None:
        self._header = header
        self._room = room
        self._lock = threading.Lock()
        self._before: list[Table] = []
        """Tables from before the oldest events that are kept."""
        self._chunks: deque[Table | Loss | Events] = deque()
        self._small: list[Events] = []
        self._size = 0
        self._dropped: Counter[int] = Counter()
        self._dropped_until = header.monotonic_ns

    @property
    def empty(self) -> bool:
        """Has no event come?"""
        return not self._size and not self._dropped

    def pass_on(self, stream: Iterable[object]) -> Iterator[object]:
        """The same chunks, as they come."""
        for chunk in stream:
            self.keep(chunk)
            yield chunk

    def keep(self, chunk: object) -> None:
        """Keep one chunk; the footer is not kept, for what is saved has its own."""
        with self._lock:
            if isinstance(chunk, np.ndarray):
                if len(chunk):
                    self._small.append(chunk)
                    self._size += chunk.nbytes
                    if sum(piece.nbytes for piece in self._small) >= _PIECE or len(self._small) >= 64:
                        self._settle()
            elif isinstance(chunk, Symbols | Names | Facts | Loss):
                self._settle()
                self._chunks.append(chunk)
            while self._size > self._room:
                self._drop()

    def _settle(self) -> None:
        if self._small:
            self._chunks.append(joined(self._small))
            self._small = []

    def _drop(self) -> None:
        """Forget the oldest chunk; what was in it counts as lost in what will be saved."""
        self._settle()
        chunk = self._chunks.popleft()
        if isinstance(chunk, np.ndarray):
            self._size -= chunk.nbytes
            cpus, counts = np.unique(chunk["cpu"], return_counts=True)
            self._dropped.update(dict(zip(map(int, cpus), map(int, counts), strict=True)))
            self._dropped_until = max(self._dropped_until, int(chunk["time"].max()))
        elif isinstance(chunk, Loss):
            self._dropped.update(chunk.lost)
            self._dropped_until = max(self._dropped_until, chunk.end)
        else:
            self._before.append(chunk)

    def save(self, path: str) -> str:
        """Write what is kept to a new file; returns what to tell the user.

        Raises OSError when it cannot be written, FileExistsError when there is such a file already.
        """
        target = Path(path).expanduser()
        if target.exists():
            raise FileExistsError(17, "there is such a file already; choose another name")
        with self._lock:
            self._settle()
            chunks = [*self._before, *self._chunks]
            gone, until = dict(self._dropped), self._dropped_until
        try:
            with CaptureWriter.create(target, self._header) as writer:
                if gone:
                    writer.loss(Loss(self._header.monotonic_ns, until, gone))
                lost, missed, tables = Counter(gone), Counter[str](), Counter[int]()
                for chunk in chunks:
                    _write(writer, chunk)
                    if isinstance(chunk, Loss):
                        lost.update(chunk.lost)
                        missed.update(chunk.missed)
                        tables.update(chunk.tables)
                events = sum(len(chunk) for chunk in chunks if isinstance(chunk, np.ndarray))
                writer.close(
                    Footer(
                        "saved from the dashboard",
                        monotonic_ns(),
                        received=events,
                        lost=dict(lost),
                        missed=dict(missed),
                        tables=dict(tables),
                    )
                )
                size = writer.size
        except CaptureWriteError as error:
            raise OSError(5, str(error)) from error
        words = f"Saved {events:,} events ({size / 1e6:.1f} MB) to {target}"
        return words + (f"; {sum(gone.values()):,} older ones were no longer kept." if gone else ".")


def _write(writer: CaptureWriter, chunk: Table | Loss | Events) -> None:
    match chunk:
        case Symbols():
            writer.symbols(chunk)
        case Names():
            writer.names(chunk)
        case Facts():
            writer.facts(chunk.values)
        case Loss():
            writer.loss(chunk)
        case _:
            writer.events(chunk)
