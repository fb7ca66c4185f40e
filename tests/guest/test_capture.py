"""Capturing on a real kernel: the account is exact, nothing stays behind, and every end is an orderly one.

Attaching takes long in a guest, so one session with all probes serves several tests, and whatever does not need them
all attaches a few.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from kpath.capture.file import Capture, read
from kpath.capture.plan import PLAN_BY_NAME
from kpath.capture.program import Sizes
from kpath.capture.records import Events
from kpath.capture.schema import EVENT, Flag, Kind
from kpath.capture.session import Options, Session
from kpath.kernel.btf import Btf
from kpath.lab import topology, traffic
from kpath.lab.topology import Routed

TRACING = Path("/sys/kernel/tracing")
KPATH = (sys.executable, "-m", "kpath.cli.main")
FEW = (
    "__napi_poll,udp_sendmsg,ip_rcv,ip_rcv_core,ip_forward,ip_forward_finish,ip_output,ip_finish_output2,"
    "ip_local_deliver,icmp_rcv,icmp_reply,udp_rcv,__copy_skb_header,consume_skb,__kfree_skb,skb_release_head_state,"
    "nf_hook_slow,neigh_resolve_output,__dev_queue_xmit"
)
TINY = "ip_rcv,ip_forward,udp_sendmsg,raw_sendmsg,ping_v4_sendmsg,skb_release_head_state"
PATIENCE = 300.0
"""Seconds until waiting is given up: so long only where something is broken, however slow the machine."""

RETURNING = ("ip_rcv", "ip_forward", "ip_output", "nf_hook_slow", "__dev_queue_xmit")
"""Functions where somebody else wants to know what they return; some are jumped to by those above them."""

TRIES = 5
"""How often traffic is repeated when a probe was missed, because an interrupt came at the wrong time; it is counted."""


def until(what: Callable[[], object], patience: float = PATIENCE) -> bool:
    """Waits for something to become true; whether it did."""
    end = time.monotonic() + patience
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def traces() -> list[str]:
    """What captures have left in the kernel."""
    mine = [line for line in (TRACING / "kprobe_events").read_text().splitlines() if "kpath_" in line]
    enabled = TRACING / "enabled_functions"
    return mine + (enabled.read_text().splitlines() if enabled.exists() else [])


def everything(session: Session) -> Events:
    """All events up to now, once the kernel has gone quiet."""
    parts: list[Events] = []
    quiet = 0
    while quiet < 5:
        part = session.poll().events
        parts.append(part)
        quiet = 0 if len(part) else quiet + 1
        time.sleep(0.02)
    return np.concatenate(parts) if parts else np.empty(0, EVENT)


def exact(session: Session) -> bool:
    """Every event is received or counted as lost."""
    totals = session.totals()
    return totals.received + sum(totals.lost.values()) == sum(totals.sent.values())


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What came to these counters."""
    return {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}


def hits(session: Session, events: Events, name: str) -> int:
    """How many entries of a function there are."""
    (probe,) = (p for p in session.probes if p.name == name)
    entries = events[events["kind"] == Kind.ENTRY]
    offset = entries["ip"] - np.uint64(probe.address)
    return int((offset < 16).sum())


@pytest.fixture(scope="module")
def routed() -> Iterator[Routed]:
    with topology.routed("cap") as network:
        yield network


@pytest.fixture(scope="module")
def session(routed: Routed) -> Iterator[Session]:
    subprocess.run(["modprobe", "-q", "-r", "ah4"], check=False)
    with Session(Options(sizes=Sizes(ring_bytes=32 << 20))) as running:
        yield running


# ---- with all probes ----


def test_nothing_is_lost_at_a_modest_rate(session: Session, routed: Routed) -> None:
    for _ in range(TRIES):
        everything(session)
        before = session.totals()
        sent = traffic.udp_paced(routed.near, Routed.FAR, rate=200, seconds=2, port=4999)
        events = everything(session)
        after = session.totals()
        assert after.lost == before.lost and after.tables == before.tables
        assert exact(session)
        missed = grown(before.missed, after.missed)
        if not missed:
            break
    assert not missed
    assert hits(session, events[events["dport"] == 4999], "ip_forward") == sent


def test_a_flood_is_accounted_for_exactly(session: Session, routed: Routed) -> None:
    taken = traffic.udp_flood(routed.near, Routed.FAR, 10_000, port=4998)
    events = everything(session)
    assert taken > 1000
    assert len(events) > 10_000
    assert exact(session)


