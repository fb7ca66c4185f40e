"""Printing journeys as they are finished: what ``watch`` and ``show`` share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from rich.console import Console

from kpath.model.check import Checker, span
from kpath.model.verdict import Judgement
from kpath.report import json as as_json
from kpath.report import text, verdicts
from kpath.trace.assemble import Assembler
from kpath.trace.lives import Journey
from kpath.trace.traversal import Traversal, traversals


class Printer:
    """Prints journeys as trees, or as one JSON object a line.

    ``arp`` also prints ARP packets as journeys of their own. ``count`` (0: no limit) is after how many it is ``full``.
    ``checker``, if there is one, adds what the documents say of each traversal.
    """

    def __init__(
        self,
        assembler: Assembler,
        *,
        as_json: bool = False,
        arp: bool = False,
        count: int = 0,
        checker: Checker | None = None,
    ) -> None:
        self._assembler = assembler
        self._checker = checker
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
        if self._json:
            told = as_json.journey(journey, parts, know)
            for part, traversal in zip(told["traversals"], parts, strict=True):
                part["verdicts"] = verdicts.as_json(self._judge(traversal))
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            return
        for line in text.render(journey, parts, know, lambda t: verdicts.lines(self._judge(t))):
            self._console.print(line)

    def _judge(self, traversal: Traversal) -> list[Judgement]:
        if self._checker is None:
            return []
        lost = self._assembler.lost_during(*span(traversal))
        return self._checker.judge(traversal, self._assembler.knowledge, lost)
