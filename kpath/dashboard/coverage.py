"""A document laid out as lines, with what lights each of them up: apart from drawing, made once for a document."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from kpath.flow import Document, Flow, KernelView, Kind, Lineage, Role, Step, resolve
from kpath.flow.unparser import cite, line_of
from kpath.report.words import printable
from kpath.trace.knowledge import plain


@dataclass(frozen=True, slots=True)
class Place:
    """One line: a step, or, with ``step`` None, the beginning of a flow."""

    id: str
    """As in ``kpath.flow.Node``; the flow's name for its beginning."""
    depth: int
    text: str
    lines: str
    """The lines of the source that it cites."""
    flow: Flow
    step: Step | None = None
    functions: tuple[str, ...] = ()
    """Functions any of whose frames light it up, when no judge says more exactly which step a frame was."""
    counts: bool = False
    """Can it be seen on this kernel, so that it counts for the share that was seen?"""
    hidden: str = ""
    """Why it cannot be seen on this kernel."""
    calls: tuple[str, ...] = ()
    """For the root of a flow the ids of the steps that call the flow: they are the same frames."""


def chart(document: Document, lineage: Lineage, kernel: KernelView | None = None) -> tuple[Place, ...]:
    """All lines of a document; without ``kernel`` everything is taken to be visible."""
    named = document.functions()
    flows = {flow.name: flow for flow in document.flows}
    out: list[Place] = []
    for flow in document.flows:
        role = f"  ({flow.role.value})" if flow.role is not Role.PART else ""
        out.append(Place(flow.name, 0, f"{flow.name}{role}", cite(flow.lines), flow))
        for index, step in enumerate(flow.steps):
            out += _places(f"{flow.name}/{index}", step, flow, 1, named, flows, lineage, kernel)
    callers: dict[str, list[str]] = {}
    for place in out:
        if place.step is not None and place.step.flow:
            callers.setdefault(f"{place.step.flow}/0", []).append(place.id)
    return tuple(replace(place, calls=tuple(callers.get(place.id, ()))) for place in out)


def _places(
    id: str,
    step: Step,
    flow: Flow,
    depth: int,
    named: Collection[str],
    flows: Mapping[str, Flow],
    lineage: Lineage,
    kernel: KernelView | None,
) -> Iterator[Place]:
    lines = cite(step.lines)
    body = line_of(step).removesuffix(lines).rstrip() if lines else line_of(step)
    functions: list[str] = []
    hidden = ""
    counts = flow.role is not Role.SETUP and (step.is_frame and bool(step.targets))
    if counts:
        visible = False
        for target in _targets(step, flows):
            entry = lineage.entries.get(target)
            if entry is None or kernel is None:
                functions += lineage.successors(target)
                visible = True
                continue
            found = resolve(entry, kernel, named)
            functions += map(plain, found.symbols) if found.visible else ()
            visible = visible or found.visible
            hidden = hidden or ("" if found.visible else found.reason)
        counts = visible
    yield Place(
        id, depth, printable(body), lines, flow, step, tuple(dict.fromkeys(functions)), counts, "" if counts else hidden
    )
    for index, child in enumerate(step.children):
        yield from _places(f"{id}.{index}", child, flow, depth + 1, named, flows, lineage, kernel)


def _targets(step: Step, flows: Mapping[str, Flow]) -> tuple[str, ...]:
    """The functions that a step may be; a call of a flow alone (``-> @flow``) is any with which that flow begins."""
    if step.flow in flows and step.name == step.flow and not step.also:
        return flows[step.flow].root.targets
    return step.targets


def seen(place: Place, functions: Mapping[str, int], witnessed: Mapping[str, int] | None) -> int:
    """How often a line was exercised: as the judge says, or else by the names of the functions alone."""
    if witnessed is not None:
        return witnessed.get(place.id, 0) + sum(witnessed.get(call, 0) for call in place.calls)
    return max((functions.get(name, 0) for name in place.functions), default=0)


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a flow or a document was exercised: lines seen, of those that can be seen."""

    seen: int
    of: int

    @property
    def share(self) -> float:
        """0 to 1; 1 for nothing to see."""
        return self.seen / self.of if self.of else 1.0


def shares(
    places: Collection[Place],
    functions: Mapping[str, int],
    witnessed: Mapping[str, int] | None,
    passed: Mapping[str, int] | None = None,
) -> dict[str, Share]:
    """For each flow by its name; ``""`` is the whole document. What was ``passed`` is proved by what was seen."""
    lit: dict[str, int] = {"": 0}
    of: dict[str, int] = {"": 0}
    for place in places:
        if not place.counts:
            continue
        one = bool(seen(place, functions, witnessed) or (passed or {}).get(place.id))
        for name in ("", place.flow.name):
            lit[name] = lit.get(name, 0) + one
            of[name] = of.get(name, 0) + 1
    return {name: Share(lit[name], total) for name, total in of.items()}


def is_frame(place: Place) -> bool:
    """Is it the activation of a function?"""
    return place.step is not None and place.step.kind in (Kind.ROOT, Kind.CALL, Kind.QUEUE)
