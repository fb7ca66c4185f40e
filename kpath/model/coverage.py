"""Coverage: which steps, branches and pointer targets of a document traffic has exercised, and which it never can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from kpath.flow import Kind, Node, Role
from kpath.flow.lineage import Change
from kpath.model.check import Judge
from kpath.model.verdict import Judgement


class State(StrEnum):
    """What is known of a step after some traffic."""

    SEEN = "seen"
    IMPLIED = "implied"
    """It has no frame here; frames that it calls prove it."""
    PASSED = "passed"
    """It has no frame here; a path that conforms leads through it."""
    NOT_SEEN = "not seen"
    """It could have been seen; no packet took it."""
    INVISIBLE = "invisible"
    """It can never be seen on this kernel."""


@dataclass(frozen=True, slots=True)
class Covered:
    """One step, or one target of a pointer, and how often paths took it (each packet counts)."""

    id: str
    flow: str
    at: int
    """Line in the document."""
    function: str
    branch: bool
    """It is an alternative, or may be left out."""
    via: str
    """The pointer through which it is called, if any."""
    state: State
    count: int
    reason: str = ""
    """Why it is invisible."""


class Coverage:
    """Adds up judgements against one document."""

    def __init__(self, judge: Judge) -> None:
        self.document = judge.document.name
        self._machine = judge.machine
        self._seen: dict[tuple[str, str], int] = {}
        self._implied: dict[str, int] = {}
        self._passed: dict[str, int] = {}

    def add(self, judgement: Judgement, count: int = 1) -> None:
        """Count a path that ``count`` packets took."""
        evidence = judgement.evidence
        for id, function in {(id, name) for step, name in evidence.targets for id in self._with_root(step)}:
            self._seen[id, function] = self._seen.get((id, function), 0) + count
        for counts, steps in ((self._implied, evidence.implied), (self._passed, tuple(evidence.silent))):
            for id in {id for step in steps for id in self._with_root(step)}:
                counts[id] = counts.get(id, 0) + count

    def _with_root(self, step: str) -> tuple[str, ...]:
        """A step and, when it calls a flow, the root of that flow: they are one frame."""
        graph = self._machine.graph
        root = graph.roots.get(graph.nodes[step].step.flow)
        return (step, root) if root else (step,)

    def steps(self) -> Iterator[Covered]:
        """Every frame step of packets' flows, one row for each function that it may be."""
        roles = {flow.name: flow.role for flow in self._machine.document.flows}
        for node in self._machine.graph.frames():
            if roles[node.flow] is not Role.SETUP:
                yield from self._step(node)

    def _step(self, node: Node) -> Iterator[Covered]:
        sight = self._machine.sights.of(node.id)
        step = node.step
        never = self._never(node)
        branch = bool(step.repeat in ("?", "*") or node.guards or step.via) and step.kind is not Kind.ROOT
        for function in step.targets or (step.label,):
            resolution = self._machine.sights.resolution(function)
            names = {symbol.partition(".")[0] for symbol in resolution.symbols} if resolution.visible else set()
            names = (names | {function}) & sight.labels if len(step.targets) > 1 else set(sight.labels)
            count = sum(self._seen.get((node.id, name), 0) for name in names)
            alone = len(step.targets) <= 1
            if count:
                state = State.SEEN
            elif alone and node.id in self._implied:
                state, count = State.IMPLIED, self._implied[node.id]
            elif alone and node.id in self._passed:
                state, count = State.PASSED, self._passed[node.id]
            else:
                state = State.NOT_SEEN if names and not never else State.INVISIBLE
            reason = never or sight.reason or resolution.reason if state is State.INVISIBLE else ""
            yield Covered(node.id, node.flow, step.at, function, branch, step.via, state, count, reason)

    def _never(self, step: Node) -> str:
        """Why the step cannot be seen in its place on this kernel, whatever has frames; empty when it can."""
        sights, graph, node = self._machine.sights, self._machine.graph, step
        while True:
            if sights.excluded(node):
                return "the document has it for other kernels: " + " and ".join(map(str, node.guards))
            unknown = next((guard for guard in node.guards if sights.undecided(guard)), None)
            if unknown is not None:
                return f"whether it stands for this kernel is not known: {unknown}"
            for arrow in sights.arrows(node.id):
                if arrow.what is Change.REMOVED or (arrow.what is Change.REPLACED and node is step):
                    return arrow.why
            if not node.owner:
                return ""
            node = graph.nodes[node.owner]

    def counts(self) -> dict[State, int]:
        """How many steps are in each state."""
        counts = dict.fromkeys(State, 0)
        for covered in self.steps():
            counts[covered.state] += 1
        return counts
