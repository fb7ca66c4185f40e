"""Makes the pictures of the dashboard that the documentation shows, from recordings of a real kernel.

    python docs/pictures.py [FOLDER]        # docs/pictures by default; needs neither root nor Linux
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

from rich.cells import cell_len

from kpath.capture.file import CaptureReader
from kpath.dashboard.app import outfit
from kpath.dashboard.recording import Recording
from kpath.dashboard.referee import referee
from kpath.dashboard.status import About
from kpath.dashboard.tui import Dashboard
from kpath.model.view import build
from kpath.report.export.svg import FONTS

CELL = 12.2
"""Width of a character in Rich's pictures."""
HERE = Path(__file__).parent
CAPTURES = HERE.parent / "tests" / "dashboard" / "captures"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: a recording, and the keys that lead to what is to be seen."""

    name: str
    capture: str
    keys: Sequence[str] = ()
    size: tuple[int, int] = (100, 28)


PICTURES = (
    Picture("paths", "esp-tunnel"),
    Picture("drop", "nft-reject", ("3", "enter"), (100, 30)),
    Picture("tree", "udp-closed", ("2", "down", "enter", *("right",) * 14), (100, 30)),
    Picture("coverage", "udp-open", ("4", *("pagedown",) * 4)),
)


async def draw(picture: Picture) -> str:
    """The picture as SVG."""
    with CaptureReader(CAPTURES / f"{picture.capture}.kpath") as reader:
        feed = Recording(reader, referee(reader.header.probes, kernel=build(reader.header)))
        look, views = outfit(feed, reader.header, ())
        app = Dashboard(feed, About.of(f"{picture.capture}.kpath", False, reader.header), look=look, views=views)
        async with app.run_test(size=picture.size) as pilot:
            while not feed.length or app.snapshot.position[0] != feed.length:
                await pilot.pause(0.05)
                app.take()
            for key in picture.keys:
                await pilot.press(key)
            await pilot.pause()
            drawn = app.export_screenshot(title="kpath")
        feed.stop(10)
    return plain(drawn)


def plain(svg: str) -> str:
    """Without fonts from the network, which a picture in a page may not load, and with the same names each time."""
    svg = re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", FONTS).replace("font-family: arial", "font-family: sans-serif")
    svg = re.sub(r"terminal-\d+", "kpath", svg)
    svg = re.sub(r'<text ([^>]*?)x="([\d.]+)" y="([\d.]+)" textLength="[\d.]+"([^>]*)>(.*?)</text>', _pieces, svg)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


def _pieces(match: re.Match[str]) -> str:
    """A run of text as its words, each in its place: some viewers take several spaces for one."""
    before, x, y, after, text = match.groups()
    plain_text = unescape(text).replace("\xa0", " ")
    out = []
    for piece in re.finditer(r"[^ ]+(?: [^ ]+)*", plain_text):
        place = float(x) + cell_len(plain_text[: piece.start()]) * CELL
        length = cell_len(piece[0]) * CELL
        out.append(
            f'<text {before}x="{place:.1f}" y="{y}" textLength="{length:.1f}"{after}>{escape(piece[0])}</text>'
        )
    return "".join(out)


def main() -> None:
    """Writes all of them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        path = folder / f"{picture.name}.svg"
        path.write_text(asyncio.run(draw(picture)))
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
