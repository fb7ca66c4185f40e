"""The real program on a real terminal: what it leaves behind, and what it never sends."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kpath.dashboard.aggregate import Aggregates
from kpath.dashboard.pipeline import Pipeline
from kpath.dashboard.snapshot import Snapshot
from tests.dashboard.stage import CAPTURES, capture, dashboard, packets
from tests.dashboard.test_screens import SMALL, shown

ALTERNATE_ON, ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
CURSOR_ON = b"\x1b[?25h"
MOUSE_OFF = b"\x1b[?1000l"

PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from kpath.capture.file import CaptureReader
from kpath.capture.schema import EVENT
from kpath.capture.tables import Footer
from kpath.dashboard import tui
from kpath.dashboard.app import run
if sys.argv[2:] == ["crash"]:
    def crash(self): raise RuntimeError("drawing failed")
    tui.Dashboard.action_help = crash
reader = CaptureReader(sys.argv[1])
if "live" not in sys.argv:
    run(reader, "test", header=reader.header, live=False)
    sys.exit()

# A running capture: it gives all it has, then waits until it is told to end, or fails.
def stream():
    yield from (chunk for chunk in reader if not isinstance(chunk, Footer))
    while not over:
        yield np.empty(0, EVENT)
        time.sleep(0.01)
        if "fails" in sys.argv and Path(sys.argv[-1]).exists():
            raise OSError("the kernel is gone")
    print("ended in good order", file=sys.stderr)

over = []
run(stream(), "test", header=reader.header, live=True, stop=lambda: over.append(1))
"""


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *args: str, **environment: str) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        path = str(CAPTURES / "6.12" / "ping.kpath")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, path, *args],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
        )  # fmt: skip
        self.sent = b""

    def read(self, until: bytes = b"", seconds: float = 300.0) -> bytes:
        """What it sends, up to some bytes or its end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in self.sent):
            if not select.select([self.master], [], [], 0.05)[0]:
                if self.process.poll() is not None:
                    break
                continue
            self.sent += os.read(self.master, 1 << 16)
        return self.sent

    def finish(self) -> int:
        """Wait for its end."""
        self.read()
        return self.process.wait(300)

    def restored(self) -> bool:
        """Is the terminal as it was?"""
        last_on, last_off = self.sent.rfind(ALTERNATE_ON), self.sent.rfind(ALTERNATE_OFF)
        shown = self.sent.rfind(CURSOR_ON) > last_on and MOUSE_OFF in self.sent
        return last_off > last_on and shown and termios.tcgetattr(self.slave) == self.before


@pytest.mark.parametrize("how", ["q", "ctrl+c", "TERM", "HUP", "INT"])
def test_the_terminal_is_as_it_was(how: str) -> None:
    terminal = Terminal()
    terminal.read(until=b"forward")
    if how == "q":
        os.write(terminal.master, b"q")
    elif how == "ctrl+c":
        os.write(terminal.master, b"\x03")
    else:
        os.kill(terminal.process.pid, getattr(signal, f"SIG{how}"))
    assert terminal.finish() == 0
    assert terminal.restored()


@pytest.mark.parametrize("how", ["q", "ctrl+c", "TERM", "HUP", "INT"])
def test_a_running_capture_ends_in_good_order_and_the_terminal_is_as_it_was(how: str) -> None:
    terminal = Terminal("live")
    terminal.read(until=b"forward")
    if how == "q":
        os.write(terminal.master, b"q")
    elif how == "ctrl+c":
        os.write(terminal.master, b"\x03")
    else:
        os.kill(terminal.process.pid, getattr(signal, f"SIG{how}"))
    assert terminal.finish() == 0
    assert terminal.restored()
    assert b"ended in good order" in terminal.sent[terminal.sent.rfind(ALTERNATE_OFF) :]


def test_a_capture_that_fails_is_told_and_its_error_outlives_the_view(tmp_path: Path) -> None:
    failing = tmp_path / "fail"
    terminal = Terminal("live", "fails", str(failing))
    terminal.read(until=b"forward")
    failing.touch()
    terminal.read(until=b"FAILED")
    os.write(terminal.master, b"q")
    assert terminal.finish() == 1
    assert terminal.restored()
    assert b"the kernel is gone" in terminal.sent[terminal.sent.rfind(ALTERNATE_OFF) :]


def test_the_terminal_is_as_it_was_after_a_crash() -> None:
    terminal = Terminal("crash")
    terminal.read(until=b"forward")
    os.write(terminal.master, b"?")
    assert terminal.finish() == 1
    assert terminal.restored()
    after = terminal.sent[terminal.sent.rfind(ALTERNATE_OFF) :]
    assert b"RuntimeError: drawing failed" in after, "the error reaches whoever reports it"


def test_no_colour_is_sent_when_none_is_wanted() -> None:
    terminal = Terminal(NO_COLOR="1")
    terminal.read(until=b"forward")
    os.write(terminal.master, b"q")
    assert terminal.finish() == 0
    numbers = {n for codes in re.findall(rb"\x1b\[([\d;]*)m", terminal.sent) for n in codes.split(b";")}
    colours = {n for n in numbers if n and (30 <= int(n) <= 38 or 40 <= int(n) <= 48 or 90 <= int(n) <= 107)}
    assert not colours
    assert "▸".encode() in terminal.sent, "the cursor is seen all the same"


def test_colours_are_sent_when_they_are_not_refused() -> None:
    terminal = Terminal()
    terminal.read(until=b"forward")
    os.write(terminal.master, b"q")
    terminal.finish()
    assert b"38;2;86;180;233" in terminal.sent, "Okabe and Ito's sky blue"


EVIL = "\x1b[2J[bold red]x[/]\x07\u202e\x9b31m"


def test_names_cannot_steer_the_terminal() -> None:
    pipeline = Pipeline()
    reader = capture("udp-closed")
    journeys = [journey for chunk in reader for journey in pipeline.take(chunk)] + pipeline.flush()
    know = pipeline.assembler.knowledge
    know.devices = dict.fromkeys(know.devices, EVIL)
    know.netns = dict.fromkeys(know.netns, EVIL)
    know.comms = dict.fromkeys(know.comms, EVIL)
    know.drop_reasons = dict.fromkeys(know.drop_reasons, EVIL)
    know.symbols = {k: replace(v, name=v.name + "[/]", module="\x1b]0;t\x07") for k, v in know.symbols.items()}
    counts = Aggregates()
    for packet in pipeline.packets(journeys):
        counts.fold(packet)
    snapshot: Snapshot = counts.snapshot(0)
    for keys in ((), ("enter",), ("2",), ("3",), ("4",)):
        app = dashboard("udp-closed", live=True)
        app._feed.snapshot = snapshot  # type: ignore[attr-defined]
        app._about = replace(app._about, title="[red]eth0[/]", filter="[bold]")
        picture = shown(app, (160, 50), *keys)
        assert picture.replace("\n", "").isprintable()
        assert "[red]eth0[/]" in picture, "markup is shown as it is"
        if keys != ("4",):
            assert "[bold red]x[/]" in picture


def test_a_filter_with_brackets_is_no_markup() -> None:
    picture = shown(dashboard("ping"), SMALL, "f", "left_square_bracket", "slash", "b", "right_square_bracket", "enter")
    assert "only what matches: [/b]" in picture


def test_digests_are_printable() -> None:
    for name in ("esp-tunnel", "tcp-bulk", "nft-reject"):
        for packet in packets(name):
            assert repr(packet).isprintable()


def test_the_command_needs_a_terminal(tmp_path: Path) -> None:
    path = str(CAPTURES / "6.12" / "ping.kpath")
    result = subprocess.run(
        [sys.executable, "-m", "kpath.cli.main", "show", "--tui", path], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 2 and "needs a terminal" in result.stderr
