"""The screen, as text, at two sizes; what keys and the mouse do. ``UPDATE_SNAPSHOTS=1`` writes the pictures anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from textual.pilot import Pilot

from kpath.dashboard import theme
from kpath.dashboard.listing import Listing
from kpath.dashboard.snapshot import Snapshot
from kpath.dashboard.tui import Dashboard
from tests.dashboard.stage import KEPT, Still, check, dashboard, screen

SMALL, LARGE = (80, 24), (160, 50)

Body = Callable[[Pilot[int]], Awaitable[None]]


def play(app: Dashboard, size: tuple[int, int], body: Body) -> None:
    """Open the view, let it draw, and do something with it."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            app.take()
            await pilot.pause()
            await body(pilot)

    asyncio.run(run())


def shown(app: Dashboard, size: tuple[int, int], *keys: str) -> str:
    """The screen after some keys."""
    pictures: list[str] = []

    async def body(pilot: Pilot[int]) -> None:
        for key in keys:
            await pilot.press(key)
        await pilot.pause()
        await pilot.pause()
        pictures.append(screen(app))

    play(app, size, body)
    return pictures[0]


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "160x50"])
@pytest.mark.parametrize(
    ("name", "capture", "keys"),
    [
        ("paths", "esp-tunnel", ()),
        ("packets", "nft-reject", ("2",)),
        ("drops", "nft-drop", ("3",)),
        ("coverage", "udp-open", ("4",)),
        ("divergences", "ping", ("5",)),
        ("tree", "udp-closed", ("down", "enter", "right", "right")),
        ("help", "ping", ("question_mark",)),
    ],
)
def test_views(name: str, capture: str, keys: tuple[str, ...], size: tuple[int, int]) -> None:
    app = dashboard(capture, KEPT, judged=name != "paths")
    app.look.document = int(name == "coverage")
    picture = shown(app, size, *keys)
    check(f"{name}-{size[0]}x{size[1]}", picture)


def test_the_live_status() -> None:
    app = dashboard("ping", live=True)
    still = app._feed
    assert isinstance(still, Still)
    app._about = replace(app._about, filter="udp or " * 20 + "icmp", cost=lambda _: "7.8 µs/hit, 0.1% cpu")
    still.snapshot = replace(
        still.snapshot, cpu=0.034, event_rate=1234.5, packet_rate=12.3, lost=7, missed=1234, full=12, lag=2.4
    )
    still.snapshot = replace(still.snapshot, verdicts={app.look.name: dict.fromkeys(theme.WORST_FIRST, 123_456)})
    small, middle, large = (shown(app, size) for size in (SMALL, (100, 30), LARGE))
    check("live-80x24", small)
    for words in (
        "● LIVE", "246 probes, 27 silent", "/s", "events", "lost ! 7", "missed ! 1,234", "tables full ! 12",
        "kpath 3% cpu", "probes 7.8 µs/hit, 0.1% cpu", "2 s behind the kernel",
    ):  # fmt: skip
        assert words in small and words in middle and words in large


@pytest.mark.parametrize(("capture", "view", "function"), [
    ("nft-drop", "3", "sk_skb_reason_drop"),
    ("udp-closed", "3", "sk_skb_reason_drop"),
    ("udp-open", "5", "ip_forward"),
])  # fmt: skip
def test_a_packet_is_opened_where_it_happened(capture: str, view: str, function: str) -> None:
    app = dashboard(capture, KEPT, judged=True)

    async def body(pilot: Pilot[int]) -> None:
        await pilot.press(view, "enter")
        await pilot.pause()
        assert app.packet is not None
        key = app._tree.key
        assert isinstance(key, tuple)
        number, place = key
        assert app.packet.passes[number].steps[place].function == function
        rows = screen(app).splitlines()
        at = next(n for n, row in enumerate(rows) if row.startswith("▸"))
        assert function in rows[at] and "◆" not in rows[at - 1], "what led to it is seen, too"

    play(app, SMALL, body)


