"""What can go wrong with an export, as one sentence for the user."""

from __future__ import annotations


class ExportError(Exception):
    """The export cannot be made as it was asked for; ``str()`` is one clear sentence."""


class OutputError(ExportError):
    """The output cannot be written."""


class MissingLibraryError(ExportError):
    """The format needs a library that is not installed."""

    def __init__(self, library: str, what: str) -> None:
        super().__init__(f"{what} needs the Python module {library}: pip install {library}")
