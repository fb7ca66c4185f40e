"""The parser: what it reads, and where and how it complains."""

from __future__ import annotations

import pytest

from kpath.flow import FlowSyntaxError, Kind, NoteKind, Span, Step, parse
from kpath.flow.check import check
from kpath.flow.conditions import CONDITIONS, meaning, parse_condition, unknown
from kpath.flow.document import Condition, Role, Term

HEAD = "document d\n"


def flow(body: str) -> str:
    return HEAD + "flow f entry\n  f\n" + body


def only(body: str) -> Step:
    return parse(flow(body), "t.flow").flow("f").root.children[0]


def test_every_kind_of_line() -> None:
    step = only("    -> p->q == g | h | ... ? when GSO and not fragment\n")
    assert (step.kind, step.via, step.targets, step.open, step.repeat) == (Kind.CALL, "p->q", ("g", "h"), True, "?")
    assert step.condition == Condition((Term("GSO"), Term("fragment", "", True)))
    step = only("    ~> g through softnet_data.input_pkt_queue\n")
    assert (step.kind, step.name, step.through) == (Kind.QUEUE, "g", "softnet_data.input_pkt_queue")
    step = only("    => PRE_ROUTING when not rerouted\n      -> g\n")
    assert (step.kind, step.name, len(step.children)) == (Kind.HOOK, "PRE_ROUTING", 1)
    step = only("    by skb->protocol ?\n      -> g when ether type == IPv4\n      else\n        end dropped\n")
    assert (step.kind, step.name, step.repeat) == (Kind.CHOICE, "skb->protocol", "?")
    assert [child.kind for child in step.children] == [Kind.CALL, Kind.GROUP]
    step = only("    each fragment +\n      -> g\n")
    assert (step.kind, step.name, step.repeat) == (Kind.LOOP, "fragment", "+")
    step = only("    set dst->input = ip_forward\n")
    assert (step.kind, step.name, step.value) == (Kind.SET, "dst->input", "ip_forward")
    step = only("    register tcp_protocol.handler = tcp_v4_rcv\n")
    assert (step.kind, step.name, step.value) == (Kind.REGISTER, "tcp_protocol.handler", "tcp_v4_rcv")
    assert only("    macro m\n").kind is Kind.MACRO
    assert only("    never n\n").kind is Kind.NEVER


def test_names_that_begin_like_keywords() -> None:
    assert [
        step.name for step in parse(flow("    -> setup\n    -> endless\n    -> elsewhere\n"), "t").flow("f").walk()
    ] == [
        "f",
        "setup",
        "endless",
        "elsewhere",
    ]


def test_notes_and_comments() -> None:
    text = flow(
        '    -> g          # a comment\n      ! written "h": it is g # not a comment\n      ! drawn under "x"\n'
        "      ! simplified: only sometimes\n      ! added: not there\n      ! wrong\n      note see #1\n"
    )
    notes = parse(text, "t").flow("f").root.children[0].notes
    assert [note.kind for note in notes] == list(NoteKind)
    assert notes[0].subject == "h"
    assert notes[0].text == "it is g # not a comment"
    assert notes[-1].text == "see #1"


def test_citations() -> None:
    text = "document d\n  source s.txt\nflow f entry :1\n  f :2-4,7\n  \nomit :9-12 because\n"
    document = parse(text, "t")
    assert document.flow("f").root.lines == (Span(2, 4), Span(7, 7))
    assert document.omissions[0].lines == (Span(9, 12),)
    assert document.omissions[0].reason == "because"


