"""The one function that opens the view. Textual is imported when it is called, for it takes long."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kpath.capture.tables import Header
from kpath.dashboard.counted import Counted
from kpath.dashboard.feed import LiveFeed
from kpath.dashboard.judge import JudgeMaker
from kpath.dashboard.look import Look
from kpath.dashboard.pipeline import Observer
from kpath.dashboard.recording import Recording
from kpath.dashboard.snapshot import Snapshot
from kpath.dashboard.status import About, Cost
from kpath.dashboard.view import View
from kpath.dashboard.view_coverage import Coverage
from kpath.dashboard.view_drops import Drops
from kpath.dashboard.view_findings import Findings
from kpath.dashboard.view_packets import Packets
from kpath.dashboard.view_paths import Paths
from kpath.flow import Document
from kpath.model.check import Checker
from kpath.model.view import CaptureView

if TYPE_CHECKING:
    from kpath.dashboard.tui import Save

SWITCH = 0.0005
"""Seconds after which Python's threads take turns when both have work, instead of 0.005: the view is small work in many
pieces, and waits so long before each of them."""

PATIENCE, STOP_TIMEOUT = 1.0, 30.0
"""Seconds that the capture may take to end after the view is closed: without a word, and at most."""


def run(
    stream: Iterable[object],
    title: str,
    judge: JudgeMaker | None = None,
    *,
    header: Header | None = None,
    live: bool = True,
    documents: Sequence[Document] = (),
    arp: bool = False,
    stop: Callable[[], None] | None = None,
    save: Save | None = None,
    cost: Cost | None = None,
    observe: Observer | None = None,
    settled: Callable[[], int] | None = None,
    checkers: Callable[[Header], Checker] | None = None,
    change: Callable[[], str] | None = None,
    counts: Callable[[Callable[[], Counted | None]], None] | None = None,
) -> Snapshot:
    """Show a stream of chunks until the user quits; returns the last snapshot.

    A live stream may go from events to looks at counted paths and back (:mod:`kpath.capture.looks`); ``checkers`` makes
    the checker of what comes then, ``change`` asks for it, when the user does, and ``counts`` is told where to ask for
    what was counted.

    ``stream`` is iterated by another thread, to its end; for a live one ``stop`` asks it to end when the user quits.
    ``title`` is the interface, or the file. ``judge`` makes a judge when the assembler is there. ``documents`` are
    those of the coverage view when there is no judge. ``observe`` is told of each packet, in the other thread, when the
    stream is live; ``settled`` tells up to which time (ns) all of it has been handed over. Raises whatever ended the
    stream with an error, and whatever went wrong in drawing, when the terminal is in order again.
    """
    # Textual waits so long (ms) after an escape whether more comes of a key's sequence; it is read when it is imported.
    os.environ.setdefault("ESCDELAY", "50")
    from kpath.dashboard.tui import Dashboard

    feed: LiveFeed | Recording
    if live:
        feed = LiveFeed(stream, judge, arp=arp, stop_stream=stop, observe=observe, settled=settled, checkers=checkers)
        if counts is not None:
            counts(feed.counted)
    else:
        feed = Recording(stream, judge, arp=arp)
    look, views = outfit(feed, header, documents)
    about = About.of(title, live, header, cost)
    plain = bool(os.environ.get("NO_COLOR"))
    app = Dashboard(feed, about, look=look, views=views, save=save, change=change, no_color=plain)
    try:
        with _smooth(), _own_terminal():
            app.run()
    finally:
        if not feed.stop(PATIENCE):
            print("kpath: ending the capture …", file=sys.stderr, flush=True)
            feed.stop(STOP_TIMEOUT)
    if app.failure is not None:
        raise app.failure
    if feed.failure is not None:
        raise feed.failure
    return app.snapshot


@contextmanager
def _own_terminal() -> Iterator[None]:
    """While a program is compiled, what BCC writes to standard error goes elsewhere; Textual's pictures must not."""
    before = sys.__stderr__
    try:
        terminal = os.fdopen(os.dup(before.fileno()), "w") if before is not None else None
    except (OSError, ValueError):
        terminal = None
    sys.__stderr__ = terminal or before  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stderr__ = before  # type: ignore[misc]
        if terminal is not None:
            terminal.close()


@contextmanager
def _smooth() -> Iterator[None]:
    """Keep what stops all threads short, for a key must not wait for it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    # Documents, automata and Textual are there for good: no need to look through them again and again.
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


def outfit(
    feed: LiveFeed | Recording, header: Header | None, documents: Sequence[Document]
) -> tuple[Look, Sequence[View]]:
    """The user's choices at the beginning, and the views, for what is known of the capture."""
    kernel = CaptureView(header.probes) if header is not None and header.probes else None
    known = feed.documents or documents
    look = Look(documents=known, judged=feed.judged)
    return look, (Paths(), Packets(), Drops(), Coverage(kernel), Findings())
