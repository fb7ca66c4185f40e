"""The same colours for a light ground: everything is drawn in the dark ones, and these take their place at last."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.color import Color as Ground
from textual.filter import LineFilter

from kpath.dashboard import theme

PAPER: Final = "#FFFFFF"
BAND: Final = "#E6EBF0"

LIGHT: Final = {
    theme.ORANGE: "#8A5A00",
    theme.SKY: "#0060A0",
    theme.GREEN: "#006B4E",
    theme.YELLOW: "#6A5F00",
    theme.VERMILION: "#B03A00",
    theme.PURPLE: "#93336A",
    theme.INK: "#1B1F23",
    theme.FAINT: "#5B636B",
    theme.PAPER: PAPER,
    theme.BAND: BAND,
}
"""Dark ground's colour → light ground's: the same hues, so dark that the contrast is 4.5 and more."""

_MAP: Final = {Color.parse(dark).triplet: Color.parse(light) for dark, light in LIGHT.items()}


class Light(LineFilter):
    """Exchanges the colours of what has been drawn."""

    def apply(self, segments: list[Segment], background: Ground) -> list[Segment]:
        """The same text in the other colours."""
        return [
            Segment(text, _exchanged(style) if style is not None else None, control)
            for text, style, control in segments
        ]


@lru_cache(2048)
def _exchanged(style: Style) -> Style:
    colour, ground = _other(style.color), _other(style.bgcolor)
    return style + Style.from_color(colour, ground) if colour or ground else style


def _other(colour: Color | None) -> Color | None:
    return _MAP.get(colour.triplet) if colour is not None and colour.triplet is not None else None


def wanted() -> bool:
    """Does the user's terminal have a light ground?

    ``KPATH_THEME=light`` says so; else ``COLORFGBG``, which some terminals set (the ground's colour is its last
    number).
    """
    said = os.environ.get("KPATH_THEME", "").lower()
    if said in ("light", "dark"):
        return said == "light"
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15")
