"""Colours and symbols. The colours are Okabe and Ito's, which colour-blind people tell apart; and no meaning is carried
by colour alone: each has its symbol or word too."""

from __future__ import annotations

from typing import Final

ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"

INK: Final = "#E4E4E4"
FAINT: Final = "#9A9A9A"
PAPER: Final = "#101214"
BAND: Final = "#23282D"

CONFORMS: Final = "conforms"
DIVERGES: Final = "diverges"
PARTIAL: Final = "partial"
INCONCLUSIVE: Final = "inconclusive"

SYMBOLS: Final = {CONFORMS: "✓", DIVERGES: "✗", PARTIAL: "~", INCONCLUSIVE: "?", "": "·"}
"""Symbol of each verdict; "" is not judged."""

STYLES: Final = {CONFORMS: GREEN, DIVERGES: f"bold {VERMILION}", PARTIAL: YELLOW, INCONCLUSIVE: ORANGE, "": FAINT}
"""Style of each verdict."""

WORST_FIRST: Final = (DIVERGES, INCONCLUSIVE, PARTIAL, CONFORMS)
"""Verdicts, the one that wants attention most first."""

END_STYLES: Final = {"dropped": f"bold {VERMILION}", "open": YELLOW}
"""Style of how a pass ended; any other way is green."""


def end_style(how: str) -> str:
    """The style for one way to end."""
    return END_STYLES.get(how, GREEN)
