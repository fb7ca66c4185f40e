"""The automaton: does a tree of frames follow a document?

A document is a set of regular expressions, one for the inside of each frame (``kpath.flow.Graph``), that call each
other: a recursive transition network. What is read is a tree, so most calls are matched by nesting: a frame's
children must be a word of its body, and each child's children a word of the child's. Only steps that have no frame on
this kernel need a stack: their bodies are read in the frame around them. A *configuration* is that stack: the body
of the frame at hand, with the step reached, then those of the silent steps that are open. A set of configurations is
carried from child to child; what they allow next is the legal frontier.

A frame that the document does not place is transparent: its children are read as if its parent had called them. A
frame around the packet that worked for other packets too (``Seen.complete`` is false) may lack any step, but shows
those that it has in order. After the packet's end (dropped, kept, merged) the frames around may return early: any
function may drop a packet, and documents do not say so at each line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kpath.flow import Body, Document, Graph, Kind, Lineage, Role
from kpath.flow.lineage import Change
from kpath.model.scope import Scope, Standing
from kpath.model.seen import NO_HOOK, Seen, Tree
from kpath.model.sight import HOOKS, Sights
from kpath.model.view import CaptureView

TOP, ANY, ANYWHERE = "<top>", "<any>", "<anywhere>"
"""Bodies that no document has: where a traversal begins; where a document is entered in the middle; the flows whose
frames may stand in any frame."""

DEPTH = 3
"""How often one body may be open in a stack of silent steps. A tree that is rejected after this limit was met is not
judged."""

Config = tuple[tuple[str, str | None], ...]
"""``(body, step reached)`` from the frame at hand to the innermost silent step; None is the body's beginning."""


