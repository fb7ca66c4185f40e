"""The widget for every list and tree: a cursor that stays on its row while rows come and go around it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from kpath.dashboard import theme
from kpath.dashboard.rows import Row
from kpath.dashboard.strips import strip

Heading = Callable[[int], Text]

_MARK = Text("▸", f"bold {theme.SKY}")
_EDGE = 1
"""Cells left of each line, for the mark of the cursor: it can be seen without colours."""


class Listing(ScrollView, can_focus=True):
    """Rows under an optional heading. Only the lines on the screen are drawn."""

    DEFAULT_CSS = """
    Listing { height: 1fr; scrollbar-size: 0 1; overflow-x: auto; overflow-y: auto; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "edge(-1)", show=False),
        Binding("end,G", "edge(1)", show=False),
        Binding("enter", "open", show=False),
        Binding("shift+left,h", "sideways(-8)", show=False),
        Binding("shift+right,l", "sideways(8)", show=False),
    ]

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, listing: Listing, key: Hashable) -> None:
            super().__init__()
            self.listing = listing
            self.key = key

    class Opened(Message):
        """Enter, or a click on the row of the cursor."""

        def __init__(self, listing: Listing, key: Hashable) -> None:
            super().__init__()
            self.listing = listing
            self.key = key

    class HeadingClicked(Message):
        """A click on the heading."""

        def __init__(self, x: int) -> None:
            super().__init__()
            self.x = x

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.cursor: int = -1
        self._heading: Heading | None = None
        self._places: dict[Hashable, int] = {}
        self._widest = 0
        self._moved = False
        """Has the user moved the cursor? Until then it is on top, whatever row that is."""

    @property
    def key(self) -> Hashable:
        """The key of the row at the cursor; None when there is none."""
        return self.rows[self.cursor].key if 0 <= self.cursor < len(self.rows) else None

    @property
    def _width(self) -> int:
        """Cells beside the scrollbar."""
        return self.scrollable_content_region.width

    @property
    def _top(self) -> int:
        return 0 if self._heading is None else 1

    def show(self, rows: Sequence[Row], heading: Heading | None = None) -> None:
        """Other rows. The cursor stays on its row if it is still there, else on its line."""
        key = self.key
        self.rows = rows
        self._heading = heading
        self._places = {row.key: number for number, row in enumerate(rows)}
        if self._moved and key in self._places:
            self.cursor = self._places[key]
        else:
            self.cursor = self._stop(max(0, self.cursor) if self._moved else 0, 1)
        self._grow()
        self.refresh()

    def forget(self) -> None:
        """These are rows of something else: begin at the top."""
        self.rows, self.cursor, self._widest, self._moved = (), -1, 0, False
        self._places = {}
        self.scroll_to(0, 0, animate=False)

    def go(self, key: Hashable) -> None:
        """Put the cursor on a row, if it is there."""
        if key in self._places:
            self._move_to(self._places[key])

    def place(self, key: Hashable, above: int) -> None:
        """Begin at a row, with so many rows above it; nobody is told that the cursor moved."""
        if key in self._places:
            self.cursor, self._moved = self._places[key], True
            self.scroll_to(0, max(0, self.cursor - above), animate=False, force=True)
            self.refresh()

    def _stop(self, at: int, direction: int) -> int:
        """The next row from ``at`` on where the cursor can stand; -1 for none."""
        places = range(at, len(self.rows)) if direction > 0 else range(min(at, len(self.rows) - 1), -1, -1)
        found = next((n for n in places if self.rows[n].stop), -1)
        if found < 0:
            found = next((n for n in range(len(self.rows)) if self.rows[n].stop), -1) if direction > 0 else -1
        return found

    def _move_to(self, at: int, direction: int = 1) -> None:
        found = self._stop(max(0, min(at, len(self.rows) - 1)), direction)
        if found < 0:
            return
        self.cursor, self._moved = found, True
        # Lines that the cursor cannot stand on (titles) are shown with the row that they belong to.
        top = found
        while top > 0 and not self.rows[top - 1].stop and found - top < 3:
            top -= 1
        region = Region(int(self.scroll_offset.x), top, 1, found - top + 1 + self._top)
        self.scroll_to_region(region, animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved(self, self.key))

    # ---- drawing ----

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self._width
        left, top = int(self.scroll_offset.x), int(self.scroll_offset.y)
        room = max(1, width - _EDGE)
        if self._heading is not None and y == 0:
            return self._strip(Text(" ") + self._heading(room), 0, width, self.rich_style)
        number = y - self._top + top
        if not 0 <= number < len(self.rows):
            return Strip.blank(width, self.rich_style)
        text = self.rows[number].draw(room)
        base = self.rich_style
        at_cursor = number == self.cursor
        if at_cursor:
            base += Style(bgcolor=theme.BAND, bold=True) if self.has_focus else Style(bgcolor=theme.BAND)
        longest = text.cell_len + _EDGE
        if longest > self._widest and longest > width:
            self._widest = longest
            self.call_after_refresh(self._grow)
        edge = self._strip(_MARK if at_cursor else Text(" "), 0, _EDGE, base)
        return Strip.join([edge, self._strip(text, left, room, base)])

    def _grow(self) -> None:
        # No wider than the list itself, or else the one scrollbar would call for the other.
        self.virtual_size = Size(self._widest if self._widest > self._width else 0, len(self.rows) + self._top)

    def _strip(self, text: Text, left: int, width: int, base: Style) -> Strip:
        drawn = strip(text, self.app.console)
        return drawn.crop(left, left + width).adjust_cell_length(width, base).apply_style(base)

    def on_resize(self) -> None:
        """What is wider than the list depends on its width."""
        self._widest = 0
        self._grow()

    # ---- keys and mouse ----

    def action_move(self, lines: int) -> None:
        """One row up or down."""
        if self.cursor < 0:
            return
        self._move_to(self.cursor + lines, 1 if lines > 0 else -1)

    def action_page(self, pages: int) -> None:
        """A screenful up or down."""
        self._move_to(self.cursor + pages * max(1, self.size.height - self._top - 1), pages)

    def action_edge(self, which: int) -> None:
        """To the first or the last row."""
        self._move_to(len(self.rows) - 1 if which > 0 else 0, -which)

    def action_sideways(self, cells: int) -> None:
        """What is too wide for the screen is moved sideways."""
        self.scroll_to(x=max(0, self.scroll_offset.x + cells), animate=False)

    def action_open(self) -> None:
        """Open the row at the cursor."""
        if self.cursor >= 0:
            self.post_message(self.Opened(self, self.key))

    def on_click(self, event: events.Click) -> None:
        """A click puts the cursor on a row; a second one opens it."""
        if self._heading is not None and event.y == 0:
            self.post_message(self.HeadingClicked(event.x - _EDGE))
            return
        number = event.y - self._top + int(self.scroll_offset.y)
        if not 0 <= number < len(self.rows) or not self.rows[number].stop:
            return
        if number == self.cursor:
            self.action_open()
        else:
            self._move_to(number)
