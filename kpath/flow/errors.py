"""What may be wrong with a flow document, and how it is said."""

from __future__ import annotations


class FlowError(Exception):
    """Base of all errors of this package."""


class FlowSyntaxError(FlowError):
    """A document that cannot be read, or that contradicts itself.

    ``line`` and ``column`` count from 1. The message is one sentence: what was found, what was expected.
    """

    def __init__(self, name: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{name}:{line}:{column}: {message}")
        self.name = name
        self.line = line
        self.column = column
        self.message = message


class UnknownDocumentError(FlowError):
    """No built-in document and no file has the name that was asked for."""


class LineageError(FlowError):
    """The lineage data are inconsistent, or a function has no entry."""
