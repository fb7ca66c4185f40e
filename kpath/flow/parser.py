"""Text of a flow document to its tree: indentation, comments, which line may stand under which."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from kpath.flow.check import check
from kpath.flow.document import Document, Flow, Kind, Note, Omission, Step
from kpath.flow.errors import FlowSyntaxError
from kpath.flow.lines import Header, LineError, Parsed, is_free_text, parse_line

_COMMENT = re.compile(r"(^|\s)#(\s.*)?$")
_DEEPEST = 60
"""Levels of nesting; more is a mistake, and would exhaust Python's own stack."""
_LEAVES = frozenset({Kind.SET, Kind.REGISTER, Kind.END, Kind.NEVER})


@dataclass(slots=True)
class _Node:
    """A line and the lines that are indented under it."""

    indent: int
    at: int
    value: Parsed
    below: list[_Node] = field(default_factory=list)


def _text_of(raw: str) -> str:
    stripped = raw.strip()
    return stripped if is_free_text(stripped) else _COMMENT.sub("", raw.rstrip()).strip()


def _nodes(text: str, name: str) -> list[_Node]:
    """The lines as a forest by indentation."""
    top: list[_Node] = []
    stack: list[_Node] = []
    for at, raw in enumerate(text.splitlines(), 1):
        body = _text_of(raw)
        if not body:
            continue
        lead = raw[: len(raw) - len(raw.lstrip())]
        if "\t" in lead:
            column = lead.index("\t") + 1
            raise FlowSyntaxError(name, at, column, "found a tab in the indentation, expected spaces")
        indent = len(lead)
        left = indent
        while stack and stack[-1].indent >= indent:
            left = stack.pop().indent
        if left != indent:
            wanted = f"column {left + 1}, with its siblings" + (f", or column {stack[-1].indent + 1}" if stack else "")
            raise FlowSyntaxError(
                name, at, indent + 1, f"found an indentation that fits no line above, expected {wanted}"
            )
        try:
            value = parse_line(body)
        except LineError as error:
            raise FlowSyntaxError(name, at, indent + error.column, error.message) from error
        node = _Node(indent, at, value)
        if len(stack) == _DEEPEST:
            raise FlowSyntaxError(name, at, indent + 1, f"found a line nested {_DEEPEST} deep, expected fewer levels")
        (stack[-1].below if stack else top).append(node)
        stack.append(node)
    return top