def test_an_empty_screen_says_why() -> None:
    app = dashboard("ping")
    app._feed = Still(Snapshot())
    assert "No packet has come to its end yet." in shown(app, SMALL)
    app = dashboard("ping")
    assert "No packet was dropped." in shown(app, SMALL, "3")
    app = dashboard("ping")
    assert "Nothing is checked" in shown(app, SMALL, "5")


def test_pause_holds_the_screen_and_not_the_capture() -> None:
    app = dashboard("ping", live=True)
    still = app._feed
    assert isinstance(still, Still)
    other = dashboard("tcp", live=True)._feed
    assert isinstance(other, Still)

    async def body(pilot: Pilot[int]) -> None:
        await pilot.press("space")
        before = app.snapshot
        still.snapshot = other.snapshot
        app.take()
        assert app.snapshot is before and "PAUSED" in screen(app)
        await pilot.press("space")
        assert app.snapshot is other.snapshot

    play(app, SMALL, body)


def test_stepping_through_a_life() -> None:
    app = dashboard("udp-open")
    tree: list[object] = []

    async def body(pilot: Pilot[int]) -> None:
        listing = app.query_one("#tree", Listing)
        await pilot.press("enter")
        for key in ("right", "full_stop", "right", "left", "comma", "comma"):
            await pilot.press(key)
            tree.append(listing.key)
        text = screen(app)
        assert "µs since it began" in text
        await pilot.press("end")
        assert listing.key[0] == 2  # type: ignore[index]  # the third and last pass
        await pilot.press("escape")
        assert app.mode == "list"

    play(app, SMALL, body)
    begun = tree[-1]
    assert isinstance(begun, tuple)
    place, step = begun
    assert tree == [(place, step + n) for n in (1, 2, 3, 2, 1, 0)]


def test_other_packets_of_the_path() -> None:
    app = dashboard("tcp")

    async def body(pilot: Pilot[int]) -> None:
        await pilot.press("enter")
        last = app.packet
        await pilot.press("less_than_sign")
        before = app.packet
        assert last is not None and before is not None and before.number != last.number
        assert f"#{before.number} " in screen(app)
        await pilot.press("greater_than_sign")
        assert app.packet is last

    play(app, LARGE, body)


def test_sorting_by_key_and_by_mouse() -> None:
    app = dashboard("tcp")

    async def body(pilot: Pilot[int]) -> None:
        await pilot.press("o", "o")
        assert app.look.sort["Paths"] == ("p50", True)
        listing = app.query_one("#list", Listing)
        slowest = listing.key
        await pilot.press("O")
        assert app.look.sort["Paths"] == ("p50", False) and listing.rows[-1].key == slowest
        await pilot.click("#list", offset=(4, 0))
        assert app.look.sort["Paths"] == ("count", True)
        await pilot.click("#list", offset=(4, 0))
        assert app.look.sort["Paths"] == ("count", False)

    play(app, SMALL, body)


def test_the_mouse_chooses_views_rows_and_trees() -> None:
    app = dashboard("tcp")

    async def body(pilot: Pilot[int]) -> None:
        listing = app.query_one("#list", Listing)
        await pilot.click("#list", offset=(20, 3))
        assert listing.cursor == 2 and app.mode == "list"
        await pilot.click("#list", offset=(20, 3))
        assert app.mode == "detail"
        await pilot.click("#tabs", offset=(20, 0))
        assert app.view.name == "Packets" and app.mode == "list"

    play(app, SMALL, body)


def test_filter_and_search() -> None:
    app = dashboard("tcp")

    async def body(pilot: Pilot[int]) -> None:
        listing = app.query_one("#list", Listing)
        everything = len(listing.rows)
        await pilot.press("f", *"tcp -kp-near", "enter")
        assert listing.rows and all("TCP" in row.search and "near" not in row.search for row in listing.rows)
        assert len(listing.rows) < everything
        await pilot.press("escape")
        assert len(listing.rows) == everything
        await pilot.press("slash", *"forward", "enter")
        first = listing.key
        await pilot.press("n")
        second = listing.key
        await pilot.press("n")
        assert listing.key == first != second
        await pilot.press("N")
        assert listing.key == second
        await pilot.press("slash", *"no such thing", "enter")
        assert "Nothing found" in screen(app)

    play(app, SMALL, body)