class Edge(NamedTuple):
    """A frame that may come next. ``hook``: it is nf_hook_slow at that hook; ``silent``: steps passed before it."""

    id: str
    target: Config
    hook: bool
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Closure:
    """What a configuration allows without another frame. ``out``: silent steps passed before the frame returns."""

    edges: tuple[Edge, ...]
    accepting: bool
    out: tuple[str, ...] = ()
    ends: bool = False
    """An ``end`` may be passed in silence: the frames around may then return early."""
    by_name: dict[str, tuple[Edge, ...]] = field(default_factory=dict)
    """The edges by the name of the frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """One step of a reading, linked to the one before: ``seen`` was read as ``id`` ("" when transparent)."""

    before: Link | None
    id: str
    seen: Seen | None
    silent: tuple[str, ...] = ()
    inside: Link | None = None
    ended: bool = False
    """Here, inside or before, the document lets the packet end."""


Frontier = dict[Config, Link | None]


class Machine:
    """The automaton of one document on one kernel."""

    def __init__(self, document: Document, lineage: Lineage, view: CaptureView, scope: Scope | None = None) -> None:
        self.document = document
        self.graph = Graph.of(document)
        self.lineage = lineage
        self.sights = Sights(self.graph, lineage, view)
        self.scope = scope or Scope(document, lineage)
        self.limited = False
        """Whether DEPTH was met since this was last cleared."""
        self._bodies: dict[str, Body] = dict(self.graph.bodies)
        frames = [node.id for node in self.graph.frames() if node.flow in self.graph.roots]
        entries = [node.id for node in self.graph.entries()]
        resumed = [node.id for node in self.graph.resumptions()]
        anywhere = [self.graph.roots[flow.name] for flow in document.flows if flow.role is Role.ANYWHERE]
        self._bodies[TOP] = _loop(TOP, [*entries, *resumed])
        hooks = [node.id for node in self.graph.nodes.values() if node.step.kind is Kind.HOOK]
        self._bodies[ANY] = _loop(ANY, [*frames, *hooks])
        self._bodies[ANYWHERE] = _loop(ANYWHERE, anywhere)
        self._hooks = {HOOKS[n.step.name] for n in self.graph.nodes.values() if n.step.name in HOOKS}
        self._ranks = {id: rank for rank, id in enumerate(self.graph.nodes)}
        self._closures: dict[Config, Closure] = {}
        self._between: dict[str, frozenset[str]] = {}
        self._matches: dict[tuple[str, int], tuple[bool, Link | None]] = {}

    # ---- bodies ----

    def body_of(self, id: str) -> str:
        """The id of the body of a frame step (follows ``@flow``)."""
        return self.graph.roots.get(self.graph.nodes[id].step.flow, id)

    def body(self, id: str) -> Body:
        """A body by its id; empty when the document says nothing of it."""
        return self._bodies.get(id) or Body(id)

    def labels(self, id: str) -> frozenset[str]:
        """Functions whose frames are this step here; nf_hook_slow for a hook."""
        if self.graph.nodes[id].step.kind is Kind.HOOK:
            return frozenset({"nf_hook_slow"})
        return self.sights.of(id).labels

    def between(self, body: str) -> frozenset[str]:
        """Documented functions that are transparent inside this body: the lineage puts them between its arrows."""
        if body in (TOP, ANY, ANYWHERE):
            return frozenset()
        if body not in self._between:
            names: set[str] = set()
            bodies, waiting = {body}, [body]
            while waiting:
                owner = waiting.pop()
                names |= self.sights.successors(owner)
                for position in self.body(owner).positions:
                    if not self.graph.nodes[position].step.is_frame:
                        continue
                    for arrow in self.sights.arrows(position):
                        names |= set(arrow.through)
                    inner = self.body_of(position)
                    if self.sights.of(position).silent and inner not in bodies:
                        bodies.add(inner)
                        waiting.append(inner)
            self._between[body] = frozenset(names)
        return self._between[body]

    # ---- configurations ----

    def moves(self, config: Config) -> Iterator[tuple[str, str, Config]]:
        """One move each: ``("silent" | "frame" | "hook" | "return", step, configuration after it)``."""
        body_id, position = config[-1]
        body = self.body(body_id)
        # In the document's order: of several readings the first is taken, and that must not depend on chance.
        following = body.after(position) | self._again(position)
        for id in sorted(following, key=self._ranks.__getitem__):
            node = self.graph.nodes[id]
            base: Config = (*config[:-1], (body_id, id))
            if self.sights.excluded(node):
                continue
            if node.step.kind is Kind.HOOK:
                yield "hook", id, base
                yield "silent", id, base  # nothing is registered there, or it is not asked
            elif node.step.kind is Kind.CALL or (body_id in (TOP, ANY, ANYWHERE) and node.step.is_frame):
                yield from self._call(id, base, body_id)
            else:
                yield "silent", id, base
        if len(config) > 1 and body.may_return(position):
            yield "return", body_id, config[:-1]

    def _again(self, position: str | None) -> frozenset[str]:
        """The step itself, where it happens several times in a row now."""
        if position is None or not self.graph.nodes[position].step.is_frame:
            return frozenset()
        repeated = any(arrow.what is Change.REPEATED for arrow in self.sights.arrows(position))
        return frozenset({position} if repeated else ())

    def _call(self, id: str, base: Config, within: str) -> Iterator[tuple[str, str, Config]]:
        sight = self.sights.of(id)
        if sight.labels:
            yield "frame", id, base
        if sight.gone:
            yield "silent", id, base
        if sight.silent and within != ANY:
            inner = self.body_of(id)
            if sum(owner == inner for owner, _ in base) < DEPTH:
                yield "silent", id, (*base, (inner, None))
            else:
                self.limited = True

    def closure(self, config: Config) -> Closure:
        """All that is allowed next."""
        known = self._closures.get(config)
        if known is not None:
            return known
        edges: dict[tuple[str, Config], Edge] = {}
        accepting, ends = False, False
        out: tuple[str, ...] = ()
        paths: dict[Config, tuple[str, ...]] = {config: ()}
        waiting = [config]
        for at in waiting:  # grows while it is read
            passed = paths[at]
            if len(at) == 1 and not accepting and self.body(at[0][0]).may_return(at[0][1]):
                accepting, out = True, passed
            for what, id, target in self.moves(at):
                if what in ("frame", "hook"):
                    edges.setdefault((id, target), Edge(id, target, what == "hook", passed))
                elif target not in paths:
                    paths[target] = (*passed, id) if what == "silent" else passed
                    ends = ends or (what == "silent" and self._final(id))
                    waiting.append(target)
        by_name: dict[str, tuple[Edge, ...]] = {}
        for edge in edges.values():
            for label in self.labels(edge.id):
                by_name[label] = (*by_name.get(label, ()), edge)
        closure = Closure(tuple(edges.values()), accepting, out, ends, by_name)
        self._closures[config] = closure
        return closure

    def _final(self, id: str) -> bool:
        step = self.graph.nodes[id].step
        return step.kind is Kind.END and step.name != "sent"

    def expected(self, frontier: Iterable[Config]) -> list[str]:
        """Ids of the steps that may come next, in the order of the document."""
        ids = {edge.id for config in frontier for edge in self.closure(config).edges}
        return [id for id in self.graph.nodes if id in ids]

    # ---- reading a tree ----

    def begin(self, seen_tree: Tree, index: int) -> str:
        """The body in which root number ``index`` is read."""
        return ANY if seen_tree.cut[index] or self._reinjected(seen_tree, index) else TOP

    @staticmethod
    def _reinjected(tree: Tree, index: int) -> bool:
        """Did a hook keep the packet before this root? Then it goes on in the middle."""
        return any(seen.facts.verdict == 0 for root in tree.roots[:index] for seen in root.walk())

    def reads(self, tree: Tree) -> Link | None:
        """A reading of the whole tree, None when it does not follow the document (or no frame of it is a step)."""
        self.forget()
        last = Link(None, "", None)
        for index, root in enumerate(tree.roots):
            inside = self.reads_root(self.begin(tree, index), root)
            if inside is None:
                return None
            last = Link(last, TOP, None, (), inside)
        return last

    def forget(self) -> None:
        """Forget what is known of the frames of a tree; needed before another tree is read."""
        self._matches.clear()
        self.limited = False

    def reads_root(self, body: str, root: Seen) -> Link | None:
        """A reading of one root in TOP or ANY."""
        after = self._advance({((body, None),): None}, root, body, lenient=True)
        return next(iter(after.values())) if after else None

    def match(self, id: str, seen: Seen) -> tuple[bool, Link | None]:
        """Whether the inside of ``seen`` is a word of the body of step ``id``, and how."""
        body = self.body_of(id)
        key = (body, id_of(seen))
        if key not in self._matches:
            self._matches[key] = self._match(body, seen)
        return self._matches[key]

    def stops(self, body: str, seen: Seen) -> tuple[Seen, Config] | None:
        """The first child with which the inside of ``seen`` is no longer one of the body, and where it then is."""
        frontier: Frontier = {((body, None),): None}
        for child in seen.children:
            after = self._advance(frontier, child, body, not seen.complete)
            if not after:
                return child, next(iter(frontier))
            frontier = after
        return None

    def _match(self, body: str, seen: Seen) -> tuple[bool, Link | None]:
        frontier: Frontier = {((body, None),): None}
        lenient = not seen.complete
        for child in seen.children:
            frontier = self._advance(frontier, child, body, lenient)
            if not frontier:
                return False, None
        early: Link | None = None
        for config, link in frontier.items():
            closure = self.closure(config)
            ended = closure.ends or (link is not None and link.ended)
            if closure.accepting:
                return True, Link(link, "", None, closure.out, None, ended)
            if ended or seen.ends or lenient:
                early = early or Link(link, "", None, (), None, ended)
        return early is not None, early

    def _advance(self, frontier: Frontier, seen: Seen, body: str, lenient: bool) -> Frontier:
        """The frontier after one more child."""
        after: Frontier = {}
        if self.anywhere(seen):
            after.update({config: _after(link, ANYWHERE, seen) for config, link in frontier.items()})
        loosen = lenient and body not in (TOP, ANY)  # these are loops, where nothing need be passed
        for config, link in self._loosened(frontier).items() if loosen else frontier.items():
            for edge in self.closure(config).by_name.get(seen.name, ()):
                if edge.target in after or not self.fits(edge.id, seen):
                    continue
                ok, inside = self._inside_hook(seen) if edge.hook else self.match(edge.id, seen)
                if ok:
                    ended = bool((link and link.ended) or (inside and inside.ended))
                    after[edge.target] = Link(link, edge.id, seen, edge.silent, inside, ended)
        if self.transparent(seen, body):
            for config, link in self._through(frontier, seen, body, lenient).items():
                after.setdefault(config, link)
        return after

    def _through(self, frontier: Frontier, seen: Seen, body: str, lenient: bool) -> Frontier:
        """A transparent frame: its children are read in its place."""
        if self.standing(seen) is Standing.OUTSIDE:
            inside: Frontier = {((ANY, None),): None}
            for child in seen.children:
                inside = self._advance(inside, child, ANY, lenient=True)
                if not inside:
                    return {}
            found = next(iter(inside.values()))
            # Where the packet is known to go on from there, the frames around may be done with it.
            left = self.scope.names(seen.name) and any(
                i is not seen and i.life == seen.life and i.name in self.sights.labels for i in seen.walk()
            )
            return {
                config: _after(link, "", seen, found, ended=seen.own and left) for config, link in frontier.items()
            }
        current: Frontier = {config: _after(link, "", seen) for config, link in frontier.items()}
        for child in seen.children:
            current = self._advance(current, child, body, lenient or not seen.complete)
        if seen.name in self.between(body) and seen.pure:
            # It stands for the documented step, and found nothing to do.
            for config, link in frontier.items():
                for edge in self.closure(config).edges:
                    if not edge.hook and any(seen.name in arrow.through for arrow in self.sights.arrows(edge.id)):
                        current.setdefault(edge.target, _after(link, "", seen))
        return current

    def _loosened(self, frontier: Frontier) -> Frontier:
        """The frontier of a frame of which other packets' part is not shown: any step may have been passed."""
        loose: Frontier = dict(frontier)
        waiting = list(frontier)
        for config in waiting:
            for edge in self.closure(config).edges:
                if edge.target not in loose:
                    loose[edge.target] = loose[config]
                    waiting.append(edge.target)
        return loose

    def anywhere(self, seen: Seen) -> bool:
        """Whether the frame, with its inside, is a flow that may stand in any frame."""
        edges = self.closure(((ANYWHERE, None),)).by_name.get(seen.name, ())
        return any(self.fits(edge.id, seen) and self.match(edge.id, seen)[0] for edge in edges if not edge.hook)

    def _inside_hook(self, seen: Seen) -> tuple[bool, Link | None]:
        """What hook functions call is nobody's to say: any part of the document may stand there."""
        inside: Frontier = {((ANY, None),): None}
        for child in seen.children:
            inside = self._advance(inside, child, ANY, lenient=True)
            if not inside:
                return False, None
        return True, next(iter(inside.values()))

    # ---- one frame ----

    def fits(self, id: str, seen: Seen) -> bool:
        """Whether the frame by itself could be this step."""
        step = self.graph.nodes[id].step
        if step.kind is Kind.HOOK:
            return seen.name == "nf_hook_slow" and HOOKS.get(step.name) in ((seen.facts.pf, seen.facts.hook), None)
        return seen.name in self.sights.of(id).labels

    def standing(self, seen: Seen) -> Standing:
        """How a frame that is no step here stands to the document."""
        return self.scope.of(seen.name).standing

    def transparent(self, seen: Seen, body: str) -> bool:
        """Whether the frame need not be a step of the document in this place."""
        if seen.name == "nf_hook_slow":
            return seen.facts.hook == NO_HOOK or (seen.facts.pf, seen.facts.hook) not in self._hooks
        if seen.name in self.between(body):
            return True
        return seen.name not in self.sights.labels and self.standing(seen) is not Standing.UNEXPLAINED


