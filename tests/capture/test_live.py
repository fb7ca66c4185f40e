"""The live stream with made-up sessions: order of chunks, ends, queue, names, addresses."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from kpath.capture import live
from kpath.capture.account import Batch, LossReport, Totals
from kpath.capture.addresses import Addresses
from kpath.capture.ending import COMMAND, DURATION, INTERRUPT, TERMINATED, Ending
from kpath.capture.fresh import Fresh
from kpath.capture.live import LiveSource
from kpath.capture.naming import Naming
from kpath.capture.plan import PLAN_BY_NAME
from kpath.capture.reader import Chunk
from kpath.capture.records import Events
from kpath.capture.resolve import Probe
from kpath.capture.schema import EVENT, Class
from kpath.capture.session import Options, Session
from kpath.capture.tables import INDIRECT, Facts, Footer, Loss, Names, Symbols
from kpath.kernel import netstate
from kpath.kernel.btf import Btf
from kpath.kernel.probeable import State
from kpath.kernel.symbols import Symbols as KernelSymbols
from kpath.kernel.text import KernelText

BASE = 0xFFFFFFFF81000000
IP_RCV, MIDDLE, DELIVER, CALLER = (BASE + 0x100 * i for i in range(4))
KALLSYMS = KernelSymbols.from_lines(
    [
        f"{IP_RCV:x} T ip_rcv",
        f"{MIDDLE:x} t middle",
        f"{DELIVER:x} T ip_local_deliver",
        f"{CALLER:x} t somebody",
        f"{CALLER + 0x100:x} T the_end",
    ]
)


def probe(name: str, address: int, state: State = State.ATTACHABLE) -> Probe:
    program = "ip_0" if state is State.ATTACHABLE else ""
    return Probe(PLAN_BY_NAME[name], state, "", name, address, "", program)


PROBES = [probe("ip_rcv", IP_RCV), probe("ip_local_deliver", DELIVER)]


def events(count: int, **values: int) -> Events:
    made = np.zeros(count, EVENT)
    made["time"] = np.arange(count)
    made["seq"] = np.arange(count)
    made["hook"] = 255
    for name, value in values.items():
        made[name] = value
    return made


class FakeSession:
    """Gives the batches that a test has put in, one at a poll."""

    def __init__(self, batches: Iterable[Batch] = (), after_detach: Iterable[Batch] = ()) -> None:
        self.options = Options()
        self.backend, self.buffer = "multi", "ring"
        self.probes = PROBES
        self.symbols = KALLSYMS
        self.btf = cast(Btf, SimpleNamespace(enum=lambda _name: {}))
        self.troubles: list[str] = []
        self.start_ns = time.monotonic_ns()
        self.batches, self.rest = list(batches), list(after_detach)
        self.received = 0
        self.polls = 0
        self.detached = 0
        self.one_in: list[int] = []
        self.left_out = 0
        self.new: list[Probe] = []

    def poll(self, account: bool = True) -> Batch:
        self.polls += 1
        waiting = self.rest if self.detached and not self.batches else self.batches
        batch = waiting.pop(0) if waiting else Batch(events(0), None)
        self.received += len(batch.events)
        return batch

    def detach(self) -> None:
        self.detached += 1

    def settled(self) -> bool:
        return not self.batches and not self.rest

    def totals(self) -> Totals:
        return Totals({0: self.received}, {}, self.received, {}, 0, {}, left_out=self.left_out)

    def follow(self, one_in: int) -> None:
        self.one_in.append(one_in)

    def comms(self) -> dict[int, str]:
        return {4_000_000_000: "gone"}

    def modules_changed(self) -> bool:
        return bool(self.new)

    def attach_new_modules(self) -> list[Probe]:
        new, self.new = self.new, []
        return new


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine that the tests run on."""
    monkeypatch.setattr(live, "netns_names", lambda: {77: "red"})
    monkeypatch.setattr(netstate, "device_names", lambda: {(77, 2): "veth0"})
    monkeypatch.setattr(netstate, "snapshot", lambda: {77: {"routes": []}})


def source_of(fake: FakeSession, **given: Any) -> LiveSource:
    return LiveSource(cast(Session, fake), **given)


def all_of(fake: FakeSession, until: Callable[[], str] | None = None, **given: Any) -> list[Chunk]:
    """Everything, by default until the batches are used up."""
    return list(source_of(fake, **given).chunks(until or (lambda: "" if fake.batches else COMMAND)))


