"""The running view: who does what, what it costs, how it looks on a light ground."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.text import Text

from kpath.dashboard import detail, theme
from kpath.dashboard.aggregate import Aggregates
from kpath.dashboard.app import outfit
from kpath.dashboard.feed import LiveFeed
from kpath.dashboard.pipeline import Pipeline
from kpath.dashboard.status import About
from kpath.dashboard.strips import strip
from kpath.dashboard.theme_light import LIGHT
from kpath.dashboard.tui import Dashboard
from kpath.trace.traversal import Traversal
from tests.dashboard.stage import Referee, capture, dashboard, packets, screen
from tests.dashboard.test_screens import SMALL, shown


def test_the_thread_that_draws_never_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view takes snapshots; packets are digested, judged and counted, and snapshots made, by the other thread."""
    who: dict[str, set[int]] = {}

    def watched(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def noted(self: object, *args: object, **more: object) -> object:
            who.setdefault(name, set()).add(threading.get_ident())
            return original(self, *args, **more)

        monkeypatch.setattr(kind, name, noted)

    watched(Pipeline, "take")
    watched(Pipeline, "packet")
    watched(Referee, "judge")
    watched(Aggregates, "fold")
    watched(Aggregates, "snapshot")
    reader = capture("tcp")
    feed = LiveFeed(reader, Referee)
    look, views = outfit(feed, reader.header, ())
    app = Dashboard(feed, About.of("eth0", True, reader.header), look=look, views=views)

    async def run() -> None:
        async with app.run_test(size=SMALL) as pilot:
            for _ in range(12_000):
                app.take()
                if app.snapshot.packets == 10:
                    break
                await pilot.pause(0.01)
            for key in ("2", "3", "4", "5", "1", "down", "enter", "right", "escape", "f", "t", "enter"):
                await pilot.press(key)
            assert "TCP" in screen(app)
            feed.stop(10)

    asyncio.run(run())
    assert set(who) == {"take", "packet", "judge", "fold", "snapshot"}
    assert all(threading.get_ident() not in threads for threads in who.values())


def test_whoever_counts_along_is_told_of_each_packet() -> None:
    class Observer:
        def __init__(self) -> None:
            self.passes: list[int] = []
            self.verdicts: list[tuple[str, str]] = []
            self.left = 0

        def packet(self, traversals: Sequence[Traversal], verdicts: Sequence[tuple[str, str]]) -> None:
            self.passes.append(len(traversals))
            self.verdicts += verdicts

        def skipped(self) -> None:
            self.left += 1

    def fed(late: bool) -> tuple[Observer, int]:
        observer = Observer()
        clock = time.monotonic_ns if late else lambda: 0  # the recording's own times are long ago, or in the future
        feed = LiveFeed([], Referee, observe=observer, clock=clock)
        feed.lag = 60.0 if late else 0.0
        for chunk in capture("tcp"):
            feed._fold(feed._pipeline.take(chunk))
        feed._fold(feed._pipeline.flush())
        return observer, feed._aggregates.packets

    observer, count = fed(late=False)
    assert len(observer.passes) == count == 10 and observer.left == 0
    assert ("linux-6", "diverges") in observer.verdicts
    observer, count = fed(late=True)
    assert len(observer.passes) + observer.left == count == 10 and observer.left > 0


def test_a_light_ground_has_colours_of_its_own() -> None:
    app = dashboard("udp-closed", judged=True)

    async def run() -> str:
        async with app.run_test(size=SMALL) as pilot:
            app.take()
            await pilot.press("t", "enter")
            await pilot.pause()
            return app.export_screenshot().lower()

    picture = asyncio.run(run())
    # The frame around the picture is Textual's own.
    drawn = picture[picture.index("<style>") :]
    assert not {dark for dark in LIGHT if f"fill: {dark.lower()}" in drawn}
    assert f"fill: {LIGHT[theme.SKY].lower()}" in drawn and app.theme == "kpath-light"


def test_a_line_of_one_style_keeps_it() -> None:
    console = Console()
    (segment,) = strip(Text("dropped", theme.VERMILION), console)
    assert segment.style is not None and segment.style.color is not None
    assert segment.style.color.name.upper() == theme.VERMILION
    two = strip(Text("dropped ", theme.VERMILION).append("here", theme.SKY), console)
    assert [part.style.color.name.upper() for part in two if part.style and part.style.color] == [
        theme.VERMILION, theme.SKY,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "light"),
    [
        ({}, False), ({"COLORFGBG": "0;15"}, True), ({"COLORFGBG": "15;0"}, False), ({"KPATH_THEME": "light"}, True),
        ({"KPATH_THEME": "dark", "COLORFGBG": "0;15"}, False), ({"COLORFGBG": "nonsense"}, False),
    ],
)  # fmt: skip
def test_which_ground_the_terminal_has(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], light: bool
) -> None:
    for name in ("COLORFGBG", "KPATH_THEME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert dashboard("ping").lit is light


def test_what_was_expected_stands_above_what_came() -> None:
    (packet,) = [packet for packet in packets("udp-open", judged=True) if len(packet.passes) == 3]
    lines = [row.draw(120).plain for row in detail.rows(packet, "linux-6")]
    place = next(n for n, line in enumerate(lines) if "expected ip_local_deliver" in line)
    assert "✗" in lines[place + 1] and "ip_forward" in lines[place + 1]


def test_what_the_probes_cost_is_told() -> None:
    app = dashboard("ping", live=True)
    app._about = About("eth0", True, cost=lambda snapshot: f"{snapshot.packets} µs/packet")
    assert "2 µs/packet" in shown(app, SMALL).splitlines()[2]
