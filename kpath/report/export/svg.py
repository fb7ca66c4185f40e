"""One packet's tree as a picture, the same that ``kpath show`` prints; it follows the viewer's light or dark scheme."""

from __future__ import annotations

import re
from typing import IO
from xml.sax.saxutils import escape

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from kpath.report import text
from kpath.report.export.errors import ExportError
from kpath.report.export.source import Source

CHAR, LINE, MARGIN = 7.8, 18.0, 16.0
"""Width of a character, height of a line, and the margin, in px; each run of text has its place given, so that a
font of another width does no harm."""

FONTS = "ui-monospace,'DejaVu Sans Mono','Liberation Mono','Noto Sans Mono',Menlo,Consolas,monospace"
"""Fonts by preference; not every viewer knows the last one, which is any."""

_COLOURS = {
    "dim": ("#6a7076", "#8d949b"),
    "cyan": ("#0a6e7c", "#56c7d6"),
    "blue": ("#1f4fb8", "#7fa8ff"),
    "green": ("#1a7336", "#63c97f"),
    "red": ("#b3201f", "#ff7b72"),
    "yellow": ("#8a5a00", "#e0b050"),
    "magenta": ("#8a2a8f", "#d88be0"),
}
"""Class: its colour on a light and on a dark ground, with a contrast of 4.5 at least; dim gives way to the others."""


def write(source: Source, out: IO[bytes]) -> None:
    """Write the first packet of ``source``. Raises ExportError when there is none."""
    for packet in source.packets():
        lines = text.render(packet.journey, packet.traversals, source.knowledge)
        out.write(picture(lines).encode("utf-8", "replace"))
        return
    raise ExportError(f"{source.name} holds no such packet")


def picture(lines: list[Text]) -> str:
    """Lines of text as an SVG document."""
    width = max((cell_len(line.plain) for line in lines), default=0) * CHAR + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    title = escape(lines[0].plain) if lines else ""
    body = "\n".join(_line(line, number) for number, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">\n<title>{title}</title>\n<style>{_style()}</style>\n'
        f'<rect class="ground" width="100%" height="100%"/>\n{body}\n</svg>\n'
    )


def height(text: str) -> float:
    """The height of such a document, in px."""
    found = re.search(r'height="(\d+)"', text)
    return float(found[1]) if found else 0.0


def _style() -> str:
    light = "".join(f".{name}{{fill:{colours[0]}}}" for name, colours in _COLOURS.items())
    dark = "".join(f".{name}{{fill:{colours[1]}}}" for name, colours in _COLOURS.items())
    return (
        f"text{{font:13px {FONTS};white-space:pre;fill:#1b1f23}}"
        f".ground{{fill:#fff}}.bold{{font-weight:bold}}{light}"
        f"@media(prefers-color-scheme:dark){{text{{fill:#e3e6e8}}.ground{{fill:#16191c}}{dark}}}"
    )


def _line(line: Text, number: int) -> str:
    y = MARGIN + (number + 0.75) * LINE
    runs: list[str] = []
    column = 0
    for segment in line.render(_CONSOLE):
        names = [word for word in str(segment.style or "").split() if word in _COLOURS or word == "bold"]
        kind = f' class="{" ".join(names)}"' if names else ""
        # Some viewers take several spaces for one: each piece between them has its own place.
        for piece in _PIECES.finditer(segment.text):
            place = MARGIN + (column + cell_len(segment.text[: piece.start()])) * CHAR
            length = cell_len(piece[0]) * CHAR
            runs.append(f'<tspan x="{place:.1f}" textLength="{length:.1f}"{kind}>{escape(_legal(piece[0]))}</tspan>')
        column += cell_len(segment.text)
    return f'<text y="{y:.1f}">{"".join(runs)}</text>'


def _legal(said: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in said)


_PIECES = re.compile(r"[^ ]+(?: [^ ]+)*")
_CONSOLE = Console(file=None, width=1 << 14, color_system=None)
