"""A document as a tree for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from rich.tree import Tree

from kpath.flow.document import Document, Flow, Kind, NoteKind, Step
from kpath.flow.unparser import cite, line_of, note_line

_STYLES = {
    Kind.ROOT: "bold",
    Kind.QUEUE: "magenta",
    Kind.HOOK: "yellow",
    Kind.MACRO: "dim",
    Kind.CHOICE: "cyan",
    Kind.GROUP: "cyan",
    Kind.LOOP: "cyan",
    Kind.SET: "green",
    Kind.REGISTER: "green",
    Kind.END: "red",
    Kind.NEVER: "dim strike",
}


def tree(document: Document, flows: Iterable[Flow] | None = None, *, notes: bool = False) -> Tree:
    """The tree of a document, or of some of its flows; with ``notes`` also what the source has otherwise."""
    title = Text(document.name, style="bold")
    if document.about:
        title.append(f"  {document.about}", style="dim not bold")
    whole = Tree(title, guide_style="dim")
    for flow in document.flows if flows is None else flows:
        _flow(whole, document, flow, notes)
    return whole


def _flow(parent: Tree, document: Document, flow: Flow, notes: bool) -> None:
    title = Text("flow ", style="dim").append(flow.name, style="bold not dim")
    if flow.role:
        title.append(f" {flow.role.value}", style="blue not dim")
    if flow.lines:
        title.append(f"  {cite(flow.lines)}", style="dim")
    if flow.about:
        title.append(f"  {flow.about}", style="dim")
    branch = parent.add(title)
    for step in flow.steps:
        _step(branch, document, step, notes)


def _step(parent: Tree, document: Document, step: Step, notes: bool) -> None:
    lines = cite(step.lines)
    body = line_of(step).removesuffix(lines).rstrip() if lines else line_of(step)
    text = Text(body, style=_STYLES.get(step.kind, ""))
    if step.condition is not None and step.kind is not Kind.GROUP:
        text.highlight_words([f"when {step.condition}"], "cyan")
    if lines:
        text.append(f"  {lines}", style="not bold dim")
    if step.notes and not notes and any(note.kind is not NoteKind.REMARK for note in step.notes):
        text.append(" !", style="red")
    branch = parent.add(text)
    if notes:
        for note in step.notes:
            branch.add(Text(note_line(note), style="dim italic"))
    for child in step.children:
        _step(branch, document, child, notes)
