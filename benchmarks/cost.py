"""What kpath costs the kernel, in instructions per hit and per packet, beside what others cost on the same functions.

Run it in a guest that counts instructions as time (one virtual nanosecond is one instruction):

    python -m kpath.guest run --kernel 6.12 --icount --cpus 1 -- python benchmarks/cost.py

A fixed number of UDP packets goes host -> router -> host in a closed loop; the fastest of several rounds counts, less
the same without probes in the same boot. Userspace stands still meanwhile, so this is the kernel side alone. All rows
probe the same functions: those of kpath's plan; --mode paths leaves out those without a packet. bpftrace is measured
where it is installed (apt install bpftrace).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from kpath.capture import attach, program
from kpath.capture.bytecode import extract
from kpath.capture.filter import compile_filter, to_c
from kpath.capture.loader import KPROBE, Loaded
from kpath.capture.program import Selection, Sizes
from kpath.capture.session import Options, Session
from kpath.kernel.probeable import tracefs
from kpath.kernel.symbols import Symbols

NETWORK = """
netns add kb-a
netns add kb-r
netns add kb-b
link add va netns kb-a type veth peer name ra netns kb-r
link add vb netns kb-b type veth peer name rb netns kb-r
-n kb-a addr add 10.1.0.1/24 dev va
-n kb-r addr add 10.1.0.2/24 dev ra
-n kb-r addr add 10.2.0.2/24 dev rb
-n kb-b addr add 10.2.0.1/24 dev vb
"""
BATCH = 32
CLONE_NEWNET = 0x40000000


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


def network() -> None:
    """Three namespaces in a row, quiet but for what is sent here."""
    for line in NETWORK.strip().splitlines():
        shell(f"ip {line}")
    for ns, devices in (("kb-a", ("lo", "va")), ("kb-r", ("lo", "ra", "rb")), ("kb-b", ("lo", "vb"))):
        shell(f"ip netns exec {ns} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.ip_forward=1")
        for device in devices:
            shell(f"ip -n {ns} link set {device} up")
    shell("ip -n kb-a route add default via 10.1.0.2")
    shell("ip -n kb-b route add default via 10.2.0.2")


def _setns(fd: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def in_namespace(name: str) -> socket.socket:
    """A UDP socket of that namespace, made by joining it for a moment."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _setns(there)
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    finally:
        _setns(here)
        os.close(here)
        os.close(there)