def test_all_that_makes_the_screen_other_than_it_seems_is_said() -> None:
    app = dashboard("tcp", live=True)
    still = app._feed
    assert isinstance(still, Still)
    still.snapshot = replace(still.snapshot, lag=3.0)
    picture = shown(app, SMALL, "f", *"tcp", "enter", "space")
    for words in ("3 s behind the kernel", "The screen is held still", "only what matches: tcp"):
        assert words in picture


def test_letters_that_are_typed_are_no_commands() -> None:
    app = dashboard("tcp")

    async def body(pilot: Pilot[int]) -> None:
        await pilot.press("f", "q", "d", "2", "space", "o")
        assert app.is_running and app.view.name == "Paths" and not app.playing
        assert app.look.filter == "qd2 o"
        await pilot.press("escape")

    play(app, SMALL, body)


def test_time_travel_asks_the_feed() -> None:
    app = dashboard("tcp")
    still = app._feed
    assert isinstance(still, Still)

    async def body(pilot: Pilot[int]) -> None:
        await pilot.press("left_square_bracket", "left_curly_bracket")
        assert still.sought == [9, 9], "one packet back; a tenth of ten"
        still.sought.clear()
        app.action_pause()
        assert app.playing and still.sought == [0], "at the end it begins anew"
        still.snapshot = replace(still.snapshot, position=(3, 10))
        app.snapshot = still.snapshot
        still.sought.clear()
        app.take()
        assert still.sought[0] == 4, "it plays packet by packet"
        await pilot.press("plus")
        app.take()
        assert still.sought[-1] == 5, "and faster"
        await pilot.press("space")
        assert not app.playing

    play(app, SMALL, body)


def test_a_live_view_does_not_travel() -> None:
    app = dashboard("tcp", live=True)
    still = app._feed
    assert isinstance(still, Still)
    still.snapshot = replace(still.snapshot, position=(0, 0))
    assert "Only a recording" in shown(app, SMALL, "left_square_bracket")


def test_the_next_document() -> None:
    app = dashboard("ping", judged=True)

    async def body(pilot: Pilot[int]) -> None:
        assert app.look.name == "linux-6"
        await pilot.press("d")
        assert app.look.name == "linux-2.6.21.1"
        await pilot.press("d")
        assert app.look.name == "linux-6"

    play(app, SMALL, body)


def test_saving() -> None:
    app = dashboard("ping", live=True)
    assert "not being kept" in shown(app, SMALL, "s")
    app = dashboard("ping", live=True)
    saved: list[str] = []

    def save(path: str) -> str:
        if path == "no":
            raise OSError(13, "Permission denied")
        saved.append(path)
        return f"Saved to {path}."

    app._save = save

    async def body(pilot: Pilot[int]) -> None:
        await pilot.press("s", *"a.kpath", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert saved == ["a.kpath"] and "Saved to a.kpath." in screen(app)
        await pilot.press("s", *"no", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "no cannot be written: Permission denied" in screen(app)

    play(app, SMALL, body)


def test_it_fits_any_size() -> None:
    app = dashboard("esp-tunnel", judged=True)

    async def body(pilot: Pilot[int]) -> None:
        for size in ((80, 24), (160, 50), (40, 10), (200, 60), (20, 5), (80, 24)):
            await pilot.resize_terminal(*size)
            for key in ("1", "2", "3", "4", "5", "1", "enter", "escape", "question_mark", "escape"):
                await pilot.press(key)
            await pilot.pause()
        assert "ESP tunnel" in screen(app)

    play(app, SMALL, body)