def shape(chunks: Iterable[Chunk]) -> list[str]:
    return [type(c).__name__ if not isinstance(c, np.ndarray) else f"events {len(c)}" for c in chunks]


def test_what_comes_before_the_reader_is_ready_is_kept() -> None:
    fake = FakeSession([Batch(events(1), None), Batch(events(2), None)])
    source = source_of(fake)
    source.begin()
    end = time.monotonic() + 10
    while fake.batches and time.monotonic() < end:
        time.sleep(0.001)
    assert not fake.batches
    assert [s for s in shape(source.chunks(lambda: COMMAND)) if s.startswith("events")] == ["events 1", "events 2"]


def test_what_explains_events_stands_before_them_and_what_was_lost_after() -> None:
    loss = LossReport(1, 2, {0: 3}, {"ip_rcv": 1}, {1: 2})
    fake = FakeSession([Batch(events(4, ip=IP_RCV, netns=77, ifindex=2, pid=1), loss)])
    chunks = [c for c in all_of(fake) if not (isinstance(c, np.ndarray) and not len(c))]
    kinds = shape(c for c in chunks if not (isinstance(c, Facts) and "namespaces" in c.values))
    assert kinds == ["Facts", "Names", "Loss", "Symbols", "Names", "events 4", "Footer"]
    (lost,) = (c for c in chunks if isinstance(c, Loss))
    assert lost == Loss(1, 2, {0: 3}, {"ip_rcv": 1}, {1: 2})
    first = next(c for c in chunks if isinstance(c, Names))
    assert first.devices == {(77, 2): "veth0"} and first.netns == {77: "red"}


def test_what_share_is_followed_stands_in_the_capture_as_it_changes() -> None:
    fake = FakeSession([Batch(events(1), None), Batch(events(1), None)])
    fake.left_out = 70
    source = source_of(fake)
    source.follow(8, 1000)
    told: list[Any] = []
    for chunk in source.chunks(lambda: "" if fake.batches else COMMAND):
        if isinstance(chunk, Facts) and "followed" in chunk.values:
            told.append(chunk.values)
            if len(told) == 1:
                source.follow(4, 2000)
    assert fake.one_in == [8, 4]
    assert told[0]["followed"] == [[1000, 8]]
    assert told[-1] == {"followed": [[1000, 8], [2000, 4]], "left_out": 70}


def test_packets_left_out_because_the_buffer_filled_stand_in_the_capture() -> None:
    fake = FakeSession([Batch(events(1), None)])
    fake.left_out = 3
    told = [chunk.values for chunk in all_of(fake) if isinstance(chunk, Facts) and "followed" in chunk.values]
    assert told == [{"followed": [[fake.start_ns, 1]], "left_out": 3}]


def test_nothing_is_told_twice() -> None:
    batch = Batch(events(2, ip=IP_RCV, pid=1), None)
    chunks = all_of(FakeSession([batch, batch, batch]))
    assert shape(chunks).count("Symbols") == 1


def test_what_is_still_in_the_buffer_after_detaching_is_yielded() -> None:
    fake = FakeSession([Batch(events(1), None)], after_detach=[Batch(events(5), None), Batch(events(7), None)])
    chunks = all_of(fake)
    assert sum(len(c) for c in chunks if isinstance(c, np.ndarray)) == 13
    footer = chunks[-1]
    assert isinstance(footer, Footer)
    assert (footer.received, footer.reason) == (13, COMMAND)
    assert fake.detached


def test_a_slow_reader_does_not_keep_the_buffer_from_being_drained() -> None:
    fake = FakeSession([Batch(events(10), None) for _ in range(20)])
    source = source_of(fake)
    chunks = source.chunks(lambda: "" if fake.batches else COMMAND)
    got = sum(len(c) for c in [next(chunks), next(chunks), next(chunks)] if isinstance(c, np.ndarray))
    deadline = time.monotonic() + 60
    while fake.batches and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not fake.batches
    assert got + sum(len(c) for c in chunks if isinstance(c, np.ndarray)) == 200


def test_a_full_queue_leaves_the_rest_to_the_kernel() -> None:
    fake = FakeSession([Batch(events(10), None) for _ in range(50)])
    source = source_of(fake, queue_bytes=EVENT.itemsize * 25)
    ending = Ending()
    chunks = source.chunks(ending)
    next(chunks), next(chunks), next(chunks)
    time.sleep(0.5)
    assert len(fake.batches) >= 45
    ending.end("enough")
    assert sum(len(c) for c in chunks if isinstance(c, np.ndarray)) >= 20