class Load:
    """A closed loop: sends a batch, then takes it in at the other end. Several flows send in turns."""

    def __init__(self, targets: Sequence[str] = ("10.2.0.1",)) -> None:
        """``targets``: where each flow goes."""
        self._receiver = in_namespace("kb-b")
        self._receiver.bind(("0.0.0.0", 9999))
        self._receiver.settimeout(30)
        self._senders = [in_namespace("kb-a") for _ in targets]
        for sender, target in zip(self._senders, targets, strict=True):
            sender.connect((target, 9999))

    def run(self, packets: int) -> int:
        """ns for so many packets."""
        senders = cycle(self._senders)
        begin = time.monotonic_ns()
        for _ in range(packets // BATCH):
            for sender in islice(senders, BATCH):
                sender.send(b"x" * 64)
            for _ in range(BATCH):
                self._receiver.recv(100)
        return time.monotonic_ns() - begin

    def close(self) -> None:
        """Let go of all sockets."""
        for each in (self._receiver, *self._senders):
            each.close()


def best(load: Load, packets: int, rounds: int, between: Callable[[], object] = lambda: None) -> float:
    """ns per packet of the fastest round."""
    times = []
    for _ in range(rounds):
        times.append(load.run(packets) / (packets // BATCH * BATCH))
        between()
    return min(times)


class Row(NamedTuple):
    """One measurement; the rest in instructions."""

    what: str
    hits: float
    """Hits for each packet."""
    packet: float
    """For each packet, above the bare work."""
    remark: str = ""


class Bench:
    """Measures one thing after another, each against the bare work at that time."""

    def __init__(self, packets: int, rounds: int) -> None:
        shell("modprobe veth")
        network()
        self.load = Load()
        self.load.run(64)
        self.packets, self.rounds = packets // BATCH * BATCH, rounds
        self.bare = float("inf")
        self.names: list[str] = []
        self.hits = 0.0

    def rest(self) -> None:
        """What an earlier capture leaves behind for the kernel to clean up must not count as bare work."""
        self.bare = min(self.bare, best(self.load, self.packets, self.rounds))

    def kpath(self, what: str, options: Options) -> Row:
        """A session of kpath; its events are taken out of the buffer between rounds."""
        self.rest()
        with Session(options) as session:
            between = session.tables.records if session.tables else session.poll
            self.load.run(64)
            before = session.totals()
            probed = best(self.load, self.packets, self.rounds, between)
            after = session.totals()
            hits = (after.hits - before.hits) / self.packets / self.rounds
            if options.mode == "events" and not options.selection.active:
                self.names = sorted({p.symbol for p in session.probes if p.program})
            lost, missed = sum(after.lost.values()), sum(after.missed.values()) - sum(before.missed.values())
            remark = f"lost {lost}" + (f", missed {missed}" if missed else "")
            if session.tables:
                account = session.tables.account()
                remark = f"{account.counted} counted, {len(session.tables.paths())} paths"
            return Row(f"{what} ({session.backend})", hits, probed - self.bare, remark)

    def bare_probe(self, what: str, body: str, multi: bool) -> Row:
        """A BPF program of one line on the same functions, by BCC."""
        self.rest()
        source = "BPF_ARRAY(n, u64, 1);\nint probe(void *ctx) {\n" + body + "\nreturn 0; }\n"
        symbols = Symbols.load()
        addresses = [next(iter(symbols.addresses(name))) for name in self.names]
        bpf = Loaded(extract(program.compile_program(source)))
        loaded = bpf.load("probe", KPROBE, attach.BPF_TRACE_KPROBE_MULTI if multi else 0)
        with ExitStack() as stack:
            stack.callback(bpf.close)
            if multi:
                stack.callback(attach.MultiLink(loaded, addresses).close)
            else:
                tracing = attach.tracing_or_error(tracefs())
                group = attach.KprobeGroup(tracing, next(iter(symbols.addresses("_text")), 0))
                stack.callback(group.close)
                pairs = zip(self.names, addresses, strict=True)
                group.define([attach.Target(name, "", address, "probe") for name, address in pairs])
                group.arm()
                group.run(lambda _name: loaded)
            self.load.run(64)
            before = _count(bpf)
            probed = best(self.load, self.packets, self.rounds)
            counted = (_count(bpf) - before) / self.packets / self.rounds
            self.hits = counted or self.hits
            return Row(f"{what} ({'multi' if multi else 'kprobe'})", self.hits, probed - self.bare)

    def bpftrace(self, what: str, action: str) -> Row | None:
        """bpftrace on the same functions; None where it is not installed."""
        if not shutil.which("bpftrace"):
            return None
        self.rest()
        text = ",\n".join(f"kprobe:{name}" for name in self.names) + " { " + action + " }"
        with tempfile.NamedTemporaryFile("w", suffix=".bt") as script, Path(script.name + ".out").open("w") as out:
            script.write("BEGIN { printf(\"ready\\n\"); }\n" + text)
            script.flush()
            begin = time.monotonic()
            running = subprocess.Popen(
                ["bpftrace", "-B", "line", script.name], stdout=out, stderr=subprocess.DEVNULL,
                env={**os.environ, "BPFTRACE_MAX_PROBES": "1024"},
            )  # fmt: skip
            while "ready" not in Path(out.name).read_text() and running.poll() is None:
                time.sleep(0.1)
            ready = time.monotonic() - begin
            if running.poll() is not None:
                return Row(what, self.hits, float("nan"), "did not start")
            time.sleep(1)
            self.load.run(64)
            running.send_signal(signal.SIGSTOP)
            probed = best(self.load, self.packets, self.rounds)
            running.send_signal(signal.SIGCONT)
            running.send_signal(signal.SIGINT)
            running.wait()
            Path(out.name).unlink()
        return Row(what, self.hits, probed - self.bare, f"ready after {ready:.1f} s")


def _count(bpf: Loaded) -> int:
    ((_, value),) = bpf.items("n")
    return int.from_bytes(value, "little")


COUNT = "int zero = 0; u64 *v = n.lookup(&zero); if (v) (*v)++;"


def measure(bench: Bench, quick: bool) -> Iterator[Row]:
    """All rows."""
    sizes = Sizes(ring_bytes=64 << 20)
    rejecting = Selection(pcap_c=to_c(compile_filter("host 192.0.2.1")))
    multi = bool(Symbols.load().addresses("register_fprobe_ips"))
    backends = ["multi", "kprobe", "fentry"] if multi else ["kprobe"]
    for backend in backends:
        options = Options(sizes=sizes, backend=backend)
        yield bench.kpath("kpath, all events", options)
        yield bench.kpath("kpath, a filter that rejects all", replace(options, selection=rejecting))
        yield bench.kpath("kpath --mode paths", replace(options, mode="paths"))
    if quick:
        return
    for backend in backends[:2]:
        yield bench.bare_probe("a program that counts", COUNT, backend == "multi")
        yield bench.bare_probe("an empty program", "", backend == "multi")
    for what, action in (
        ("bpftrace, @[func] = count()", "@[func] = count();"),
        ("bpftrace, printf", 'printf("%s %llx\\n", func, arg0);'),
    ):
        row = bench.bpftrace(what, action)
        if row is not None:
            yield row


def main() -> None:
    """Prints a table, and with --json one object a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="kpath alone")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    bench = Bench(arguments.packets, arguments.rounds)
    print(f"Linux {os.uname().release}")
    for row in measure(bench, arguments.quick):
        per_hit = row.packet / row.hits if row.hits else float("nan")
        if arguments.json:
            print(json.dumps({**row._asdict(), "per_hit": per_hit, "bare": bench.bare}), flush=True)
        else:
            print(f"{row.what:45} {per_hit:8.0f} a hit  {row.hits:6.1f} hits  {row.packet:9.0f} a packet  {row.remark}",
                  flush=True)  # fmt: skip
    print(f"the bare work: {bench.bare:.0f} a packet")


if __name__ == "__main__":
    main()
