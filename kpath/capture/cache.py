"""Compiled programs, kept for the next start: compiling takes longer than all the rest of a start together.

What is kept goes into the kernel as root, so it is believed only if nobody but this user (root) can have written it: a
directory and a file that are this user's own, that no other may write to, and no links. Whatever is wrong with it, the
program is compiled again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import stat
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from kpath.capture.bytecode import Code

FOLDER = Path("/var/cache/kpath")
KEPT = 32
"""Programs; the oldest go. Each filter expression makes another."""
MAX_BYTES = 16 << 20
_FORMAT = 1
_SUFFIX = ".json"


def key(source: str, flags: Iterable[str], headers: Iterable[Path]) -> str:
    """A name for all that the compiler's answer depends on; "" if this cannot be told (no BCC)."""
    try:
        spec = importlib.util.find_spec("bcc")
        if spec is None or spec.origin is None:
            return ""
        version = (Path(spec.origin).parent / "version.py").read_text()
        about = [version, *(path.read_text() for path in sorted(headers))]
    except (ImportError, ValueError, OSError):
        return ""
    # The compiler asks the kernel which instructions it knows.
    about += [str(_FORMAT), platform.machine(), platform.release(), platform.version(), *flags, source]
    return hashlib.sha256("\0".join(about).encode()).hexdigest()


class Cache:
    """The directory."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def used(self) -> bool:
        """Is there anything?"""
        try:
            return any(path.suffix == _SUFFIX for path in self._folder.iterdir())
        except OSError:
            return False

    def get(self, name: str) -> Code | None:
        """What was kept under this key, None if there is nothing that can be believed."""
        try:
            if not name or not _ours(os.lstat(self._folder), stat.S_ISDIR):
                return None
            fd = os.open(self._folder / f"{name}{_SUFFIX}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                about = os.fstat(fd)
                if not _ours(about, stat.S_ISREG) or about.st_size > MAX_BYTES:
                    return None
                digest, _, text = file.read().decode().partition("\n")
                if digest != hashlib.sha256(text.encode()).hexdigest():
                    return None
                with suppress(OSError):
                    os.utime(fd)
                return Code.from_json(text)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, name: str, code: Code) -> None:
        """Keep it, if that can be done."""
        if not name:
            return
        with suppress(OSError):
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not _ours(os.lstat(self._folder), stat.S_ISDIR):
                return
            text = code.to_json()
            digest = hashlib.sha256(text.encode()).hexdigest()
            fd, path = tempfile.mkstemp(dir=self._folder, prefix=".draft-")
            draft = Path(path)
            try:
                with os.fdopen(fd, "w") as file:
                    file.write(f"{digest}\n{text}")
                draft.replace(self._folder / f"{name}{_SUFFIX}")
            except OSError:
                draft.unlink()
                raise
            self._prune()

    def _prune(self) -> None:
        kept = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-KEPT]:
            path.unlink(missing_ok=True)


def _ours(about: os.stat_result, kind: Callable[[int], bool]) -> bool:
    """Is it of this kind, this user's own, and may nobody else write to it?"""
    return kind(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o022
