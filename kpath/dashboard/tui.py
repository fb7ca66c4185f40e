"""The application: what keys, clicks and answers do. What is drawn is in ``screenful.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import strftime

from textual import work

from kpath.capture.looks import PATHS
from kpath.dashboard import help
from kpath.dashboard.feed import Feed
from kpath.dashboard.listing import Listing
from kpath.dashboard.look import Look
from kpath.dashboard.panel import Tabs
from kpath.dashboard.prompt import Prompt
from kpath.dashboard.rows import column_at, fixed, matches
from kpath.dashboard.screenful import Screenful
from kpath.dashboard.status import About
from kpath.dashboard.view import View
from kpath.dashboard.view_packets import Packets
from kpath.report.words import printable

Save = Callable[[str], str]
"""Writes what was captured so far to a path; returns what to tell the user. Raises OSError when it cannot."""

_NO_SAVE = "This capture is not being kept: kpath record -o FILE keeps one."


class Dashboard(Screenful):
    """The view over a feed, with its keys."""

    def __init__(
        self,
        feed: Feed,
        about: About,
        *,
        look: Look | None = None,
        views: Sequence[View] | None = None,
        save: Save | None = None,
        change: Callable[[], str] | None = None,
        no_color: bool = False,
    ) -> None:
        """``change`` asks for the other mode of capture, and returns what to tell the user."""
        super().__init__(feed, about, look=look, views=views, no_color=no_color)
        self._save = save
        self._change = change
        self.changes = change is not None
        self._default_name = ""
        """What to save to when the user gives no name."""

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

    def take(self) -> None:
        """Draw the newest snapshot; while a recording plays, ask for the next one before."""
        if self.playing:
            self._play()
        super().take()

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

    def action_change(self) -> None:
        """From events to counted paths, or back."""
        if self._change is None:
            self._say("Only a running capture can count paths instead of reading events.")
        else:
            self._say(printable(self._change()))

    def action_document(self) -> None:
        """The next document."""
        if self.look.documents:
            self.look.document = (self.look.document + 1) % len(self.look.documents)
            self._say(f"Document: {self.look.name}")

    def action_light(self) -> None:
        """Colours for a light ground, or for a dark one."""
        self.lit = not self.lit
        self.refresh(layout=False)
        self._say(f"Colours for a {'light' if self.lit else 'dark'} screen.")

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
        self._default_name = strftime("kpath-%H%M%S.") + ("json" if self.snapshot.mode == PATHS else "kpath")
        begin = self.look.filter if what == "filter" else ""
        self._prompt.ask(what, begin, self._default_name if what == "save" else "")

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
        elif what == "save":
            value = value or self._default_name
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
