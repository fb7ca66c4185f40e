"""The fast twin of the assembler: events stay in arrays until a path is new (docs/internals.md, "Two assemblers").

Needs numba; ``kpath.trace.arrays.available`` says whether it is there. Whoever imports the other modules has asked it.
"""

from __future__ import annotations

from importlib.util import find_spec


def available() -> bool:
    """Is numba installed?"""
    return find_spec("numba") is not None
