"""``kpath watch`` before it captures: dashboard or text, and what is refused."""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

from kpath.capture.file import CaptureReader, read
from kpath.capture.session import Options
from kpath.capture.tables import Header
from kpath.cli import watch as command
from kpath.cli.cost import Cost
from kpath.cli.main import run
from kpath.cli.options import Request
from kpath.dashboard.judge import JudgeMaker
from kpath.dashboard.snapshot import Snapshot

CAPTURES = Path(__file__).parents[1] / "dashboard" / "captures"


@pytest.mark.parametrize(
    ("tui", "as_json", "count", "terminal", "view"),
    [
        (None, False, None, True, True), (None, False, None, False, False), (None, True, None, True, False),
        (None, False, 2, True, False), (False, False, None, True, False), (True, False, None, True, True),
    ],
)  # fmt: skip
def test_a_terminal_gets_the_dashboard_and_a_pipe_gets_text(
    monkeypatch: pytest.MonkeyPatch, tui: bool | None, as_json: bool, count: int | None, terminal: bool, view: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    assert command._wants_view(tui, as_json, count) is view


def test_a_dumb_terminal_gets_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert command._wants_view(None, False, None) is False


def test_a_dashboard_that_cannot_be_is_refused() -> None:
    with pytest.raises(click.UsageError, match="needs a terminal"):
        command._wants_view(True, True, None)


@pytest.mark.parametrize("place", ["9100x", ":99999", "nowhere"])
def test_no_place_for_metrics(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "--plain", "--prometheus", place]) == 2
    said = capsys.readouterr().err
    assert said.startswith("kpath: ") and said.count("\n") == 1 and "write :9100" in said


def test_a_place_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    from kpath.report.prometheus import Metrics

    with Metrics().serve(0) as server:
        assert run(["watch", "--plain", "--prometheus", f":{server.port}"]) == 2
    said = capsys.readouterr().err
    assert "cannot be served" in said and said.count("\n") == 1


def test_metrics_are_served_while_it_is_watched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(["watch", "--plain", "--prometheus", ":0"]) == 3, "and then there is no root"
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("kpath: metrics at http://127.0.0.1:") and "root" in said[1]


def test_what_leaves_packets_out() -> None:
    everything = Request()
    assert not command._selective(everything)
    for changed in ({"filter_text": "icmp"}, {"netns": "a"}, {"mark": (1, 1)}, {"iface": "eth0"}):
        assert command._selective(replace(everything, **changed))


def test_the_cost_in_words() -> None:
    source = SimpleNamespace(programs=lambda: [], hits=lambda: 500)
    for selective, words in ((False, "10.0 µs/packet"), (True, "200 ns/hit, 0.4% cpu")):
        cost = Cost(source, selective=selective)
        assert cost.words(Snapshot(packets=10)) == ""
        cost.tick()
        cost.probes.nanoseconds, cost.probes.runs, cost.probes.seconds = 2_000_000, 10_000, 0.5
        assert cost.words(Snapshot(packets=10)) == words


class Replayed:
    """In place of a running capture: a recording, all at once."""

    def __init__(self, name: str) -> None:
        self._reader = CaptureReader(CAPTURES / f"{name}.kpath")
        self.received = self.lost = self.missed = self.settled = 0
        self.session = SimpleNamespace(
            options=Options(), stop=lambda: None, totals=lambda: SimpleNamespace(lost={})
        )

    def header(self) -> Header:
        return self._reader.header

    def chunks(self, until: Callable[[], str]) -> Generator[object]:
        for chunk in self._reader:
            if isinstance(chunk, np.ndarray):
                self.received += len(chunk)
            yield chunk

    def close(self) -> None:
        """Nothing runs."""

    def programs(self) -> list[int]:
        return []

    def followed(self) -> dict[str | int, object]:
        return {}

    def hits(self) -> int:
        return self.received


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def capturing(_request: Request, _say: object, mode: str, sampled: bool) -> Iterator[Replayed]:
        assert not sampled
        yield Replayed("udp-closed")

    monkeypatch.setattr(command, "capturing", capturing)


@pytest.mark.usefixtures("replayed")
def test_lines_and_metrics_of_the_same_packets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scraped: list[str] = []
    farewell = command._farewell

    def scrape(*given: Any) -> None:  # the last thing before the server ends
        (address,) = re.findall(r"metrics at (http\S+)", capsys.readouterr().err)
        with urllib.request.urlopen(address, timeout=60) as answer:
            scraped.append(answer.read().decode())
        farewell(*given)

    monkeypatch.setattr(command, "_farewell", scrape)
    assert run(["watch", "--plain", "--prometheus", ":0"]) == 0
    assert 'kpath_traversals_total{direction="receive",end="dropped",reason="NO_SOCKET"} 1.0' in scraped[0]
    assert 'kpath_verdicts_total{document="linux-6",verdict="conforms"} 6.0' in scraped[0]
    assert "kpath_journeys_total 2.0" in scraped[0]


@pytest.mark.usefixtures("replayed")
def test_json_is_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "--json", "-c", "1"]) == 0
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    assert [v["verdict"] for v in json.loads(line)["traversals"][0]["verdicts"]] == ["conforms"] * 3
    assert "1 journeys from" in said.err


@pytest.mark.usefixtures("replayed")
def test_the_dashboard_gets_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The wiring, with the screen left out: packets are shown, saved, counted, and what they cost is told."""
    from kpath.dashboard import app
    from kpath.dashboard.feed import LiveFeed

    seen: list[Snapshot] = []

    def shown(stream: Iterable[object], title: str, judge: JudgeMaker, **more: Any) -> None:
        clock = lambda: 0  # noqa: E731 - the recording is of long ago, but nothing is late
        feed = LiveFeed(stream, judge, arp=more["arp"], observe=more["observe"], clock=clock)
        feed.start()
        feed._thread.join()
        assert feed.failure is None and title == "any" and more["header"].probes
        snapshot = feed.latest()
        assert snapshot is not None
        seen.append(snapshot)
        assert more["save"](str(tmp_path / "a.kpath")).startswith("Saved")
        assert more["cost"](snapshot) == "", "nothing was measured here"

    monkeypatch.setattr(app, "run", shown)
    monkeypatch.setattr(command, "_wants_view", lambda *_: True)
    assert run(["watch"]) == 0
    assert seen[0].packets == 2 and seen[0].verdicts["linux-6"] == {"conforms": 6}
    assert read(tmp_path / "a.kpath").complete
