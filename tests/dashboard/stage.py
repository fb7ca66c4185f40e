"""What the dashboard's tests share: recordings read at once, a judge to order, a still feed, the screen as text."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path

from rich.cells import set_cell_size

from kpath.capture.file import CaptureReader
from kpath.dashboard.app import outfit
from kpath.dashboard.digest import Packet
from kpath.dashboard.judge import Finding, Opinion
from kpath.dashboard.pipeline import Pipeline
from kpath.dashboard.recording import Recording
from kpath.dashboard.snapshot import Snapshot
from kpath.dashboard.status import About
from kpath.dashboard.tui import Dashboard
from kpath.flow import Document, load
from kpath.trace.assemble import Assembler
from kpath.trace.traversal import Traversal

CAPTURES = Path(__file__).parents[1] / "captures"
KEPT = "kept"
"""Instead of a kernel: recordings that stay as they are when the others are made anew, for pictures of the screen."""
SNAPSHOTS = Path(__file__).parent / "snapshots"


def capture(name: str, kernel: str = "6.12") -> CaptureReader:
    """A recording of a real kernel."""
    folder = Path(__file__).parent / "captures" if kernel == KEPT else CAPTURES / kernel
    return CaptureReader(folder / f"{name}.kpath")


class Referee:
    """A judge whose verdicts are known beforehand: forwarding diverges, delivery conforms, all else is partial."""

    def __init__(self, _assembler: Assembler) -> None:
        self.documents: Sequence[Document] = (load("linux-6"), load("linux-2.6.21.1"))
        self.asked = 0

    def judge(self, traversal: Traversal) -> list[Opinion]:
        """One opinion for each document."""
        self.asked += 1
        return [self._opinion(traversal, document) for document in self.documents]

    @staticmethod
    def _opinion(traversal: Traversal, document: Document) -> Opinion:
        cites = {frame.index: f":{number + 15}" for number, frame in enumerate(traversal.frames)}
        wrong = next((f for f in traversal.frames if f.name == "ip_forward"), None)
        witnessed = {"ip_rcv/0": 1, "ip_forward/0": 1} if wrong else {"ip_rcv/0": 1}
        if wrong is not None:
            lines = ("expected: ip_local_deliver",)
            finding = Finding("ip_forward where nothing is expected", wrong.index, lines, ("ip_local_deliver",))
            return Opinion(document.name, "diverges", (finding,), cites=cites, witnessed=witnessed)
        if traversal.end.how == "delivered":
            change = Finding("ip_rcv_core was split off", traversal.frames[0].index, ("since 4.19",))
            return Opinion(document.name, "conforms", evolutions=(change,), cites=cites, witnessed=witnessed)
        return Opinion(document.name, "partial", reasons=("it left this machine",))


def packets(name: str, kernel: str = "6.12", *, judged: bool = False) -> list[Packet]:
    """The digests of a recording."""
    pipeline = Pipeline(Referee if judged else None)
    with capture(name, kernel) as reader:
        journeys = [journey for chunk in reader for journey in pipeline.take(chunk)]
    return list(pipeline.packets([*journeys, *pipeline.flush()]))


class Still:
    """A feed that gives the same snapshot whenever it is asked."""

    def __init__(self, snapshot: Snapshot, length: int = 0) -> None:
        self.snapshot = snapshot
        self.length = length
        self.failure: BaseException | None = None
        self.started = self.stopped = False
        self.sought: list[int] = []

    def start(self) -> None:
        """Noted."""
        self.started = True

    def stop(self, timeout: float) -> bool:
        """Noted."""
        self.stopped = True
        return True

    def latest(self) -> Snapshot | None:
        """Always there."""
        return self.snapshot

    def seek(self, position: int) -> None:
        """Noted."""
        self.sought.append(position)


def dashboard(name: str, kernel: str = "6.12", *, judged: bool = False, live: bool = False) -> Dashboard:
    """The view over a recording that has been read; ``live`` makes it look like a running capture."""
    reader = capture(name, kernel)
    feed = Recording(reader, Referee if judged else None)
    feed.load()
    feed.show(feed.length)
    snapshot = feed.latest()
    assert snapshot is not None
    look, views = outfit(feed, reader.header, (load("linux-2.6.21.1"),))
    return Dashboard(Still(snapshot, feed.length), About.of(name, live, reader.header), look=look, views=views)


_TEXT = re.compile(r'<text class="[^"]*" x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"[^>]*>(.*?)</text>')


def screen(app: Dashboard) -> str:
    """The screen as text, out of the picture that Textual makes of it."""
    width, height = app.size
    rows: dict[float, list[tuple[float, str]]] = {}
    cell = 12.2  # width of a character in Rich's pictures
    for x, y, _length, text in _TEXT.findall(app.export_screenshot()):
        rows.setdefault(float(y), []).append((float(x), unescape(text)))
    body = sorted(y for y in rows if any(text.strip() for _, text in rows[y]))
    grid: dict[int, str] = {}
    for y in body:
        number = round((y - 18.5) / 24.4)
        line = ""
        for x, text in sorted(rows[y]):
            line = set_cell_size(line, round(x / cell)) + text
        grid[number] = line.replace("\xa0", " ").rstrip()
    first = min(grid, default=0)
    assert max(grid, default=0) - first < height, "more lines than the screen has"
    assert all(len(line) <= width for line in grid.values())
    return "\n".join(grid.get(number, "") for number in range(first, first + height)).rstrip() + "\n"


def check(name: str, text: str) -> None:
    """Compare with ``snapshots/NAME.txt``; with UPDATE_SNAPSHOTS=1 in the environment write it."""
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOTS.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs; UPDATE_SNAPSHOTS=1 writes it anew"
