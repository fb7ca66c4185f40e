"""The thread that feeds the view: what it does when there is too much, when the stream ends, when it fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpath.capture.errors import CaptureError
from kpath.capture.file import CaptureReader
from kpath.capture.schema import EVENT
from kpath.capture.tables import Facts, Footer, Loss
from kpath.dashboard import pipeline, recording
from kpath.dashboard.aggregate import WINDOW
from kpath.dashboard.feed import FAR_BEHIND, LiveFeed
from kpath.dashboard.recording import Recording
from kpath.dashboard.snapshot import Snapshot
from kpath.dashboard.status import About, left_out, lines, notice
from tests.dashboard.stage import CAPTURES, Referee, capture

SECOND = 1_000_000_000


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def chunks(name: str) -> list[Any]:
    return list(capture(name))


def newest(name: str) -> int:
    return max(int(chunk["time"].max()) for chunk in chunks(name) if isinstance(chunk, np.ndarray))


def fed(name: str, behind: float, times: int = 1) -> Snapshot:
    """What a live feed shows after a capture that comes so many seconds late."""
    clock = Clock(newest(name) + int(behind * SECOND))
    feed = LiveFeed([], Referee, clock=clock, cpu=lambda: 0.0)
    for _ in range(times):
        for chunk in chunks(name):
            if isinstance(chunk, Footer | Loss):
                continue
            feed.take(chunk)
    feed._fold(feed._pipeline.flush())
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None
    return snapshot


def test_in_time_everything_is_looked_at() -> None:
    snapshot = fed("tcp", 0.0)
    assert snapshot.packets == 10
    assert left_out(snapshot.omitted) == "" and notice(snapshot) is None
    assert all(one.judged and one.steps for packet in snapshot.recent for one in packet.passes)


def test_behind_only_new_paths_and_a_sample_are_looked_at() -> None:
    snapshot = fed("tcp-bulk", 2.0)
    everything = fed("tcp-bulk", 0.0)
    assert snapshot.packets == everything.packets, "but all are counted, on their paths"
    assert {(r.key, r.count, r.p99) for r in snapshot.paths} == {(r.key, r.count, r.p99) for r in everything.paths}
    assert 0 < snapshot.omitted.details < snapshot.packets
    assert all(any(packet.detailed for packet in row.examples) for row in snapshot.paths)
    words = notice(snapshot)
    assert words is not None
    assert "2 s behind the kernel" in words.plain
    assert snapshot.packet_rate > 0, "rates are those of what was read"
    assert f"{snapshot.omitted.details} packets without steps" in words.plain
    assert f"{snapshot.omitted.verdicts} passes not judged" in words.plain


def test_far_behind_most_are_only_counted() -> None:
    snapshot = fed("tcp-bulk", FAR_BEHIND + 1)
    assert snapshot.packets == fed("tcp-bulk", 0.0).packets
    assert snapshot.omitted.packets > snapshot.packets / 2
    words = notice(snapshot)
    assert words is not None and "only counted" in words.plain


def test_it_catches_up_when_nothing_is_waiting() -> None:
    clock = Clock(newest("ping") + 60 * SECOND)
    feed = LiveFeed([], clock=clock, cpu=lambda: 0.0)
    for chunk in chunks("ping"):
        feed.take(chunk)
    assert feed.lag > 59
    feed.take(np.empty(0, EVENT))
    assert feed.lag == 0
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None and snapshot.packets == 2, "the clock ends what is settled"
    assert snapshot.event_rate == snapshot.events / WINDOW, "those too that the clock released"


def test_probes_on_modules_loaded_meanwhile_are_counted() -> None:
    feed = LiveFeed([], clock=Clock(SECOND), cpu=lambda: 0.0)
    feed.take(Facts({"probe_states": {"attached": 3, "module not loaded": 2, "absent": 1}}))
    feed.take(Facts({"probe_states": {"attached": 5, "absent": 1}}))
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None and snapshot.probes == (5, 1)
    header = capture("ping").header
    (first, *_) = lines(About.of("any", True, header), snapshot, 100)
    assert "5 probes, 1 silent" in first.plain


def test_a_snapshot_is_given_once_and_the_newest_counts() -> None:
    feed = LiveFeed([], clock=Clock(SECOND), cpu=lambda: 0.0)
    feed.publish("one")
    feed.publish("two")
    snapshot = feed.latest()
    assert snapshot is not None and snapshot.state == "two"
    assert feed.latest() is None


def test_its_own_cost_is_told() -> None:
    clock, spent = Clock(0), [0.0]
    feed = LiveFeed([], clock=clock, cpu=lambda: spent[0])
    clock.now, spent[0] = 2 * SECOND, 0.5
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None and snapshot.cpu == 0.25


def test_the_stream_ends_in_good_order_when_the_view_is_closed() -> None:
    asked: list[str] = []
    ended: list[str] = []

    def stream() -> Iterator[object]:
        try:
            while not asked:
                yield np.empty(0, EVENT)
                time.sleep(0.01)
            yield Footer("interrupt", 1)
        finally:
            ended.append("closed")

    feed = LiveFeed(stream(), stop_stream=lambda: asked.append("stop"))
    feed.start()
    assert feed.stop(60)
    assert asked == ["stop"] and ended == ["closed"]


def test_a_stream_that_fails_is_said_and_kept() -> None:
    def stream() -> Iterator[object]:
        yield from chunks("ping")
        raise CaptureError("the buffer is gone")

    feed = LiveFeed(stream())
    feed.start()
    feed._thread.join(60)
    snapshot = feed.latest()
    assert snapshot is not None and snapshot.failed and "the buffer is gone" in snapshot.state
    assert isinstance(feed.failure, CaptureError)


def test_losses_are_those_that_were_told() -> None:
    feed = LiveFeed([], clock=Clock(SECOND), cpu=lambda: 0.0)
    feed.take(Loss(0, 1, {0: 3, 1: 4}, {"ip_rcv": 2}, {0: 1}))
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None
    assert (snapshot.lost, snapshot.missed, snapshot.full) == (7, 2, 1)


def test_a_recording_that_was_cut_off_is_shown_and_said(tmp_path: Path) -> None:
    whole = (CAPTURES / "6.12" / "tcp.kpath").read_bytes()
    cut = tmp_path / "cut.kpath"
    cut.write_bytes(whole[:-20])
    feed = Recording(CaptureReader(cut))
    feed.start()
    end = time.monotonic() + 60
    snapshot = feed.latest()
    while (snapshot is None or snapshot.state == "reading") and time.monotonic() < end:
        time.sleep(0.02)
        snapshot = feed.latest() or snapshot
    assert feed.stop(60)
    assert snapshot is not None and snapshot.packets == 10
    words = notice(snapshot)
    assert words is not None and words.plain.strip()


def test_a_recording_that_fails_is_shown_up_to_there() -> None:
    def stream() -> Iterator[object]:
        yield from chunks("tcp")
        raise CaptureError("the rest is damaged")

    feed = Recording(stream())
    with pytest.raises(CaptureError):
        feed.load()
    feed.failure = CaptureError("the rest is damaged")
    feed.show(feed.length)
    snapshot = feed.latest()
    assert snapshot is not None and snapshot.failed and snapshot.packets == 10


def test_a_long_recording_keeps_some_steps_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_DETAILED", 3)
    monkeypatch.setattr(recording, "MAX_PACKETS", 15)
    monkeypatch.setattr(pipeline, "SAMPLE", 1000)
    feed = Recording(capture("tcp-bulk"))
    feed.load()
    feed.show(feed.length)
    snapshot = feed.latest()
    assert snapshot is not None and feed.length == 15
    assert snapshot.omitted.packets == 3 and snapshot.omitted.details > 0
    assert all(row.examples[-1].detailed for row in snapshot.paths)