def test_numbers_on_each_cpu_have_gaps_only_where_events_were_lost(session: Session, routed: Routed) -> None:
    everything(session)
    before = session.totals()
    traffic.udp_flood(routed.near, Routed.FAR, 500, port=4997)
    events = everything(session)
    lost = {cpu: n - before.lost.get(cpu, 0) for cpu, n in session.totals().lost.items()}
    for cpu in np.unique(events["cpu"]).tolist():
        numbers = np.sort(events["seq"][events["cpu"] == cpu])
        gaps = int((np.diff(numbers) - 1).sum())
        assert gaps <= lost.get(cpu, 0)
        assert len(np.unique(numbers)) == len(numbers)


def test_functions_of_a_module_loaded_later_are_probed(session: Session) -> None:
    assert not [p for p in session.probes if p.name == "ah_output" and p.program]
    assert session.attach_new_modules() == []
    if subprocess.run(["modprobe", "-q", "ah4"], check=False).returncode:
        pytest.skip("this kernel has no ah4")
    new = {p.name for p in session.attach_new_modules()}
    assert {"ah_input", "ah_output"} <= new
    assert {p.name for p in session.probes if p.program} >= new


def test_detaching_is_quick_and_complete(session: Session, routed: Routed) -> None:
    # The kernel waits for all CPUs at each event that it closes: one or two for a program, not one for a function.
    events = {line.split()[0].partition(":")[2] for line in traces() if "kpath_" in line}
    session.detach()
    try:
        assert 4 * len(events) < sum(bool(p.program) for p in session.probes)
        assert until(lambda: (session.poll(), session.settled())[1])
        sent = session.totals().sent
        traffic.udp_flood(routed.near, Routed.FAR, 50, port=4996)
        assert session.totals().sent == sent
        assert exact(session)
    finally:
        session.stop()
    assert until(lambda: not traces()), traces()


# ---- with a few probes ----


def few(backend: str, buffer: str = "auto", ring: int = 8 << 20) -> Session:
    plan = tuple(PLAN_BY_NAME[name] for name in FEW.split(","))
    return Session(Options(plan=plan, backend=backend, buffer=buffer, sizes=Sizes(ring_bytes=ring)))


def has_multi() -> bool:
    return " register_fprobe_ips\n" in Path("/proc/kallsyms").read_text()


@contextmanager
def flooding(routed: Routed) -> Iterator[None]:
    """Datagrams all the while."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            traffic.udp_flood(routed.near, Routed.FAR, 100, port=4995)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("buffer", ["mapped", "ring", "perf"])
def test_what_came_while_probes_were_put_on_is_no_part(routed: Routed, buffer: str) -> None:
    with ExitStack() as stack:
        with flooding(routed):
            session = stack.enter_context(few("auto", buffer))
            assert session._counters is not None
            everything_sent, sent = session._counters.read().sent, session.totals().sent
            assert sum(everything_sent.values()) > sum(sent.values())
        assert len(everything(session))
        assert exact(session)


@pytest.mark.parametrize("buffer", ["mapped", "ring", "perf"])
def test_what_does_not_fit_is_counted(routed: Routed, buffer: str) -> None:
    with few("auto", buffer, ring=64 << 10) as session:
        session.poll()
        traffic.udp_flood(routed.near, Routed.FAR, 300, port=4995)
        session.detach()
        everything(session)
        totals = session.totals()
    assert sum(totals.lost.values()) > 0
    assert totals.received + sum(totals.lost.values()) == sum(totals.sent.values())


def has_fentry() -> bool:
    """Does kpath use fentry here? Not before 6.7, which does not count what programs miss."""
    return Btf.load().find("bpf_link_info.kprobe_multi.missed") is not None


@pytest.mark.parametrize("another", ["kprobe", "fentry"])
def test_all_backends_give_the_same_events(routed: Routed, another: str) -> None:
    if not has_multi() or (another == "fentry" and not has_fentry()):
        pytest.skip(f"this kernel has no kprobe.multi, or kpath uses no {another} here")

    def shape(session: Session, events: Events) -> Counter[tuple[object, ...]]:
        names = {p.address: p.name for p in session.probes if p.program}
        fields = ("kind", "cls", "caller", "sp", "skb", "other", "head", "len", "saddr", "daddr", "netns", "ifindex",
                  "dst_input", "dst_output", "hook", "value", "ttl", "mtu", "mark")  # fmt: skip
        wanted = events[(events["dport"] == 4994) | (events["kind"] == Kind.VERDICT)]
        found: Counter[tuple[object, ...]] = Counter()
        for event in wanted:
            place = session.symbols.resolve(int(event["ip"])) if event["ip"] else None
            found[names.get(place.address) if place else "", *(int(event[f]) for f in fields)] += 1
        return found

    with few("multi") as one, few(another) as other:
        assert other.backend == another and not other.troubles
        for _ in range(TRIES):
            everything(one), everything(other)
            before = one.totals().missed, other.totals().missed
            sent = traffic.udp_paced(routed.near, Routed.FAR, rate=50, seconds=0.5, port=4994)
            first, second = everything(one), everything(other)
            a, b = shape(one, first), shape(other, second)
            missed = grown(before[0], one.totals().missed), grown(before[1], other.totals().missed)
            if missed == ({}, {}):
                break
    assert missed == ({}, {})
    assert sum(a.values()) >= 4 * sent
    assert list((a - b).items())[:5] == [] == list((b - a).items())[:5]


@contextmanager
def return_probes(number: int) -> Iterator[None]:
    """Somebody else's, at functions that kpath is at, too."""
    def define(line: str) -> None:
        events = os.open(TRACING / "kprobe_events", os.O_WRONLY | os.O_APPEND)
        os.write(events, f"{line}\n".encode())
        os.close(events)

    for name in RETURNING:
        define(f"r:other{number}/{name} {name}")
    switch = TRACING / "events" / f"other{number}" / "enable"
    switch.write_text("1")
    try:
        yield
    finally:
        switch.write_text("0")
        for name in RETURNING:
            define(f"-:other{number}/{name}")