def test_jump_takes_the_name_of_its_flow() -> None:
    text = flow("    -> @g\n    -> g2 @g ?\n") + "flow g\n  g | g2\n"
    steps = parse(text, "t").flow("f").root.children
    assert [(step.name, step.flow) for step in steps] == [("g", "g"), ("g2", "g")]
    assert parse(text, "t").flow("g").role is Role.PART


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "empty file, expected 'document NAME'"),
        ("flow f\n  f\n", 1, 1, "expected 'document NAME' first"),
        ("document d\n  colour red\n", 2, 10, "found 'red', expected"),
        ("document d\n  -> red\n", 2, 3, "expected source, kernel, about or omit"),
        (flow("    -> \n"), 4, 7, "end of the line, expected"),
        (flow("    => 7\n"), 4, 8, "found '7', expected a function name"),
        (flow("    -> g when\n"), 4, 10, "found 'when', expected"),
        (flow("    -> g when not\n"), 4, 10, "a condition is empty"),
        (flow("    -> g :9-7\n"), 4, 10, "ascending order"),
        (flow("    -> g :9,7\n"), 4, 10, "ascending order"),
        (flow("    -> g ! h\n"), 4, 10, "found '!', expected"),
        (flow("    g\n"), 4, 5, "without an arrow, expected '->'"),
        (flow("\t-> g\n"), 4, 1, "found a tab"),
        (flow("    -> g\n   -> h\n"), 5, 4, "fits no line above, expected column 5"),
        (flow("    -> ...\n"), 4, 5, "'...' without a pointer"),
        (flow("    -> p->q == g | h @f\n"), 4, 20, "'@' among several targets"),
        (flow("    by thing\n"), 4, 5, "nothing under 'by thing'"),
        (flow("    by thing\n      -> g\n"), 5, 7, "alternative without a condition"),
        (flow("    by thing\n      -> g else\n      -> h when GSO\n"), 5, 7, "expected it last"),
        (flow("    -> g else\n"), 4, 5, "'else' outside a choice"),
        (flow("    end sent\n      -> g\n"), 5, 7, "under 'end', expected none"),
        (flow("    end nowhere\n"), 4, 5, "expected one of delivered"),
        (flow("    each thing ?\n      -> g\n"), 4, 5, "found '?' on a loop"),
        (flow("    -> @g\n"), 4, 5, "found @g, expected the name of a flow"),
        (flow("    -> @g\n      -> h\n") + "flow g\n  g\n", 4, 5, "inside stands in the flow"),
        (flow("    -> h @g\n") + "flow g\n  g\n", 4, 5, "expected g, with which that flow begins"),
        (flow("") + "flow f\n  f\n", 4, 1, "a second flow f"),
        (flow("") + "flow g\n  g\n", 4, 1, "the flow g, expected 'entry'"),
        (flow("") + "flow g setup\n", 4, 1, "no step in the flow g"),
        (flow("  g\n"), 4, 3, "another step at the top"),
        (flow("    -> g :3\n"), 4, 5, "the document names no source"),
        ("document d\n  source s\nflow f entry\n  f :9\n    -> g :3\n", 5, 5, "found line 3 after line 9"),
        (flow("    ! \n"), 4, 6, "nothing after '!'"),
        (flow("    note\n"), 4, 9, "nothing after 'note'"),
        (flow("".join("  " * (n + 2) + "-> g\n" for n in range(70))), 62, 121, "60 deep"),
    ],
)
def test_complaints(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(FlowSyntaxError) as caught:
        parse(text, "t.flow")
    error = caught.value
    assert (error.line, error.column) == (line, column), error.message
    assert words in error.message
    assert ("found" in error.message and "expected" in error.message) or "condition is empty" in error.message
    assert str(error) == f"t.flow:{line}:{column}: {error.message}"
    assert "\n" not in error.message


def test_a_citation_beyond_the_source() -> None:
    document = parse("document d\n  source s\nflow f entry\n  f :9\n", "t")
    assert [problem.message for problem in check(document, 8)] == ["found line 9, expected at most 8, the length of s"]
    assert check(document, 9) == []


def test_conditions_outside_the_vocabulary_are_reported_not_refused() -> None:
    document = parse(flow("    -> g when the moon is full\n    -> h when GSO\n    -> k when p->q == g\n"), "t")
    assert [(term.name, at) for term, at in unknown(document)] == [("the moon is full", 4)]
    assert [problem.error for problem in check(document)] == [False]


def test_conditions_of_the_vocabulary_mean_something() -> None:
    assert all(text and not text.endswith(".") for text in CONDITIONS.values())
    assert meaning(parse_condition("dst->input == ip_forward").terms[0]) == CONDITIONS["dst->input =="]
    assert "this function" in meaning(Term("a->b ==", "c"))
    with pytest.raises(KeyError):
        meaning(Term("the moon is full"))


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_every_condition_can_be_written(name: str) -> None:
    text = f"{name} x" if name.endswith(("==", "has", "lacks")) else name
    condition = only(f"    -> g when {text} :\n".replace(" :", "")).condition
    assert condition is not None
    assert [term.name for term in condition.terms] == [name]
