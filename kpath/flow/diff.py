"""How the path changed between two documents, with the lineage to tell a new name from a new function."""

from __future__ import annotations

from dataclasses import dataclass

from kpath.flow.document import Document
from kpath.flow.graph import Graph
from kpath.flow.lineage import Lineage

_FAR = 4
"""Functions between: a longer way up is another way, not the old one with something put in."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A function of the older document that the newer one does not have, and what the lineage says."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """A function that the newer document has under other names."""

    name: str
    now: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A function that both have, with no caller in common."""

    name: str
    before: tuple[str, ...]
    now: tuple[str, ...]
    through: tuple[str, ...] = ()
    """New functions that lie between it and a caller that it had; empty when it has another caller altogether."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What ``kpath flows --diff`` shows."""

    gone: tuple[Gone, ...]
    renamed: tuple[Renamed, ...]
    moved: tuple[Moved, ...]
    new: tuple[str, ...]
    same: tuple[str, ...]
    """In both, with a caller in common."""


def callers(graph: Graph) -> dict[str, set[str]]:
    """For each function the functions in whose frames the document places it; a root has those that jump to it."""
    found: dict[str, set[str]] = {}
    for node in graph.frames():
        owners = set(graph.functions(node.owner)) if node.owner else set()
        for name in graph.functions(node.id):
            found.setdefault(name, set()).update(owners)
    return found


def difference(before: Document, now: Document, lineage: Lineage) -> Difference:
    """What changed from the document ``before`` to the document ``now``."""
    old, new = callers(Graph.of(before)), callers(Graph.of(now))
    for name in before.functions():
        old.setdefault(name, set())
    for name in now.functions():
        new.setdefault(name, set())
    gone: list[Gone] = []
    renamed: list[Renamed] = []
    moved: list[Moved] = []
    same: list[str] = []
    explained: set[str] = set()
    for name, above in old.items():
        heirs = tuple(heir for heir in lineage.successors(name) if heir != name and heir in new)
        explained.update(heirs)
        if name in new:
            translated = {heir for caller in above for heir in lineage.successors(caller)}
            if above and new[name] and not translated & new[name]:
                through = _between(name, translated, old, new)
                moved.append(Moved(name, tuple(sorted(above)), tuple(sorted(new[name])), through))
            else:
                same.append(name)
        elif heirs:
            renamed.append(Renamed(name, heirs, _why(name, lineage)))
        else:
            gone.append(Gone(name, _why(name, lineage)))
    fresh = tuple(name for name in new if name not in old and name not in explained)
    return Difference(tuple(gone), tuple(renamed), tuple(moved), fresh, tuple(same))


def _between(name: str, callers: set[str], old: dict[str, set[str]], new: dict[str, set[str]]) -> tuple[str, ...]:
    """The shortest way up from a function to one of its old callers, if only new functions lie on it."""
    ways: list[tuple[str, ...]] = [(name,)]
    seen = {name}
    for _ in range(_FAR):
        longer = []
        for way in ways:
            for above in sorted(new.get(way[-1], set()) - seen):
                if above in callers:
                    return tuple(reversed(way[1:]))
                seen.add(above)
                if above not in old:
                    longer.append((*way, above))
        ways = longer
    return ()


def _why(name: str, lineage: Lineage) -> str:
    entry = lineage.entries.get(name)
    if entry is None:
        return "not in the lineage"
    return entry.story or entry.became.value