@pytest.mark.parametrize("backend", ["auto", "kprobe"])
def test_somebody_else_s_return_probes_hide_no_caller(routed: Routed, backend: str) -> None:
    if Btf.load().find("task_struct.rethooks") is None:
        pytest.skip("this kernel keeps the addresses that return probes replace where kpath does not look")
    if backend == "kprobe" and not has_multi():
        pytest.skip("auto is kprobe here")

    def callers(session: Session) -> set[tuple[str, str]]:
        everything(session)
        traffic.udp_paced(routed.near, Routed.FAR, rate=50, seconds=0.2, port=4993)
        events = everything(session)
        found = set()
        for event in events[(events["kind"] == Kind.ENTRY) & (events["dport"] == 4993)]:
            place = session.symbols.resolve(int(event["ip"]))
            assert place is not None
            caller = session.symbols.resolve(int(event["caller"]))
            assert caller is not None
            found.add((place.name, caller.name))
        return found

    traffic.udp_paced(routed.near, Routed.FAR, rate=50, seconds=0.2, port=4993)  # neighbours know each other
    with return_probes(1), few(backend) as session:
        with return_probes(2):
            both = callers(session)
        one = callers(session)
        assert set(RETURNING) <= {name for name, _ in one}
    with few(backend) as session:
        none = callers(session)
    assert one == both == none


# ---- kpath record ----


