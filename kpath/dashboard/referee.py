"""The judge over :mod:`kpath.model`: its judgements as the view's opinions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kpath.capture.schema import Class
from kpath.capture.tables import PlannedProbe
from kpath.dashboard import signature
from kpath.dashboard.frontier import Frontiers
from kpath.dashboard.judge import Finding, JudgeMaker, Opinion
from kpath.flow import BUILT_IN, Document, Graph, Kind
from kpath.flow.unparser import cite
from kpath.model import verdict
from kpath.model.check import Checker, span
from kpath.model.scope import Reason
from kpath.model.sight import hook_name
from kpath.model.verdict import Judgement, Verdict
from kpath.report.words import printable
from kpath.trace.assemble import Assembler
from kpath.trace.frames import Frame
from kpath.trace.traversal import Traversal

NEWEST_FIRST: tuple[str, ...] = tuple(reversed(BUILT_IN))


def referee(
    probes: Iterable[PlannedProbe], documents: Iterable[Document | str] = NEWEST_FIRST, kernel: str = ""
) -> JudgeMaker:
    """A maker of judges for a capture with these probes, for :func:`kpath.dashboard.app.run`.

    ``kernel``: its release and build (:func:`kpath.model.view.build`), for evidence of what its compiler did.

    Raises UnknownDocumentError and FlowSyntaxError as :func:`kpath.flow.load` does.
    """
    checker = Checker.for_stream(probes, documents, kernel)
    return lambda assembler: Referee(checker, assembler)


class Referee:
    """Asks the checker about each pass, with what was lost while it lasted."""

    def __init__(self, checker: Checker, assembler: Assembler) -> None:
        self.documents: Sequence[Document] = tuple(judge.document for judge in checker.judges)
        self._checker = checker
        self._assembler = assembler
        self._opinions = Opinions(checker)

    def judge(self, traversal: Traversal) -> list[Opinion]:
        """One for each document that covers the pass."""
        lost = self._assembler.lost_during(*span(traversal))
        judgements = self._checker.judge(traversal, self._assembler.knowledge, lost)
        return self._opinions.of(traversal, judgements)


class Opinions:
    """A checker's judgements as the view's opinions."""

    def __init__(self, checker: Checker) -> None:
        self._graphs: dict[str, Graph] = {judge.document.name: judge.machine.graph for judge in checker.judges}
        self._cites: dict[tuple[str, int], Mapping[str, str]] = {}
        self._frontiers = {judge.document.name: Frontiers(judge.machine) for judge in checker.judges}

    def of(self, traversal: Traversal, judgements: Iterable[Judgement]) -> list[Opinion]:
        """One for each document that covers the pass."""
        frames = [node.frame for _, node in signature.walk(traversal.roots)]
        return [self._opinion(j, frames) for j in judgements if j.verdict is not Verdict.NOT_COVERED]

    def _opinion(self, judgement: Judgement, frames: Sequence[Frame]) -> Opinion:
        evidence = judgement.evidence
        cites = self._lines(judgement)
        nexts = self._nexts(judgement)
        wrong = judgement.findings if judgement.verdict is Verdict.DIVERGES else ()
        return Opinion(
            document=judgement.document,
            verdict=judgement.verdict.value,
            divergences=tuple(_finding(finding, frames) for finding in wrong),
            evolutions=tuple(_evolution(name, reason, frames) for name, reason in judgement.evolutions),
            reasons=tuple(map(printable, judgement.reasons)),
            cites={f.index: cites[_label(f)] for f in frames if _label(f) in cites},
            nexts={f.index: nexts[_label(f)] for f in frames if _label(f) in nexts},
            witnessed=Counter((*evidence.witnessed, *evidence.implied)),
            passed=tuple(evidence.silent),
        )

    def _lines(self, judgement: Judgement) -> Mapping[str, str]:
        """For each function of the path the lines of the steps that it was; made once for each path."""
        key = judgement.document, judgement.signature
        known = self._cites.get(key)
        if known is None:
            nodes = self._graphs[judgement.document].nodes
            found: dict[str, list[str]] = {}
            for label, id in self._steps(judgement):
                step = nodes[id].step
                line = cite(step.lines) or f":{step.at}"
                if line not in found.setdefault(label, []):
                    found[label].append(line)
            # A function that was several steps of this path: which frame was which is not told, so all are named.
            known = {label: " ".join(lines) for label, lines in found.items() if len(lines) <= 2}
            if len(self._cites) > 1 << 14:
                self._cites.clear()
            self._cites[key] = known
        return known


    def _steps(self, judgement: Judgement) -> Iterator[tuple[str, str]]:
        """The functions of the path, as ``_label`` names them, and the steps that they were."""
        nodes = self._graphs[judgement.document].nodes
        for id, function in sorted(judgement.evidence.targets):
            step = nodes[id].step
            yield f"hook {step.name}" if step.kind is Kind.HOOK else function, id

    def _nexts(self, judgement: Judgement) -> Mapping[str, tuple[str, ...]]:
        """For each function of the path what may come next."""
        steps: dict[str, list[str]] = {}
        for label, id in self._steps(judgement):
            steps.setdefault(label, []).append(id)
        frontiers = self._frontiers[judgement.document]
        taken = frozenset(steps)
        return {label: words for label, ids in steps.items() if (words := frontiers.after(ids, taken))}


def _label(frame: Frame) -> str:
    if frame.cls is Class.HOOK:
        return f"hook {hook_name(frame.event.pf, frame.event.hook)}"
    return frame.name


def _finding(finding: verdict.Finding, frames: Sequence[Frame]) -> Finding:
    lines = [f"expected: {', '.join(finding.expected)}"] if finding.expected else []
    lines += [f"written in {', '.join(finding.lines)}"] if finding.lines else []
    lines += [finding.facts] if finding.facts else []
    lines += [f"kernel source: {finding.source}"] if finding.source else []
    lines += finding.known
    check = "" if finding.check == "document" else f"{finding.check}: "
    message = finding.message if finding.step in finding.message else f"{finding.step} {finding.message}"
    return Finding(
        title=printable(f"{check}{message}"),
        frame=frames[finding.index].index if 0 <= finding.index < len(frames) else None,
        lines=tuple(map(printable, lines)),
        expected=tuple(map(printable, finding.expected)),
    )


def _evolution(function: str, reason: Reason, frames: Sequence[Frame]) -> Finding:
    of = f" belongs to {reason.of} today" if reason.of and reason.of != function else " is newer than the document"
    return Finding(
        title=printable(function + of),
        frame=next((frame.index for frame in frames if frame.name == function), None),
        lines=tuple(map(printable, (reason.text, *reason.changes))),
    )
