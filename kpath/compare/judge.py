"""Recordings are read and judged here; the same documents for all, and one checker for each probe plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kpath.capture.file import CaptureReader
from kpath.capture.tables import Footer, Header, Loss, PlannedProbe
from kpath.compare.outcome import Evolution, Left, Outcome, Path, Scenario
from kpath.compare.steps import Table, exercised
from kpath.flow import Document
from kpath.model.check import Checker, span
from kpath.model.coverage import Coverage
from kpath.model.verdict import Judgement, Verdict
from kpath.model.view import CaptureView
from kpath.trace.assemble import Assembler
from kpath.trace.knowledge import Knowledge
from kpath.trace.lives import Journey
from kpath.trace.traversal import Traversal, traversals

Words = Callable[[Traversal, Knowledge], str]
"""Names the path of a pass, for people."""

_EXAMPLES = 3


class Comparison:
    """Judges recordings one after another; ``outcome`` grows."""

    def __init__(self, documents: Sequence[Document], words: Words, least: float | None = None) -> None:
        self._documents = documents
        self._words = words
        self._checkers: dict[tuple[str, str, tuple[PlannedProbe, ...]], Checker] = {}
        self.outcome = Outcome([document.name for document in documents], least=least)

    def leave(self, left: Left) -> None:
        """A scenario could not be played."""
        self.outcome.left.append(left)

    def check(
        self, file: str, name: str, exercises: Mapping[str, Sequence[str]] | None = None, theme: str = ""
    ) -> Scenario:
        """Read and judge a recording. ``exercises``: by document the steps that it must have exercised.

        Raises CaptureError for what is no recording. One that was cut short is judged as far as it goes, and what
        diverges in it is inconclusive: its end would say what was lost."""
        with CaptureReader(file) as reader:
            checker = self._checker(reader.header)
            scenario = Scenario(name, file, reader.header.kernel_release, theme=theme)
            view = CaptureView(reader.header.probes)
            run = _Reading(scenario, checker, self._words, view)
            run.read(reader)
        for judge, coverage in zip(checker.judges, run.coverages, strict=True):
            rows = Table(coverage.steps())
            scenario.steps = {**scenario.steps, judge.document.name: rows}
            self.outcome.steps.setdefault((scenario.kernel, judge.document.name), Table()).add(rows)
        scenario.exercised = exercised(exercises or {}, scenario.steps)
        self._learn(scenario)
        self.outcome.scenarios.append(scenario)
        return scenario

    def _checker(self, header: Header) -> Checker:
        key = (header.kernel_release, header.kernel_build, header.probes)
        if key not in self._checkers:
            self._checkers[key] = Checker.for_capture(header, self._documents)
        return self._checkers[key]

    def _learn(self, scenario: Scenario) -> None:
        for path in scenario.paths:
            for judgement in path.judgements:
                known = self.outcome.evolutions.setdefault(judgement.document, {})
                for function, reason in judgement.evolutions:
                    if function not in known:
                        changes = tuple(map(str, reason.changes))
                        known[function] = Evolution(function, reason.of, reason.text, changes)


class _Reading:
    """One recording on its way into a Scenario."""

    def __init__(self, scenario: Scenario, checker: Checker, words: Words, view: CaptureView) -> None:
        self._scenario = scenario
        self._checker = checker
        self._words = words
        self._paths: dict[tuple[Any, ...], Path] = {}
        self.coverages = [Coverage(judge) for judge in checker.judges]
        profile = scenario.profile
        profile.unseen = {name: why for name, why in view.planned.items() if why}
        profile.probed = {name for name in view.planned if view.attached(name)}
        profile.absent = {name for name in view.planned if view.absent(name)}

    def read(self, reader: CaptureReader) -> None:
        """All of it; what was lost is known only at the end, so judging comes last."""
        assembler = Assembler()
        journeys: list[Journey] = []
        footer: Footer | None = None
        losses: list[Loss] = []
        for chunk in reader:
            if isinstance(chunk, Footer):
                footer = chunk
            elif isinstance(chunk, Loss):
                losses.append(chunk)
            journeys += assembler.feed(chunk)
        journeys += assembler.flush()
        scenario = self._scenario
        scenario.problem = reader.problem or ""
        scenario.lost = _lost(footer, losses)
        scenario.profile.reasons = bool(assembler.knowledge.drop_reasons)
        for journey in journeys:
            for traversal in traversals(journey):
                self._judge(journey, traversal, assembler)
        scenario.paths = list(self._paths.values())

    def _judge(self, journey: Journey, traversal: Traversal, assembler: Assembler) -> None:
        lost = assembler.lost_during(*span(traversal))
        judgements = self._checker.judge(traversal, assembler.knowledge, lost)
        if self._scenario.problem:
            judgements = [_doubted(judgement) for judgement in judgements]
        for coverage, judgement in zip(self.coverages, judgements, strict=True):
            coverage.add(judgement)
        self._scenario.passes += 1
        words = self._words(traversal, assembler.knowledge)
        key = (judgements[0].signature, *((j.verdict, j.reasons) for j in judgements))
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = Path(words, tuple(judgements))
        path.count += 1
        if len(path.journeys) < _EXAMPLES:
            path.journeys.append(journey.number)
        if journey.wanted(arp=False):
            self._scenario.profile.take(words, traversal, not lost and not traversal.partial)


def _doubted(judgement: Judgement) -> Judgement:
    """What diverges in a recording that was cut short: something may have been lost that only its end tells."""
    if judgement.verdict is not Verdict.DIVERGES:
        return judgement
    reasons = (*judgement.reasons, "the recording was cut short, so what was lost is not known")
    return replace(judgement, verdict=Verdict.INCONCLUSIVE, reasons=reasons)


def _lost(footer: Footer | None, losses: Iterable[Loss]) -> int:
    """How much was lost in all. Some recordings tell in their footer, some on the way, most in both."""
    told = sum(sum(table.values()) for loss in losses for table in (loss.lost, loss.missed, loss.tables))
    if footer is None:
        return told
    return max(told, sum(sum(table.values()) for table in (footer.lost, footer.missed, footer.tables)))