def test_what_goes_wrong_while_draining_reaches_the_reader() -> None:
    fake = FakeSession()

    def broken(account: bool = True) -> Batch:
        raise OSError(5, "the buffer is gone")

    fake.poll = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="the buffer is gone"):
        all_of(fake, Ending())
    assert fake.detached


def test_a_reader_that_goes_away_ends_the_capture() -> None:
    fake = FakeSession([Batch(events(1), None)])
    chunks = source_of(fake).chunks(Ending())
    next(chunks)
    next(chunks)
    next(chunks)
    cast(Any, chunks).close()
    assert fake.detached
    assert not [t for t in threading.enumerate() if t.name == "kpath-drain"]


def test_probes_of_modules_loaded_later_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MODULES", 0.0)
    fake = FakeSession()
    fake.new = [probe("esp_input", MIDDLE)]
    told: list[str] = []
    end = time.monotonic() + 60
    enough: Callable[[], str] = lambda: COMMAND if told or time.monotonic() > end else ""  # noqa: E731
    chunks = all_of(fake, enough, on_attach=lambda probes: told.extend(p.name for p in probes))
    assert told == ["esp_input"]
    assert any(isinstance(c, Facts) and "attached" in c.values for c in chunks[1:])


def test_the_header_holds_the_plan() -> None:
    header = source_of(FakeSession(), filter_text="icmp").header()
    assert header.filter == "icmp"
    assert [(p.symbol, p.state, p.program) for p in header.probes] == [
        ("ip_rcv", "attached", "ip_0"),
        ("ip_local_deliver", "attached", "ip_0"),
    ]
    assert abs(header.wall_ns - time.time_ns()) < 60e9


# ---- addresses ----


def relative(opcode: bytes, at: int, target: int) -> bytes:
    return opcode + (target - at - len(opcode) - 4).to_bytes(4, "little", signed=True)


def text_of(code: dict[int, bytes]) -> KernelText:
    memory = bytearray(b"\x90" * 0x500)
    for address, data in code.items():
        memory[address - BASE : address - BASE + len(data)] = data
    return KernelText(lambda address, size: bytes(memory[address - BASE : address - BASE + size]), KALLSYMS)


def test_jumps_through_functions_that_are_not_probed_are_found() -> None:
    text = text_of({IP_RCV + 8: relative(b"\xe9", IP_RCV + 8, MIDDLE), MIDDLE: relative(b"\xe9", MIDDLE, DELIVER)})
    told = Addresses(KALLSYMS, text, PROBES).tell(events(1, ip=IP_RCV + 4))
    assert told is not None
    assert told.jumps == {"ip_rcv": ("ip_local_deliver",)}
    assert str(told.symbols[IP_RCV + 4]) == "ip_rcv+0x4"


def test_a_jump_through_a_register_is_said() -> None:
    text = text_of({IP_RCV + 8: relative(b"\xe9", IP_RCV + 8, MIDDLE), MIDDLE: b"\xff\xe0"})
    told = Addresses(KALLSYMS, text, PROBES).tell(events(1, ip=IP_RCV))
    assert told is not None and told.jumps == {"ip_rcv": (INDIRECT,)}


def test_calls_are_told_for_callers() -> None:
    text = text_of({CALLER: relative(b"\xe8", CALLER, IP_RCV), CALLER + 0x20: b"\xff\xd0"})
    made = events(3, ip=IP_RCV)
    made["caller"] = [CALLER + 5, CALLER + 0x22, CALLER + 0x40]
    told = Addresses(KALLSYMS, text, PROBES).tell(made)
    assert told is not None
    assert told.calls == {CALLER + 5: "ip_rcv", CALLER + 0x22: INDIRECT}


def test_without_the_kernels_code_there_are_symbols_only() -> None:
    told = Addresses(KALLSYMS, None, PROBES).tell(events(1, ip=IP_RCV, caller=CALLER + 5))
    assert told == Symbols(symbols=told.symbols) if told else False


def test_okfn_is_an_address_and_other_arguments_are_not() -> None:
    made = events(2, ip=IP_RCV)
    made["arg"] = [DELIVER, CALLER]
    made["cls"] = [Class.HOOK, Class.COPY]
    told = Addresses(KALLSYMS, None, PROBES).tell(made)
    assert told is not None and DELIVER in told.symbols and CALLER not in told.symbols


