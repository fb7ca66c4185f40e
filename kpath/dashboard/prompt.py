"""The line in which the user answers a question."""

from __future__ import annotations

from typing import Final

from textual.widgets import Input

_HINTS: Final = {
    "filter": "only rows with these words; -word for those without it",
    "search": "look for these words",
    "save": "file to save to",
}


class Prompt(Input):
    """Hidden until there is a question. ``asking`` is which one, empty for none."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True, select_on_focus=False)
        self.asking = ""

    def ask(self, what: str, value: str = "", default: str = "") -> None:
        """Show it, with this to begin with; ``default`` is what no answer means."""
        self.value = value
        self.placeholder = f"{_HINTS[what]} (just enter: {default})" if default else _HINTS[what]
        self.asking = what
        self.add_class("on")
        self.focus()

    def close(self) -> None:
        """The question is answered, or withdrawn."""
        self.asking = ""
        self.remove_class("on")
