"""``kpath watch`` before it captures: dashboard or text, and what is refused."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import click
import pytest

from kpath.cli import watch as command
from kpath.cli.cost import Cost
from kpath.cli.main import run
from kpath.cli.options import Request
from kpath.dashboard.snapshot import Snapshot


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
    for selective, words in ((False, "10.0 µs/packet"), (True, "200 ns/hit 0.4%")):
        cost = Cost(source, selective=selective)  # type: ignore[arg-type]
        assert cost.words(Snapshot(packets=10)) == ""
        cost.tick()
        cost.probes.nanoseconds, cost.probes.runs, cost.probes.seconds = 2_000_000, 10_000, 0.5
        assert cost.words(Snapshot(packets=10)) == words
