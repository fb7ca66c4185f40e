"""Paths that the kernel counts, in the dashboard: the same counts, whatever way they came and whenever they began."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot

from kpath.capture import paths
from kpath.capture.looks import EVENTS, PATHS, Governed, Look, Switched
from kpath.capture.paths import Bit
from kpath.capture.schema import EVENT
from kpath.capture.tables import Loss
from kpath.cli.board import Saver
from kpath.dashboard import theme
from kpath.dashboard.aggregate import Aggregates, Rate
from kpath.dashboard.app import outfit
from kpath.dashboard.counted import Counted, middles
from kpath.dashboard.digest import NO_TIME
from kpath.dashboard.feed import LiveFeed
from kpath.dashboard.histogram import Histogram
from kpath.dashboard.snapshot import CHAIN, PathRow, Snapshot
from kpath.dashboard.status import About, lines, mode, notice
from kpath.dashboard.tui import Dashboard
from kpath.dashboard.units import bars, share
from kpath.flow import load
from kpath.model.check import Checker
from kpath.report.counted import quantile
from tests.capture.test_paths import SENT
from tests.dashboard.counts import DROPPED, DROPPED_PATH, PROBED, SECOND, SENT_PATH, START, look, told
from tests.dashboard.stage import Still, capture, check
from tests.dashboard.test_screens import LARGE, SMALL, play, shown

FAST, SLOW = 2 * 13, 2 * 20 + 1
"""Buckets from 8.2 µs and from 1.6 ms."""
DOCUMENTS = ("linux-6", "linux-2.6.21.1")


def checker(_header: object = None) -> Checker:
    """The same one for all tests: to make one takes long."""
    return _checker()


@cache
def _checker() -> Checker:
    return Checker.for_stream(PROBED.probes, [load(name) for name in DOCUMENTS], "")


def looks() -> list[Look]:
    """A thousand packets sent and ten dropped, over two seconds; one more is on a path that was not told."""
    first = [told(SENT_PATH, SENT, START + 5), told(DROPPED_PATH, DROPPED, START + 7)]
    timed = [told(SENT_PATH, SENT, START + SECOND, took) for took in (9_000, 1_700_000, 8_000)]
    return [
        look(0.0, {}),
        look(1.0, {SENT_PATH: {FAST: 400}, DROPPED_PATH: {FAST: 2}}, first),
        look(2.0, {SENT_PATH: {FAST: 990, SLOW: 10}, DROPPED_PATH: {FAST: 10}, 99: {FAST: 1}}, timed, unlisted=3),
    ]


def fed(
    *chunks: object, checkers: Callable[[Any], Checker] | None = None, end: float = 2.0, switched: bool = True
) -> tuple[LiveFeed, Snapshot]:
    """``switched``: it begins with counted paths; else with a recording, of which nothing is late."""
    now = START + int(end * SECOND) if switched else 0
    feed = LiveFeed([], checkers=checkers, clock=lambda: now, cpu=lambda: 0.0)
    feed._aggregates.started = START
    for chunk in (Switched(PATHS, "", PROBED), *chunks) if switched else chunks:
        feed.take(chunk)
        if feed._checker is not None:
            feed._checker[1].result()
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None
    return feed, snapshot


def rows(snapshot: Snapshot) -> dict[str, PathRow]:
    return {row.words: row for row in snapshot.paths}


def test_counts_are_those_of_the_kernel() -> None:
    _, snapshot = fed(*looks())
    assert snapshot.mode == PATHS and snapshot.counting is not None
    sent, dropped = rows(snapshot)["UDP send → va"], rows(snapshot)["UDP send ✗ NETFILTER_DROP"]
    assert (sent.count, sent.counted, dropped.count) == (1000, 1000, 10)
    assert snapshot.packets == 1014 == snapshot.counting.packets + snapshot.counting.unlisted
    assert (snapshot.counting.paths, snapshot.counting.unknown) == (3, 1)
    assert snapshot.passes == 1010
    (row,) = snapshot.drops
    assert (row.count, row.reason, row.netns) == (10, "NETFILTER_DROP", "near")
    assert snapshot.functions["ip_output"] == 1010 and snapshot.functions["dev_hard_start_xmit"] == 1000


def test_percentiles_are_of_every_packet() -> None:
    _, snapshot = fed(*looks())
    row = rows(snapshot)["UDP send → va"]
    assert 1 << 13 <= row.p50 < 1.5 * (1 << 13), "and not of the three that were timed"
    assert 1.5 * (1 << 20) <= Histogram_of(looks()[-1]).percentile(0.995) < 1 << 21
    assert dict(row.latencies) == {1 << at: {13: 990, 20: 10}.get(at, 0) for at in range(13, 21)}


def Histogram_of(one: Look) -> Histogram:  # noqa: N802 - made as the class is
    found = Histogram()
    for duration, count in middles(next(row for row in one.paths if row["hash"] == SENT_PATH)["buckets"]):
        found.add(duration, count)
    return found


def test_the_middle_of_a_bucket_lies_in_it() -> None:
    for at in range(2, 64):
        buckets = np.zeros(64, np.uint32)
        buckets[at] = 7
        ((middle, count),) = middles(buckets)
        upper = quantile(buckets, 1.0)
        assert count == 7 and upper / 1.51 <= middle <= upper


def test_rates_are_of_the_last_seconds() -> None:
    _, snapshot = fed(look(0.0, {}), look(10.0, {SENT_PATH: {FAST: 5000}}, [told(SENT_PATH, SENT, START)]), end=10.0)
    assert rows(snapshot)["UDP send → va"].rate == pytest.approx(500, rel=0.21)
    rate = Rate()
    rate.spread(1_500_000_000, 3_500_000_000, 8)
    assert rate._seconds == {1: 2.0, 2: 4.0, 3: 2.0}


def test_the_hops_of_a_sampled_packet_are_timed_and_those_of_others_are_not() -> None:
    _, snapshot = fed(*looks()[:2])
    untimed = rows(snapshot)["UDP send → va"].examples[-1]
    assert not untimed.timed and untimed.passes[0].latency == NO_TIME
    assert {step.at for step in untimed.passes[0].steps} == {NO_TIME}
    assert untimed.last - untimed.begin == 5000, "but its life is known"
    assert untimed.summary.startswith("10.1.0.1 → 10.2.0.1 UDP") and untimed.length == 0
    _, snapshot = fed(*looks())
    row = rows(snapshot)["UDP send → va"]
    assert all(packet.timed for packet in row.examples) and len(row.examples) == 2, "of one look not all are taken"
    assert row.slowest.last - row.slowest.begin == 1_700_000
    ats = [step.at for step in row.slowest.passes[0].steps]
    assert ats == sorted(ats) and ats[-1] > ats[0] == 0
    assert not any(step.where for step in row.slowest.passes[0].steps), "a record does not say where it ran"


def test_a_path_is_judged_once_for_all_its_packets() -> None:
    _, snapshot = fed(*looks(), checkers=checker)
    row = rows(snapshot)["UDP send → va"]
    verdicts = dict(row.verdicts)
    assert set(verdicts) == set(DOCUMENTS)
    assert all(sum(count for _, count in counts) == 1000 for counts in verdicts.values())
    assert sum(snapshot.verdicts["linux-6"].values()) == 1010
    assert set(snapshot.witnessed["linux-6"].values()) == {10}, "only what conforms is evidence; it has no last steps"
    assert all(one.judged for packet in row.examples for one in packet.passes), "as the first one was judged"


def test_what_came_before_the_checker_is_judged_when_it_is_there() -> None:
    counted = Counted(None, digests=True)
    for one in looks():
        counted.take(one)
    before = snapshot_of(counted)
    assert rows(before)["UDP send → va"].verdicts == ()
    counted.judge_by(checker())
    after = snapshot_of(counted)
    assert rows(after)["UDP send → va"].verdicts
    assert all(one.judged for packet in after.recent for one in packet.passes)
    assert [p.number for p in after.recent] == [p.number for p in before.recent]
    assert set(after.functions.items()) == set(before.functions.items())


def snapshot_of(counted: Counted) -> Snapshot:
    into = Aggregates(START)
    counted.fold(into)
    return into.snapshot(START + 2 * SECOND)


def test_a_record_that_may_lack_a_hop_is_judged_again_and_a_whole_one_is_not() -> None:
    counted = Counted(checker(), digests=True)
    losses = (Loss(START, START + SECOND, missed={"ip_output": 1}),)
    counted.take(look(1.0, {SENT_PATH: {FAST: 1}}, [told(SENT_PATH, SENT, START + 5)], losses=losses))
    row = rows(snapshot_of(counted))["UDP send → va"]
    assert {verdict for _, counts in row.verdicts for verdict, _ in counts} == {theme.INCONCLUSIVE}
    again = told(SENT_PATH, SENT, START + 2 * SECOND, 9000)
    assert counted.take(look(2.0, {SENT_PATH: {FAST: 2}}, [again], losses=losses)) == [SENT_PATH]
    row = rows(snapshot_of(counted))["UDP send → va"]
    assert theme.INCONCLUSIVE not in {verdict for _, counts in row.verdicts for verdict, _ in counts}
    assert counted.take(look(3.0, {SENT_PATH: {FAST: 3}}, [again], losses=losses)) == []
    assert snapshot_of(counted).verdicts and counted.counting().missed == 1


ASKED_PATH = 0xA49
ASKED = (
    ("__dev_queue_xmit", 0, 1760, Bit.NEW_STACK | Bit.LIGHT, 0),
    ("dev_hard_start_xmit", 1, 1750, Bit(0), 2 << paths.ETHER | 1 << paths.ARP),
    ("skb_release_head_state", 0, 1700, Bit.NEW_STACK | Bit.LIGHT, 0),
)


def test_arp_is_shown_to_those_who_ask_for_it() -> None:
    records = [told(SENT_PATH, SENT, START + 5), told(ASKED_PATH, ASKED, START + 6)]
    one = look(1.0, {SENT_PATH: {FAST: 5}, ASKED_PATH: {FAST: 2}}, records)
    without, with_arp = Counted(None, digests=True), Counted(None, digests=True, arp=True)
    without.take(one), with_arp.take(one)
    account, shown = without.counting(), snapshot_of(without)
    assert [row.path for row in without.rows()] == [SENT_PATH] and set(rows(shown)) == {"UDP send → va"}
    assert (account.packets, account.arp, account.paths, account.unknown, shown.packets) == (5, 2, 1, 0, 5)
    assert [packet.summary[:19] for packet in shown.recent] == ["10.1.0.1 → 10.2.0.1"]
    account, shown = with_arp.counting(), snapshot_of(with_arp)
    assert {row.path for row in with_arp.rows()} == {SENT_PATH, ASKED_PATH} and len(rows(shown)) == 2
    assert (account.packets, account.arp, account.paths, shown.packets, len(shown.recent)) == (7, 0, 2, 7, 2)


def test_counts_go_on_when_the_kernel_begins_anew() -> None:
    feed, _ = fed(*looks())
    feed.take(Switched(EVENTS, "Every event is read again.", PROBED))
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None and snapshot.mode == EVENTS and snapshot.said == "Every event is read again."
    assert rows(snapshot)["UDP send → va"].count == 1000 and snapshot.packets == 1014, "what was seen is kept"
    feed.take(Switched(PATHS, "Paths are counted.", PROBED))
    feed.take(look(3.0, {SENT_PATH: {FAST: 5}}, unlisted=1))
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None and rows(snapshot)["UDP send → va"].count == 1005 and snapshot.packets == 1020


def test_events_before_are_kept_and_lead_on_to_the_same_rows() -> None:
    """The table goes on: packets of a recording, then counted ones; numbers are never given twice."""
    chunks = [chunk for chunk in capture("udp-closed") if not isinstance(chunk, Loss)]
    alone, before = fed(*chunks, switched=False)
    alone._fold(alone._pipeline.flush())
    alone.publish()
    before = alone.latest() or before
    assert before.packets == 2 and before.counting is None
    feed, snapshot = fed(*chunks, Switched(PATHS, "because", PROBED), *looks(), switched=False)
    assert snapshot.packets == 2 + 1014 and snapshot.events == before.events
    assert {row.key for row in before.paths} < {row.key for row in snapshot.paths}
    assert sum(row.count for row in snapshot.drops) == sum(row.count for row in before.drops) + 10
    numbers = [packet.number for packet in snapshot.recent]
    assert len(set(numbers)) == len(numbers) == 2 + 4
    feed.take(Switched(EVENTS, "back", PROBED))
    for chunk in chunks:
        feed.take(chunk)
    feed._fold(feed._pipeline.flush())
    feed.publish()
    again = feed.latest()
    assert again is not None and again.packets == snapshot.packets + 2
    numbers = [packet.number for packet in again.recent]
    assert len(set(numbers)) == len(numbers)


def test_losses_of_both_ways_add_up() -> None:
    feed, _ = fed(Loss(1, 2, {0: 5}, {"a": 1}, {0: 2}), switched=False)
    feed.take(Switched(PATHS, "", PROBED))
    feed.take(look(1.0, {}, losses=[Loss(3, 4, missed={"b": 2})]))
    feed.take(Switched(EVENTS, "", PROBED))
    feed.take(Loss(5, 6, {1: 7}, {"a": 3}, {}))
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None and (snapshot.lost, snapshot.missed, snapshot.full) == (12, 6, 2)


def test_the_account_says_what_is_not_counted() -> None:
    governed = Governed(8, 0.034, 0.02, "kpath took 5.1% of the machine")
    one = look(2.0, {SENT_PATH: {FAST: 10}}, unlisted=3, transient=4, cut=5, no_packet=6, governed=governed)
    _, snapshot = fed(one)
    words = notice(snapshot)
    assert words is not None
    for said in (
        "10 packets on paths whose hops have not come up", "3 packets on further paths",
        "4 packets not counted", "5 packets with more hops", "6 packets not followed",
    ):  # fmt: skip
        assert said in words.plain
    assert [text.plain for text in mode(snapshot)] == [
        " ! 1 in 8 packets is followed and counted, for kpath took 5.1% of the machine."
    ]
    text = "\n".join(line.plain for line in lines(About("eth0", True), snapshot, 160))
    for said in ("● COUNTING", "followed ! 1 in 8", "unlisted ! 3", "cut ! 5", "transient ! 4", "no room ! 6",
                 "kpath 3.4% of the machine, 2.0% allowed"):  # fmt: skip
        assert said in text


def test_the_whole_way_of_a_buffer_is_one_row() -> None:
    _, snapshot = fed(*looks())
    row = rows(snapshot)["UDP send → va"]
    app = board(snapshot)
    (one,) = row.examples[-1].passes
    view = app.views[0]
    assert view.concerns(row.key, one)
    assert view.concerns(("elsewhere", f"receive a{CHAIN}{one.words}"), one)
    assert not view.concerns(("near", "receive a → TCP"), one)


def board(snapshot: Snapshot, judged: bool = False, **more: Any) -> Dashboard:
    feed = LiveFeed([], checkers=checker if judged else None)
    look, views = outfit(feed, PROBED, [load(name) for name in DOCUMENTS])
    about = About("eth0", True, "6.12.117+deb13-amd64", 140, 47)
    return Dashboard(Still(snapshot), about, look=look, views=views, **more)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "160x50"])
@pytest.mark.parametrize(("name", "keys"), [("list", ()), ("tree", ("enter",)), ("packets", ("2",))])
def test_views(name: str, keys: Sequence[str], size: tuple[int, int]) -> None:
    governed = Governed(2, 0.012, 0.02, "kpath took 3.1% of the machine")
    last = looks()[-1]
    one = Look(last.when, last.paths, last.account, last.records, last.tables, last.losses, governed)
    words = "Paths are counted since 12:00:00, because 41,200 events were lost within 3 s."
    _, snapshot = fed(Switched(PATHS, words, PROBED), *looks()[:2], one, checkers=checker)
    app = board(snapshot, judged=True, change=lambda: "Going back to events …")
    check(f"counted-{name}-{size[0]}x{size[1]}", shown(app, size, *keys))


def test_a_key_asks_for_the_other_mode() -> None:
    _, snapshot = fed(*looks())
    asked: list[int] = []

    def change() -> str:
        asked.append(1)
        return "Going back to events …"

    assert "Going back to events …" in shown(board(snapshot, change=change), SMALL, "m") and asked == [1]
    said = shown(board(snapshot), SMALL, "m")
    assert "Only a running capture can count paths" in said and "m events" not in said


def test_what_needs_events_says_so() -> None:
    _, snapshot = fed(look(1.0, {}))
    assert "no hops have come up yet, those of one in 64 do" in shown(board(snapshot), SMALL, "2")
    assert "only functions that have a packet are seen" in shown(board(snapshot), LARGE, "4")


def test_counts_are_saved_as_json_and_events_as_a_capture(tmp_path: Path) -> None:
    feed, _ = fed(*looks())
    saver = Saver(PROBED)
    saver.counts(feed.counted)
    list(saver.pass_on([Switched(PATHS, "", PROBED), *looks()]))
    target = tmp_path / "a.json"
    assert "3 paths" in saver.save(str(target))
    *paths, account = [json.loads(line) for line in target.read_text().splitlines()]
    assert [path["packets"] for path in paths] == [1000, 10, 1]
    assert paths[0]["passes"][0]["words"] == "UDP send → va"
    assert account["account"]["unlisted"] == 3
    with pytest.raises(FileExistsError):
        saver.save(str(target))
    assert saver.save(str(tmp_path / "a.kpath")).startswith("There are no events to save")
    list(saver.pass_on([Switched(EVENTS, "", PROBED), np.zeros(3, EVENT)]))
    assert saver.save(str(tmp_path / "b.kpath")).startswith("Saved 3 events")


def test_the_name_to_save_to_says_what_is_saved() -> None:
    _, snapshot = fed(*looks())

    async def body(pilot: Pilot[int]) -> None:
        await pilot.press("s")
        assert app._default_name.endswith(".json")

    app = board(snapshot, save=lambda _path: "")
    play(app, SMALL, body)


def test_the_checker_does_not_keep_the_counts_waiting() -> None:
    going = SimpleNamespace(on=True)

    def slow(_header: object) -> Checker:
        while going.on:
            time.sleep(0.01)
        return checker()

    feed = LiveFeed([], checkers=slow, clock=lambda: START + 2 * SECOND, cpu=lambda: 0.0)
    for chunk in (Switched(PATHS, "", PROBED), *looks()):
        feed.take(chunk)
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None and rows(snapshot)["UDP send → va"].count == 1000
    assert feed._checker is not None and not feed._checker[1].done
    going.on = False
    feed._checker[1].result()
    feed.take(looks()[-1])
    feed.publish()
    snapshot = feed.latest()
    assert snapshot is not None and rows(snapshot)["UDP send → va"].verdicts


def test_small_numbers_are_seen() -> None:
    assert bars([1000, 0, 1]) == "█ ▁" and bars([]) == ""
    assert [share(part) for part in (1.0, 0.123, 0.0002, 0.0)] == ["100%", "12.3%", "0.02%", "0.0%"]
