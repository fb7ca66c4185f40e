"""Paths counted in the kernel: every packet is counted, and none is judged wrongly."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from kpath.capture.counting import PathSource
from kpath.capture.live import LiveSource
from kpath.capture.looks import Look
from kpath.capture.plan import PLAN
from kpath.capture.session import Options, Session
from kpath.dashboard.counted import Counted
from kpath.flow import BUILT_IN
from kpath.kernel.btf import Btf
from kpath.lab import scenarios, topology, traffic
from kpath.lab.scenarios import Lab, Scenario, load_modules
from kpath.lab.topology import Routed
from kpath.model.check import Checker
from kpath.model.verdict import Verdict

PLAYED = (
    "ping", "udp-open", "udp-closed", "tcp", "loopback", "ttl-expired", "nft-drop", "nft-dnat", "fragments",
    "fragments-router", "esp-tunnel", "ping-cold", "bridge", "tap", "pmtu", "multicast", "redirect", "qdisc-delayed",
)  # fmt: skip
PATIENCE = 10.0
"""Seconds until a packet's end is not waited for any longer."""
PACKETS = 3000
SAMPLED = 8


@dataclass(slots=True)
class Seen:
    counted: Counted
    new: dict[str, set[int]] = field(default_factory=dict)
    """The paths that each scenario added."""
    before: Look | None = None
    after: Look | None = None
    sampled: Look | None = None
    """Looks before and after the flood, and after another one of which few packets were to be followed."""
    missed: int = 0


def added(counted: Counted, source: PathSource, scenario: Scenario, lab: Lab) -> set[int]:
    """The paths that were new when it was played, or, for ends may come late, a little later.

    Since 5.19 readers put a buffer aside for the CPU that made it, which lets go of it when it next receives something
    (net/core/skbuff.c:skb_defer_free_flush). So where no end comes, each CPU receives something, by lo.
    """
    known = set(counted.paths)
    scenarios.play(scenario, lab, lambda: None, lambda: counted.take(source.look()))
    found, until = set(counted.paths) - known, time.monotonic() + PATIENCE
    while not found and time.monotonic() < until:
        on_each_cpu()
        time.sleep(0.2)
        counted.take(source.look())
        found = {n for n in set(counted.paths) - known if " lo" not in " ".join(counted.paths[n].words)}
    return found


def on_each_cpu() -> None:
    """A datagram to nobody, by lo."""
    cpus = os.sched_getaffinity(0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            sender.sendto(b"", ("127.0.0.1", 9))
    os.sched_setaffinity(0, cpus)


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    load_modules()
    with Session(Options(mode="paths")) as session:
        source = PathSource(session)
        found = Seen(Counted(Checker.for_capture(LiveSource(session).header(), BUILT_IN)))
        with scenarios.lab() as lab:
            for name in PLAYED:
                scenario = scenarios.SCENARIOS[name]
                if scenario.possible():
                    found.new[name] = added(found.counted, source, scenario, lab)
        with topology.routed() as routed:
            found.before = source.look()
            missed = sum(session.totals().missed.values())
            traffic.udp_flood(routed.near, Routed.FAR, PACKETS, port=4999)
            found.after = source.look()
            found.missed = sum(session.totals().missed.values()) - missed
            found.counted.take(found.after)
            source.sample(SAMPLED)
            traffic.udp_flood(routed.near, Routed.FAR, PACKETS, port=4999)
            found.sampled = source.look()
    yield found


def test_each_scenario_has_paths(seen: Seen) -> None:
    assert len(seen.new) > 10
    assert not [name for name, paths in seen.new.items() if not paths]


def test_no_path_diverges(seen: Seen) -> None:
    """What this mode does not see may leave a verdict open, but never makes one."""
    found = [
        (path.words, judgement.document, [f.message for f in judgement.findings])
        for path in seen.counted.paths.values()
        for _, judged in (path.shown.passes if path.shown else ())
        for judgement in judged
        if judgement.verdict is Verdict.DIVERGES
    ]
    assert not found


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("udp-open", ("UDP send → va", "receive ra → forward → rb", "receive vb → UDP")),
        ("ttl-expired", ("UDP send → va", "receive ra → forward ✗")),
        ("esp-tunnel", ("ESP",)),
        ("fragments", ("fragments",)),
        ("tcp", ("TCP send → va",)),
    ],
)
def test_paths_are_told_in_words(seen: Seen, scenario: str, words: tuple[str, ...]) -> None:
    if scenario not in seen.new:
        pytest.fail(f"{scenario} cannot be played here")
    told = [" ⇒ ".join(path.words) for path in seen.counted.paths.values()]
    assert [line for line in told if all(word in line for word in words)], told


def test_a_forwarded_datagram_conforms(seen: Seen) -> None:
    """A verdict that nothing weakens, on what it saw."""
    found = [
        {j.document: j.verdict for j in judged}
        for path in seen.counted.paths.values()
        if path.words[1:2] == ("receive ra → forward → rb",) and path.shown and not path.shown.losses
        for _, judged in path.shown.passes[1:2]
    ]
    assert found
    assert {"linux-2.6.21.1": Verdict.CONFORMS, "linux-6": Verdict.CONFORMS}.items() <= found[0].items()


