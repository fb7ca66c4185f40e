"""Everything that the documents and the lineage say of one function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kpath.flow.document import Document, Kind, NoteKind, Step
from kpath.flow.library import BUILT_IN, load, source_lines, text_of
from kpath.flow.lineage import Entry, Lineage
from kpath.flow.unparser import note_line


@dataclass(frozen=True, slots=True)
class Mention:
    """A line that names the function."""

    file: str
    line: int
    text: str
    notes: tuple[str, ...] = ()
    """Where the author slipped there."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a function, apart from any kernel."""

    entry: Entry
    mentions: tuple[Mention, ...]


def explain(function: str, lineage: Lineage | None = None) -> Explanation:
    """All about a documented function. Raises LineageError for a function that no document names."""
    entry = (lineage or Lineage.load()).of(function)
    found: list[Mention] = []
    for name in BUILT_IN:
        found += mentions(load(name), function)
    return Explanation(entry, tuple(found))


def mentions(document: Document, function: str) -> list[Mention]:
    """The lines of the source that a step of this function cites; where it cites none, the step's own line."""
    source = source_lines(document)
    own = text_of(f"{document.name}.flow").splitlines()
    cited: dict[int, Mention] = {}
    drawn: dict[int, Mention] = {}
    for _, step in document.walk():
        if function not in _named(step):
            continue
        notes = tuple(note_line(note) for note in step.notes if note.kind is not NoteKind.REMARK)
        if not step.lines:
            drawn[step.at] = Mention(f"{document.name}.flow", step.at, own[step.at - 1].strip(), notes)
        for span in step.lines:
            for line in range(span.first, span.last + 1):
                text = source[line - 1].strip() if line <= len(source) else ""
                if line not in cited or (notes and not cited[line].notes):
                    cited[line] = Mention(document.source, line, text, notes)
    return [*(cited[line] for line in sorted(cited)), *(drawn[line] for line in sorted(drawn))]


def _named(step: Step) -> Iterator[str]:
    yield from step.targets
    if step.kind in (Kind.MACRO, Kind.NEVER):
        yield step.name
    if step.kind in (Kind.SET, Kind.REGISTER):
        yield step.value
    for note in step.notes:
        yield note.subject
    if step.kind is Kind.HOOK:
        yield from ("NF_HOOK", "NF_HOOK_COND", "nf_hook", "nf_hook_slow")
    if any(text.endswith(("->hh_output", ".hh_output")) for text in (step.via, step.name, step.value)):
        yield "hh_output"
