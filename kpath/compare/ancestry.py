"""What the lineage says of a function that one kernel runs and another does not."""

from __future__ import annotations

from kpath.flow import Lineage
from kpath.flow.lineage import Became
from kpath.trace.knowledge import plain


class Ancestry:
    """Function → what it is and where it comes from, in a sentence, with the commits."""

    def __init__(self, lineage: Lineage | None = None) -> None:
        self._lineage = lineage or Lineage.load()
        self._from: dict[str, str] = {}
        for entry in self._lineage.entries.values():
            for symbol in (*entry.symbols, *entry.inside):
                if plain(symbol) != entry.name:
                    self._from.setdefault(plain(symbol), entry.name)
        self._through = {
            plain(symbol): arrow for arrow in self._lineage.arrows.values() for symbol in arrow.through
        }

    def partial(self, function: str) -> bool:
        """Is the function inlined at some places, so that not to see it proves nothing?"""
        names = (function, self._from.get(function, ""))
        entries = (self._lineage.entries.get(name) for name in names)
        return any(entry is not None and function in entry.partial for entry in entries)

    def of(self, function: str) -> tuple[str, tuple[str, ...]]:
        """A sentence and the commits; an empty sentence for a function that the lineage does not know."""
        entry = self._lineage.entries.get(function)
        if entry is not None and (entry.changes or entry.became is not Became.SAME):
            text = entry.story or f"{entry.became.value} since the documents of 2.6"
            return text, tuple(map(str, entry.changes))
        ancestor = self._lineage.entries.get(self._from.get(function, ""))
        if ancestor is not None:
            text = f"{_VERBS.get(ancestor.became, 'belongs to')} {ancestor.name}"
            return f"{text}: {ancestor.story}" if ancestor.story else text, tuple(map(str, ancestor.changes))
        arrow = self._through.get(function)
        if arrow is not None:
            return f"stands between {arrow.caller} and {arrow.callee}: {arrow.why}", tuple(map(str, arrow.changes))
        if entry is not None:
            return entry.story or entry.does, tuple(map(str, entry.changes))
        return "", ()


_VERBS = {
    Became.SPLIT: "split from",
    Became.RENAMED: "is today's name of",
    Became.INLINED: "has the body of",
    Became.MOVED: "has what was",
    Became.REMOVED: "replaces",
}