class Recording:
    """``kpath record`` as a process, ready."""

    def __init__(self, folder: Path, *arguments: str, output: str = "", stdout: int | None = None) -> None:
        self.file = folder / "a.kpath"
        self.errors = folder / "errors"
        ready = folder / "ready"
        line = [*KPATH, "record", "-o", output or str(self.file), "--ready-file", str(ready), "--only", TINY]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen([*line, *arguments], stderr=errors, stdout=stdout)
        until(lambda: ready.exists() or self.process.poll() is not None)
        assert ready.exists(), self.said()

    def said(self) -> str:
        return self.errors.read_text()

    def end(self, number: int | None = None) -> int:
        """Its exit status, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()

    def capture(self) -> Capture:
        return read(self.file)


def well_ended(capture: Capture, reason: str) -> None:
    """Complete, and every event accounted for."""
    footer = capture.footer
    assert capture.complete and footer is not None, capture.problem
    assert footer.reason == reason
    assert footer.received == footer.events == len(capture.events)
    assert footer.received + sum(footer.lost.values()) == sum(footer.counted.values())


def test_a_command_is_recorded_from_beginning_to_end_and_its_status_passed_on(tmp_path: Path) -> None:
    recording = Recording(tmp_path, "--", "sh", "-c", "ping -c1 127.0.0.1 >&2; exit 7")
    assert recording.end() == 7, recording.said()
    assert "sh failed with exit status 7" in recording.said()
    capture = recording.capture()
    well_ended(capture, "command ended")
    events = capture.events
    assert (events["proto"] == 1).any()
    for column in ("ip", "caller"):
        used = set(np.unique(events[column]).tolist()) - {0}
        assert used <= set(capture.symbols.symbols)
    assert capture.symbols.calls and capture.symbols.jumps
    assert "lo" in capture.names.devices.values()
    assert "host" in capture.names.netns.values()
    assert "ping" in capture.names.comms.values()
    assert "namespaces" in capture.facts and "attached" in capture.facts
    assert until(lambda: not traces()), traces()


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGINT, "interrupt"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_is_an_orderly_end(tmp_path: Path, routed: Routed, number: int, reason: str) -> None:
    for _ in range(TRIES):
        recording = Recording(tmp_path, "-f", "udp port 4993")
        sent = traffic.udp_paced(routed.near, Routed.FAR, rate=50, seconds=0.4, port=4993)
        assert recording.end(number) == 0, recording.said()
        capture = recording.capture()
        well_ended(capture, reason)
        if not capture.loss:
            break
    assert not capture.loss
    events = capture.events
    forwards = [a for a, s in capture.symbols.symbols.items() if s.name == "ip_forward" and s.offset < 16]
    # Others are there, too: what happened on the same stack just before (Flag.STASHED).
    matched = events[events["flags"] & Flag.MATCHED != 0]
    assert int(np.isin(matched["ip"], forwards).sum()) == sent
    assert set(np.unique(matched["dport"]).tolist()) <= {0, 4993}


@pytest.mark.parametrize("backend", ["auto", "kprobe"])
def test_nothing_stays_behind_after_sigkill(tmp_path: Path, backend: str) -> None:
    if backend == "kprobe" and not has_multi():
        pytest.skip("auto is kprobe here")
    recording = Recording(tmp_path, "--backend", backend)
    assert traces()
    subprocess.run(["ping", "-c1", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
    assert until(lambda: len(recording.capture().events) > 0)
    recording.end(signal.SIGKILL)
    assert until(lambda: not traces()), traces()
    capture = recording.capture()
    assert len(capture.events) and not capture.complete and capture.problem


def test_a_full_disk_leaves_a_readable_file(tmp_path: Path, routed: Routed) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
    try:
        recording = Recording(tmp_path, output=str(disk / "full.kpath"))

        def flood() -> bool:
            traffic.udp_flood(routed.near, Routed.FAR, 500, port=4992)
            return recording.process.poll() is not None

        assert until(flood)
        assert recording.end() == 3
        assert "the disk is full" in recording.said()
        capture = read(disk / "full.kpath")
        assert len(capture.events) > 20
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_reader_that_goes_away_ends_the_recording(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    recording = Recording(tmp_path, output="-", stdout=write_end)
    os.close(write_end)
    os.close(read_end)
    subprocess.run(["ping", "-c1", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
    assert recording.end() == 141
    assert "Traceback" not in recording.said() and "Exception" not in recording.said()


# ---- what cannot work ----


def refused(*line: str) -> tuple[int, str]:
    """The exit status and the words of a kpath that should not even begin."""
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_without_root_it_says_so(tmp_path: Path) -> None:
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    status, words = refused(*user, *KPATH, "record", "-o", "/tmp/nobody.kpath")
    assert status == 3 and re.fullmatch(r"kpath: .*root.*sudo.*\n", words)


def test_kprobes_that_are_switched_off_are_named(tmp_path: Path) -> None:
    switch = Path("/sys/kernel/debug/kprobes/enabled")
    switch.write_text("0")
    try:
        status, words = refused(*KPATH, "record", "-o", str(tmp_path / "x"))
    finally:
        switch.write_text("1")
    assert status == 3 and re.fullmatch(r"kpath: .*kprobes are switched off: echo 1 > .*\n", words), words
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nosuch0",), "no interface nosuch0.*There are:.*lo"),
        (("--netns", "nosuch"), "no network namespace nosuch"),
        (("-f", "this is no filter"), "filter"),
        (("--", "no-such-command"), "no command 'no-such-command'"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    status, said = refused(*KPATH, "record", "-o", str(tmp_path / "x"), *arguments)
    assert status == 2 and re.search(words, said), said
    assert not (tmp_path / "x").exists()
