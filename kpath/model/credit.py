"""Which step of the document each frame of a path was: what coverage counts.

A reading says so for every frame that was called by a frame of the document. Where a document is entered in the
middle (under a poll, a timer, a hook's function, another packet's frame), any step of that name would do for the
verdict, and where a step may be unseen several readings are as good; the reading takes the first. Here decide the
frames around (the nearest that the document places must be one that the step stands in), what called the frame by its
return address, what the lineage puts between, and the packet's facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kpath.flow import Kind, Role
from kpath.model.automaton import ANYWHERE, Machine
from kpath.model.seen import Facts, Seen, Tree

_NOWHERE = ""
"""Stands for no frame of the document around: a beginning, or a packet that comes out of a queue."""


class _Place(NamedTuple):
    """Where a frame stands."""

    around: frozenset[str]
    """The bodies of the nearest frame around that the document places; several, where it may be several steps."""
    between: frozenset[str] = frozenset()
    """The functions between that frame and this one."""
    free: bool = False
    """Inside a flow that may stand anywhere, of whose inside a reading does not speak."""


@dataclass(frozen=True, slots=True)
class _Outward:
    """What may be around a step: bodies of frames, and the functions of the steps between that may be unseen."""

    bodies: frozenset[str]
    through: frozenset[str]
    guards: frozenset[tuple[str, bool]]
    """What decides whether the step, or one that is looked through, is taken: a condition, and whether it must hold."""


@dataclass(slots=True)
class _Found:
    """What was credited so far, in the order of time."""

    steps: Mapping[int, str]
    credits: set[tuple[str, str]] = field(default_factory=set)
    bodies: set[str] = field(default_factory=set)


class Creditor:
    """Credits frames to the steps of one document on one kernel."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._outwards: dict[str, _Outward] = {}
        self._named: dict[str, list[str]] = {}
        self._callers: dict[str, list[str]] = {}
        graph = machine.graph
        for node in graph.frames():
            for label in machine.labels(node.id):
                self._named.setdefault(label, []).append(node.id)
            if node.step.flow:
                self._callers.setdefault(node.step.flow, []).append(node.id)
        anywhere = {flow.name for flow in graph.document.flows if flow.role is Role.ANYWHERE}
        self._anywhere = {graph.roots[name] for name in anywhere}
        self._within = {node.id for node in graph.frames() if node.flow in anywhere} - self._anywhere

    def credit(self, tree: Tree, steps: Mapping[int, str]) -> frozenset[tuple[str, str]]:
        """Steps and the functions that they were. ``steps``: ``id()`` of each frame → the step it was read as."""
        found = _Found(steps)
        for root, above in zip(tree.roots, tree.above, strict=True):
            number, placed = next(((i, name) for i, name in enumerate(above) if name in self._named), (0, ""))
            around = frozenset(map(self._machine.body_of, self._named.get(placed, ()))) or frozenset({_NOWHERE})
            self._walk(root, _Place(around, frozenset(above[:number])), found)
        return frozenset(found.credits)

    def _walk(self, seen: Seen, place: _Place, found: _Found) -> None:
        read = found.steps.get(id(seen), "")
        free = place.free or read == ANYWHERE
        if seen.name == "nf_hook_slow":
            place = _Place(frozenset({_NOWHERE}))  # what hook functions call is nobody's to say
            if read and read != ANYWHERE:
                found.credits.add((read, seen.name))
        elif ids := self._choose(read, seen, place, found.bodies):
            found.credits |= {(id, seen.name) for id in ids}
            bodies = frozenset(map(self._machine.body_of, ids))
            found.bodies |= bodies
            place = _Place(bodies, free=free)
        else:
            place = place._replace(between=place.between | {seen.name}, free=free)
        for child in seen.children:
            self._walk(child, place, found)

    def _choose(self, read: str, seen: Seen, place: _Place, before: Iterable[str]) -> list[str]:
        """The step, among those of this name, that stands in a frame around, and the queue that it came out of; none
        when none does."""
        named = self._named.get(seen.name, ())
        # Of a flow that may stand anywhere, when its first function has no frame, what it calls tells.
        unseen = [id for id in named if id in self._within and seen.facts.caller in self._outward(id).through][:1]
        if not read and not place.free:
            return unseen
        # What was read comes before others, and these in the order of the document.
        order = sorted(named, key=lambda id: (-self._evidence(id, seen, place.between), id != read))
        chosen = []
        for body in sorted(place.around):
            fitting = next((id for id in order if body in self._outward(id).bodies and not self._queued(id)), "")
            chosen += [fitting] if fitting else []
        # It came out of a queue that the same packet was put into.
        nodes = self._machine.graph.nodes
        chosen += [id for id in named if self._queued(id) and nodes[id].owner in before]
        if chosen:
            return list(dict.fromkeys(chosen))
        if read == ANYWHERE:
            return [id for id in named if id in self._anywhere][:1] or unseen
        # A beginning, or out of a queue, wherever that was; or the document has the function in one place only.
        return [id for id in (read, *named) if id and _NOWHERE in self._outward(id).bodies][:1] or (
            list(named) if len(named) == 1 else []
        )

    def _queued(self, id: str) -> bool:
        return self._machine.graph.nodes[id].step.kind is Kind.QUEUE

    def _evidence(self, id: str, seen: Seen, between: frozenset[str]) -> int:
        """How much speaks for the step: what called it, what lies between, the packet's facts."""
        outward = self._outward(id)
        through = {function for arrow in self._machine.sights.arrows(id) for function in arrow.through}
        through -= self._machine.sights.successors(id) | self._machine.labels(id)
        points = 4 if seen.facts.caller in outward.through else 0
        points += 2 if through & between else -bool(through)
        for condition, holds in outward.guards:
            known = _known(condition, seen.facts, between)
            if known is not None:
                points += 8 if known == holds else -8
        return points

    def _owners(self, id: str) -> tuple[str, ...]:
        """The functions of the frame that the step stands in."""
        owner = self._machine.graph.nodes[id].owner
        return self._machine.graph.functions(owner) if owner else ()

    def _outward(self, id: str) -> _Outward:
        if id not in self._outwards:
            bodies, through, guards = set[str](), set[str](), set[tuple[str, bool]]()
            self._look(id, bodies, through, guards)
            self._outwards[id] = _Outward(frozenset(bodies), frozenset(through), frozenset(guards))
        return self._outwards[id]

    def _look(self, id: str, bodies: set[str], through: set[str], guards: set[tuple[str, bool]]) -> None:
        """Go outward from a step, through steps that may be unseen."""
        graph = self._machine.graph
        node = graph.nodes[id]
        guards |= {(term.name, g.holds != term.negated) for g in node.guards for term in g.condition.terms[:1]}
        if node.step.kind is Kind.QUEUE or not node.owner:
            bodies.add(_NOWHERE)
            return
        owner = graph.nodes[node.owner]
        body = self._machine.body_of(owner.id)
        if body in bodies:
            return
        bodies.add(body)
        # A flow's root is the frame of each step that calls the flow, so it is those that may be unseen.
        for step in [owner.id, *([] if owner.owner else self._callers.get(owner.flow, ()))]:
            if self._machine.sights.of(step).silent:
                through |= set(graph.functions(step))
                self._look(step, bodies, through, guards)


_SEGMENTERS = frozenset({"xfrm_output_gso", "ip_finish_output_gso"})
"""Between these and a step, the packet has been cut into segments."""


def _known(condition: str, facts: Facts, between: frozenset[str]) -> bool | None:
    """Whether a condition holds, where the frames or a frame's facts tell; None where not."""
    if condition != "GSO":
        return None
    if between & _SEGMENTERS:
        return True
    return facts.gso if facts.header else None
