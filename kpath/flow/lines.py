"""One line of a flow document: text without indentation to a half-built step.

The grammar is ``data/line.lark``; free text (``about``, ``note``, ``!``) has no grammar and is cut up here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from lark import Lark, Token, Tree, UnexpectedCharacters, UnexpectedEOF, UnexpectedToken
from lark.exceptions import UnexpectedInput

from kpath.flow.conditions import parse_condition
from kpath.flow.document import Flow, Kind, Note, NoteKind, Omission, Role, Span, Step


@dataclass(frozen=True, slots=True)
class Header:
    """A line about the document itself: ``document``, ``source``, ``kernel``, ``about``."""

    word: str
    text: str


Parsed = Step | Flow | Note | Omission | Header


class LineError(Exception):
    """A line that cannot be read; ``column`` counts from 1 within the text given."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


_NAMES = {
    "_ARROW": "'->'",
    "AT": "'@flow'",
    "CITES": "the lines of the source (':12' or ':12-14,20')",
    "CONDITION": "'when CONDITION'",
    "DOCNAME": "a name",
    "ELSE": "'else'",
    "LABEL": "a name for the choice or loop",
    "NAME": "a function name",
    "OPEN": "'...'",
    "POINTER": "a pointer such as dst->input",
    "REPEAT": "'?', '*' or '+'",
    "REST": "text",
    "ROLE": "'entry', 'setup' or 'anywhere'",
    "THROUGH": "'through QUEUE'",
    "$END": "the end of the line",
}
_STARTS = frozenset({"FLOW", "DOCUMENT", "SOURCE", "KERNEL", "OMIT"})


