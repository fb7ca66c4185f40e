"""Whatever a document says, its text says, and the other way round."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpath.flow import BUILT_IN, Graph, load, parse, unparse
from kpath.flow.document import (
    ENDS,
    Condition,
    Document,
    Flow,
    Kind,
    Note,
    NoteKind,
    Omission,
    Role,
    Span,
    Step,
    Term,
)

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: (
        name
        not in {
            "by",
            "when",
            "each",
            "set",
            "end",
            "else",
            "never",
            "macro",
            "register",
            "note",
            "about",
            "omit",
            "flow",
        }
    )
)
POINTERS = st.builds(lambda a, b: f"{a}->{b}", NAMES, NAMES)
WORDS = st.lists(st.sampled_from(["segment", "fragment", "tap", "of", "the", "group"]), min_size=1, max_size=3).map(
    " ".join
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12).map(
    lambda text: f"text {text}"
)
SPANS = st.lists(st.integers(1, 40), max_size=4, unique=True).map(
    lambda numbers: tuple(
        Span(first, last) for first, last in zip(sorted(numbers)[::2], sorted(numbers)[1::2], strict=False)
    )
)
TERMS = st.builds(
    Term, st.sampled_from(["GSO", "no route", "dst->xfrm", "tunnel mode"]), negated=st.booleans()
) | st.builds(lambda pointer, name, no: Term(f"{pointer} ==", name, no), POINTERS, NAMES, st.booleans())
CONDITIONS = st.lists(TERMS, min_size=1, max_size=3).map(lambda terms: Condition(tuple(terms)))
NOTES = st.lists(
    st.builds(Note, st.sampled_from([NoteKind.REMARK, NoteKind.SLIP, NoteKind.ADDED, NoteKind.SIMPLIFIED]), TEXTS)
    | st.builds(Note, st.sampled_from([NoteKind.WRITTEN, NoteKind.DRAWN]), st.just("") | TEXTS, NAMES),
    max_size=2,
).map(tuple)


@st.composite
def steps(draw: st.DrawFn, depth: int = 3) -> Step:
    """A step without a jump; a document adds those."""
    kinds = [Kind.CALL, Kind.QUEUE, Kind.MACRO, Kind.HOOK, Kind.SET, Kind.REGISTER, Kind.END, Kind.NEVER]
    if depth:
        kinds += [Kind.CALL, Kind.CHOICE, Kind.GROUP, Kind.LOOP]
    kind = draw(st.sampled_from(kinds))
    step = Step(kind, notes=draw(NOTES), lines=draw(SPANS))
    below: list[Step] = []
    if depth and kind not in (Kind.SET, Kind.REGISTER, Kind.END, Kind.NEVER):
        below = draw(st.lists(steps(depth - 1), min_size=0 if kind in (Kind.CALL, Kind.QUEUE) else 1, max_size=3))
    if kind not in (Kind.NEVER, Kind.GROUP):
        step = replace(step, condition=draw(st.none() | CONDITIONS))
    if kind not in (Kind.NEVER, Kind.GROUP):
        step = replace(step, repeat=draw(st.sampled_from(["", "+"] if kind is Kind.LOOP else ["", "?", "*", "+"])))
    match kind:
        case Kind.CALL | Kind.QUEUE:
            name, also = draw(NAMES), tuple(draw(st.lists(NAMES, max_size=2)))
            via = draw(st.just("") | POINTERS | NAMES)
            step = replace(step, name=name, also=also, via=via, open=bool(via) and draw(st.booleans()))
            if via and step.open and draw(st.booleans()):
                step = replace(step, name="", also=())
            if kind is Kind.QUEUE:
                step = replace(step, through=draw(st.just("") | POINTERS))
        case Kind.SET | Kind.REGISTER:
            step = replace(step, name=draw(POINTERS), value=draw(NAMES | POINTERS))
        case Kind.END:
            step = replace(step, name=draw(st.sampled_from(sorted(ENDS))))
        case Kind.CHOICE:
            step = replace(step, name=draw(WORDS))
            below = [replace(child, condition=draw(CONDITIONS)) for child in below if child.kind is not Kind.NEVER]
            below = below or [Step(Kind.CALL, draw(NAMES), condition=draw(CONDITIONS))]
            if draw(st.booleans()):
                below[-1] = replace(below[-1], condition=None, otherwise=True)
        case Kind.GROUP:
            step = replace(step, condition=draw(CONDITIONS))
        case Kind.LOOP:
            step = replace(step, name=draw(WORDS))
        case _:
            step = replace(step, name=draw(NAMES))
    return replace(step, children=tuple(below))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Documents that are right but for their citations, which need not ascend."""
    flows = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        root = Step(Kind.ROOT, name, children=tuple(draw(st.lists(steps(), max_size=4))), notes=draw(NOTES))
        role = draw(st.sampled_from([Role.ENTRY, Role.ANYWHERE]))
        flows.append(Flow(name, role, draw(st.just("") | TEXTS), draw(SPANS), (root,)))
    first = flows[0]
    jumps = tuple(Step(Kind.CALL, flow.name, flow=flow.name) for flow in flows)
    flows[0] = replace(first, steps=(replace(first.root, children=(*first.root.children, *jumps)),))
    omissions = tuple(
        Omission(spans, reason) for spans, reason in draw(st.lists(st.tuples(SPANS, TEXTS), max_size=2)) if spans
    )
    return Document("d-1.2", "s.txt", draw(st.just("") | TEXTS), draw(st.just("") | TEXTS), omissions, tuple(flows))


@settings(max_examples=80, deadline=None)
@given(documents())
def test_parse_of_unparse_is_the_document(document: Document) -> None:
    text = unparse(document)
    assert parse(text, "t.flow", checked=False) == document
    assert unparse(parse(text, "t.flow", checked=False)) == text


@settings(max_examples=50, deadline=None)
@given(documents())
def test_bodies_of_any_document_are_consistent(document: Document) -> None:
    graph = Graph.of(document)
    for id, body in graph.bodies.items():
        inside = set(body.positions)
        assert body.owner == id
        assert body.first <= inside and body.last <= inside
        assert set(body.follow) <= inside and all(after <= inside for after in body.follow.values())
        assert body.nullable or (body.first and body.last) or not inside
        reached = set(body.first)
        while True:
            more = reached | {after for before in reached for after in body.follow.get(before, ())}
            if more == reached:
                break
            reached = more
        assert reached == inside, "every position can be reached from the frame's entry"
        assert all(graph.nodes[position].owner == id for position in inside)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_documents_survive(name: str) -> None:
    document = load(name)
    assert parse(unparse(document), name) == document


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("->~=@ :1289?*+|.#!\n bywhenlsfotducmg_\"'\t"), max_size=120))
def test_no_text_makes_anything_but_a_syntax_error(text: str) -> None:
    from kpath.flow import FlowSyntaxError

    try:
        parse("document d\nflow f entry\n  f\n" + text, "t.flow")
    except FlowSyntaxError as error:
        assert error.line >= 1 and error.column >= 1
