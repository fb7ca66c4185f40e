"""Widgets that only show lines: the status, the tabs, the inspector, the line of keys."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from kpath.dashboard import theme
from kpath.dashboard.strips import strip


class Panel(Widget):
    """Lines of text, cut or wrapped at its width. Nothing in them is markup."""

    DEFAULT_CSS = """
    Panel { height: 1; width: 100%; }
    """

    def __init__(self, *, id: str | None = None, wrap: bool = False) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Text] = ()
        self._wrap = wrap
        self._wrapped: list[Text] | None = None
        self._wrapped_at = 0

    def show(self, lines: Sequence[Text]) -> None:
        """Other lines."""
        if list(lines) != list(self._lines):
            self._lines = list(lines)
            self._wrapped = None
            self.refresh(layout=self.styles.is_auto_height)

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.size.width
        lines = self._fitted(width)
        if y >= len(lines):
            return Strip.blank(width, self.rich_style)
        text = lines[y].copy()
        if y == self.size.height - 1 and len(lines) > self.size.height:
            text.truncate(max(0, width - 2), overflow="ellipsis")
            text.append(" …", theme.FAINT)
        drawn = strip(text, self.app.console)
        return drawn.adjust_cell_length(width, self.rich_style).apply_style(self.rich_style)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """For a height that is left to the text."""
        return len(self._fitted(width))

    def on_resize(self) -> None:
        """What is wrapped depends on the width."""
        self._wrapped = None

    def _fitted(self, width: int) -> list[Text]:
        if self._wrapped is None or width != self._wrapped_at:
            self._wrapped_at = width
            self._wrapped = list(self._lines)
            if self._wrap:
                self._wrapped = [
                    part for text in self._lines for part in text.wrap(self.app.console, max(20, width), tab_size=2)
                ]
        return self._wrapped


class Tabs(Panel):
    """The line of views; a click chooses one."""

    class Chosen(Message):
        """The number of the view clicked on, from 0."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ends: list[int] = []

    def label(self, names: Sequence[tuple[str, str]], chosen: int, document: str, style: str) -> None:
        """Names with their badges, the chosen one, and at the right the document."""
        line = Text(" ")
        self._ends = []
        for number, (name, badge) in enumerate(names):
            here = number == chosen
            label = f"[{number + 1} {name}" if here else f" {number + 1} {name}"
            line.append(label, f"bold {theme.SKY}" if here else theme.INK)
            if badge:
                line.append(f" {badge}", theme.VERMILION if "✗" in badge else theme.FAINT)
            line.append("]" if here else " ", f"bold {theme.SKY}")
            self._ends.append(line.cell_len)
        room = self.size.width - line.cell_len - 1
        name = document if len(document) < room else document.removeprefix("linux-")
        if len(name) < room:
            line.append(" " * (room - len(name))).append(name, style)
        self.show([line])

    def on_click(self, event: events.Click) -> None:
        """Which one?"""
        number = next((n for n, end in enumerate(self._ends) if event.x < end), None)
        if number is not None:
            self.post_message(self.Chosen(number))
