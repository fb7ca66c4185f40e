"""Recordings made on the spot, of the lab's scenarios or of live traffic: what ``compare`` then judges."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpath.cli.options import Request, capturing
from kpath.cli.progress import waiting

if TYPE_CHECKING:
    from kpath.lab.record import Taken

_TERMINATED = 128 + signal.SIGTERM


def live(request: Request, path: Path) -> None:
    """Record packets into a file until the duration is over, or Ctrl-C. Raises as ``capturing`` and CaptureWriter."""
    from kpath.capture.ending import Ending
    from kpath.capture.tables import Facts, Footer, Loss, Names, Symbols
    from kpath.capture.writer import CaptureWriter

    with (
        waiting() as say,
        capturing(request, say) as source,
        CaptureWriter.create(path, source.header()) as writer,
        Ending(request.duration) as ending,
    ):
        ending.begin()
        if say:
            say(f"watching {request.iface}; Ctrl-C ends early")
        for chunk in source.chunks(ending):
            match chunk:
                case Symbols():
                    writer.symbols(chunk)
                case Names():
                    writer.names(chunk)
                case Facts():
                    writer.facts(chunk.values)
                case Loss():
                    writer.loss(chunk)
                case Footer():
                    writer.close(chunk)
                    return
                case _ if len(chunk):
                    writer.events(chunk)


def play(names: Sequence[str], folder: Path) -> list[Taken]:
    """Play scenarios (all that can be recorded, or these, or those of these themes) into files in ``folder``.

    Networks and probes are gone afterwards, whatever ends it. Raises as kpath.lab.record.record does."""
    from kpath.lab.record import record
    from kpath.lab.scenarios import wanted

    count = len(wanted(names))
    taken: list[Taken] = []
    with _terminable(), waiting() as say:
        runs = record(names, folder, say=say, ready=lambda _recorder: say(f"playing 1 of {count}") if say else None)
        try:
            for one in runs:
                taken.append(one)
                if say:
                    say(_bar(len(taken), count, one.scenario.name))
                elif len(taken) % 20 == 0:
                    print(f"kpath: {len(taken)} of {count} scenarios played", file=sys.stderr, flush=True)
        finally:
            runs.close()  # type: ignore[attr-defined]
    return taken


def _bar(done: int, of: int, name: str) -> str:
    full = round(20 * done / of)
    return f"[{'#' * full}{'.' * (20 - full)}] {done} of {of} scenarios played, last {name}"


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends this process as an exception does, so that networks are taken down."""

    def end(_number: int, _frame: Any) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
