"""Text as a line of the screen."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text
from textual.strip import Strip


def strip(text: Text, console: Console) -> Strip:
    """The text on one line, with its styles and nothing else. Rich leaves the style of a whole text to its console."""
    line = text.copy()
    line.end = ""
    if not line.spans and line.style:
        line.stylize(line.style)
    return Strip(list(line.render(console)))
