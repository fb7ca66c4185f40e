"""Output files: whole or not there at all, so that nobody takes half an export for one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from kpath.report.export.errors import OutputError


@contextmanager
def output(path: str) -> Iterator[IO[bytes]]:
    """A stream for the bytes of ``path`` ("-" is stdout); they take their name when the block is left without error.

    A pipe or a device is written to as it is. Raises OutputError when the file cannot be made or written.
    """
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    part = target if _special(target) else target.with_name(f".{target.name}.{os.getpid()}.part")
    with _saying(path):
        stream = part.open("wb", buffering=1 << 20)
    try:
        with _saying(path), stream:
            yield stream
        with _saying(path):
            if part is not target:
                part.replace(target)
    except BaseException:
        if part is not target:
            with suppress(OSError):
                part.unlink()
        raise


def folder(path: str) -> Path:
    """The folder ``path``, made if it is not there. Raises OutputError when it cannot be."""
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{path} is a file: this format makes several files, name a folder for them")
    with _saying(path):
        target.mkdir(parents=True, exist_ok=True)
    return target


def same_file(one: str, other: str) -> bool:
    """Do both names lead to one file?"""
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def _saying(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
