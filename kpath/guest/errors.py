"""Errors of this package, and the exit status that each one gives the command line."""

from __future__ import annotations

from pathlib import Path


class GuestError(Exception):
    """Base of every error this package raises on purpose; the guest could not be run."""

    exit_status = 3


class ToolMissingError(GuestError):
    """A program that the runner needs is not installed."""


class ArchiveError(GuestError):
    """Debian's archives cannot be read, or have no such kernel."""


class ImageError(GuestError):
    """A kernel image is not what it should be."""


class GuestDiedError(GuestError):
    """The guest did not come up, or ended (a panic, most likely) before its command did."""

    def __init__(self, what: str, console: Path, tail: str) -> None:
        shown = tail.rstrip() or "(nothing)"
        super().__init__(f"{what}\n--- end of the console ({console}) ---\n{shown}\n--- end ---")
        self.console = console
        self.tail = tail


class GuestTimeoutError(GuestError):
    """The command did not end in the time it was given."""

    exit_status = 124
