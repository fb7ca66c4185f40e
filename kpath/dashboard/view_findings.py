"""The table of divergences and evolutions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from rich.text import Text

from kpath.dashboard import theme, units
from kpath.dashboard.digest import Packet, Pass
from kpath.dashboard.judge import Finding
from kpath.dashboard.look import Look
from kpath.dashboard.rows import Cell, Column, Row, line
from kpath.dashboard.snapshot import FindingRow, Snapshot
from kpath.dashboard.view_packets import title

_MARKS = {True: ("✗", theme.STYLES[theme.DIVERGES]), False: ("Δ", theme.PURPLE)}


class Findings:
    """Where paths leave the documents (✗), and where the lineage explains it (Δ)."""

    name = "Divergences"
    sorts = ("kind", "count", "last", "document", "what")

    def badge(self, snapshot: Snapshot) -> str:
        """How many divergences, evolutions not counted."""
        wrong = sum(row.count for row in snapshot.findings if row.divergence)
        return f"✗{units.count(wrong)}" if wrong else ""

    def columns(self, snapshot: Snapshot, look: Look) -> Sequence[Column]:
        """The path only where there is room."""
        out = [Column("kind", "", 1), Column("count", "COUNT", 6, right=True), Column("last", "LAST", 5, right=True)]
        out += [Column("document", "DOCUMENT", 15), Column("what", "WHAT", 0)]
        return [*out, Column("words", "PATH", 0, 130, way=True)]

    def rows(self, snapshot: Snapshot, look: Look) -> list[Row]:
        """Divergences first, unless sorted otherwise."""
        columns = self.columns(snapshot, look)
        sort, descending = look.sort.get(self.name, (self.sorts[0], True))
        ordered = sorted(snapshot.findings, key=lambda row: row.key)
        ordered.sort(key=partial(_sort_key, sort), reverse=descending)
        return [Row(row.key, _searchable(row), partial(_draw, columns, row, snapshot.now)) for row in ordered]

    def inspect(self, key: Hashable, snapshot: Snapshot, look: Look) -> list[Text]:
        """What the document expects, what the kernel did, and why."""
        row = next((row for row in snapshot.findings if row.key == key), None)
        if row is None:
            return []
        mark, style = _MARKS[row.divergence]
        out = [Text(f"{mark} {row.finding.title}", style)]
        out += [Text(text, theme.INK) for text in row.finding.lines]
        return [*out, title(row.example)]

    def packets(self, key: Hashable, snapshot: Snapshot) -> tuple[Packet, ...]:
        """The example."""
        return tuple(row.example for row in snapshot.findings if row.key == key)

    def concerns(self, key: Hashable, one: Pass) -> bool:
        """It was found in this pass."""
        return _found(key, one) is not None

    def begin(self, key: Hashable, one: Pass) -> int:
        """Where it was found."""
        finding = _found(key, one)
        frame = finding.frame if finding is not None else None
        return next((place for place, step in enumerate(one.steps) if step.index == frame), 0)

    def empty(self, snapshot: Snapshot, look: Look) -> str:
        """Good news, or no judge."""
        if not look.judged:
            return "Nothing is checked: kpath was started without documents to check against."
        return "Nothing diverges."


def _found(key: Hashable, one: Pass) -> Finding | None:
    """What a row is about, in a pass."""
    match key:
        case (str(document), bool(), str(title)):
            said = (o for o in one.opinions if o.document == document)
            return next((f for o in said for f in (*o.divergences, *o.evolutions) if f.title == title), None)
    return None


def _sort_key(sort: str, row: FindingRow) -> Any:
    return {
        "kind": (row.divergence, row.count),
        "count": row.count,
        "last": row.last,
        "document": row.document,
        "what": row.finding.title,
    }[sort]


def _searchable(row: FindingRow) -> str:
    kind = "divergence" if row.divergence else "evolution"
    return f"{kind} {row.document} {row.finding.title} {row.words} {' '.join(row.finding.lines)}"


def _draw(columns: Sequence[Column], row: FindingRow, now: int, width: int) -> Text:
    mark, style = _MARKS[row.divergence]
    cells: dict[str, Cell] = {
        "kind": (mark, style),
        "count": (units.count(row.count), "bold"),
        "last": (units.age(now - row.last), theme.FAINT),
        "document": (row.document, theme.FAINT),
        "what": (row.finding.title, style),
        "words": (row.words, theme.FAINT),
    }
    return line(columns, width, cells)