def test_every_packet_of_a_flood_is_counted(seen: Seen) -> None:
    assert seen.before is not None and seen.after is not None
    before, after = seen.before.account, seen.after.account
    assert after.unlisted == before.unlisted and after.no_packet == before.no_packet
    if not seen.missed:  # an interrupt in the middle of a program keeps others from running; the kernel counts that
        assert after.counted - before.counted >= PACKETS
        assert after.ended - before.ended == after.counted - before.counted
    counts = sum(int(n) for n in seen.after.paths["count"])
    assert counts == after.counted
    assert int(seen.after.paths["buckets"].sum()) == counts


def test_sampling_follows_some_packets_from_beginning_to_end(seen: Seen) -> None:
    assert seen.after is not None and seen.sampled is not None
    followed = seen.sampled.account.born - seen.after.account.born
    assert 0 < followed < PACKETS / 2
    if not seen.missed:
        fresh = set(seen.sampled.paths["hash"].tolist()) - set(seen.after.paths["hash"].tolist())
        assert not fresh, "a sampled packet takes the path of one that is followed among all"


SOME = frozenset({
    "ip_rcv", "ip_rcv_core", "ip_forward", "ip_forward_finish", "ip_output", "ip_finish_output2", "ip_local_deliver",
    "udp_rcv", "neigh_resolve_output", "__dev_queue_xmit", "dev_hard_start_xmit", "nf_hook_slow", "__copy_skb_header",
    "consume_skb", "skb_release_head_state",
})  # fmt: skip
TRIES = 5


FIELDS = ("kind", "cls", "caller", "sp", "parent_sp", "netns", "ifindex", "dst_input", "dst_output", "hook", "value")
"""Of an event; where the function's probe lies differs, and so does the hash of all."""

Shape = tuple[tuple[str | int, ...], ...]


class Counting:
    """Some functions, and what was counted since the last time."""

    def __init__(self, session: Session) -> None:
        self._session, self._source = session, PathSource(session)
        self._names = {p.address: p.name for p in session.probes if p.program}
        self._shapes: dict[int, Shape] = {}
        self._known: Counter[Shape] = Counter()

    def more(self) -> tuple[Counter[Shape], int]:
        """How many packets took each path, hop by hop, and how many probes were missed up to now."""
        look = self._source.look()
        for told in look.records:
            self._shapes.setdefault(told.path, tuple(self._hop(event) for event in told.events))
        counts: Counter[Shape] = Counter()
        for path, count in zip(look.paths["hash"].tolist(), look.paths["count"].tolist(), strict=True):
            counts[self._shapes[path]] += count
        more, self._known = counts - self._known, counts
        return more, sum(self._session.totals().missed.values())

    def _hop(self, event: np.void) -> tuple[str | int, ...]:
        place = self._session.symbols.resolve(int(event["ip"])) if event["ip"] else None
        return self._names.get(place.address, "") if place else "", *(int(event[f]) for f in FIELDS)


def test_by_fentry_the_same_paths_are_counted() -> None:
    """The hops, what each stands in, and what decided."""
    if Btf.load().find("bpf_link_info.kprobe_multi.missed") is None:
        pytest.skip("kpath uses no fentry here: not before 6.7, which does not count what programs miss")
    options = Options(mode="paths", plan=tuple(p for p in PLAN if p.name in SOME), backend="kprobe")
    with (
        topology.routed() as routed,
        Session(options) as by_kprobe,
        Session(replace(options, backend="fentry")) as by_fentry,
    ):
        assert by_fentry.backend == "fentry" and not by_fentry.troubles
        one, other = Counting(by_kprobe), Counting(by_fentry)
        for _ in range(TRIES):
            missed = one.more()[1] + other.more()[1]
            traffic.udp_flood(routed.near, Routed.FAR, PACKETS, port=4998)
            (paths, missed_by_one), (same, missed_by_other) = one.more(), other.more()
            if missed_by_one + missed_by_other == missed:
                break
    assert missed_by_one + missed_by_other == missed
    assert paths.total() >= PACKETS
    assert len(max(paths, key=paths.__getitem__)) > len(SOME)
    assert paths == same


def test_the_command_prints_a_table_and_json() -> None:
    command = [sys.executable, "-m", "kpath.cli.main", "watch", "lo", "--mode", "paths", "--duration", "6", "--json"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pinging = subprocess.Popen(["ping", "-q", "-i", "0.3", "127.0.0.1"], stdout=subprocess.DEVNULL)
    try:
        out, err = watching.communicate(timeout=300)
    finally:
        pinging.terminate()
        pinging.wait()
    assert watching.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows and all(row["packets"] > 0 for row in rows)
    assert any("ICMP" in one["words"] for row in rows for one in row["passes"]), rows
    assert "packets counted on" in err
