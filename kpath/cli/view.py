"""Printing journeys as they are finished, and the dashboard over a file: what ``watch``, ``show``, ``replay`` share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console

from kpath.capture.file import CaptureReader
from kpath.dashboard.pipeline import Observer
from kpath.flow import load
from kpath.model.check import Checker, span
from kpath.model.verdict import Judgement, Verdict
from kpath.model.view import build
from kpath.report import json as as_json
from kpath.report import text, verdicts
from kpath.trace.assemble import Assembler
from kpath.trace.lives import Journey
from kpath.trace.traversal import Traversal, traversals


class Printer:
    """Prints journeys as trees, or as one JSON object a line.

    ``arp`` also prints ARP packets as journeys of their own. ``count`` (0: no limit) is after how many it is ``full``.
    ``checker``, if there is one, adds what the documents say of each traversal. ``observe`` is told of each
    journey that was printed.
    """

    def __init__(
        self,
        assembler: Assembler,
        *,
        as_json: bool = False,
        arp: bool = False,
        count: int = 0,
        checker: Checker | None = None,
        observe: Observer | None = None,
    ) -> None:
        self._assembler = assembler
        self._checker = checker
        self._observe = observe
        self._json = as_json
        self._arp = arp
        self._count = count
        # Names in a tree must not be broken in two where the terminal ends: it may scroll or cut as it likes.
        self._console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        self.shown = 0

    @property
    def full(self) -> bool:
        """Has the wanted number of journeys been printed?"""
        return bool(self._count) and self.shown >= self._count

    def take(self, journeys: Iterable[Journey]) -> None:
        """Print these journeys, but for those that are not wanted."""
        for journey in journeys:
            if self.full:
                return
            if journey.wanted(arp=self._arp):
                self._print(journey)
                self.shown += 1
            journey.let_go()

    def _print(self, journey: Journey) -> None:
        parts = traversals(journey)
        know = self._assembler.knowledge
        judged = {id(traversal): self._judge(traversal) for traversal in parts}
        if self._json:
            told = as_json.journey(journey, parts, know)
            for part, traversal in zip(told["traversals"], parts, strict=True):
                part["verdicts"] = verdicts.as_json(judged[id(traversal)])
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
        else:
            for line in text.render(journey, parts, know, lambda t: verdicts.lines(judged[id(t)])):
                self._console.print(line)
        if self._observe is not None:
            found = [(j.document, j.verdict.value) for one in judged.values() for j in one]
            self._observe.packet(parts, [pair for pair in found if pair[1] != Verdict.NOT_COVERED])

    def _judge(self, traversal: Traversal) -> list[Judgement]:
        if self._checker is None:
            return []
        lost = self._assembler.lost_during(*span(traversal))
        return self._checker.judge(traversal, self._assembler.knowledge, lost)


def dashboard(
    file: str, *, documents: Sequence[str] = (), arp: bool = False, verdict: bool = True, salvage: bool = False
) -> None:
    """A recording in the dashboard. Its keys come from the terminal, so the recording must be a file.

    Raises click.UsageError without a terminal, and CaptureError for what is no recording.
    """
    if file == "-" or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("--tui needs a terminal, and a FILE that is not standard input.")
    from kpath.dashboard.app import run
    from kpath.dashboard.referee import NEWEST_FIRST, referee

    known = tuple(documents) or NEWEST_FIRST
    with CaptureReader(file, salvage=salvage) as reader:
        judge = referee(reader.header.probes, known, build(reader.header)) if verdict else None
        shown = () if verdict else [load(name) for name in known]
        run(reader, Path(file).name, judge, header=reader.header, live=False, documents=shown, arp=arp)
        problem = reader.problem
    if problem:
        click.echo(f"kpath: {problem}", err=True)
