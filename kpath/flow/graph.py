"""The graph of a document: which step may come after which, inside which frame.

The inside of each frame (of each ROOT, CALL or QUEUE step that has steps nested under it) is a regular
expression over its *positions*: the calls, hand-overs, hooks, macros, assignments and ends in it. Choices,
groups and loops are the operators. :class:`Body` holds what Glushkov's construction says of it: which
positions may be first and last, whether the body may be empty, and which position may follow which. A
position that is a frame is entered and left before the next position begins; its own body is in turn in
``Graph.bodies``, or, when the step says ``@flow``, is the body of that flow's root. The whole is a recursive
transition network: frames are the calls of its subnetworks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from kpath.flow.document import Condition, Document, Kind, Role, Step


class EdgeKind(StrEnum):
    """What an edge of the graph says."""

    CALL = "call"
    """``target`` is executed inside the frame ``source``."""
    NEXT = "next"
    """``target`` may be the next position after ``source``, in the same frame."""
    JUMP = "jump"
    """The inside of ``source`` is the flow whose root is ``target``."""
    QUEUE = "queue"
    """The frame ``source`` hands the packet over; ``target`` runs later, on another stack."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on the way to a step, and whether it must hold (``else`` needs that the others do not)."""

    condition: Condition
    holds: bool = True

    def __str__(self) -> str:
        return str(self.condition) if self.holds else f"not ({self.condition})"


@dataclass(frozen=True, slots=True)
class Node:
    """A step in its place. ``id`` is ``flow/0.2.1``: the flow and the index at each level of nesting."""

    id: str
    flow: str
    step: Step
    owner: str = ""
    """Id of the nearest enclosing frame; empty for a root."""
    guards: tuple[Guard, ...] = ()
    """All conditions between the owner and the step, the step's own last."""