class _Builder:
    """Puts the parsed lines together; every complaint goes through ``fail``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, node: _Node, message: str) -> FlowSyntaxError:
        return FlowSyntaxError(self.name, node.at, node.indent + 1, message)

    def document(self, nodes: list[_Node]) -> Document:
        if not nodes:
            raise FlowSyntaxError(self.name, 1, 1, "found an empty file, expected 'document NAME'")
        first = nodes[0]
        if not (isinstance(first.value, Header) and first.value.word == "document"):
            raise self.fail(first, "found another line before it, expected 'document NAME' first")
        document = Document(first.value.text)
        for node in first.below:
            document = self._head(document, node)
        flows: list[Flow] = []
        omissions = list(document.omissions)
        for node in nodes[1:]:
            if isinstance(node.value, Flow):
                flows.append(self._flow(node, node.value))
            elif isinstance(node.value, Omission):
                self._leaf(node)
                omissions.append(node.value)
            else:
                raise self.fail(node, "found a line outside a flow, expected 'flow NAME' or 'omit :LINES WHY'")
        return replace(document, flows=tuple(flows), omissions=tuple(omissions))

    def _head(self, document: Document, node: _Node) -> Document:
        self._leaf(node)
        match node.value:
            case Header("source", text) if not document.source:
                return replace(document, source=text)
            case Header("kernel", text) if not document.kernel:
                return replace(document, kernel=text)
            case Header("about", text):
                return replace(document, about=f"{document.about} {text}".strip())
            case Omission():
                return replace(document, omissions=(*document.omissions, node.value))
        raise self.fail(node, "found something else under 'document', expected source, kernel, about or omit, once")

    def _leaf(self, node: _Node) -> None:
        if node.below:
            raise self.fail(node.below[0], "found a line nested under one that takes none, expected it further left")

    def _flow(self, node: _Node, flow: Flow) -> Flow:
        about: list[str] = []
        steps: list[Step] = []
        for below in node.below:
            if isinstance(below.value, Header) and below.value.word == "about":
                self._leaf(below)
                about.append(below.value.text)
            elif isinstance(below.value, Step):
                steps.append(self._step(below, below.value, inside=None))
            else:
                raise self.fail(below, "found something else under 'flow', expected about or a step")
        if not steps:
            raise self.fail(node, f"found no step in the flow {flow.name}, expected at least one")
        return replace(flow, about=" ".join(about), steps=tuple(steps), at=node.at)

    def _step(self, node: _Node, step: Step, inside: Step | None) -> Step:
        if step.kind is Kind.ROOT and inside is not None:
            raise self.fail(
                node, f"found {step.name!r} without an arrow, expected '->' before it: only a root has none"
            )
        if step.otherwise and (inside is None or inside.kind is not Kind.CHOICE):
            raise self.fail(node, "found 'else' outside a choice, expected it under a 'by' line")
        notes: list[Note] = []
        children: list[Step] = []
        for below in node.below:
            if isinstance(below.value, Note):
                self._leaf(below)
                notes.append(below.value)
            elif isinstance(below.value, Step):
                children.append(self._step(below, below.value, inside=step))
            else:
                raise self.fail(below, "found a line that belongs to a document or flow, expected a step or a note")
        self._shape(node, step, children)
        return replace(step, notes=tuple(notes), children=tuple(children), at=node.at)

    def _shape(self, node: _Node, step: Step, children: list[Step]) -> None:
        if children and step.kind in _LEAVES:
            raise self.fail(node.below[-1], f"found a step under '{step.kind.value}', expected none: it calls nothing")
        if children and step.flow:
            raise self.fail(
                node,
                f"found steps under @{step.flow}, expected none: the inside stands in the flow of that name",
            )
        if not children and step.kind in (Kind.CHOICE, Kind.GROUP, Kind.LOOP):
            raise self.fail(node, f"found nothing under {step.label!r}, expected at least one step")
        if step.kind is Kind.LOOP and step.repeat not in ("", "+"):
            raise self.fail(node, f"found {step.repeat!r} on a loop, expected '+' or nothing")
        if step.kind is Kind.CHOICE:
            self._alternatives(node, children)

    def _alternatives(self, node: _Node, children: list[Step]) -> None:
        places = [below for below in node.below if isinstance(below.value, Step)]
        for number, (place, child) in enumerate(zip(places, children, strict=True)):
            if child.kind is Kind.ROOT:
                continue
            if child.otherwise and number != len(children) - 1:
                raise self.fail(place, "found 'else' before another alternative, expected it last")
            if child.guard is None and not child.otherwise:
                raise self.fail(
                    place,
                    "found an alternative without a condition, expected 'when CONDITION', 'else' or 'POINTER == f'",
                )


def parse(text: str, name: str, *, checked: bool = True) -> Document:
    """The document in ``text``; ``name`` stands in messages (a file name).

    Raises FlowSyntaxError for text that cannot be read and, unless ``checked`` is false, for a document that
    contradicts itself (see :func:`kpath.flow.check.check`).
    """
    document = _Builder(name).document(_nodes(text, name))
    if checked:
        for problem in check(document):
            if problem.error:
                raise FlowSyntaxError(name, problem.at, _column(text, problem.at), problem.message)
    return document


def _column(text: str, at: int) -> int:
    """Where the text of a line begins."""
    lines = text.splitlines()
    line = lines[at - 1] if 0 < at <= len(lines) else ""
    return len(line) - len(line.lstrip()) + 1
