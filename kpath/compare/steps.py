"""Which steps of a document were exercised: added up over recordings, and against what a scenario declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kpath.model.coverage import Covered, State

_EXERCISED = frozenset({State.SEEN, State.IMPLIED, State.PASSED})
_BEST = (State.SEEN, State.IMPLIED, State.PASSED, State.NOT_SEEN, State.INVISIBLE)


@dataclass(frozen=True, slots=True)
class Share:
    """Steps exercised, of those that can be seen here."""

    seen: int
    of: int

    @property
    def percent(self) -> float:
        """0 to 100; 100 where there is nothing to see."""
        return 100 * self.seen / self.of if self.of else 100.0


class Table:
    """The steps of one document, one row for each function that a step may be."""

    def __init__(self, rows: Iterable[Covered] = ()) -> None:
        self._rows: dict[tuple[str, str], Covered] = {}
        self.add(rows)

    def add(self, rows: Iterable[Covered]) -> None:
        """Add the rows of one more recording: counts add up, and the better state stays."""
        for row in rows:
            key = (row.id, row.function)
            known = self._rows.get(key)
            if known is not None:
                best = min(known, row, key=lambda one: _BEST.index(one.state))
                row = replace(best, count=known.count + row.count)
            self._rows[key] = row

    def __iter__(self) -> Iterator[Covered]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def share(self) -> Share:
        """A step that has no frame here counts neither way, even where something proves that it was taken."""
        seen = sum(row.state is State.SEEN for row in self)
        return Share(seen, seen + sum(row.state is State.NOT_SEEN for row in self))

    def count(self, state: State) -> int:
        """Rows in this state."""
        return sum(row.state is state for row in self)

    def of(self, *states: State) -> list[Covered]:
        """Rows in one of these states, in the document's order."""
        return [row for row in self if row.state in states]


@dataclass(frozen=True, slots=True)
class Exercised:
    """One step that a scenario declares, and what became of it."""

    document: str
    name: str
    """A function, or, with an @, a flow."""
    state: State | None
    """None: the document names no such step."""
    lines: tuple[int, ...] = ()
    """Where the document has it."""
    reason: str = ""

    @property
    def failed(self) -> bool:
        """It could have been seen, and was not; or there is no such step."""
        return self.state is None or self.state is State.NOT_SEEN

    def __str__(self) -> str:
        if self.state is None:
            return f"{self.document} has no step {self.name}"
        where = f"{self.document}:{self.lines[0]}" if self.lines else self.document
        return f"{self.name} ({where}) was not exercised"


def exercised(declared: Mapping[str, Sequence[str]], tables: Mapping[str, Table]) -> tuple[Exercised, ...]:
    """What became of the steps that a scenario declares. Documents that were not asked are left out."""
    return tuple(
        _one(document, name, tables[document])
        for document, names in declared.items()
        if document in tables
        for name in names
    )


def _one(document: str, name: str, table: Table) -> Exercised:
    flow = name.removeprefix("@")
    rows = [row for row in table if (row.flow == flow if name.startswith("@") else row.function == name)]
    if not rows:
        return Exercised(document, name, None)
    if name.startswith("@") and not any(row.state in _EXERCISED for row in rows):
        rows = rows[:1]  # a flow begins with its root: whether that can be seen decides
    best = min(rows, key=lambda row: _BEST.index(row.state))
    return Exercised(document, name, best.state, tuple(row.at for row in rows), best.reason)