@dataclass(frozen=True, slots=True)
class Edge:
    """From node id to node id. ``guards`` are those of the target."""

    source: str
    target: str
    kind: EdgeKind
    guards: tuple[Guard, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """The inside of a frame; all ids are of positions (see the module)."""

    owner: str
    positions: tuple[str, ...] = ()
    first: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()
    nullable: bool = True
    """Whether the frame may return without any of its positions."""
    follow: dict[str, frozenset[str]] = field(default_factory=dict)

    def after(self, position: str | None) -> frozenset[str]:
        """The positions that may come next; ``None`` stands for the frame's entry."""
        return self.first if position is None else self.follow.get(position, frozenset())

    def may_return(self, position: str | None) -> bool:
        """Whether the frame may return after ``position`` (``None``: at once)."""
        return self.nullable if position is None else position in self.last


@dataclass(slots=True)
class _Part:
    """Glushkov's sets for one piece of a body."""

    first: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()
    nullable: bool = True


class Graph:
    """Nodes, edges and bodies of one document. Build it with :meth:`of`."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes: dict[str, Node] = {}
        self.bodies: dict[str, Body] = {}
        self.roots: dict[str, str] = {}
        """Flow name to the id of its root; SETUP flows have none."""
        edges: list[Edge] = []
        for flow in document.flows:
            for index, step in enumerate(flow.steps):
                self._add(flow.name, f"{flow.name}/{index}", step)
            if flow.role is not Role.SETUP:
                self.roots[flow.name] = f"{flow.name}/0"
        for node in self.nodes.values():
            if node.step.is_frame and node.id.count("/") and not node.step.flow:
                self.bodies[node.id] = _BodyBuilder(self, node).build()
        for node in self.nodes.values():
            edges += self._edges(node)
        self.edges = tuple(edges)
        self._out: dict[str, list[Edge]] = defaultdict(list)
        self._in: dict[str, list[Edge]] = defaultdict(list)
        for edge in edges:
            self._out[edge.source].append(edge)
            self._in[edge.target].append(edge)

    @classmethod
    def of(cls, document: Document) -> Graph:
        """The graph of a document; every ``@flow`` in it must exist (a checked document's do)."""
        return cls(document)

    def _add(
        self,
        flow: str,
        id: str,
        step: Step,
        owner: str = "",
        guards: tuple[Guard, ...] = (),
        alternative: bool = False,
    ) -> None:
        self.nodes[id] = Node(id, flow, step, owner, guards)
        inner_owner, inner_guards = (id, ()) if step.is_frame else (owner, guards)
        if step.kind is Kind.HOOK and step.condition is not None and not alternative:
            # Whether the hook is asked; its continuation goes on in any case.
            inner_guards = guards[:-1]
        for index, child in enumerate(step.children):
            own: tuple[Guard, ...] = ()
            if step.kind is Kind.CHOICE:
                if child.otherwise:
                    others = [other.guard for other in step.children if other is not child]
                    own = tuple(Guard(condition, False) for condition in others if condition is not None)
                elif child.guard is not None:
                    own = (Guard(child.guard),)
            elif child.condition is not None:
                own = (Guard(child.condition),)
            alternative = step.kind is Kind.CHOICE
            self._add(flow, f"{id}.{index}", child, inner_owner, (*inner_guards, *own), alternative)

    def _edges(self, node: Node) -> Iterator[Edge]:
        if node.step.flow in self.roots:
            yield Edge(node.id, self.roots[node.step.flow], EdgeKind.JUMP)
        body = self.bodies.get(node.id)
        if body is None:
            return
        for position in body.positions:
            target = self.nodes[position]
            kind = EdgeKind.QUEUE if target.step.kind is Kind.QUEUE else EdgeKind.CALL
            yield Edge(node.id, position, kind, target.guards)
        for position in body.positions:
            for follower in body.positions:
                if follower in body.follow.get(position, ()):
                    yield Edge(position, follower, EdgeKind.NEXT, self.nodes[follower].guards)

    def edges_from(self, id: str, kind: EdgeKind | None = None) -> list[Edge]:
        """Edges that leave a node, of one kind or of all."""
        return [edge for edge in self._out[id] if kind is None or edge.kind is kind]

    def edges_to(self, id: str, kind: EdgeKind | None = None) -> list[Edge]:
        """Edges that reach a node, of one kind or of all."""
        return [edge for edge in self._in[id] if kind is None or edge.kind is kind]

    def body(self, id: str) -> Body:
        """The inside of a frame, wherever it is written (follows ``@flow``); empty when nothing is said of
        it."""
        flow = self.nodes[id].step.flow
        return self.bodies.get(self.roots.get(flow, id), Body(id))

    def functions(self, id: str) -> tuple[str, ...]:
        """The functions that a frame may be; for a call of a flow those with which the flow begins."""
        step = self.nodes[id].step
        root = self.roots.get(step.flow)
        names = (*step.targets, *self.nodes[root].step.targets) if root else step.targets
        return tuple(dict.fromkeys(names))

    def frames(self) -> Iterator[Node]:
        """All nodes that are activations of a function, in the order of the file."""
        return (node for node in self.nodes.values() if node.step.is_frame)

    def named(self, function: str) -> list[Node]:
        """The frames that may be this function."""
        return [node for node in self.frames() if function in self.functions(node.id)]

    def entries(self) -> list[Node]:
        """The roots of the flows with which a traversal may begin."""
        return [self.nodes[self.roots[flow.name]] for flow in self.document.flows if flow.role is Role.ENTRY]

    def resumptions(self) -> list[Node]:
        """The frames at which a packet that was handed to a queue goes on (each QUEUE step)."""
        return [node for node in self.frames() if node.step.kind is Kind.QUEUE]


class _BodyBuilder:
    """Glushkov's construction over the steps nested under one frame."""

    def __init__(self, graph: Graph, owner: Node) -> None:
        self._graph = graph
        self._owner = owner
        self._positions: list[str] = []
        self._follow: dict[str, frozenset[str]] = {}

    def build(self) -> Body:
        part = self._sequence(self._owner.id)
        return Body(self._owner.id, tuple(self._positions), part.first, part.last, part.nullable, dict(self._follow))

    def _link(self, sources: frozenset[str], targets: frozenset[str]) -> None:
        for source in sources:
            self._follow[source] = self._follow.get(source, frozenset()) | targets

    def _children(self, id: str) -> Iterator[str]:
        return (f"{id}.{index}" for index in range(len(self._graph.nodes[id].step.children)))

    def _sequence(self, id: str, before: _Part | None = None) -> _Part:
        whole = before or _Part()
        for child in self._children(id):
            part = self._piece(child)
            self._link(whole.last, part.first)
            whole = _Part(
                whole.first | (part.first if whole.nullable else frozenset()),
                part.last | (whole.last if part.nullable else frozenset()),
                whole.nullable and part.nullable,
            )
        return whole

    def _piece(self, id: str, alternative: bool = False) -> _Part:
        step = self._graph.nodes[id].step
        match step.kind:
            case Kind.REGISTER | Kind.NEVER:
                return _Part()
            case Kind.CHOICE:
                parts = [self._piece(child, alternative=True) for child in self._children(id)]
                part = _Part(
                    frozenset().union(*(one.first for one in parts)),
                    frozenset().union(*(one.last for one in parts)),
                    any(one.nullable for one in parts),
                )
            case Kind.GROUP | Kind.LOOP:
                part = self._sequence(id)
            case _:
                self._positions.append(id)
                part = _Part(frozenset({id}), frozenset({id}), False)
                if step.kind is Kind.HOOK and step.children and not alternative:
                    part.nullable = step.condition is not None or step.repeat == "?"
                    return self._sequence(id, part)
                if step.kind in (Kind.HOOK, Kind.MACRO):
                    part = self._sequence(id, part)
        if step.repeat in ("*", "+") or step.kind is Kind.LOOP:
            self._link(part.last, part.first)
        if step.repeat in ("*", "?") or (step.kind is Kind.LOOP and step.repeat != "+"):
            part.nullable = True
        # The condition of an alternative says which one; elsewhere it says whether.
        if step.condition is not None and not alternative:
            part.nullable = True
        return part
