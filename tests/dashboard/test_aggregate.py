"""Counting packets: rows, rates, percentiles, what is left out, and going back in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kpath.dashboard import aggregate, units
from kpath.dashboard.aggregate import Aggregates, Rate
from kpath.dashboard.histogram import Histogram
from kpath.dashboard.pipeline import Pipeline
from kpath.dashboard.recording import Recording, Timeline
from kpath.dashboard.snapshot import OTHER_PATHS
from tests.dashboard.stage import capture, packets

SECOND = 1_000_000_000


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_right_within_a_bucket(durations: list[int], share: float) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    exact = sorted(durations)[max(1, -int(-share * len(durations) // 1)) - 1]
    assert exact * 0.95 - 1 <= histogram.percentile(share) <= exact * 1.05 + 1


def test_a_rate_is_of_the_last_seconds() -> None:
    rate = Rate()
    for second in range(20):
        rate.add(second * SECOND, 10)
    assert rate.at(19 * SECOND, 0) == 10
    assert rate.at(60 * SECOND, 0) == 0
    fresh = Rate()
    fresh.add(100, 3)
    assert fresh.at(200, 0) == 3, "in the first second it is what there was"


def test_rows_count_passes() -> None:
    counts = Aggregates()
    for packet in packets("tcp-bulk"):
        counts.fold(packet)
    snapshot = counts.snapshot(SECOND)
    assert snapshot.packets == len(packets("tcp-bulk"))
    assert sum(row.count for row in snapshot.paths) == snapshot.passes
    forward = next(row for row in snapshot.paths if row.words == "receive ra → forward → rb")
    assert forward.netns == "kp-router" and forward.p50 <= forward.p99 and forward.examples


def test_drops_are_counted_by_place_and_reason() -> None:
    counts = Aggregates()
    for _ in range(3):
        for packet in packets("nft-drop"):
            counts.fold(packet)
    (row,) = counts.snapshot(0).drops
    assert (row.netns, row.reason, row.count) == ("kp-router", "NETFILTER_DROP", 3)
    assert row.place.startswith("nft_do_chain")
    assert row.example.passes[-1].end_how == "dropped"


def test_findings_are_counted_by_document() -> None:
    counts = Aggregates()
    for packet in packets("ping", judged=True):
        counts.fold(packet, True)
    snapshot = counts.snapshot(0)
    wrong = [row for row in snapshot.findings if row.divergence]
    assert {row.document for row in wrong} == {"linux-6", "linux-2.6.21.1"}
    assert all(row.count == 2 for row in wrong)
    assert snapshot.witnessed["linux-6"]["ip_forward/0"] == 2
    assert list(snapshot.verdicts["linux-6"]) == ["diverges", "partial", "conforms"], "the worst stands first"


def test_functions_are_counted_by_pass() -> None:
    feed = Recording(capture("ping"))
    feed.load()
    feed.show(feed.length)
    snapshot = feed.latest()
    assert snapshot is not None
    assert snapshot.functions["ip_forward"] == 2 and "udp_rcv" not in snapshot.functions
    feed.show(0)
    nothing = feed.latest()
    assert nothing is not None and not nothing.functions and not nothing.paths


def test_a_snapshot_does_not_change() -> None:
    counts = Aggregates()
    first, *rest = packets("tcp")
    counts.fold(first)
    before = counts.snapshot(0)
    held = repr(before)
    for packet in rest:
        counts.fold(packet)
    assert repr(before) == held
    with pytest.raises(AttributeError):
        before.packets = 7  # type: ignore[misc]


def test_full_tables_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate, "MAX_PATHS", 2)
    monkeypatch.setattr(aggregate, "MAX_ROWS", 0)
    counts = Aggregates()
    for packet in packets("udp-closed"):
        counts.fold(packet)
    snapshot = counts.snapshot(0)
    assert len(snapshot.paths) == 3
    other = next(row for row in snapshot.paths if row.words == OTHER_PATHS)
    assert other.count == snapshot.omitted.paths == snapshot.passes - 2
    assert snapshot.omitted.rows == 1 and not snapshot.drops


def test_packets_without_steps_are_said() -> None:
    counts = Aggregates()
    (packet,) = packets("udp-open")
    bare = replace(packet, passes=tuple(replace(one, steps=()) for one in packet.passes))
    counts.fold(bare)
    counts.fold(packet)
    counts.skip(packet.last, 5)
    omitted = counts.snapshot(0).omitted
    assert (omitted.details, omitted.packets) == (1, 5)
    assert all(row.examples == (packet,) for row in counts.snapshot(0).paths), "examples have steps"


def test_any_moment_of_a_recording_is_as_if_it_had_ended_there() -> None:
    all_packets = sorted(packets("tcp") * 150, key=lambda p: p.last)
    timeline = Timeline(0)
    timeline.settle(all_packets, Aggregates())
    for position in (len(all_packets), 3, 0, 900, 899, 1201, 1200):
        fresh = Aggregates()
        for packet in all_packets[:position]:
            fresh.fold(packet)
        now = timeline.time(position)
        got, wanted = timeline.at(position).snapshot(now), fresh.snapshot(now)
        assert (got.packets, got.passes, got.recent) == (wanted.packets, wanted.passes, wanted.recent)
        assert [(r.key, r.count, r.p50, r.last) for r in got.paths] == [
            (r.key, r.count, r.p50, r.last) for r in wanted.paths
        ]


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (999, "999 ns"), (12_340, "12.3 µs"), (999_600, "1.00 ms"), (75 * SECOND, "75.0 s")],
)
def test_durations(ns: int, text: str) -> None:
    assert units.duration(ns) == text


@given(st.integers(0, 10**15))
def test_numbers_fit_their_columns(number: int) -> None:
    assert len(units.count(number)) <= 7
    assert len(units.duration(number)) <= 7
    assert len(units.rate(float(min(number, 10**8)))) <= 5
    assert len(units.age(number)) <= 4


@given(st.text(), st.integers(1, 40))
def test_fit_is_exact(text: str, width: int) -> None:
    assert cell_len(units.fit(text, width)) == width


@pytest.mark.parametrize(
    ("way", "width", "text"),
    [
        ("receive ra → forward → rb", 30, "receive ra → forward → rb     "),
        ("receive ra → forward → FORWARD drop ✗ NETFILTER_DROP", 34, "receive ra → for… ✗ NETFILTER_DROP"),
        ("receive ra → forward → ESP tunnel → rb", 30, "receive ra → forward → E… → rb"),
        ("receive ra → forward ✗ A_VERY_LONG_REASON", 24, "receive ra → forward ✗ …"),
        ("TCP reset", 5, "TCP …"),
    ],
)
def test_ways_are_cut_in_the_middle(way: str, width: int, text: str) -> None:
    assert units.fit_way(way, width) == text


@given(st.text(), st.integers(0, 50))
def test_a_way_is_as_wide_as_it_must_be(text: str, width: int) -> None:
    assert cell_len(units.fit_way(text, width)) == width
    assert cell_len(units.fit_way(f"{text} → {text}", width)) == width


def test_a_packet_that_was_looked_at_is_let_go() -> None:
    """Or else it would keep the packets before it, with which it shared polls and system calls."""
    pipeline = Pipeline()
    with capture("tcp") as reader:
        journeys = [*(j for chunk in reader for j in pipeline.take(chunk)), *pipeline.flush()]
    assert any(len(life.frames) > 1 for journey in journeys for life in journey.lives)
    digested = list(pipeline.packets(journeys))
    assert all(one.steps for packet in digested for one in packet.passes)
    assert all(len(life.frames) <= 1 for journey in journeys for life in journey.lives)
