"""Where compiled code is kept from one run to the next.

Compiling takes several seconds. What is kept is loaded as code, so the directory must be this user's alone; and the
compiler notices a change only in the file that a function stands in, so a digest of all of them is in its name.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from kpath.capture import schema


def directory(version: str) -> str:
    """The directory for this state of the source and this ``version`` of the compiler; "" when there can be none."""
    digest = hashlib.sha256(version.encode())
    for file in (*sorted(Path(__file__).parent.glob("*.py")), Path(schema.__file__)):
        digest.update(file.read_bytes())
    base = os.environ.get("XDG_CACHE_HOME") or ""
    try:
        home = Path(base) if base.startswith("/") else Path.home() / ".cache"
        place = home / "kpath" / f"compiled-{digest.hexdigest()[:16]}"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(place) if all(_mine(part) for part in (place, place.parent)) else ""
    except (OSError, RuntimeError):
        return ""


def _mine(place: Path) -> bool:
    """Can nobody else have put something there?"""
    status = place.lstat()
    return place.is_dir() and not place.is_symlink() and status.st_uid == os.geteuid() and not status.st_mode & 0o022
