"""Whether a document agrees with itself and with its source."""

from __future__ import annotations

from dataclasses import dataclass

from kpath.flow import conditions
from kpath.flow.document import ENDS, Document, Flow, Kind, Role, Span, Step


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to say about a line of the file; ``error`` is false for what only limits the model."""

    at: int
    message: str
    error: bool = True


def check(document: Document, source_lines: int | None = None) -> list[Problem]:
    """All problems in the order of the file; ``source_lines`` is the length of the source text, if it is at
    hand."""
    problems = [*_flows(document), *_jumps(document), *_words(document), *_citations(document, source_lines)]
    problems += [
        Problem(at, f"the condition {term.name!r} is not in the vocabulary, so it is not evaluated", error=False)
        for term, at in conditions.unknown(document)
    ]
    return sorted(problems, key=lambda problem: problem.at)


def _flows(document: Document) -> list[Problem]:
    problems: list[Problem] = []
    seen: dict[str, Flow] = {}
    for flow in document.flows:
        if flow.name in seen:
            problems.append(
                Problem(
                    flow.at,
                    f"found a second flow {flow.name}, expected one: the first is at line {seen[flow.name].at}",
                )
            )
        seen.setdefault(flow.name, flow)
        if flow.role is Role.SETUP:
            continue
        if len(flow.steps) != 1 or flow.root.kind is not Kind.ROOT:
            at = next((step.at for step in flow.steps[1:]), flow.root.at)
            problems.append(
                Problem(
                    at,
                    f"found another step at the top of the flow {flow.name}, expected one function without an arrow",
                )
            )
    return problems


def _jumps(document: Document) -> list[Problem]:
    problems = []
    flows = {flow.name: flow for flow in document.flows}
    edges: dict[str, set[str]] = {name: set() for name in flows}
    for flow, step in document.walk():
        if not step.flow:
            continue
        target = flows.get(step.flow)
        if target is None:
            problems.append(Problem(step.at, f"found @{step.flow}, expected the name of a flow of this document"))
        elif target.role is Role.SETUP:
            problems.append(Problem(step.at, f"found @{step.flow}, which is setup, expected a flow of packets"))
        elif step.name not in target.root.targets:
            problems.append(
                Problem(
                    step.at,
                    f"found {step.name} @{step.flow}, expected {target.root.name}, with which that flow begins",
                )
            )
        edges[flow.name].add(step.flow)
    reached = {flow.name for flow in document.flows if flow.role is not Role.PART}
    waiting = list(reached)
    while waiting:
        new = edges.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    problems += [
        Problem(
            flow.at,
            f"found the flow {flow.name}, expected 'entry', 'setup' or 'anywhere' on it, or a '@{flow.name}' "
            "that leads "
            "to it",
        )
        for flow in document.flows
        if flow.name not in reached
    ]
    return problems


def _words(document: Document) -> list[Problem]:
    return [
        Problem(step.at, f"found 'end {step.name}', expected one of {', '.join(ENDS)}")
        for _, step in document.walk()
        if step.kind is Kind.END and step.name not in ENDS
    ]


def _citations(document: Document, source_lines: int | None) -> list[Problem]:
    problems = []

    def beyond(spans: tuple[Span, ...], at: int) -> None:
        last = max((span.last for span in spans), default=0)
        if not document.source and spans:
            problems.append(Problem(at, "found a line of the source, expected none: the document names no source"))
        elif source_lines is not None and last > source_lines:
            problems.append(
                Problem(at, f"found line {last}, expected at most {source_lines}, the length of {document.source}")
            )

    for omission in document.omissions:
        beyond(omission.lines, 1)
    for flow in document.flows:
        beyond(flow.lines, flow.at)
        last = 0
        for step in flow.walk():
            beyond(step.lines, step.at)
            if not step.lines:
                continue
            first = step.lines[0].first
            if first < last and not _may_go_back(step):
                problems.append(
                    Problem(
                        step.at,
                        f"found line {first} after line {last}, expected ascending lines, or a '!' that says why",
                    )
                )
            last = max(last, first)
    return problems


def _may_go_back(step: Step) -> bool:
    """A step that stands elsewhere than the source draws it must say so."""
    return bool(step.notes)