@cache
def _lark() -> Lark:
    text = resources.files("kpath.flow").joinpath("data/line.lark").read_text("utf-8")
    return Lark(text, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


def _describe(terminals: set[str]) -> str:
    if len(terminals & _STARTS) > 1:
        return "a step ('->', '~>', '=>', by, when, each, set, register, macro, end, never, note) or 'flow NAME'"
    known = {definition.name: definition.pattern for definition in _lark().terminals}
    words = []
    for terminal in sorted(terminals):
        if terminal in _NAMES:
            words.append(_NAMES[terminal])
        elif terminal in known:
            words.append(repr(known[terminal].value))
    *most, last = dict.fromkeys(words) or ["nothing more"]
    return f"{', '.join(most)} or {last}" if most else last


def _failure(text: str, error: UnexpectedInput) -> LineError:
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        if error.token.type == "$END":
            return LineError(len(text) + 1, f"found the end of the line, expected {_describe(expected)}")
        found = str(error.token).split(maxsplit=1)[0]
        return LineError(error.column, f"found {found!r}, expected {_describe(expected)}")
    if isinstance(error, UnexpectedCharacters):
        found = text[error.column - 1 :].split(maxsplit=1)[0]
        return LineError(error.column, f"found {found!r}, expected {_describe(set(error.allowed or ()))}")
    assert isinstance(error, UnexpectedEOF)
    return LineError(len(text) + 1, f"found the end of the line, expected {_describe(set(error.expected))}")


def _spans(token: Token) -> tuple[Span, ...]:
    spans: list[Span] = []
    for part in token[1:].split(","):
        first, _, last = part.partition("-")
        span = Span(int(first), int(last or first))
        if span.last < span.first or span.first < 1:
            raise LineError(token.column or 1, f"found the lines {part}, expected them in ascending order, from 1")
        if spans and span.first <= spans[-1].last:
            raise LineError(token.column or 1, f"found {token}, expected its lines in ascending order")
        spans.append(span)
    return tuple(spans)


_KINDS = {
    "root": Kind.ROOT,
    "call": Kind.CALL,
    "queue": Kind.QUEUE,
    "hook": Kind.HOOK,
    "macro": Kind.MACRO,
    "choice": Kind.CHOICE,
    "group": Kind.GROUP,
    "loop": Kind.LOOP,
    "set": Kind.SET,
    "register": Kind.REGISTER,
    "end": Kind.END,
    "never": Kind.NEVER,
}


def _function(tree: Tree[Token]) -> tuple[str, str]:
    """``f``, ``f @g`` or ``@g`` as (function, flow)."""
    name, flow = "", ""
    for token in tree.children:
        assert isinstance(token, Token)
        if token.type == "AT":
            flow = token[1:]
        else:
            name = str(token)
    return name or flow, flow


def _names(step: Step, found: list[tuple[str, str, Token]]) -> Step:
    flows = [(flow, token) for _, flow, token in found if flow]
    if flows and len(found) > 1:
        raise LineError(flows[0][1].column or 1, "found '@' among several targets, expected one target, or a choice")
    if not found:
        return step
    return replace(
        step,
        name=found[0][0],
        also=tuple(name for name, _, _ in found[1:]),
        flow=flows[0][0] if flows else "",
    )


def _step(tree: Tree[Token]) -> Step:
    step = Step(kind=_KINDS[str(tree.data)])
    names: list[tuple[str, str, Token]] = []
    pointers: list[str] = []
    for child in tree.children:
        if isinstance(child, Tree):
            token = child.children[0]
            assert isinstance(token, Token)
            if child.data == "name":
                names.append((*_function(child), token))
            else:
                pointers.append(str(token))
            continue
        match child.type:
            case "NAME" | "LABEL":
                step = replace(step, name=" ".join(child.split()))
            case "OPEN":
                step = replace(step, open=True)
            case "REPEAT":
                step = replace(step, repeat=str(child))
            case "ELSE":
                step = replace(step, otherwise=True)
            case "CONDITION":
                try:
                    step = replace(step, condition=parse_condition(child.removeprefix("when")))
                except ValueError as error:
                    raise LineError(child.column or 1, f"found {str(child)!r}, but {error}") from error
            case "THROUGH":
                step = replace(step, through=child.removeprefix("through").strip())
            case "CITES":
                step = replace(step, lines=_spans(child))
    step = _names(step, names)
    if step.kind in (Kind.SET, Kind.REGISTER):
        return replace(step, name=pointers[0], value=pointers[1])
    if pointers:
        step = replace(step, via=pointers[0])
    if step.open and not step.via:
        raise LineError(1, "found '...' without a pointer, expected 'POINTER == ...'")
    return step


_SLIP = re.compile(r"(?P<kind>written|drawn under) \"(?P<subject>[^\"]+)\"(?::\s*(?P<text>.*))?$")
_TEXTS = re.compile(r"(?P<word>about|note)(?:\s+(?P<text>.*))?$")


def _free_text(text: str) -> Parsed | None:
    if text.startswith("!"):
        body = text[1:].strip()
        match = _SLIP.match(body)
        if match:
            return Note(NoteKind(match["kind"]), (match["text"] or "").strip(), match["subject"])
        for kind in (NoteKind.SIMPLIFIED, NoteKind.ADDED):
            if body.startswith(f"{kind.value}:"):
                return Note(kind, body.removeprefix(f"{kind.value}:").strip())
        if not body:
            raise LineError(2, "found nothing after '!', expected what the kernel of the source's release has")
        return Note(NoteKind.SLIP, body)
    match = _TEXTS.match(text)
    if match is None:
        return None
    body = (match["text"] or "").strip()
    if not body:
        raise LineError(len(text) + 1, f"found nothing after {match['word']!r}, expected text")
    return Note(NoteKind.REMARK, body) if match["word"] == "note" else Header("about", body)


def is_free_text(text: str) -> bool:
    """Whether ``#`` in this line is text and begins no comment."""
    return text.startswith("!") or _TEXTS.match(text) is not None


def parse_line(text: str) -> Parsed:
    """One line without its indentation and comment. Raises LineError."""
    free = _free_text(text)
    if free is not None:
        return free
    try:
        tree: Any = _lark().parse(text)
    except UnexpectedInput as error:
        raise _failure(text, error) from error
    inner = tree.children[0]
    tokens = [token for token in inner.children if isinstance(token, Token)]
    match inner.data:
        case "document" | "source" | "kernel":
            return Header(str(inner.data), " ".join(tokens[0].split()))
        case "omit":
            return Omission(_spans(tokens[0]), " ".join(tokens[1].split()))
        case "flow":
            lines = [_spans(token) for token in tokens if token.type == "CITES"]
            roles = [Role(str(token)) for token in tokens if token.type == "ROLE"]
            return Flow(str(tokens[0]), roles[0] if roles else Role.PART, lines=lines[0] if lines else ())
        case _:
            return _step(inner)
