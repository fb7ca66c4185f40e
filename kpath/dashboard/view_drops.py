"""The table of drops."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from rich.text import Text

from kpath.dashboard import theme, units
from kpath.dashboard.digest import Packet, Pass
from kpath.dashboard.look import Look, namespaces_width
from kpath.dashboard.rows import Cell, Column, Row, line
from kpath.dashboard.snapshot import DropRow, Snapshot
from kpath.dashboard.view_packets import about


class Drops:
    """Where packets were dropped, why, how often, and one of them."""

    name = "Drops"
    sorts = ("count", "rate", "last", "reason", "place")

    def badge(self, snapshot: Snapshot) -> str:
        """How many packets."""
        return units.count(sum(row.count for row in snapshot.drops)) if snapshot.drops else ""

    def columns(self, snapshot: Snapshot, look: Look) -> Sequence[Column]:
        """An example only where there is room."""
        out = [Column("count", "COUNT", 6, right=True), Column("rate", "/S", 5, right=True)]
        out.append(Column("last", "LAST", 5, right=True))
        if width := namespaces_width(snapshot):
            out.append(Column("netns", "SPACE", width))
        out += [Column("reason", "REASON", 18), Column("place", "WHERE", 0)]
        return [*out, Column("words", "PATH", 0, 100, way=True), Column("example", "FOR EXAMPLE", 0, 150)]

    def rows(self, snapshot: Snapshot, look: Look) -> list[Row]:
        """One for each place and reason."""
        columns = self.columns(snapshot, look)
        sort, descending = look.sort.get(self.name, (self.sorts[0], True))
        ordered = sorted(snapshot.drops, key=lambda row: row.key)

        def key(row: DropRow) -> Any:
            return getattr(row, sort)

        ordered.sort(key=key, reverse=descending)
        return [
            Row(row.key, f"{' '.join(row.key)} {row.words}", partial(_draw, columns, row, snapshot.now))
            for row in ordered
        ]

    def inspect(self, key: Hashable, snapshot: Snapshot, look: Look) -> list[Text]:
        """The newest packet that ended there."""
        row = next((row for row in snapshot.drops if row.key == key), None)
        if row is None:
            return []
        text = Text(f"✗ {row.reason or 'dropped'}", theme.STYLES[theme.DIVERGES])
        text.append(f" at {row.place or 'an unknown place'}", theme.INK)
        return [text, *about(row.example)]

    def packets(self, key: Hashable, snapshot: Snapshot) -> tuple[Packet, ...]:
        """The example."""
        return tuple(row.example for row in snapshot.drops if row.key == key)

    def concerns(self, key: Hashable, one: Pass) -> bool:
        """It ended there."""
        return one.end_how == "dropped" and (one.netns, one.end_reason, one.end_place) == key

    def begin(self, key: Hashable, one: Pass) -> int:
        """Where it was dropped."""
        return next((place for place, step in enumerate(one.steps) if step.drop), max(0, len(one.steps) - 1))

    def empty(self, snapshot: Snapshot, look: Look) -> str:
        """That is good news."""
        return "No packet was dropped."


def _draw(columns: Sequence[Column], row: DropRow, now: int, width: int) -> Text:
    cells: dict[str, Cell] = {
        "count": (units.count(row.count), "bold"),
        "rate": (units.rate(row.rate), ""),
        "last": (units.age(now - row.last), theme.FAINT),
        "netns": (row.netns, theme.FAINT),
        "reason": (f"✗ {row.reason or '(the kernel gives none)'}", theme.VERMILION),
        "place": (row.place, ""),
        "words": (row.words, theme.FAINT),
        "example": (row.example.summary, theme.FAINT),
    }
    return line(columns, width, cells)