def _after(link: Link | None, id: str, seen: Seen, inside: Link | None = None, ended: bool = False) -> Link:
    """The link for a frame that is no step of the frame around it."""
    return Link(link, id, seen, (), inside, ended or (link is not None and link.ended))


def id_of(seen: Seen) -> int:
    """A key for one frame of the tree at hand."""
    return id(seen)


def _loop(owner: str, ids: list[str]) -> Body:
    """A body that is any number of these steps in any order."""
    unique = tuple(dict.fromkeys(ids))
    every = frozenset(unique)
    return Body(owner, unique, every, every, True, dict.fromkeys(unique, every))


def steps_of(link: Link | None) -> dict[int, str]:
    """``id()`` of each frame in a reading → the step it was read as ("" for none, or ANYWHERE)."""
    found: dict[int, str] = {}
    stack = [link] if link else []
    while stack:
        at = stack.pop()
        stack += [other for other in (at.before, at.inside) if other is not None]
        if at.seen is not None and (at.id or id(at.seen) not in found):
            found[id(at.seen)] = at.id
    return found


@dataclass(slots=True)
class Reading:
    """What a reading says of the document: steps that had frames, and steps that were passed in silence."""

    witnessed: dict[str, int] = field(default_factory=dict)
    """Step id → how often."""
    silent: dict[str, int] = field(default_factory=dict)
    transparent: list[Seen] = field(default_factory=list)
    steps: dict[int, str] = field(default_factory=dict)
    """``id()`` of each frame → the step it was read as ("" for none, or ANYWHERE)."""

    def add(self, other: Reading) -> None:
        """Take in another reading."""
        for mine, more in ((self.witnessed, other.witnessed), (self.silent, other.silent)):
            for id, count in more.items():
                mine[id] = mine.get(id, 0) + count
        self.transparent += other.transparent
        self.steps |= other.steps

    @classmethod
    def of(cls, link: Link | None) -> Reading:
        """Collected from the links of a reading."""
        reading = cls(steps=steps_of(link))
        stack = [link] if link else []
        while stack:
            at = stack.pop()
            if at.before is not None:
                stack.append(at.before)
            if at.inside is not None:
                stack.append(at.inside)
            for id in at.silent:
                reading.silent[id] = reading.silent.get(id, 0) + 1
            if at.seen is None or at.id == ANYWHERE:
                continue
            if at.id:
                reading.witnessed[at.id] = reading.witnessed.get(at.id, 0) + 1
            else:
                reading.transparent.append(at.seen)
        return reading
