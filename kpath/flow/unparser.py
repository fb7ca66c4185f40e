"""A document's tree back to text: ``parse(unparse(d)) == d``."""

from __future__ import annotations

from collections.abc import Iterator

from kpath.flow.document import Document, Flow, Kind, Note, NoteKind, Span, Step


def cite(spans: tuple[Span, ...]) -> str:
    """``:12-14,20``, or nothing."""
    return ":" + ",".join(str(span) for span in spans) if spans else ""


def unparse(document: Document) -> str:
    """The canonical text of a document: two blanks for a level; comments are not kept."""
    return "\n".join(_document(document)) + "\n"


def line_of(step: Step) -> str:
    """The step's own line without indentation."""
    words = [_head(step)]
    if step.repeat:
        words.append(step.repeat)
    if step.kind is not Kind.GROUP:
        if step.condition is not None:
            words.append(f"when {step.condition}")
        if step.otherwise:
            words.append("else")
    if step.lines:
        words.append(cite(step.lines))
    return " ".join(words)


def note_line(note: Note) -> str:
    """The note's line without indentation."""
    match note.kind:
        case NoteKind.REMARK:
            return f"note {note.text}"
        case NoteKind.SLIP:
            return f"! {note.text}"
        case NoteKind.WRITTEN | NoteKind.DRAWN:
            return f'! {note.kind.value} "{note.subject}"' + (f": {note.text}" if note.text else "")
        case _:
            return f"! {note.kind.value}: {note.text}"


def _head(step: Step) -> str:
    match step.kind:
        case Kind.ROOT:
            return " | ".join(step.targets)
        case Kind.CALL:
            return f"-> {_target(step)}"
        case Kind.QUEUE:
            return f"~> {_target(step)}" + (f" through {step.through}" if step.through else "")
        case Kind.HOOK:
            return f"=> {step.name}"
        case Kind.GROUP:
            return "else" if step.otherwise else f"when {step.condition}"
        case Kind.SET | Kind.REGISTER:
            return f"{step.kind.value} {step.name} = {step.value}"
        case _:
            return f"{step.kind.value} {step.name}"


def _target(step: Step) -> str:
    names = list(step.targets)
    if step.flow:
        names = [f"@{step.flow}" if step.name == step.flow else f"{step.name} @{step.flow}"]
    if step.open:
        names.append("...")
    return (f"{step.via} == " if step.via else "") + " | ".join(names)


def _document(document: Document) -> Iterator[str]:
    yield f"document {document.name}"
    for word, text in (("source", document.source), ("kernel", document.kernel), ("about", document.about)):
        if text:
            yield f"  {word} {text}"
    for omission in document.omissions:
        yield f"  omit {cite(omission.lines)} {omission.reason}"
    for flow in document.flows:
        yield ""
        yield from _flow(flow)


def _flow(flow: Flow) -> Iterator[str]:
    words = ["flow", flow.name]
    if flow.role:
        words.append(flow.role.value)
    if flow.lines:
        words.append(cite(flow.lines))
    yield " ".join(words)
    if flow.about:
        yield f"  about {flow.about}"
    for step in flow.steps:
        yield from _step(step, 1)


def _step(step: Step, level: int) -> Iterator[str]:
    indent = "  " * level
    yield indent + line_of(step)
    for note in step.notes:
        yield f"{indent}  {note_line(note)}"
    for child in step.children:
        yield from _step(child, level + 1)
