"""The documents that come with kpath, and documents from files."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from kpath.flow.check import check
from kpath.flow.document import Document
from kpath.flow.errors import FlowSyntaxError, UnknownDocumentError
from kpath.flow.parser import parse

BUILT_IN: tuple[str, ...] = ("linux-2.6.21.1", "linux-2.6.32.27", "linux-6")
"""The built-in documents, oldest first."""


def text_of(name: str) -> str:
    """The text of a file beside the built-in documents (``linux-6.flow``, ``linux-2.6.21.1.txt``)."""
    return resources.files("kpath.flow").joinpath(f"documents/{name}").read_text("utf-8")


def load(name_or_path: str | Path) -> Document:
    """A built-in document by name, or a document from a file.

    Raises UnknownDocumentError when there is neither, FlowSyntaxError when it is wrong. If its source text is
    at hand (beside it), its citations are checked against the length of that text."""
    if isinstance(name_or_path, str) and name_or_path in BUILT_IN:
        return _built_in(name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise UnknownDocumentError(
            f"no document {str(name_or_path)!r}: expected {', '.join(BUILT_IN)}, or the path of a .flow file"
        )
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise FlowSyntaxError(str(path), 1, 1, "found bytes that are not UTF-8, expected text") from error
    document = parse(text, str(path))
    source = path.with_name(document.source) if document.source else None
    if source is not None and source.is_file():
        _check_lines(document, str(path), source.read_text("utf-8"))
    return document


@cache
def _built_in(name: str) -> Document:
    document = parse(text_of(f"{name}.flow"), f"{name}.flow")
    try:
        source = text_of(document.source) if document.source else ""
    except FileNotFoundError:  # a distribution may have to leave a source text out
        source = ""
    if source:
        _check_lines(document, f"{name}.flow", source)
    return document


def _check_lines(document: Document, name: str, source: str) -> None:
    for problem in check(document, len(source.splitlines())):
        if problem.error:
            raise FlowSyntaxError(name, problem.at, 1, problem.message)


def source_lines(document: Document) -> list[str]:
    """The lines of the source text of a built-in document; empty when there is none."""
    if not document.source or document.name not in BUILT_IN:
        return []
    try:
        return text_of(document.source).splitlines()
    except FileNotFoundError:
        return []
