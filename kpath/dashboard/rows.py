"""Rows and columns: what the lists of all views are made of."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from kpath.dashboard import theme, units

Cell = tuple[str, str]
"""Text and style."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list. It is drawn only when it is on the screen."""

    key: Hashable
    search: str
    """What the filter and the search look at."""
    draw: Callable[[int], Text]
    """The line for a width; it may be longer, then the list scrolls sideways."""
    stop: bool = True
    """Can the cursor stand here?"""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``width`` 0 is what the others leave. It is shown in lists of ``screen`` to ``until`` cells."""

    name: str
    title: str
    width: int
    screen: int = 0
    right: bool = False
    until: int = 1 << 16
    way: bool = False
    """It is a way, of which both ends are shown."""


def shown(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit, with their widths; one cell between two."""
    chosen = [column for column in columns if column.screen <= width < column.until]
    fixed = sum(column.width for column in chosen) + len(chosen) - 1
    flexible = [column for column in chosen if not column.width]
    share = max(8, (width - fixed) // max(1, len(flexible)))
    return [(column, column.width or share) for column in chosen]


def heading(columns: Sequence[Column], width: int, sort: str = "", descending: bool = True) -> Text:
    """The line of titles; an arrow stands at the column that is sorted by."""
    line = Text(style=f"bold {theme.SKY}")
    for number, (column, cells) in enumerate(shown(columns, width)):
        title = column.title
        if column.name == sort:
            title = f"{title}{'▼' if descending else '▲'}"
        line.append((" " if number else "") + units.fit(title, cells, column.right))
    return line


def column_at(columns: Sequence[Column], width: int, x: int) -> str:
    """The name of the column at a position of the heading; empty for none."""
    at = 0
    for column, cells in shown(columns, width):
        if at <= x <= at + cells:
            return column.name
        at += cells + 1
    return ""


def line(columns: Sequence[Column], width: int, cells: dict[str, Cell]) -> Text:
    """One line of a table."""
    text = Text()
    for number, (column, size) in enumerate(shown(columns, width)):
        content, style = cells.get(column.name, ("", ""))
        text.append(" " if number else "")
        cell = units.fit_way(content, size) if column.way else units.fit(content, size, column.right)
        text.append(cell, Style.parse(style) if style else None)
    return text


def matches(expression: str, text: str) -> bool:
    """The filter: every word must be in the text, words with ``-`` before them must not; case does not matter."""
    low = text.lower()
    for word in expression.lower().split():
        if word.startswith("-") and len(word) > 1:
            if word[1:] in low:
                return False
        elif word not in low:
            return False
    return True


def fixed(key: Hashable, text: Text, stop: bool = True) -> Row:
    """A row that is the same at any width."""
    return Row(key, text.plain, lambda _width: text.copy(), stop)
