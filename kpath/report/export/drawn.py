"""A document's tree with what traffic exercised of it, as lines for the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kpath.flow import Document, Kind, Role, Step
from kpath.flow.unparser import cite, line_of
from kpath.model.coverage import Covered, State
from kpath.report.words import printable

MARKS = {State.SEEN: "●", State.IMPLIED: "●", State.PASSED: "◌", State.NOT_SEEN: "○", State.INVISIBLE: "∅"}
"""As in the dashboard: seen, or proved by what was seen; passed unseen; not seen; cannot be seen on this kernel."""

_BEST_FIRST = (State.SEEN, State.IMPLIED, State.PASSED, State.NOT_SEEN, State.INVISIBLE)


@dataclass(frozen=True, slots=True)
class Line:
    """One step."""

    depth: int
    text: str
    cite: str
    """The lines of the source that it cites."""
    mark: str = " "
    state: str = ""
    count: int = 0
    why: str = ""
    """Why it cannot be seen."""


@dataclass(slots=True)
class Branch:
    """One flow."""

    name: str
    cite: str
    seen: int = 0
    of: int = 0
    """Steps that can be seen."""
    lines: list[Line] = field(default_factory=list)


def draw(document: Document, steps: Iterable[Covered]) -> list[Branch]:
    """All flows that packets take; ``steps`` are those of the coverage of this document."""
    told: dict[str, list[Covered]] = {}
    for covered in steps:
        told.setdefault(covered.id, []).append(covered)
    out = []
    for flow in document.flows:
        if flow.role is Role.SETUP:
            continue
        branch = Branch(flow.name, cite(flow.lines))
        for index, step in enumerate(flow.steps):
            branch.lines += _lines(f"{flow.name}/{index}", step, 0, told)
        branch.seen = sum(line.mark in "●◌" for line in branch.lines)
        branch.of = sum(line.mark in "●◌○" for line in branch.lines)
        out.append(branch)
    return out


def _lines(id: str, step: Step, depth: int, told: Mapping[str, list[Covered]]) -> Iterator[Line]:
    lines = cite(step.lines)
    text = line_of(step)
    body = printable(text.removesuffix(lines).rstrip() if lines else text)
    found = told.get(id, []) if step.kind is not Kind.GROUP else []
    if found:
        state = min((one.state for one in found), key=_BEST_FIRST.index)
        count = sum(one.count for one in found if one.state is state)
        why = printable(next((one.reason for one in found if one.reason), "")) if state is State.INVISIBLE else ""
        yield Line(depth, body, lines, MARKS[state], state.value.replace(" ", "-"), count, why)
    else:
        yield Line(depth, body, lines)
    for index, child in enumerate(step.children):
        yield from _lines(f"{id}.{index}", child, depth + 1, told)