def test_new_probes_change_what_jumps_lead_to() -> None:
    text = text_of({IP_RCV + 8: relative(b"\xe9", IP_RCV + 8, MIDDLE)})
    addresses = Addresses(KALLSYMS, text, PROBES)
    told = addresses.tell(events(1, ip=IP_RCV))
    assert told is not None and told.jumps == {"ip_rcv": ()}
    more = addresses.add_probes([probe("esp_input", MIDDLE)])
    assert more is not None and more.jumps == {"ip_rcv": ("esp_input",)}


# ---- names and numbers ----


def test_fresh_numbers_come_once_even_when_they_share_a_place() -> None:
    fresh = Fresh()
    numbers = np.random.default_rng(1).integers(1, 1 << 63, 200_000, np.uint64)
    got = fresh.take(numbers)
    assert sorted(got) == np.unique(numbers).tolist()
    assert fresh.take(numbers) == []
    assert fresh.take(np.zeros(3, np.uint32)) == []


def test_names_are_looked_up_when_something_unknown_appears_and_not_too_often() -> None:
    looks: list[int] = []
    devices: dict[tuple[int, int], str] = {}

    def look() -> dict[tuple[int, int], str]:
        looks.append(1)
        return dict(devices)

    naming = Naming(dict, look, Path("/nowhere"))
    naming.look()
    devices[5, 3] = "veth3"
    naming._looked += 60  # however slow this machine is, that was just now
    assert naming.tell(events(1, netns=5, ifindex=3)) is None
    naming._looked -= 60
    naming._looked -= 2
    told = naming.tell(events(1, netns=5, ifindex=3))
    assert told is not None and told.devices == {(5, 3): "veth3"}
    naming._looked -= 2
    assert naming.tell(events(1, netns=5, ifindex=3)) is None
    assert len(looks) == 2


def test_what_has_no_name_is_not_asked_for_for_ever() -> None:
    looks: list[int] = []
    naming = Naming(dict, lambda: looks.append(1) or {}, Path("/nowhere"))  # type: ignore[func-returns-value]
    for _ in range(10):
        naming._looked -= 2
        naming.tell(events(1, netns=5, ifindex=3))
    assert len(looks) == 3


def test_a_thread_that_is_gone_gets_its_name_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "comm").write_text("ping\n")
    naming = Naming(dict, dict, tmp_path)
    made = events(2)
    made["pid"] = [12, 13]
    assert naming.threads(made) == {12: "ping"}
    assert naming.threads(made) == {}
    late = naming.late({13: "curl", 14: "other"})
    assert late is not None and late.comms == {13: "curl"}


# ---- ends ----


def test_the_duration_counts_from_the_beginning() -> None:
    ending = Ending(0.05)
    time.sleep(0.1)
    assert ending() == ""
    ending.begin()
    time.sleep(0.1)
    assert ending() == DURATION


def test_the_first_reason_stands() -> None:
    ending = Ending(also=lambda: COMMAND)
    ending.end("count")
    assert ending() == "count"
    assert Ending(also=lambda: COMMAND)() == COMMAND


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGINT, INTERRUPT), (signal.SIGTERM, TERMINATED)])
def test_signals_are_reasons_while_the_capture_runs(number: int, reason: str) -> None:
    before = signal.getsignal(number)
    with Ending() as ending:
        os.kill(os.getpid(), number)
        assert ending() == reason
    assert signal.getsignal(number) is before


def test_settled_does_not_pass_what_waits() -> None:
    """However late it is by the clock: batches that nobody has looked at hold the time back."""
    fake = FakeSession([Batch(events(4), None), Batch(events(5), None)])
    ended = threading.Event()
    source = source_of(fake)
    seen: list[tuple[int, int]] = []
    for chunk in source.chunks(lambda: COMMAND if ended.is_set() else ""):
        if not isinstance(chunk, np.ndarray):
            continue
        while fake.batches:  # until both have been read from the kernel, and one of them waits
            time.sleep(0.001)
        seen.append((len(chunk), source.settled))
        if not len(chunk):
            ended.set()
    (first, before), (second, still) = seen[:2]
    assert (first, second) == (4, 5)
    assert still == before, "the second batch was waiting"
    assert seen[2][0] == 0 and seen[2][1] > fake.start_ns, "nothing waits: all before the last poll is known"
