"""The automaton and the alignment against slow and obvious ones, on small documents and all small trees."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpath.flow import Document, Kind, Lineage, Step, parse
from kpath.model.alignment import Aligner, whole
from kpath.model.automaton import Machine
from kpath.model.scope import Scope
from kpath.model.seen import Seen, Tree
from kpath.model.view import CaptureView

Forest = tuple["Shape", ...]
Shape = tuple[str, Forest]
"""A frame's name and what it called."""

ALPHABET = "abcd"


def document(body: str) -> Document:
    return parse(
        "document linux-6\n\nflow r entry\n  r\n" + "\n".join("    " + line for line in body.splitlines()), "t.flow"
    )


BODIES = {
    "sequence": "-> a\n-> b",
    "optional": "-> a ?\n-> b",
    "loop": "each thing\n  -> a\n  -> b ?",
    "choice": "by what\n  -> a when GSO\n  -> b when SYN\n  -> c else",
    "nesting": "-> a\n  -> b\n  -> c *\n-> d ?",
    "silent": "-> hidden\n  -> a\n  -> b ?\n-> c",
    "silent in a loop": "each thing +\n  -> hidden ?\n    -> a\n  -> b",
    "nested silent": "-> a\n  -> hidden\n    -> hidden2 *\n      -> b\n-> c",
}


def machine(body: str) -> Machine:
    view = CaptureView.of_names(["r", *ALPHABET])
    lineage = Lineage([])
    made = document(body)
    return Machine(made, lineage, view, Scope(made, lineage, []))


def seen(shape: Shape) -> Seen:
    return Seen(shape[0], children=[seen(child) for child in shape[1]])


def tree(shape: Shape) -> Tree:
    return Tree([seen(shape)], [False])


# ---- the slow and obvious language ----


def words(steps: tuple[Step, ...], size: int) -> set[Forest]:
    """Every forest of at most ``size`` frames that a sequence of steps allows: straight from docs/flow-notation.md."""
    found: set[Forest] = {()}
    for step in steps:
        found = {(*left, *right) for left in found for right in one(step, size) if weight(left) + weight(right) <= size}
    return found


def one(step: Step, size: int, alternative: bool = False) -> set[Forest]:
    match step.kind:
        case Kind.CHOICE:
            found = set[Forest]().union(*(one(child, size, True) for child in step.children))
        case Kind.GROUP | Kind.LOOP:
            found = words(step.children, size)
        case _ if step.name.startswith("hidden"):
            found = words(step.children, size)
        case _:
            inside = words(step.children, size - 1) if size else set[Forest]()
            found = {((step.name, forest),) for forest in inside}
    many = step.repeat in ("*", "+") or step.kind is Kind.LOOP
    if many:
        while True:
            more = {(*x, *y) for x in found for y in found if weight(x) + weight(y) <= size} | found
            if more == found:
                break
            found = more
    optional = step.repeat in ("?", "*") or (step.kind is Kind.LOOP and step.repeat != "+")
    if optional or (step.condition is not None and not alternative):
        found = found | {()}
    return {forest for forest in found if weight(forest) <= size}


def weight(forest: Forest) -> int:
    return sum(1 + weight(inside) for _, inside in forest)


def forests(size: int, depth: int = 3) -> Iterator[Forest]:
    """Every forest over the alphabet with exactly ``size`` frames."""
    if size == 0:
        yield ()
        return
    for first in range(1, size + 1):
        inner = forests(first - 1, depth - 1) if depth > 1 or first == 1 else iter(())
        for inside in inner:
            for rest in forests(size - first, depth):
                for name in ALPHABET:
                    yield ((name, inside), *rest)


SIZE = 4


@pytest.mark.parametrize("name", BODIES)
def test_the_automaton_reads_exactly_the_documents_language(name: str) -> None:
    reader = machine(BODIES[name])
    allowed = words(document(BODIES[name]).flow("r").root.children, SIZE)
    assert allowed, "nothing to test"
    for size in range(SIZE + 1):
        for forest in forests(size):
            read = reader.reads(tree(("r", forest))) is not None
            assert read == (forest in allowed), forest


# ---- the slow and obvious alignment ----


@cache
def distance(frames: Forest, model: Forest) -> int:
    """The cheapest way from what was seen to one word of the document, by trying everything."""
    best: list[int] = []
    if not frames and not model:
        return 0
    if frames:
        (name, inside), rest = frames[0], frames[1:]
        best.append(1 + distance((*inside, *rest), model))
        if inside:
            best.append(whole(seen(frames[0])) + distance(rest, model))
    if model:
        (expected, within), later = model[0], model[1:]
        best.append(1 + distance(frames, later))
        best.append(1 + distance(frames, (*within, *later)))
    if frames and model and name == expected:
        best.append(distance(inside, within) + distance(rest, later))
    return min(best)


@pytest.mark.parametrize("name", BODIES)
def test_no_alignment_is_cheaper(name: str) -> None:
    reader = machine(BODIES[name])
    model = words(document(BODIES[name]).flow("r").root.children, SIZE + 2)
    aligner = Aligner(reader)
    for forest in itertools.chain.from_iterable(forests(size) for size in range(4)):
        alignment = aligner.tree(tree(("r", forest)))
        expected = min(distance(forest, word) for word in model)
        assert alignment is not None
        assert alignment.cost == expected, forest
        assert len(alignment.moves) <= alignment.cost


@st.composite
def shapes(draw: st.DrawFn, depth: int = 3) -> Shape:
    inside: list[Shape] = draw(st.lists(shapes(depth - 1), max_size=3)) if depth else []
    return draw(st.sampled_from(ALPHABET)), tuple(inside)


@given(st.lists(shapes(2), max_size=4), st.sampled_from(sorted(BODIES)))
@settings(max_examples=200, deadline=None)
def test_cost_nothing_means_conforming(forest: list[Shape], name: str) -> None:
    reader = machine(BODIES[name])
    one_tree = tree(("r", tuple(forest)))
    alignment = Aligner(reader).tree(one_tree)
    assert (alignment is not None and alignment.cost == 0) == (reader.reads(one_tree) is not None)


def test_the_frontier_says_what_may_come() -> None:
    reader = machine(BODIES["nesting"])
    names = [reader.graph.nodes[id].step.name for id in reader.expected([(("r/0", None),)])]
    assert names == ["a"]
    after = reader.closure((("r/0", None),)).edges[0].target
    assert [reader.graph.nodes[id].step.name for id in reader.expected([after])] == ["d"]
    assert reader.closure(after).accepting
