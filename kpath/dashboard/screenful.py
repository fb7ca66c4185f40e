"""What the application draws: all of the screen, from the newest snapshot and from what the user chose.

Its keys and clicks are in ``tui.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from kpath.capture.looks import PATHS
from kpath.dashboard import detail, skin, status, theme, theme_light
from kpath.dashboard.digest import Packet
from kpath.dashboard.feed import Feed
from kpath.dashboard.listing import Listing
from kpath.dashboard.look import HIGH, Look
from kpath.dashboard.panel import Panel, Tabs
from kpath.dashboard.prompt import Prompt
from kpath.dashboard.rows import Row, heading, matches
from kpath.dashboard.signals import Signals
from kpath.dashboard.snapshot import Snapshot
from kpath.dashboard.status import About
from kpath.dashboard.view import View
from kpath.dashboard.view_coverage import Coverage
from kpath.dashboard.view_drops import Drops
from kpath.dashboard.view_findings import Findings
from kpath.dashboard.view_packets import Packets, title
from kpath.dashboard.view_paths import Paths
from kpath.report.words import printable

BEFORE = 6
"""Rows of a tree shown above the step that it begins at, where its pass has so many."""
PERIOD = 0.25
"""Seconds between two looks for a new snapshot."""


class Screenful(App[int]):
    """The view over a feed. It holds what the user chose; all numbers come from the snapshot."""

    CSS = skin.CSS
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False

    BINDINGS: ClassVar[list[BindingType]] = list(skin.KEYS)

    def __init__(
        self,
        feed: Feed,
        about: About,
        *,
        look: Look | None = None,
        views: Sequence[View] | None = None,
        no_color: bool = False,
    ) -> None:
        # Without colours Textual would still send greys, unless it may use the terminal's own.
        super().__init__(ansi_color=True if no_color else None)
        self.register_theme(skin.THEME)
        self.register_theme(skin.LIGHT)
        self._light = theme_light.Light(enabled=False)
        self._filters.append(self._light)
        self.lit = not no_color and theme_light.wanted()
        self._feed = feed
        self._about = about
        self.look = look or Look()
        self.views: Sequence[View] = views or (Paths(), Packets(), Drops(), Coverage(), Findings())
        self.chosen = 0
        self.snapshot = Snapshot()
        self.paused = False
        self.playing = False
        self.speed = 1
        self.mode = "list"
        """list, detail or help."""
        self._stepping = False
        """Is the inspector about the step, and not about the row?"""
        self._subject: tuple[int, Any] = (-1, None)
        """The view and the row whose packets these are."""
        self._packets: tuple[Packet, ...] = ()
        self._packet = 0
        self._cursors: dict[int, Any] = {}
        self._search = ""
        self._said = ""
        self._signals = Signals()
        self.changes = False
        """Can the capture go from events to counted paths and back?"""

    @property
    def lit(self) -> bool:
        """Are the colours those for a light ground?"""
        return self._light.enabled

    @lit.setter
    def lit(self, value: bool) -> None:
        self._light.enabled = value
        self.theme = skin.LIGHT.name if value else skin.THEME.name

    # ---- the screen ----

    def compose(self) -> ComposeResult:
        """All widgets; which of them are seen depends on the mode and the size."""
        yield Panel(id="status")
        yield Tabs(id="tabs")
        yield Listing(id="list")
        with Vertical(id="lower"):
            yield Panel(id="packet")
            yield Listing(id="tree")
        yield Panel(id="inspector", wrap=True)
        yield Panel(id="notice", wrap=True)
        yield Prompt(id="prompt")
        yield Panel(id="keys")

    def on_mount(self) -> None:
        """Begin."""
        self._signals.take(lambda: self.exit(0))
        self._list.focus()
        self._feed.start()
        self.set_interval(PERIOD, self.take)
        self._layout()

    def on_unmount(self) -> None:
        """The signals are somebody else's again."""
        self._signals.leave()

    def on_resize(self) -> None:
        """More or less fits now."""
        self.call_after_refresh(self._layout)

    @property
    def _list(self) -> Listing:
        return self.query_one("#list", Listing)

    @property
    def _tree(self) -> Listing:
        return self.query_one("#tree", Listing)

    @property
    def _prompt(self) -> Prompt:
        return self.query_one("#prompt", Prompt)

    @property
    def view(self) -> View:
        """The view chosen."""
        return self.views[self.chosen]

    @property
    def packet(self) -> Packet | None:
        """The packet whose tree is shown."""
        return self._packets[self._packet] if self._packets else None

    @property
    def _there(self) -> bool:
        """Are there widgets? Timers and resizes may come before the first of them and after the last."""
        return bool(self.screen_stack) and bool(self.query("#keys"))

    def take(self) -> None:
        """Draw the newest snapshot, if there is one and the user does not hold the screen still."""
        fresh = self._feed.latest()
        if fresh is None or self.paused:
            if self.paused and fresh is not None:
                self._held = fresh
            return
        self.snapshot = fresh
        self.draw()

    _held: Snapshot | None = None

    def draw(self) -> None:
        """Everything, from the snapshot and the choices."""
        if not self._there:
            return
        if self.mode == "help":
            self._draw_frame()
            return
        self._draw_list()
        self._choose_packet()
        self._draw_tree()
        self._draw_inspector()
        self._draw_frame()

    def _layout(self) -> None:
        if not self._there:
            return
        high = self.size.height >= HIGH
        self.screen.set_class(high, "high")
        self.screen.set_class(high and self.mode == "list" and not isinstance(self.view, Coverage), "split")
        self.screen.set_class(self.mode == "detail", "detail")
        self.screen.set_class(self.mode == "help", "help")
        self.draw()

    def _draw_frame(self) -> None:
        width = self.size.width
        lines = status.lines(self._about, self.snapshot, width, self.look.name, self.paused, self.playing)
        panel = self.query_one("#status", Panel)
        panel.set_class(len(lines) > 2, "three")
        panel.show(lines)
        names = [(view.name, view.badge(self.snapshot)) for view in self.views]
        style = theme.GREEN if self.look.judged else theme.FAINT
        self.query_one("#tabs", Tabs).label(names, self.chosen, self.look.name, style)
        words = self._words()
        notice = self.query_one("#notice", Panel)
        notice.set_class(bool(words), "on")
        notice.show(words)
        self.query_one("#keys", Panel).show([self._keys()])

    def _words(self) -> list[Text]:
        """What must be known of the screen: an answer for a moment, else all that makes it other than it seems."""
        if self._said:
            return [Text(f" {self._said}", theme.YELLOW)]
        out = status.mode(self.snapshot)
        out += [notice] if (notice := status.notice(self.snapshot)) else []
        if self.paused:
            out.append(Text(" The screen is held still; the capture goes on (space).", theme.YELLOW))
        if self.look.filter and self.mode == "list":
            out.append(Text(f" only what matches: {printable(self.look.filter)}  (esc ends it)", theme.SKY))
        return out

    def _keys(self) -> Text:
        live = self._about.live
        keys = [("q", "quit"), ("?", "help"), ("space", "pause" if live else "play")]
        if self.mode == "help":
            keys = [("esc", "back"), ("q", "quit")]
        elif self.mode == "detail":
            keys += [("esc", "back"), ("← →", "step"), ("< >", "packet"), ("d", "doc"), ("/", "search")]
        else:
            keys += [("enter", "open"), ("/", "search"), ("f", "filter"), ("o", "sort"), ("d", "doc")]
            keys += [("s", "save")] if live else [("[ ]", "time")]
            if self.changes:
                keys.insert(3, ("m", "events" if self.snapshot.mode == PATHS else "paths"))
        between = "  " if sum(len(key + what) + 3 for key, what in keys) < self.size.width else " "
        while sum(len(key + what) + 1 + len(between) for key, what in keys) > self.size.width:
            keys.remove(keys[-2])  # the help has them all
        line = Text(" ")
        for key, what in keys:
            line.append(key, f"bold {theme.SKY}").append(f" {what}{between}", theme.INK)
        return line

    # ---- the list ----

    def _draw_list(self) -> None:
        view, look, snapshot = self.view, self.look, self.snapshot
        columns = view.columns(snapshot, look)
        sort, descending = self._sorting()
        rows = view.rows(snapshot, look)
        if look.filter:
            rows = [row for row in rows if not row.stop or matches(look.filter, row.search)]
        if not rows:
            why = "Nothing matches the filter." if look.filter else view.empty(snapshot, look)
            rows = [Row("nothing", "", lambda _width: Text(why, theme.FAINT), stop=False)]
        self._list.show(rows, (lambda width: heading(columns, width, sort, descending)) if columns else None)

    def _sorting(self) -> tuple[str, bool]:
        first = self.view.sorts[0] if self.view.sorts else ""
        return self.look.sort.get(self.view.name, (first, True))

    def _choose_packet(self) -> None:
        """In the list, the tree is of the row at the cursor; in detail it stays what it is."""
        if self.mode != "list":
            return
        packets = self.view.packets(self._list.key, self.snapshot)
        subject = self.chosen, self._list.key
        # While steps are looked at, the tree must not change under the reader.
        if self._stepping and subject == self._subject:
            return
        shown = self.packet
        self._stepping = False
        self._packets = packets
        self._packet = max(0, len(packets) - 1)
        if self.packet is not shown or subject != self._subject:
            self._tree.forget()
        self._subject = subject

    # ---- the tree ----

    def _draw_tree(self) -> None:
        packet = self.packet
        if packet is None:
            rows = [Row("nothing", "", lambda _w: Text("No packet to show.", theme.FAINT), stop=False)]
            self._tree.show(rows)
            self.query_one("#packet", Panel).show([])
            return
        line = title(packet)
        if len(self._packets) > 1:
            where = f"{self._packet + 1} of {len(self._packets)} kept"
            slowest = ", the slowest" if self._packet == 0 and isinstance(self.view, Paths) else ""
            line.append(f"   {where}{slowest}", f"not bold {theme.FAINT}")
        self.query_one("#packet", Panel).show([line])
        fresh = not self._tree.rows
        key = self._list.key
        about = [n for n, one in enumerate(packet.passes) if self.view.concerns(key, one)]
        self._tree.show(detail.rows(packet, self.look.name, about))
        if fresh and about:
            step = self.view.begin(key, packet.passes[about[0]])
            self._tree.place((about[0], step), min(BEFORE, step + 1))

    def _draw_inspector(self) -> None:
        lines: list[Text] = []
        if (self.mode == "detail" or self._stepping) and self.packet is not None:
            lines = detail.inspect(self.packet, self._tree.key, self.look.name)
        elif self.mode == "list":
            lines = self.view.inspect(self._list.key, self.snapshot, self.look)
        self.query_one("#inspector", Panel).show(lines)
