"""One packet's tree as a picture of pixels: the SVG, drawn on a light ground, twice as large as on paper."""

from __future__ import annotations

import io
from typing import IO

from kpath.report.export import svg
from kpath.report.export.errors import ExportError, MissingLibraryError
from kpath.report.export.source import Source

ZOOM = 2.0
"""Pixels for each px of the SVG: sharp on the screens of today."""
MOST = 32_000
"""Highest picture in pixels: what programs that open it can bear."""

_PROBE = f'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20" font-family="{svg.FONTS}">{{}}</svg>'
"""To see whether there is a font."""


def write(source: Source, out: IO[bytes]) -> None:
    """Write the first packet of ``source``.

    Raises ExportError when there is none, when it is too long for a picture, or where there are no fonts;
    MissingLibraryError without resvg_py.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise MissingLibraryError("resvg_py", "PNG") from error
    drawn = io.BytesIO()
    svg.write(source, drawn)
    text = drawn.getvalue().decode()
    # Without fonts the picture would come out empty, and nothing would be said.
    letter = svg_to_bytes(svg_string=_PROBE.format('<text y="15">M</text>'))
    if letter == svg_to_bytes(svg_string=_PROBE.format("")):
        raise ExportError("a PNG needs a monospaced font on this machine (Debian: fonts-dejavu-core); an SVG does not")
    height = svg.height(text) * ZOOM
    if height > MOST:
        raise ExportError(f"the tree is too long for a PNG ({height:,.0f} pixels high): make an SVG of it")
    out.write(svg_to_bytes(svg_string=text, zoom=ZOOM))
