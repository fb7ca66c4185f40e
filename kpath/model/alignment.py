"""The cheapest alignment of a tree of frames with a document: what is wrong, and where first.

Moves: a frame is read as a step (free); a frame is *unexpected* (cost 1; what it called is read in its place), or it is
with all that it called (1 + log2 of their number); a step is *missing* (cost 1), with all that is inside it, or alone,
when what it would have called is there. Silent steps and
transparent frames are free, as in :mod:`kpath.model.automaton`. Dijkstra's algorithm over (configuration, frames
left) finds the cheapest for the children of one frame; a frame that is read as a step costs what its own children
cost.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from kpath.model.automaton import ANY, Config, Edge, Machine
from kpath.model.scope import Standing
from kpath.model.seen import Seen, Tree

LIMITS = (1, 2, 4, 8)
"""Costs up to which an alignment is looked for, one after the other: most of what goes wrong is one move."""

BUDGET = 20_000
"""States looked at before the search is given up. A path that is wrong in many places is not worth more."""


class What(StrEnum):
    """What an alignment says of one frame or step."""

    UNEXPECTED = "unexpected"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """One move that costs. ``step`` is empty for an unexpected frame; ``seen`` is the frame itself or, for a missing
    step, the first frame after it (None at the end); ``inside`` is the frame around both, None at the top; ``at``
    the configuration, which says what the document expects there."""

    what: What
    step: str
    seen: Seen | None
    inside: Seen | None
    at: Config
    alone: bool = False
    """Missing: only the frame, not what it would have called."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The cost and the moves that cost, in the order of time."""

    cost: int
    moves: tuple[Move, ...] = ()


Rest = tuple[Seen, ...]
State = tuple[Config, Rest, bool]


class Aligner:
    """Alignments with the document of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[tuple[str, int], tuple[Alignment, bool]] = {}
        self._limit = 0
        self._left = 0

    def tree(self, tree: Tree) -> Alignment | None:
        """The alignment of a whole traversal; None when it is beyond the limits, or takes too long to find."""
        self._machine.forget()
        self._left = BUDGET
        cost, moves = 0, list[Move]()
        for index, root in enumerate(tree.roots):
            found = self._root(self._machine.begin(tree, index), root)
            if found is None:
                return None
            cost += found.cost
            moves += found.moves
        return Alignment(cost, tuple(moves))

    def _root(self, body: str, root: Seen) -> Alignment | None:
        for self._limit in LIMITS:
            self._known.clear()
            found, _ = self._children(body, (root,), None, lenient=True)
            if found.cost <= self._limit and self._left > 0:
                return found
        return None

    def inside(self, id: str, seen: Seen) -> tuple[Alignment, bool]:
        """The alignment of what ``seen`` called with the inside of step ``id``; whether the packet may end there."""
        body = self._machine.body_of(id) if id != ANY else ANY
        key = (body, hash(seen))
        if key not in self._known:
            self._known[key] = self._children(
                body, tuple(seen.children), seen, lenient=not seen.complete or body == ANY
            )
        return self._known[key]

    def _children(self, body: str, frames: Rest, around: Seen | None, lenient: bool) -> tuple[Alignment, bool]:
        """Dijkstra's algorithm; ties go to the state found first, so to the order of the document."""
        start: State = (((body, None),), frames, around is not None and around.ends)
        best: dict[State, int] = {start: 0}
        back: dict[State, tuple[State, tuple[Move, ...]]] = {}
        heap: list[tuple[int, int, int, State]] = [(0, len(frames), 0, start)]
        counter = 0
        while heap:
            cost, _, _, state = heapq.heappop(heap)
            if cost > best[state]:
                continue
            self._left -= 1
            if self._left <= 0:
                break
            config, rest, ended = state
            if not rest and (ended or lenient or self._machine.closure(config).accepting):
                return Alignment(cost, _path(back, state)), ended or self._machine.closure(config).ends
            for price, moves, after in self._moves(state, body, around, lenient):
                total = cost + price
                if total <= self._limit and total < best.get(after, self._limit + 1):
                    best[after] = total
                    back[after] = (state, moves)
                    counter += 1
                    heapq.heappush(heap, (total, len(after[1]), counter, after))
        return Alignment(self._limit + 1), True

    def _moves(
        self, state: State, body: str, around: Seen | None, lenient: bool
    ) -> Iterator[tuple[int, tuple[Move, ...], State]]:
        machine = self._machine
        config, rest, ended = state
        closure = machine.closure(config)
        head = rest[0] if rest else None
        fitted = False
        if head is not None:
            for edge in closure.by_name.get(head.name, ()):
                if machine.fits(edge.id, head):
                    fitted = True
                    found, ends = self._read(edge, head)
                    yield found.cost, found.moves, (edge.target, rest[1:], ended or ends)
            if machine.anywhere(head):
                yield 0, (), (config, rest[1:], ended)
            if fitted and around is None:
                return  # a beginning that fits is not put in question
            if machine.transparent(head, body):
                if machine.standing(head) is Standing.OUTSIDE:
                    found, _ = self.inside(ANY, head)
                    yield found.cost, found.moves, (config, rest[1:], ended)
                else:
                    yield 0, (), (config, (*head.children, *rest[1:]), ended)
            else:
                move = Move(What.UNEXPECTED, "", head, around, config)
                yield 1, (move,), (config, (*head.children, *rest[1:]), ended)
                if head.children:
                    yield whole(head), (move,), (config, rest[1:], ended or head.ends)
        if body == ANY:
            return
        for edge in closure.edges:
            if edge.hook:
                continue
            missing = Move(What.MISSING, edge.id, head, around, config)
            yield (0, (), (edge.target, rest, ended)) if lenient else (1, (missing,), (edge.target, rest, ended))
            if rest:
                alone = Move(What.MISSING, edge.id, head, around, config, alone=True)
                yield 1, (alone,), ((*edge.target, (machine.body_of(edge.id), None)), rest, ended)

    def _read(self, edge: Edge, seen: Seen) -> tuple[Alignment, bool]:
        if edge.hook:
            return self.inside(ANY, seen)[0], seen.ends
        return self.inside(edge.id, seen)


def whole(seen: Seen) -> int:
    """What it costs to call a frame and all that it called unexpected."""
    return 1 + sum(1 for _ in seen.walk()).bit_length()


def _path(back: dict[State, tuple[State, tuple[Move, ...]]], state: State) -> tuple[Move, ...]:
    parts: list[tuple[Move, ...]] = []
    while state in back:
        state, moves = back[state]
        parts.append(moves)
    return tuple(move for moves in reversed(parts) for move in moves)
