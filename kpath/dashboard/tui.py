"""The application: takes the newest snapshot a few times a second, and draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from kpath.dashboard import detail, help, skin, status, theme
from kpath.dashboard.digest import Packet
from kpath.dashboard.feed import Feed
from kpath.dashboard.listing import Listing
from kpath.dashboard.look import HIGH, Look
from kpath.dashboard.panel import Panel, Tabs
from kpath.dashboard.prompt import Prompt
from kpath.dashboard.rows import Row, column_at, fixed, heading, matches
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

PERIOD = 0.25
"""Seconds between two looks for a new snapshot."""

Save = Callable[[str], str]
"""Writes what was captured so far to a path; returns what to tell the user. Raises OSError when it cannot."""

_NO_SAVE = "This capture is not being kept: kpath record -o FILE keeps one."


class Dashboard(App[int]):
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
        save: Save | None = None,
        no_color: bool = False,
    ) -> None:
        # Without colours Textual would still send greys, unless it may use the terminal's own.
        super().__init__(ansi_color=True if no_color else None)
        self.register_theme(skin.THEME)
        self.theme = "kpath"
        self._feed = feed
        self._about = about
        self.look = look or Look()
        self.views: Sequence[View] = views or (Paths(), Packets(), Drops(), Coverage(), Findings())
        self._save = save
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
        self.query_one("#status").set_class(not self._about.live, "recording")
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
        if self.playing:
            self._play()
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
        self.query_one("#status", Panel).show(lines)
        rest = Text(self.look.name, theme.GREEN if self.look.judged else theme.FAINT)
        names = [(view.name, view.badge(self.snapshot)) for view in self.views]
        self.query_one("#tabs", Tabs).label(names, self.chosen, rest)
        words = Text(f" {self._said}", theme.YELLOW) if self._said else status.notice(self.snapshot)
        if words is None and self.paused:
            words = Text(" The screen is held still; the capture goes on (space).", theme.YELLOW)
        if words is None and self.look.filter:
            words = Text(f" only what matches: {printable(self.look.filter)}  (esc ends it)", theme.SKY)
        panel = self.query_one("#notice", Panel)
        panel.set_class(words is not None, "on")
        panel.show([words] if words is not None else [])
        self.query_one("#keys", Panel).show([self._keys()])

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
        between = "  " if sum(len(key + what) + 3 for key, what in keys) < self.size.width else " "
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
            where = f"{self._packet + 1} of {len(self._packets)} kept for this path"
            slowest = ", the slowest" if self._packet == 0 and isinstance(self.view, Paths) else ""
            line.append(f"   {where}{slowest}", f"not bold {theme.FAINT}")
        self.query_one("#packet", Panel).show([line])
        fresh = not self._tree.rows
        key = self._list.key
        about = [n for n, one in enumerate(packet.passes) if self.view.concerns(key, one)]
        self._tree.show(detail.rows(packet, self.look.name, about))
        if fresh and about:
            self._tree.place((about[0], 0))

    def _draw_inspector(self) -> None:
        lines: list[Text] = []
        if (self.mode == "detail" or self._stepping) and self.packet is not None:
            lines = detail.inspect(self.packet, self._tree.key)
        elif self.mode == "list":
            lines = self.view.inspect(self._list.key, self.snapshot, self.look)
        self.query_one("#inspector", Panel).show(lines)

    # ---- messages ----

    def on_listing_moved(self, message: Listing.Moved) -> None:
        """Another row, or another step."""
        if message.listing is self._list:
            self._stepping = False
            self._choose_packet()
            self._draw_tree()
        else:
            self._stepping = True
        self._draw_inspector()

    def on_listing_opened(self, message: Listing.Opened) -> None:
        """The tree alone."""
        if message.listing is self._list and self.packet is not None:
            self._set_mode("detail")

    def on_listing_heading_clicked(self, message: Listing.HeadingClicked) -> None:
        """Sort by that column, or turn the order."""
        columns = self.view.columns(self.snapshot, self.look)
        name = column_at(columns, self._list.size.width - 1, message.x)
        if name in self.view.sorts:
            sort, descending = self._sorting()
            self.look.sort[self.view.name] = (name, not descending if name == sort else True)
            self.draw()

    def on_tabs_chosen(self, message: Tabs.Chosen) -> None:
        """Another view."""
        self._show_view(message.number)

    # ---- keys ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While the user types an answer, keys are letters."""
        if self._there and self._prompt.asking:
            return action in ("leave", "back")
        return True

    def action_show_view(self, number: int) -> None:
        """A view by its number, from 0."""
        self._show_view(number)

    def action_view(self, by: int) -> None:
        """The next view, or the one before."""
        self._show_view((self.chosen + by) % len(self.views))

    def _show_view(self, number: int) -> None:
        if not 0 <= number < len(self.views):
            return
        self._cursors[self.chosen] = self._list.key
        self.chosen = number
        self._stepping = False
        self._said = ""
        self._list.forget()
        self._set_mode("list")
        self._list.go(self._cursors.get(number))

    def _set_mode(self, mode: str) -> None:
        self.mode = mode
        self._layout()
        if mode == "help":
            self._tree.forget()
            self._tree.show([fixed(n, line) for n, line in enumerate(help.text())])
        (self._list if mode == "list" else self._tree).focus()
        self._draw_inspector()

    async def action_back(self) -> None:
        """Out of whatever one is in."""
        if self._prompt.asking:
            self._answered()
        elif self.mode != "list":
            if self.mode == "help":
                self._tree.forget()
            self._stepping = False
            self._set_mode("list")
        elif self._said or self.look.filter:
            self._said = self.look.filter = ""
            self.draw()
        else:
            self._stepping = False
            self.draw()

    def action_help(self) -> None:
        """The keys, and what symbols mean."""
        self._set_mode("list" if self.mode == "help" else "help")

    def action_pause(self) -> None:
        """Hold the screen still; in a recording, play."""
        if not self._about.live:
            self.playing = not self.playing
            position, length = self.snapshot.position
            if self.playing and position >= length:
                self._feed.seek(0)
        else:
            self.paused = not self.paused
            if not self.paused and self._held is not None:
                self.snapshot, self._held = self._held, None
        self.draw()

    def action_step(self, by: int) -> None:
        """Along the packet's life."""
        if self.packet is None or self.mode == "help":
            return
        if self.mode == "list" and not self.screen.has_class("split"):
            self._set_mode("detail")
            return
        self._tree.action_move(by)

    def action_packet(self, by: int) -> None:
        """Another packet of the same path; in the list of packets the next one of the list."""
        if isinstance(self.view, Packets):
            self._list.action_move(by)
            if self.mode == "detail":
                self._packets = self.view.packets(self._list.key, self.snapshot)
                self._packet = 0
        elif self._packets:
            self._packet = max(0, min(self._packet + by, len(self._packets) - 1))
        self._tree.forget()
        self._stepping = True
        self._draw_tree()
        self._draw_inspector()

    def action_travel(self, by: int) -> None:
        """In a recording: to another moment."""
        position, length = self.snapshot.position
        if not length:
            self._say("Only a recording can be gone back in; space holds the screen still.")
            return
        self.playing = False
        stride = by if abs(by) == 1 else max(1, length // 10) * (by // abs(by))
        self._feed.seek(max(0, min(position + stride, length)))

    def action_pace(self, by: int) -> None:
        """How many packets go by at each quarter of a second."""
        self.speed = max(1, min(self.speed * 2 if by > 0 else self.speed // 2, 4096))
        self._say(f"Plays {self.speed * 4} packets a second." if not self._about.live else "")

    def _play(self) -> None:
        position, length = self.snapshot.position
        if position >= length:
            self.playing = False
            self.draw()
        else:
            self._feed.seek(position + self.speed)

    def action_sort(self) -> None:
        """By the next column."""
        if self.view.sorts:
            names = list(self.view.sorts)
            sort, _ = self._sorting()
            self.look.sort[self.view.name] = (names[(names.index(sort) + 1) % len(names)], True)
            self._say(f"Sorted by {self._sorting()[0]}.")

    def action_turn(self) -> None:
        """The other way round."""
        sort, descending = self._sorting()
        if sort:
            self.look.sort[self.view.name] = (sort, not descending)
            self.draw()

    def action_document(self) -> None:
        """The next document."""
        if self.look.documents:
            self.look.document = (self.look.document + 1) % len(self.look.documents)
            self._say(f"Document: {self.look.name}")

    def action_found(self, by: int) -> None:
        """The next row that the search finds, or the one before."""
        listing = self._list if self.mode == "list" else self._tree
        if not self._search or not listing.rows:
            return
        count = len(listing.rows)
        for n in range(1, count + 1):
            row = listing.rows[(listing.cursor + by * n) % count]
            if row.stop and matches(self._search, row.search):
                listing.go(row.key)
                return
        self._say(f"Nothing found: {printable(self._search)}")

    def _say(self, words: str) -> None:
        self._said = words
        self.draw()
        if words:
            self.set_timer(4, lambda: self._unsay(words))

    def _unsay(self, words: str) -> None:
        if self._said == words:
            self._said = ""
            self.draw()

    # ---- questions ----

    def action_ask(self, what: str) -> None:
        """Ask for a line of text."""
        if what == "save" and self._save is None:
            self._say(_NO_SAVE if self._about.live else "This is a recording already.")
            return
        self._prompt.ask(what, self.look.filter if what == "filter" else "")

    def on_input_submitted(self, message: Prompt.Submitted) -> None:
        """The answer."""
        what, value = self._prompt.asking, message.value.strip()
        self._answered()
        if what == "filter":
            self.look.filter = value
            self.draw()
        elif what == "search" and value:
            self._search = value
            self.action_found(1)
        elif what == "save" and value:
            self._say(f"Saving to {printable(value)} …")
            self.save_to(value)

    def on_input_changed(self, message: Prompt.Changed) -> None:
        """The filter is seen at work while it is typed."""
        if self._prompt.asking == "filter":
            self.look.filter = message.value.strip()
            self.draw()

    def _answered(self) -> None:
        self._prompt.close()
        (self._list if self.mode == "list" else self._tree).focus()

    @work(thread=True)
    def save_to(self, path: str) -> None:
        """Have it written; not by this thread, for it may take long."""
        assert self._save is not None
        try:
            words = self._save(path)
        except OSError as error:
            words = f"{path} cannot be written: {error.strerror}"
        self.call_from_thread(self._say, printable(words))

    # ---- the end ----

    def action_leave(self) -> None:
        """Quit."""
        self.exit(0)

    def _fatal_error(self) -> None:
        """Leave at once. ``run`` raises the error again when the terminal is as it was, for who can report it."""
        self._close_messages_no_wait()

    @property
    def failure(self) -> Exception | None:
        """What went wrong in drawing."""
        return self._exception
