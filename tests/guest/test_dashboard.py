"""The dashboard over counted paths, and a capture that goes over to them: nothing of a flood is missing."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kpath.capture.live import LiveSource
from kpath.capture.looks import EVENTS, PATHS
from kpath.capture.modes import Modes
from kpath.capture.program import Sizes
from kpath.capture.session import Options, Session
from kpath.dashboard.feed import LiveFeed
from kpath.dashboard.snapshot import Snapshot
from kpath.flow import load
from kpath.kernel.probeable import tracefs
from kpath.lab import topology, traffic
from kpath.lab.topology import Routed
from kpath.model.check import Checker
from kpath.model.view import build

pytestmark = pytest.mark.skipif(
    not os.uname().release.startswith("6.12."), reason="takes minutes in emulation, so one kernel of the matrix must do"
)

PACKETS = 3000
PORT = 4999
PATIENCE = 600.0
BURST, PAUSE = 50, 0.1
"""Datagrams at once, and seconds until the next ones: more at once than the small ring holds."""
SMALL_RING = 64 << 10


@pytest.fixture(scope="module")
def routed() -> Iterator[Routed]:
    with topology.routed() as found:
        traffic.udp_flood(found.near, Routed.FAR, 20, port=PORT)  # neighbours are known from here on
        yield found


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def attached() -> list[str]:
    """BPF programs and links of this process, and the events of kpath in tracefs."""
    names = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(fd.readlink()))
        except OSError:
            continue
    return [name for name in names if "bpf" in name] + defined()


def defined() -> list[str]:
    """Events in tracefs."""
    tracing = tracefs()
    assert tracing is not None
    return (tracing / "kprobe_events").read_text().splitlines()


class Watched:
    """A feed over a capture that changes its mode, without a screen."""

    def __init__(self, source: LiveSource, **more: bool) -> None:
        documents = [load("linux-6")]
        self.modes = Modes(source, source.session.options, **more)  # type: ignore[arg-type]
        self.over = False
        self.feed = LiveFeed(
            self.modes.chunks(lambda: "enough" if self.over else ""),
            stop_stream=lambda: setattr(self, "over", True),
            checkers=lambda header: Checker.for_stream(header.probes, documents, build(header)),
            settled=lambda: self.modes.settled,
        )
        self.feed.start()
        self._newest = Snapshot()

    @property
    def newest(self) -> Snapshot:
        """The newest snapshot."""
        self._newest = self.feed.latest() or self._newest
        assert self.feed.failure is None, self.feed.failure
        return self._newest

    def rest(self) -> None:
        """Wait until three new snapshots in a row, a second and more apart, show no new packet."""
        seen = [self.newest]

        def still() -> bool:
            if self.newest.now - seen[-1].now < 1_000_000_000:
                return False
            seen.append(self.newest)
            return len(seen) > 3 and seen[-4].packets == seen[-1].packets

        until(still, "it never came to rest")


def flooded(shown: Snapshot) -> int:
    """Datagrams of the flood by the counts of their path: from the sender through the router."""
    return sum(row.counted for row in shown.paths if row.words.startswith("UDP send") and "forward" in row.words)


def test_a_flood_leads_to_counted_paths_and_all_of_it_is_counted(routed: Routed) -> None:
    before = attached()
    options = Options(sizes=Sizes(ring_bytes=SMALL_RING))
    flooding = threading.Event()
    flooding.set()

    def flood() -> None:
        while flooding.is_set():
            traffic.udp_flood(routed.near, Routed.FAR, BURST, port=PORT)
            time.sleep(PAUSE)

    with Session(options) as session, LiveSource(session) as source:
        watched = Watched(source, auto=True)
        sender = threading.Thread(target=flood)
        sender.start()
        try:
            until(lambda: "Going over" in watched.newest.said, "it takes no notice of what is lost")
        finally:
            flooding.clear()
            sender.join()
        until(lambda: watched.newest.mode == PATHS, "it never went over")
        # A slow machine may fall behind before it loses anything; what waits when the mode changes is lost then.
        assert re.search(r"because (.* events were lost within|the events came .* late)", watched.newest.said)
        lost = watched.newest.lost
        assert lost > 0
        watched.rest()
        begin = flooded(watched.newest)
        sent = traffic.udp_flood(routed.near, Routed.FAR, PACKETS, port=PORT)
        missed = watched.newest.missed
        watched.rest()
        counts = watched.newest
        if counts.missed == missed:
            assert flooded(counts) - begin == sent == PACKETS
        assert not any(row.divergence for row in counts.findings)
        assert watched.modes.go() == "Going back to events …"
        until(lambda: watched.newest.mode == EVENTS, "it never came back")
        assert watched.newest.lost >= lost and flooded(watched.newest) == flooded(counts), "what was seen is kept"
        traffic.udp_send(routed.near, Routed.FAR, port=PORT)
        until(lambda: watched.newest.packets > counts.packets, "no event is read")
        assert watched.feed.stop(PATIENCE)
    assert attached() == before
